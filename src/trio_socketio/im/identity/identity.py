"""What a verifier is asked, and what it answers: who the client is, or why it is refused."""

from collections.abc import Mapping
from math import inf
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from trio_socketio.socketio.credentials import BAD_TOKEN, NOT_AUTHENTICATED, SERVER_ERROR

BAD_PARAMETER: Final = 2
"""The contract's code for a payload that cannot be read; its other codes are in credentials.py."""

MAX_TOKEN_ID_BYTES: Final = 256


class Identity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who a client is, as its token says.

    Args:
        user: the id of the user, as parse_user_id returns it.
        token_id: names the token, so that it can be revoked; None if it has no name.
        issued_at_s: when the token was issued, seconds since 1970; minus infinity if it does not
            say.
        leeway_s: by how much the clock that issued it may differ from ours.
        is_dated: whether issued_at_s is a time of the token itself. Otherwise it is the time at
            which the client came, and says nothing about how old the token is.
        is_of_our_clock: whether issued_at_s is when this node has first read the token.
        expires_at_s: when it ends; infinity if it does not.
        claims: what else the token says, as far as the options keep it.
    """

    user: str
    token_id: str | None = None
    issued_at_s: float = -inf
    leeway_s: float = 0.0
    is_dated: bool = True
    is_of_our_clock: bool = False
    expires_at_s: float = inf
    claims: Mapping[str, Any] = {}


class Reason(NamedTuple):
    """Why clients are refused.

    Args:
        label: names the reason in metrics.
        errcode: the contract's code.
        message: what the client is told.
    """

    label: str
    errcode: int
    message: str


class Refusal(NamedTuple):
    """A client that is refused.

    Args:
        reason: why.
        detail: what the client is told instead of the reason's message; empty for that.
    """

    reason: Reason
    detail: str = ""

    @property
    def message(self) -> str:
        """What the client is told."""
        return self.detail or self.reason.message


Verdict = Identity | Refusal

NO_TOKEN: Final = Reason("no_token", NOT_AUTHENTICATED, "authentication required")
MALFORMED: Final = Reason("malformed", BAD_PARAMETER, "the token cannot be read")
TOO_LARGE: Final = Reason("too_large", BAD_PARAMETER, "the token is too large")
UNKNOWN_TOKEN: Final = Reason("unknown_token", BAD_TOKEN, "the token is not known")
BAD_SIGNATURE: Final = Reason("bad_signature", BAD_TOKEN, "the token's signature is wrong")
WRONG_ALGORITHM: Final = Reason(
    "wrong_algorithm", BAD_TOKEN, "the token is signed with an algorithm that its key is not for"
)
UNKNOWN_KEY: Final = Reason("unknown_key", BAD_TOKEN, "the token is signed with an unknown key")
CRITICAL: Final = Reason(
    "critical_header", BAD_TOKEN, "the token asks for an extension that is not supported"
)
EXPIRED: Final = Reason("expired", BAD_TOKEN, "the token has expired")
NOT_YET_VALID: Final = Reason("not_yet_valid", BAD_TOKEN, "the token is not valid yet")
TOO_LONG: Final = Reason("too_long", BAD_TOKEN, "the token is valid for too long")
WRONG_AUDIENCE: Final = Reason("wrong_audience", BAD_TOKEN, "the token is for another audience")
WRONG_ISSUER: Final = Reason("wrong_issuer", BAD_TOKEN, "the token is from another issuer")
MISSING_CLAIM: Final = Reason("missing_claim", BAD_TOKEN, "the token lacks a claim")
BAD_CLAIM: Final = Reason("bad_claim", BAD_TOKEN, "a claim of the token cannot be used")
REVOKED: Final = Reason("revoked", BAD_TOKEN, "the token was revoked")
REFUSED: Final = Reason("refused", BAD_TOKEN, "the token was refused")
OTHER_USER: Final = Reason("other_user", BAD_TOKEN, "the token belongs to another user")
UNAVAILABLE: Final = Reason(
    "unavailable", SERVER_ERROR, "the token cannot be verified at the moment"
)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A client's attempt to prove who it is. It holds the secret, so it is shown nowhere.

    Args:
        namespace: that the client asks for.
        token: what is verified; not empty, and bounded in size.
        auth: what else the client has sent along with the token.
        address: of the client.
        socket: the public id of its socket.
        asked_at_s: when it was made, seconds since 1970.
    """

    namespace: str
    token: str
    auth: dict[str, Any]
    address: str
    socket: str
    asked_at_s: float

    def __repr__(self) -> str:
        return f"<Attempt of {self.socket} in {self.namespace}>"


class Later:
    """What a verifier answers that has to ask somebody first."""


LATER: Final = Later()


class Verifier(Protocol):
    """Verifies tokens of one kind."""

    method: str
    """Names it in metrics."""

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        """Verify a token without waiting for anything.

        Returns:
            The verdict; LATER if `verify` has to be awaited; None if the token is of another kind,
            so that the next verifier is asked.
        """

    async def verify(self, attempt: Attempt) -> Verdict:
        """Verify a token for which verify_now has answered LATER.

        It takes no longer than the options allow, and raises nothing: whatever fails is a refusal.
        """


def read_token_id(value: object) -> str | None:
    """Read the id of a token; None if this cannot be one."""
    # A lone surrogate is not printable, so what passes can be encoded.
    if type(value) is not str or not value or len(value) > MAX_TOKEN_ID_BYTES:
        return None
    is_id = value.isprintable() and len(value.encode()) <= MAX_TOKEN_ID_BYTES
    return value if is_id else None
