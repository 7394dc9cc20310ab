"""Seats in every namespace whose name has some, also in those that are made at run time."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_socketio.im.presence.seats import Seats
from trio_socketio.protocol.namespace_patterns import ByNamespace
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Awaited

if TYPE_CHECKING:
    from trio_socketio.im.presence.node_life import NodeLife
    from trio_socketio.im.presence.options import PresenceOptions
    from trio_socketio.socketio.joining import Joining
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
        return self._seats.find(namespace) if self._asks(namespace) else None

    def take(self, joining: "Joining") -> Awaited | None:
        """Take a seat for a client: the step of the stage SEAT."""
        seats = self.find(joining.name)
        return None if seats is None else Awaited(seats.take, (joining,), self._timeout_s)

    def joined(self, socket: "Socket") -> None:
        seats = self.find(socket.namespace.name)
        if seats is not None:
            seats.joined(socket)

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        seats = self.find(socket.namespace.name)
        if seats is not None:
            seats.left(socket, reason, recoverable)
