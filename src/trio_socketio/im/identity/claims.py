"""The claims of a JWT: whether it is valid now, for us, and of whom.

Spec: RFC 7519, section 4.1.
"""

from math import inf
from typing import Any, Final, NamedTuple, TypeGuard

from trio_socketio.errors import RemoteProtocolError
from trio_socketio.im.identity.identity import (
    BAD_CLAIM,
    EXPIRED,
    MISSING_CLAIM,
    NOT_YET_VALID,
    TOO_LONG,
    WRONG_AUDIENCE,
    WRONG_ISSUER,
    Identity,
    Refusal,
    Verdict,
    read_token_id,
)
from trio_socketio.protocol.user_ids import parse_user_id

_FAR_S: Final = 1e11
"""No time is as far away, and times in milliseconds are further. NaN, the infinities and the
integers that are no float do not compare as nearer either."""
_NUMBERS: Final = frozenset((int, float))


class ClaimRules(NamedTuple):
    """What is demanded of a token.

    Args:
        audiences: the token must be for one of them; if there are none, for nobody in particular.
        issuers: it must be from one of them; if there are none, anybody may have issued it.
        leeway_s: by how much the clock of the issuer may differ from ours.
        max_lifetime_s: for how long a token may be valid from now on.
        kept: the names of further claims that the identity holds.
    """

    audiences: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    leeway_s: float = 0.0
    max_lifetime_s: float = inf
    kept: tuple[str, ...] = ()


def identify(claims: dict[str, Any], rules: ClaimRules, now_s: float) -> Verdict:
    """Say whom the claims of a token identify.

    Args:
        claims: of a token whose signature was verified.
        rules: what is demanded.
        now_s: seconds since 1970.
    """
    expires_at_s = claims.get("exp")
    if "exp" not in claims or "sub" not in claims:  # IDENT-05, IDENT-06
        missing = "exp" if "exp" not in claims else "sub"
        return Refusal(MISSING_CLAIM, f"the token lacks the claim {missing}")
    if not is_time(expires_at_s):
        return Refusal(BAD_CLAIM, "the claim exp of the token is not a time")
    if expires_at_s + rules.leeway_s <= now_s:  # IDENT-07
        return Refusal(EXPIRED)
    if expires_at_s - now_s > rules.max_lifetime_s + rules.leeway_s:  # IDENT-10
        return Refusal(TOO_LONG)
    for name in ("nbf", "iat"):
        if name in claims:
            if not is_time(claims[name]):
                return Refusal(BAD_CLAIM, f"the claim {name} of the token is not a time")
            if claims[name] > now_s + rules.leeway_s:  # IDENT-08
                return Refusal(NOT_YET_VALID)
    if rules.issuers:  # IDENT-09
        issuer = claims.get("iss")
        if type(issuer) is not str or issuer not in rules.issuers:
            return Refusal(WRONG_ISSUER)
    audience = claims.get("aud")
    if audience is None and rules.audiences:
        return Refusal(WRONG_AUDIENCE, "the token names no audience (aud)")  # IDENT-11
    if audience is not None and not _is_for(audience, rules.audiences):
        return Refusal(WRONG_AUDIENCE)  # IDENT-11
    try:
        user = parse_user_id(claims["sub"])
    except RemoteProtocolError as error:  # IDENT-02
        return Refusal(BAD_CLAIM, f"the claim sub of the token cannot be used: {error}")
    token_id = claims.get("jti")
    if token_id is not None and read_token_id(token_id) is None:
        return Refusal(BAD_CLAIM, "the claim jti of the token is not the id of a token")
    return Identity(
        user=user,
        token_id=token_id,
        issued_at_s=claims.get("iat", -inf),
        leeway_s=rules.leeway_s,
        expires_at_s=expires_at_s,
        claims={name: claims[name] for name in rules.kept if name in claims} if rules.kept else {},
    )


def is_time(value: Any) -> "TypeGuard[float]":
    """Whether a value can be a time in seconds since 1970."""
    return type(value) in _NUMBERS and -_FAR_S < value < _FAR_S  # True is no number


def _is_for(audience: object, wanted: frozenset[str]) -> bool:
    named = audience if type(audience) is list else [audience]
    return any(type(one) is str and one in wanted for one in named)
