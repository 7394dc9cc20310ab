"""What a webhook or a backend answers when it is asked who a client is."""

from math import inf
from typing import Any, Final

import msgspec

from trio_socketio.control.api import Authentication
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.im.identity.claims import is_time
from trio_socketio.im.identity.identity import (
    EXPIRED,
    REFUSED,
    TOO_LARGE,
    UNAVAILABLE,
    Attempt,
    Identity,
    Refusal,
    Verdict,
    read_token_id,
)
from trio_socketio.im.identity.token_names import TokenNames
from trio_socketio.protocol.user_ids import parse_user_id

MAX_AUTH_BYTES: Final = 8192
_NUMBER_BYTES: Final = 24
_MAX_DETAIL: Final = 200
CLOCK_LEEWAY_S: Final = 5.0
"""By how much the clock of a webhook or a backend may differ from ours."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered: a user, or that there is none.

    Args:
        user: the id of the user; a whole number is taken as decimal text.
        refused: why the client is refused, which it is told.
        token_id: names the token for auth.revoke.
        issued_at_s: when the token was issued, seconds since 1970; null means just now, unless the
            client had this token already when its user was revoked.
        expires_at_s: when the client is to be put out; null means never.
        claims: what the app may ask for.
    """

    user: str | int | None = None
    refused: str | None = None
    token_id: str | None = None
    issued_at_s: float | None = None
    expires_at_s: float | None = None
    claims: dict[str, Any] = {}


_decode = msgspec.json.Decoder(Answer).decode


def ask_for(attempt: Attempt) -> Authentication | Refusal:
    """Put the question of who a client is, unless the client makes it too large (IDENT-70)."""
    if not _is_small(attempt.auth):
        return Refusal(TOO_LARGE, "what was sent along with the token is too large")
    return Authentication(
        namespace=attempt.namespace,
        token=attempt.token,
        auth=attempt.auth,
        address=attempt.address,
        socket=attempt.socket,
    )


def read_answer(
    answer: bytes, attempt: Attempt, now_s: float, names: TokenNames
) -> tuple[Verdict, str]:
    """Read an answer.

    Args:
        answer: as it was sent.
        attempt: that it is about.
        now_s: seconds since 1970.
        names: names the token if the answer does not.
    Returns:
        The verdict, and what is wrong with the answer; empty if it is in order.
    """
    try:
        found = _decode(answer)
    except (ValueError, RecursionError) as error:
        return Refusal(UNAVAILABLE), f"its answer cannot be read: {error}"
    if found.refused is not None:
        return Refusal(REFUSED, _as_detail(found.refused)), ""
    try:
        user = parse_user_id(found.user)
    except RemoteProtocolError as error:
        return Refusal(UNAVAILABLE), f"the user in its answer cannot be used: {error}"
    if found.token_id is not None and read_token_id(found.token_id) is None:
        return Refusal(UNAVAILABLE), "its answer has a token_id that cannot be used"
    for name in ("issued_at_s", "expires_at_s"):  # IDENT-64
        value = getattr(found, name)
        if value is not None and not is_time(value):
            return Refusal(UNAVAILABLE), f"the {name} in its answer is not a time in seconds"
    if found.issued_at_s is not None and found.issued_at_s > now_s + CLOCK_LEEWAY_S:
        return Refusal(UNAVAILABLE), "the issued_at_s in its answer lies in the future"
    expires_at_s = inf if found.expires_at_s is None else found.expires_at_s
    if expires_at_s <= now_s:
        return Refusal(EXPIRED), ""
    identity = Identity(
        user=user,
        token_id=names.name(attempt.token) if found.token_id is None else found.token_id,
        # Whoever was asked just now knows of every revocation before, and has decided.
        issued_at_s=attempt.asked_at_s if found.issued_at_s is None else found.issued_at_s,
        leeway_s=0.0 if found.issued_at_s is None else CLOCK_LEEWAY_S,
        is_dated=found.issued_at_s is not None,
        expires_at_s=expires_at_s,
        claims=found.claims,
    )
    return identity, ""


def is_refusal(verdict: Verdict) -> bool:
    """Whether an answer has said that the client is refused."""
    return isinstance(verdict, Refusal) and verdict.reason is REFUSED


def _is_small(auth: dict[str, Any]) -> bool:
    """Whether what a client has sent along with its token has about MAX_AUTH_BYTES at most.

    It is not encoded for this: a number may take six times the bytes in which it came, and a
    client could have megabytes encoded only to be refused.
    """
    left = MAX_AUTH_BYTES
    waiting: list[Any] = [auth]
    while waiting and left >= 0:
        value = waiting.pop()
        if isinstance(value, (str, bytes, bytearray)):
            left -= len(value) if value.isascii() else 3 * len(value)
        elif isinstance(value, (dict, list)):
            left -= 2 * len(value)
            if left >= 0:  # so that no more is looked at than would fit
                waiting.extend(value)
                waiting.extend(value.values() if isinstance(value, dict) else ())
        else:
            left -= _NUMBER_BYTES
    return left >= 0


def _as_detail(text: str) -> str:
    """Cut a message for a client."""
    return "".join(one for one in text[:_MAX_DETAIL] if one.isprintable())
