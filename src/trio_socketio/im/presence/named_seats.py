"""Seats in every namespace whose name has some, also in those that are made at run time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_socketio.im.presence.seats import Seats
from trio_socketio.protocol.joining import State
from trio_socketio.protocol.namespace_patterns import ByNamespace
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Awaited, Step

if TYPE_CHECKING:
    from trio_socketio.im.presence.node_life import NodeLife
    from trio_socketio.im.presence.options import PresenceOptions
    from trio_socketio.im.presence.seat_options import SeatOptions
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket


class NamedSeats(Observer):
    """Hands clients to the seats of their namespace.

    A name decides, not a Namespace object: children of a parent and namespaces that the app makes
    later have their seats from their first client on.

    Args:
        life: of the node that makes the claims.
        options: see PresenceOptions.
        asks: whether the clients of a namespace are identified. The others have no seats.
        timeout_s: how long a client may wait for its seat.
    """

    def __init__(
        self,
        life: "NodeLife",
        options: "PresenceOptions",
        asks: Callable[[str], bool],
        timeout_s: float | None,
    ) -> None:
        def furnish(name: str | None) -> Seats | None:
            chosen = options.resolve(name)
            return None if chosen is None else Seats(life, chosen)

        self._asks = asks
        self._timeout_s = timeout_s
        self._by_pattern = {one.name: furnish(one.name) for one in options.namespaces}
        self._default = furnish(None)
        self._seats = ByNamespace(self._by_pattern, self._default)
        self._given: dict[str, Seats | None] = {}
        self._life = life
        self._server: Server | None = None
        self._is_passed = False

    def serve(self, server: "Server") -> None:
        """Have clients of a server pass the step SEAT, now or when the first seats are given."""
        self._server = server
        if self.are_there:
            self._have_passed(server)

    def _have_passed(self, server: "Server") -> None:
        if not self._is_passed:
            self._is_passed = True
            server.add_steps([Step(State.SEAT, self.take)])
            server.observe(self)

    def apply(self, options: "PresenceOptions") -> None:
        """Go by other options when seats are taken and given back from now on.

        Args:
            options: differ from the first ones in reloadable options alone.
        """
        for name, seats in ((None, self._default), *self._by_pattern.items()):
            chosen = options.resolve(name)
            if seats is not None and chosen is not None:
                seats.options = chosen

    @property
    def are_there(self) -> bool:
        """Whether any namespace has seats; options that can be reloaded do not change that."""
        return any(seats is not None for seats in (self._default, *self._by_pattern.values()))

    def find(self, namespace: str) -> Seats | None:
        """Return the seats of a namespace; None if it has none."""
        if not self._asks(namespace):
            return None
        if namespace in self._given:
            return self._given[namespace]
        return self._seats.find(namespace)

    def give(self, namespace: str, options: "SeatOptions | None") -> None:
        """Give a namespace seats by other rules; None gives it no seats.

        It has no clients, unless the rules are those that it was given before.
        """
        assert self._server is not None, "seats are given once the server is known"
        self._have_passed(self._server)
        seats = self._given.get(namespace)
        if options is None:
            self._given[namespace] = None
        elif seats is None or seats.options != options:
            # Only then: the seats know which clients have them.
            self._given[namespace] = Seats(self._life, options)

    def take_back(self, namespace: str) -> None:
        """Let the options decide again about the seats of a namespace that has no clients."""
        self._given.pop(namespace, None)

    def take(self, joining: "Joining") -> Awaited | None:
        """Take a seat for a client: the step of the stage SEAT."""
        seats = self.find(joining.name)
        return None if seats is None else seats.take(joining, self._timeout_s)

    def joined(self, socket: "Socket") -> None:
        seats = self.find(socket.namespace.name)
        if seats is not None:
            seats.joined(socket)

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        seats = self.find(socket.namespace.name)
        if seats is not None:
            seats.left(socket, reason, recoverable)
