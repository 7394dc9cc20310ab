"""Verifies JWTs, with keys from files and from a JWKS URL.

A signature is verified where the CONNECT is read, since that takes less time than to hand it to
another thread: 1 us for HS256, 30 for RS256, 90 for ES256, 150 for EdDSA.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from trio_socketio.codec.json_web_signature import (
    SignedToken,
    decode_claims,
    decode_compact,
    is_compact,
)
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.im.identity.claims import ClaimRules, identify
from trio_socketio.im.identity.identity import (
    BAD_SIGNATURE,
    CRITICAL,
    LATER,
    MALFORMED,
    UNAVAILABLE,
    UNKNOWN_KEY,
    WRONG_ALGORITHM,
    Attempt,
    Later,
    Refusal,
    Verdict,
)
from trio_socketio.im.identity.keys import Key, select_keys

log = logging.getLogger(__name__)

MAX_TRIED: Final = 8
"""How many keys are tried on a token that names none."""
_FEW_TRIED: Final = {"ES256": 4, "EdDSA": 4, "ES384": 2, "ES512": 2}
"""The same for algorithms that take longer: a forged token takes the time of them all."""
_NO_NAME: Final = "the token does not name its key (kid), and more keys are known than are tried"


_KEY_REASONS: Final = (UNKNOWN_KEY, WRONG_ALGORITHM, BAD_SIGNATURE)
"""With another key a token that was refused for one of these might be accepted."""


class KeySource(Protocol):
    """Keys that may become others; at run time RemoteKeys."""

    def current(self) -> tuple[Key, ...]:
        """The keys that are known."""

    @property
    def may_know_more(self) -> bool:
        """Whether a fetch that is made now may bring new keys."""

    @property
    def are_current(self) -> bool:
        """Whether the last fetch has brought the keys."""

    async def ask_again(self) -> None:
        """Wait until the keys were fetched, or could not be."""


class JwtVerifier:
    """Verifies tokens that have the form of a JWT.

    Args:
        keys: those from files.
        rules: what is demanded of the claims.
        remote: the keys of a JWKS URL; None if there is no URL.
        clock: seconds since 1970.
    """

    method = "jwt"

    def __init__(
        self,
        keys: tuple[Key, ...],
        rules: ClaimRules,
        remote: KeySource | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._rules = rules
        self._remote = remote
        self._clock = clock

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        verdict = self._verify(attempt.token, ask=True)
        if isinstance(verdict, Refusal) and verdict.reason is MALFORMED:
            # Only now, as a good token needs no second look.
            return verdict if is_compact(attempt.token) else None
        return verdict

    async def verify(self, attempt: Attempt) -> Verdict:
        assert self._remote is not None
        await self._remote.ask_again()
        verdict = self._verify(attempt.token, ask=False)
        assert not isinstance(verdict, Later)
        return verdict

    def _verify(self, token: str, *, ask: bool) -> Verdict | Later:
        """Verify a token with the keys that are known.

        Args:
            token: the token.
            ask: whether to answer LATER if its key may be one that is not known yet.
        """
        try:
            signed = decode_compact(token)
        except RemoteProtocolError as error:
            return Refusal(MALFORMED, str(error))
        header = signed.header
        if "crit" in header or "b64" in header:  # IDENT-14
            return Refusal(CRITICAL)
        kid, algorithm = header.get("kid"), header.get("alg")
        if type(algorithm) is not str or not (kid is None or type(kid) is str):
            return Refusal(MALFORMED, "the header of the JWT cannot be read")
        known = self._keys if self._remote is None else self._keys + self._remote.current()
        fitting = select_keys(known, kid, algorithm)
        if fitting:
            verdict = self._verify_with(signed, fitting)
        else:
            is_known = any(select_keys(known, kid, key.algorithm) for key in known)
            verdict = Refusal(WRONG_ALGORITHM if is_known else UNKNOWN_KEY)
        remote = self._remote
        if remote is None or not isinstance(verdict, Refusal):
            return verdict
        if verdict.reason in _KEY_REASONS and (  # IDENT-17
            # Keys without names can be told apart by their signatures alone.
            kid is None or all(key.kid != kid for key in known)
        ):
            if ask and remote.may_know_more:
                return LATER
            if not remote.are_current:  # IDENT-67
                return Refusal(UNAVAILABLE)
        return verdict

    def _verify_with(self, signed: SignedToken, keys: list[Key]) -> Verdict:
        bound = _FEW_TRIED.get(keys[0].algorithm, MAX_TRIED)  # IDENT-68
        for key in keys[:bound]:
            if key.verify(signed.signing_input, signed.signature):
                break
        else:
            return Refusal(BAD_SIGNATURE, _NO_NAME if len(keys) > bound else "")
        try:
            claims = decode_claims(signed.payload)
        except RemoteProtocolError as error:
            return Refusal(MALFORMED, str(error))
        return identify(claims, self._rules, self._clock())
