"""The clients that are identified: when their tokens end, and how a revocation finds them."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

import msgspec
import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.im.identity.identity import EXPIRED, REVOKED, Identity, Reason
from trio_socketio.im.identity.revocations import Revocations, RevokedId
from trio_socketio.im.identity.strangers import MAX_REFUSALS, Strangers
from trio_socketio.socketio.credentials import ERROR_EVENT, Credentials
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.refusing import hang_up_on_stranger
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.net.driving import Timetable

_SLICE: Final = 256
_USERS_SLICE: Final = 16  # of users all of whose lost clients are looked for
MAX_LEFT: Final = 10_000
"""How many tokens are remembered of clients that have left, or have another token by now."""
LOOK_S: Final = 30.0
"""The time between two looks at all clients, for tokens that end before the look after next."""


class Seats(Protocol):
    """The seats of users; at run time a Presence."""

    def end_lost(self, user: str, reason: str) -> int:
        """End the seats that are held for lost clients of a user; return how many there were."""

    def note_reason(self, socket: Socket, reason: str) -> None:
        """Note why a client is about to be put out."""


class IdentifiedClient(msgspec.Struct, eq=False):
    """A client of which it is known who it is, in one namespace, from its joining on.

    Args:
        clients: all of them.
        joining: how it is entering; None once it has joined.
        socket: of the client.
        identity: who it is.
        credentials: those of a client that has sent them as an event.
        ends_at: when to check whether its token has ended, on trio's clock; infinity while that is
            not to be expected soon.
        refusals: how many tokens in a row were refused that it has sent since it is in.
    """

    clients: "Clients"
    joining: Joining | None
    socket: Socket
    identity: Identity
    credentials: Credentials | None
    ends_at: float = inf
    refusals: int = 0
    deadline_entry: Any = None

    @property
    def is_there(self) -> bool:
        """Whether it is in the namespace, or on its way in."""
        return self.joining is not None or self.socket.connected

    def next_deadline(self) -> float:
        return self.ends_at

    def expire(self, now: float) -> None:
        self.clients.token_ends(self)


class LeftClient(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A client that has left. It does not refer to its socket, which is kept by nothing of ours.

    Args:
        identity: who it was, as its last token said.
    """

    identity: Identity


class Clients:
    """All clients that are identified.

    Args:
        revocations: of users and tokens.
        strangers: those that were refused.
        grace_s: how long after its token has ended a client may stay.
        clock: seconds since 1970.

    Attributes:
        grace_s: may be changed at any time.
        put_out: how many clients were put out, by the reason's label.
        seats: of users; None if they have none.
    """

    def __init__(
        self,
        revocations: Revocations,
        strangers: Strangers,
        grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._revocations = revocations
        self._strangers = strangers
        self.grace_s = grace_s
        self._clock = clock
        self._deadlines: Timetable | None = None
        self._by_socket: dict[Socket, IdentifiedClient] = {}
        # By the user of the token: a step of the app may give the socket another one (IDENT-73).
        self._by_user: dict[str, dict[IdentifiedClient, None]] = {}
        # The ids of tokens that do not say when they were issued, and their users. A client that
        # has left, perhaps because its connection was lost, may come back. The oldest first.
        self._left: OrderedDict[str, str] = OrderedDict()
        self._left_by_user: dict[str, set[str]] = {}
        # Those that have left, for as long as an event or a handler of theirs holds the socket.
        self._at_work: WeakKeyDictionary[Socket, LeftClient] = WeakKeyDictionary()
        self.seats: Seats | None = None
        self.put_out = {EXPIRED.label: 0, REVOKED.label: 0}

    def __len__(self) -> int:
        return len(self._by_socket)

    def begin(self, deadlines: "Timetable") -> None:
        """Watch their ends from now on: the server is about to serve."""
        self._deadlines = deadlines

    def find(self, socket: Socket) -> IdentifiedClient | None:
        """Return the identified client of a socket; None once it has left."""
        return self._by_socket.get(socket)

    def find_bearer(self, socket: Socket) -> IdentifiedClient | LeftClient | None:
        """Return the client of a socket, also when it has left (IDENT-94)."""
        return self._by_socket.get(socket) or self._at_work.get(socket)

    def add(
        self, joining: Joining, identity: Identity, credentials: Credentials | None
    ) -> IdentifiedClient:
        """Take in a client that is joining and was identified just now."""
        assert joining.socket is not None
        client = IdentifiedClient(self, joining, joining.socket, identity, credentials)
        self._by_socket[client.socket] = client
        self._by_user.setdefault(identity.user, {})[client] = None
        self._watch(client)
        return client

    def refresh(self, client: IdentifiedClient, identity: Identity) -> None:
        """Go on with another token of the same user (IDENT-37)."""
        self._remember(client.identity)
        client.identity = identity
        client.refusals = 0
        self._watch(client)

    def refused_again(self, client: IdentifiedClient, told: dict[str, Any]) -> None:
        """Count another token that was refused; too many put the client out (IDENT-74).

        Args:
            client: has sent the token.
            told: why it was refused.
        """
        client.refusals += 1
        if client.refusals >= MAX_REFUSALS:
            client.socket.emit(ERROR_EVENT, told)
            client.socket.disconnect()
            hang_up_on_stranger(client.socket._participant)  # type: ignore[arg-type]  # a Participant

    def leave(self, socket: Socket) -> None:
        """Forget a client that has left, except for its token: events may wait (IDENT-94)."""
        client = self._by_socket.get(socket)
        if client is not None:
            self._at_work[socket] = LeftClient(client.identity)
            self.drop(socket)

    def drop(self, socket: Socket | None) -> None:
        """Forget the client of a socket that has left or does not join."""
        client = None if socket is None else self._by_socket.pop(socket, None)
        if client is None:
            return
        user = client.identity.user
        clients = self._by_user[user]
        del clients[client]
        if not clients:
            del self._by_user[user]
        if client.deadline_entry is not None and self._deadlines is not None:
            self._deadlines.forget(client)
        self._remember(client.identity)

    def _remember(self, identity: Identity) -> None:
        """Remember a token that a client has had, if its age is not known."""
        token_id = identity.token_id
        if token_id is None or identity.is_dated:
            return
        self._forget_left(token_id)
        self._left[token_id] = identity.user
        self._left_by_user.setdefault(identity.user, set()).add(token_id)
        if len(self._left) > MAX_LEFT:
            self._forget_left(next(iter(self._left)))

    def _forget_left(self, token_id: str) -> None:
        user = self._left.pop(token_id, None)
        if user is not None:
            tokens = self._left_by_user[user]
            tokens.discard(token_id)
            if not tokens:
                del self._left_by_user[user]

    def undated_tokens(self, user: str) -> frozenset[str]:
        """Return the ids of a user's tokens that do not say when they were issued (IDENT-76).

        They are those of clients that are here, and of clients that have left, as far as these are
        among the last MAX_LEFT.
        """
        here = (client.identity for client in self._by_user.get(user, ()))
        found = {one.token_id for one in here if one.token_id is not None and not one.is_dated}
        return frozenset(found).union(self._left_by_user.get(user, ()))

    # -- ends

    async def watch(self) -> None:
        """Find the tokens that will end soon, until cancelled.

        Nearly all clients leave long before that, so they have no entry among the deadlines. The
        clock may also be set at any time.
        """
        while True:
            await trio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Watch all clients. A frame of its own keeps none of them alive until the next look."""
        for looked_at, client in enumerate(tuple(self._by_socket.values()), start=1):
            if looked_at % _SLICE == 0:
                await trio.lowlevel.checkpoint()
            if self._by_socket.get(client.socket) is client:
                self._watch(client)

    def _watch(self, client: IdentifiedClient) -> None:
        left_s = client.identity.expires_at_s + self.grace_s - self._clock()
        if left_s > 2 * LOOK_S:
            client.ends_at = inf
            return
        client.ends_at = trio.current_time() + max(left_s, 0.0)
        if self._deadlines is not None:
            self._deadlines.schedule(client)

    def token_ends(self, client: IdentifiedClient) -> None:
        """Put a client out whose token has ended, or look again later (IDENT-38)."""
        if client.identity.expires_at_s + self.grace_s > self._clock():
            self._watch(client)
        else:
            client.ends_at = inf
            self._put_out(client, EXPIRED)

    async def put_out_revoked(self, revoked: Collection[RevokedId]) -> Counter[RevokedId]:
        """Put out the clients of users, or those that have come with tokens (IDENT-39).

        Lost clients of a user are not waited for any longer (PRES-86).

        Other tasks run meanwhile. Whoever comes meanwhile finds that the token was revoked.

        Args:
            revoked: the users and tokens.
        Returns:
            How many there were of each, those that are still joining and lost ones included.
        """
        counts: Counter[RevokedId] = Counter()
        clients: list[IdentifiedClient] = []
        for looked_at, what in enumerate(revoked, start=1):
            if looked_at % _USERS_SLICE == 0:
                await trio.lowlevel.checkpoint()
            if not what.is_token:
                clients.extend(self._by_user.get(what.id, ()))
                if self.seats is not None:
                    counts[what] += self.seats.end_lost(what.id, REVOKED.label)
        if any(what.is_token for what in revoked):
            clients = list(self._by_socket.values())
        for looked_at, client in enumerate(clients, start=1):
            if looked_at % _SLICE == 0:
                await trio.lowlevel.checkpoint()
            identity = client.identity
            what = RevokedId(False, identity.user)
            if what not in revoked:
                what = RevokedId(True, identity.token_id or "")
            if what in revoked and client.is_there and self._revocations.covers(identity):
                self._put_out(client, REVOKED)
                counts[what] += 1
        return counts

    def _put_out(self, client: IdentifiedClient, reason: Reason) -> None:
        self.put_out[reason.label] += 1
        socket = client.socket
        if self.seats is not None:
            self.seats.note_reason(socket, reason.label)
        told = {"errcode": reason.errcode, "errmsg": reason.message}
        if client.joining is not None:
            client.joining._refuse(ConnectRefused(reason.message, told))
            self._strangers.hang_up_later(socket._participant, 0.0)
        else:
            socket.emit(ERROR_EVENT, told)
            socket.disconnect()
            hang_up_on_stranger(socket._participant)  # type: ignore[arg-type]  # a Participant
