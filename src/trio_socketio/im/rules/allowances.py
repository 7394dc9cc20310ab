"""What was found out of clients that are there, so that it need not be for each of their events."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

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
    """A client that has a token; at run time an IdentifiedClient or a LeftClient."""

    @property
    def identity(self) -> Token:
        """Its token. It is another object as soon as the client has another token."""


BearerOf = Callable[["Socket"], Bearer | None]
"""Returns the client of a socket, also when it has left; None if it never had a token.

What it returns of a client that is there has another token as soon as the client has. Of a client
that has left, it returns something else, which has the last token (RULE-25)."""


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

    Most of what an event uses up is the same for all events of a client. That is kept once: an
    event without a rate of its own has no draws of its own either (RULE-26).

    Args:
        policy: that of the client's namespace.
        bearer: the client.
        grant: what its token says.

    Attributes:
        policy, bearer, grant: see above.
        identity: the token that was read.
        draws: what events use up that the client may send, by their names.
        common: the part of it that is the same for all events; None before it is known.
    """

    __slots__ = ("bearer", "common", "draws", "grant", "identity", "policy")

    def __init__(self, policy: "Policy", bearer: Bearer, grant: Grant) -> None:
        self.policy = policy
        self.bearer = bearer
        self.identity = bearer.identity
        self.grant = grant
        self.common: tuple[Draw[str], ...] | None = None
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
        known: by socket, of clients that are there. The policy of each is the one that holds, but
            the client may have another token by now.
    """

    __slots__ = ("_bearer_of", "_left", "known")

    def __init__(self, bearer_of: BearerOf | None) -> None:
        self._bearer_of = bearer_of
        self.known: dict[Socket, Allowance] = {}
        # Grants of clients that have left, with what they were read from, for the events that wait.
        self._left: WeakKeyDictionary[Socket, tuple[Token, str, Grant]] = WeakKeyDictionary()

    def find(self, socket: "Socket", policy: "Policy") -> Allowance:
        """Return what a client may do by the policy that holds.

        The token is read again if it is another one by now.
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
        elif socket.connected:
            grant = read_grant(bearer.identity.claims, claim)
        else:
            grant = self._read_left(socket, bearer.identity, claim)
        allowance = Allowance(policy, bearer, grant)
        if socket.connected:  # otherwise nobody would tell that it leaves
            self.known[socket] = allowance
        return allowance

    def _read_left(self, socket: "Socket", token: Token, claim: str) -> Grant:
        """Read the token of a client that has left: once for all events that wait.

        Nothing is kept that refers to the socket, or it would be kept for ever.
        """
        kept = self._left.get(socket)
        if kept is None or kept[0] is not token or kept[1] != claim:
            kept = self._left[socket] = token, claim, read_grant(token.claims, claim)
        return kept[2]

    def go_by(self, policy: "Policy | None", sockets: "Iterable[Socket]") -> None:
        """Have another policy hold for some clients; their tokens are read again if they must be.

        So nothing that is remembered is of an earlier policy. A guard of such a policy, which may
        stand before events that wait, finds nothing that it could go by (RULE-24).

        Args:
            policy: that of their namespace; None if they may do everything there.
            sockets: of the clients.
        """
        for socket in sockets:
            known = self.known.get(socket)
            if known is None or known.policy is policy:
                continue
            if (
                policy is not None
                and policy.rules.claim == known.policy.rules.claim
                and known.bearer.identity is known.identity
            ):
                self.known[socket] = Allowance(policy, known.bearer, known.grant)
            else:
                del self.known[socket]

    def drop(self, socket: "Socket") -> None:
        """Forget a client that has left."""
        self.known.pop(socket, None)
