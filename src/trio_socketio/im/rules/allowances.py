"""What was found out of clients that are there, so that it need not be for each of their events."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.im.rules.grants import NOTHING, Claims, Grant, read_grant

if TYPE_CHECKING:
    from trio_socketio.im.rules.policy import Policy
    from trio_socketio.protocol.token_bucket import Draw
    from trio_socketio.socketio.socket import Socket

MAX_EVENTS: Final = 100
"""How many events are remembered of a client. Only an app can have more, as its handlers count."""


class Token(Protocol):
    """A token that was verified; at run time an Identity."""

    @property
    def claims(self) -> Claims:
        """What it says."""


class Bearer(Protocol):
    """A client that has a token; at run time an IdentifiedClient."""

    @property
    def identity(self) -> Token:
        """Its token. It is another object as soon as the client has another token."""


BearerOf = Callable[["Socket"], Bearer | None]
"""Returns the client of a socket; None if it has no token, and never will."""


class _Nobody:
    """A client without a token, which is a token at the same time: one that says nothing."""

    def __init__(self) -> None:
        self.identity = self
        self.claims: Claims = {}


_NOBODY: Final = _Nobody()


class Allowance:
    """What one client may do by one policy.

    It holds as long as these two are the ones that count, and the token as well: whoever uses it
    compares `policy` with the one that holds, and `identity` with that of the bearer (RULE-05).

    Args:
        policy: that of the client's namespace.
        bearer: the client.
        grant: what its token says.

    Attributes:
        policy, bearer, grant: see above.
        identity: the token that was read.
        draws: what events use up that the client may send, by their names.
    """

    __slots__ = ("bearer", "draws", "grant", "identity", "policy")

    def __init__(self, policy: "Policy", bearer: Bearer, grant: Grant) -> None:
        self.policy = policy
        self.bearer = bearer
        self.identity = bearer.identity
        self.grant = grant
        self.draws: dict[str, tuple[Draw[str], ...]] = {}

    def keep(self, event: str, draws: "tuple[Draw[str], ...]") -> None:
        """Remember what an event uses up."""
        if len(self.draws) >= MAX_EVENTS:
            self.draws.clear()
        self.draws[event] = draws


class Allowances:
    """What the clients may do that are there.

    Args:
        bearer_of: see BearerOf; None if there are no tokens.

    Attributes:
        known: by socket; they may be out of date.
    """

    __slots__ = ("_bearer_of", "known")

    def __init__(self, bearer_of: BearerOf | None) -> None:
        self._bearer_of = bearer_of
        self.known: dict[Socket, Allowance] = {}

    def find(self, socket: "Socket", policy: "Policy") -> Allowance:
        """Return what a client may do by a policy.

        The token is read again if it is another one by now, or another claim of it counts.
        """
        known = self.known.get(socket)
        if known is not None and known.policy is policy and known.bearer.identity is known.identity:
            return known
        claim, bearer = policy.rules.claim, None
        if claim is not None and self._bearer_of is not None:
            bearer = self._bearer_of(socket)
        if bearer is None:
            bearer = _NOBODY
        if claim is None:
            grant = NOTHING
        elif (
            known is not None
            and known.identity is bearer.identity
            and known.policy.rules.claim == claim
        ):
            grant = known.grant
        else:
            grant = read_grant(bearer.identity.claims, claim)
        allowance = Allowance(policy, bearer, grant)
        if socket.connected:  # otherwise nobody would tell that it leaves
            self.known[socket] = allowance
        return allowance

    def drop(self, socket: "Socket") -> None:
        """Forget a client."""
        self.known.pop(socket, None)
