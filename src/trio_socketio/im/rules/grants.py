"""What the token of a client says that it may do."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from trio_socketio.control.methods import read_misfit
from trio_socketio.errors import OptionError
from trio_socketio.im.rules.options import Rate
from trio_socketio.im.rules.patterns import Patterns, check_patterns
from trio_socketio.im.rules.policy import compile_rate
from trio_socketio.protocol.token_bucket import TokenRate

if TYPE_CHECKING:
    from trio_socketio.socketio.socket import Socket

Claims = Mapping[str, Any]
ClaimsOf = Callable[["Socket"], Claims | None]
"""Returns the claims of a client's token; None if it has none."""

_EMPTY: Final[Claims] = {}


class _Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The claim as it stands in a token; see NamespaceRules."""

    events: tuple[str, ...] | None = None
    rooms: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    rate: Rate | None = None


class Grant(NamedTuple):
    """What a token says. None leaves it to the rules of the namespace.

    Args:
        events, rooms, users: what the client may send and where.
        rate: of the user's events.
        fault: why the claim cannot be used, and so allows nothing; empty if it can.
    """

    events: Patterns | None = None
    rooms: Patterns | None = None
    users: Patterns | None = None
    rate: TokenRate | None = None
    fault: str = ""


NOTHING: Final = Grant()
"""The token says nothing."""


def read_grant(claims: Claims, name: str) -> Grant:
    """Read the claim of a token.

    Args:
        claims: of the token.
        name: of the claim.
    """
    if name not in claims:
        return NOTHING
    try:
        claim = msgspec.convert(claims[name], _Claim)
        for one in ("events", "rooms", "users"):
            check_patterns(one, getattr(claim, one))
    except (OptionError, msgspec.ValidationError) as error:
        reason = str(error)
        if isinstance(error, msgspec.ValidationError):
            reason = str(read_misfit(reason))
        return Grant(fault=f"the claim {name} of the token cannot be used: {reason}")
    return Grant(
        _compile(claim.events),
        _compile(claim.rooms),
        _compile(claim.users),
        compile_rate(claim.rate),
    )


def _compile(patterns: tuple[str, ...] | None) -> Patterns | None:
    return None if patterns is None else Patterns(patterns)


class Grants:
    """What the tokens of the clients that are there say.

    Args:
        claims_of: see ClaimsOf; None if there are no tokens.
    """

    def __init__(self, claims_of: ClaimsOf | None) -> None:
        self._claims_of = claims_of
        self._known: dict[Socket, tuple[Claims, str, Grant]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, socket: "Socket", claim: str) -> Grant:
        """Return what the token of a client says in a claim (RULE-05).

        It is read again if the client has another token by now, or another claim counts.
        """
        claims = (None if self._claims_of is None else self._claims_of(socket)) or _EMPTY
        known = self._known.get(socket)
        if known is not None and known[0] is claims and known[1] == claim:
            return known[2]
        grant = read_grant(claims, claim)
        if socket.connected:  # otherwise nobody would tell that it leaves
            self._known[socket] = claims, claim, grant
        return grant

    def drop(self, socket: "Socket") -> None:
        """Forget a client."""
        self._known.pop(socket, None)
