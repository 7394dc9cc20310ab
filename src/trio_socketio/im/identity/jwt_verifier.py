"""Verifies JWTs, with keys from files and from a JWKS URL.

A signature is verified where the CONNECT is read, since that takes less time than to hand it to
another thread: 3 us for HS256, 30 for RS256, 90 for ES256, 150 for EdDSA.
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


class KeySource(Protocol):
    """Keys that may become others; at run time RemoteKeys."""

    def current(self) -> tuple[Key, ...]:
        """The keys that are known."""

    @property
    def may_know_more(self) -> bool:
        """Whether to ask again may bring a key that is not known yet."""

    async def ask_again(self) -> bool:
        """Wait until the keys were fetched; return whether they were."""


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
        if not is_compact(attempt.token):
            return None
        return self._verify(attempt.token, ask=True)

    async def verify(self, attempt: Attempt) -> Verdict:
        assert self._remote is not None
        is_fresh = await self._remote.ask_again()
        verdict = self._verify(attempt.token, ask=False)
        assert not isinstance(verdict, Later)
        if not is_fresh and isinstance(verdict, Refusal) and verdict.reason is UNKNOWN_KEY:
            return Refusal(UNAVAILABLE)
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
        fitting = select_keys(known, kid)
        bound = [key for key in fitting if key.algorithm == algorithm]  # IDENT-12, IDENT-13
        if bound:
            verdict = self._verify_with(signed, bound)
        else:
            verdict = Refusal(WRONG_ALGORITHM if fitting else UNKNOWN_KEY)
        if ask and isinstance(verdict, Refusal) and self._may_be_new(verdict, known, kid):
            return LATER
        return verdict

    def _may_be_new(self, refusal: Refusal, known: tuple[Key, ...], kid: str | None) -> bool:
        """Whether the key of a refused token may be one that is not known yet (IDENT-17)."""
        if self._remote is None or not self._remote.may_know_more:
            return False
        if kid is None:  # keys without names can be told apart by their signatures alone
            return refusal.reason in (UNKNOWN_KEY, WRONG_ALGORITHM, BAD_SIGNATURE)
        return all(key.kid != kid for key in known)

    def _verify_with(self, signed: SignedToken, keys: list[Key]) -> Verdict:
        for key in keys[:MAX_TRIED]:
            if key.verify(signed.signing_input, signed.signature):
                break
        else:
            return Refusal(BAD_SIGNATURE)
        try:
            claims = decode_claims(signed.payload)
        except RemoteProtocolError as error:
            return Refusal(MALFORMED, str(error))
        return identify(claims, self._rules, self._clock())
