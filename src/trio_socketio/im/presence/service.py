"""Presence of one server: which namespaces have seats, and how that starts and ends."""

import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, get_args
from weakref import WeakKeyDictionary, ref

import trio

from trio_socketio.errors import LocalProtocolError, OptionError
from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.memory import MemoryStore
from trio_socketio.im.presence.named_seats import NamedSeats
from trio_socketio.im.presence.node import Node
from trio_socketio.im.presence.node_life import NodeLife
from trio_socketio.im.presence.options import PresenceOptions, check_linger
from trio_socketio.im.presence.seat_options import SeatOptions
from trio_socketio.im.presence.seats import Seats
from trio_socketio.im.presence.store import PresenceStore, check_store
from trio_socketio.protocol.incarnation import Outage
from trio_socketio.protocol.joining import State as JoiningState
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.presence_claims import Absent, Policy, Takeover
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.founding import is_dynamic_name
from trio_socketio.socketio.parent_namespace import ParentNamespace
from trio_socketio.socketio.steps import Awaited, Step

if TYPE_CHECKING:
    from trio_socketio.protocol.presence_cursor import Cursor
    from trio_socketio.protocol.presence_log import EntryType
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

# The presence of a server lives as long as that, which has it among its lifespans. A strong
# reference here would keep both for ever, as presence refers to its server.
_presences: "WeakKeyDictionary[Server, ref[Presence]]" = WeakKeyDictionary()

KICK_S: Final = 5.0
"""The time for which a kick waits until the clients are out, by default."""

_MORE_S: Final = 10.0  # for a claim, beyond the lease of another node that it may have to wait for


@dataclass(frozen=True, slots=True)
class PresenceStatistics:
    """The current numbers of presence, and its totals since the server was made.

    It has 17 attributes, because each is a metric.

    Args:
        users: users that have a seat through this server, by namespace.
        events: entries that were written to the log, by type.
        claims: clients that have a seat, or are being given one, or whose seat is being released.
        lingering: lost clients that are remembered.
        releasing: releases that wait for the store.
        claimed: seats that were given.
        refused: clients that got none.
        replaced: clients that were put out because their user has logged in anew.
        kicked: clients that were put out because their user was kicked.
        boot: names this incarnation of the node; empty while it has no lease.
        lease_left_s: how long the lease counts unless it is renewed; infinity where leases do not
            end, 0 without a lease.
        is_fenced: whether the lease does not count any more, and there is no other yet.
        fenced_times: how often that has come about.
        reasserted: claims that the store had lost, or of an earlier lease, and has taken anew.
        lost_seats: those that it has not, because of a later login.
        releases_dropped: releases that have ended with the lease instead.
        unusable: namespaces whose records the store cannot use.
    """

    users: Mapping[str, int]
    events: "Mapping[EntryType, int]"
    claims: int
    lingering: int
    releasing: int
    claimed: int
    refused: int
    replaced: int
    kicked: int
    boot: str
    lease_left_s: float
    is_fenced: bool
    fenced_times: int
    reasserted: int
    lost_seats: int
    releases_dropped: int
    unusable: int


@dataclass(frozen=True, slots=True)
class KickResult:
    """The outcome of a kick.

    Args:
        done: how many clients had a seat.
        cursor: where in the log that was so.
        confirmed: whether all of them are known to be out.
        nodes: the name of each client's node.
    """

    done: int
    cursor: "Cursor"
    confirmed: bool
    nodes: tuple[str, ...] = ()


class Presence:
    """Knows who is online in namespaces of a server, and gives users the seats that they may have.

    ::

        presence = Presence(sio)
        presence.seat("/chat", policy="newest")

    Clients of such a namespace must have been identified by an earlier step (`Joining.identify`).
    Presence lives while the server serves, as one of its lifespans.

    It has 22 methods: for the app, for the program that serves the app, and for the control socket.

    Args:
        server: serves the namespaces.
        store: has the seats, for all nodes. None means that the program which serves the server may
            give it one, as ``trio-socketio serve`` does; otherwise it is a MemoryStore of its own.
        node: the name of this node, the same after each restart and unlike that of any other; None
            means one that is drawn at random.
        outage: with "strict" the clients that have seats are closed when this node cannot renew its
            lease, so that no user is ever in twice; with "available" they stay until a later login
            elsewhere is known.

    Raises:
        LocalProtocolError: the server runs already, or has a presence; or this is not a store.
        OptionError: there is no such outage mode.
    """

    def __init__(
        self,
        server: "Server",
        store: "PresenceStore | None" = None,
        *,
        node: str | None = None,
        outage: Outage = "strict",
    ) -> None:
        if server in _presences:
            raise LocalProtocolError("the server has a presence already: presence_of returns it")
        if outage not in get_args(Outage):
            raise OptionError("outage", f"must be strict or available, not {outage!r}")
        self._store = MemoryStore() if store is None else check_store(store)
        self._has_own_store = store is not None
        self._has_own_name = node is not None
        self._server = server
        name = f"{socket.gethostname()}:{secrets.token_hex(4)}" if node is None else node
        self._node = Node(self._store, name)
        self._life = NodeLife(self._node, outage)
        self._seats: dict[Namespace | ParentNamespace, Seats] = {}
        self._named: NamedSeats | None = None
        self._options: PresenceOptions | None = None  # of the named seats
        server.lifespan(self._live)
        _presences[server] = ref(self)

    @property
    def store(self) -> "PresenceStore":
        """Answers who is online, and has the log. Once this was read it stays the same."""
        self._has_own_store = True
        return self._store

    @property
    def boot(self) -> str:
        """Names this incarnation of the node in the store; empty while it has no lease."""
        return self._node.boot

    @property
    def has_own_store(self) -> bool:
        """Whether it keeps the store that it has: it was given it, or somebody uses it already."""
        return self._has_own_store

    def keep_in(
        self, store: "PresenceStore", *, node: str | None = None, outage: Outage = "strict"
    ) -> None:
        """Have the seats kept in another store (PRES-88).

        A program does this for the presence of an app that has chosen no store, before the server
        serves, and before it calls `seat_by_name`.

        Args:
            store: has the seats from now on.
            node: the name of this node, unless it was given one.
            outage: "strict" or "available".
        Raises:
            LocalProtocolError: it has a store of its own, or serves; or this is not a store.
        """
        if self._has_own_store or self._node.boot:
            raise LocalProtocolError("presence has a store already, which is in use")
        self._store = self._node.store = check_store(store)
        self._has_own_store = True
        self._life.outage = outage
        if node is not None and not self._has_own_name:
            self._node.name = node

    def seat(
        self,
        namespace: "str | Namespace | ParentNamespace" = "/",
        *,
        policy: Policy = "newest",
        maximum: int = 1,
        takeover: Takeover = "strict",
        linger_s: float = 0.0,
        guests: bool = False,
    ) -> None:
        """Have clients take a seat, as the last step of joining a namespace.

        Steps of the stage SEAT that are added later come after it; they had better be added before,
        as a client that they refuse was online for a moment.

        Args:
            namespace: its name, or what `Server.of` has returned: the seats of a parent are for all
                of its children.
            policy: see SeatOptions; so are the others.
            maximum: how many seats a user may have with the policy "many".
            takeover: "strict" or "fast".
            linger_s: how long the seat of a lost client is held.
            guests: whether clients that nothing has identified may join, without a seat.
        Raises:
            LocalProtocolError: the namespace has seats already.
            OptionError: an option cannot be used.
        """
        options = SeatOptions(policy=policy, maximum=maximum, takeover=takeover, linger_s=linger_s)
        channel = self._server.of(namespace) if isinstance(namespace, str) else namespace
        if channel in self._seats or self._named is not None:
            raise LocalProtocolError(f"{channel.name} has seats already")
        seats = self._seats[channel] = Seats(self._life, options)

        def take(joining: "Joining") -> Awaited | None:
            if guests and (joining.socket is None or joining.socket.user is None):
                return None  # PAGE-11
            # How long that may take, the store says, which may be chosen later (PRES-88).
            return seats.take(joining, self._timeout_s)

        channel.add_steps([Step(JoiningState.SEAT, take)])
        channel.observe(seats)

    def seat_by_name(self, options: PresenceOptions, asks: Callable[[str], bool]) -> None:
        """Have clients of every namespace take the seat that the options give it, if any.

        This is what a configuration does. It holds for namespaces that are made later, too.

        Args:
            options: of the seats; bounds of the log are those of the store.
            asks: called with the name of a namespace, says whether its clients are identified.
                Others have no seats.
        Raises:
            LocalProtocolError: there are seats already.
        """
        if self._seats or self._named is not None:
            raise LocalProtocolError("the server has seats already")
        self._named = named = NamedSeats(self._life, options, asks, self._timeout_s)
        self._options = options
        named.serve(self._server)

    def apply(self, options: PresenceOptions) -> None:
        """Go by other options from now on. Seats that are taken stay as they are (PRES-64)."""
        if self._named is not None:
            self._options = options
            self._named.apply(options)

    @property
    def _timeout_s(self) -> float | None:
        lease_s = self._store.lease_s
        return None if lease_s == inf else lease_s + _MORE_S

    def has_seats(self, namespace: str) -> bool:
        """Whether clients may take seats in a namespace of this name, as far as the name tells.

        It need not exist yet, if a client that asks for it can bring it into being (FEED-06).
        """
        if self._named is not None:
            is_served = self._server._namespaces.may_exist(namespace)
            return is_served and self._named.find(namespace) is not None
        return any(
            channel._may_accept(namespace)
            if isinstance(channel, ParentNamespace)
            else channel.name == namespace
            for channel in self._seats
        )

    async def knows(self, namespace: str) -> bool:
        """Whether clients may take seats in a namespace, here or on another node (FEED-90).

        Raises:
            StoreUnavailable: only the store can tell, and it has not answered.
        """
        return self.has_seats(namespace) or await self.is_elsewhere(namespace)

    async def is_elsewhere(self, namespace: str) -> bool:
        """Whether clients have had seats in a namespace of this name, as the nodes' store knows.

        Raises:
            StoreUnavailable: the store has not answered.
        """
        if not (self._store.is_shared and is_dynamic_name(namespace)):
            return False
        found = await self._store.count(namespace)
        return bool(found.users or found.cursor.sequence)

    def seats_clients_of(self, namespace: "Namespace") -> bool:
        """Whether the clients of a namespace that exists have seats."""
        if self._named is not None:
            return self._named.find(namespace.name) is not None
        return any(
            channel is namespace
            or (isinstance(channel, ParentNamespace) and namespace.name in channel.children)
            for channel in self._seats
        )

    def _check_linger(self, name: str, linger_s: float) -> None:
        options = self._server.options
        if linger_s and not options.state_recovery:
            log.warning("linger_s of %s has no effect without state_recovery", name)
        check_linger(f"linger_s of {name}", linger_s, options)

    async def kick(
        self, user: str, namespace: str = "/", *, timeout_s: float = KICK_S
    ) -> KickResult:
        """Put a user out of a namespace, on whatever node, and wait until that is done.

        It ends the claims that the user has now. A client that comes later is not concerned.

        Args:
            user: the user.
            namespace: its name.
            timeout_s: how long to wait for the nodes of the clients.
        Raises:
            StoreUnavailable: it is unknown whether the user was kicked.
        """
        name = full_name(namespace)
        outcome = await self._store.kick(name, user)
        if isinstance(outcome, Absent):
            return KickResult(0, outcome.cursor, True)
        kicked = outcome
        with trio.move_on_after(timeout_s) as scope:  # the seats have ended, whatever comes now
            await insist(lambda: self._store.wait_confirmed(name, user, kicked.tokens))
            log_now = (await insist(lambda: self._store.count(name))).cursor.generation
        # A store that has lost claims since then may have lost the kick with them (PRES-91).
        is_confirmed = not scope.cancelled_caught and log_now == kicked.cursor.generation
        return KickResult(len(kicked.tokens), kicked.cursor, is_confirmed, kicked.nodes)

    def end_lost(self, user: str, reason: str) -> int:
        """End the seats of a user's lost clients that this server waits for, in every namespace.

        Args:
            user: the user.
            reason: for the log.
        Returns:
            How many there were.
        """
        return self._node.end_lost(reason, user)

    def note_reason(self, socket: "Socket", reason: str) -> None:
        """Note why a client is about to be put out, for the log.

        Args:
            socket: of the client. If it has no seat, nothing happens.
            reason: takes the place of "server namespace disconnect".
        """
        named = None if self._named is None else self._named.find(socket.namespace.name)
        for seats in self._seats.values() if named is None else (named,):
            seats.note_reason(socket, reason)

    def statistics(self) -> PresenceStatistics:
        """Return what presence does at the moment."""
        node, life, tally = self._node, self._life, self._node.claims.tally
        return PresenceStatistics(
            users=dict(node.claims.users),
            events=dict(self._store.written),
            claims=len(node.claims),
            lingering=len(node.lingering),
            releasing=len(node.releases),
            claimed=tally.claimed,
            refused=tally.refused,
            replaced=tally.replaced,
            kicked=tally.kicked,
            boot=node.boot,
            lease_left_s=life.left_s,
            is_fenced=life.is_fenced,
            fenced_times=life.fenced_times,
            reasserted=tally.reasserted,
            lost_seats=tally.lost_seats,
            releases_dropped=tally.releases_dropped,
            unusable=len(node.unusable),
        )

    @property
    def fault(self) -> str:
        """Why no client can take a seat now, in plain words; empty if they can."""
        return self._life.fault

    @property
    def trouble(self) -> str:
        """What of the store cannot be used while the rest of it can; empty if all can."""
        return self._life.trouble

    async def _live(self, server: "Server") -> AsyncIterator[None]:
        for channel, seats in self._seats.items():
            self._check_linger(channel.name, seats.options.linger_s)
        if self._options is not None:
            self._options.check_lingers(server.options)
            log.info("presence: %s", self._options.describe())
        try:
            async with alone(trio.open_nursery()) as tasks:
                await self._start(server, tasks)
                yield
                tasks.cancel_scope.cancel()
        finally:
            # PRES-60: backends can still read that nobody is online
            if await self._life.close():
                log.info("presence has ended: the clients of this server are offline")
            else:
                log.warning("presence has ended: clients of this server are offline later")

    async def _start(self, server: "Server", tasks: trio.Nursery) -> None:
        """Wait until this node has its lease, or the server is told to stop (CLUS-03).

        A store that is away may keep it waiting for any time. A server that is to stop goes on
        without, because it accepts no client any more.
        """
        assert server._running is not None
        blocked = server._running.runtime.last_blocked
        async with alone(trio.open_nursery()) as waits:
            waits.start_soon(_cancel_at_stop, server, waits.cancel_scope)
            await tasks.start(self._life.run, server._fence, blocked)
            waits.cancel_scope.cancel()


async def _cancel_at_stop(server: "Server", scope: trio.CancelScope) -> None:
    await server.wait_stopping()
    scope.cancel()


def presence_of(server: "Server") -> Presence | None:
    """Return the presence of a server, or None if it has none."""
    found = _presences.get(server)
    return None if found is None else found()
