"""What the events of a socket need of the objects around them."""

from typing import TYPE_CHECKING, Protocol

from trio_socketio.socketio.intake import Holder

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.membership import Membership
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.registry import Registry


class EventSender(Holder, Protocol):
    """The client that sends the events."""

    @property
    def host(self) -> "Host":
        """The server, whose intake weighs the events."""


class EventSocket(Protocol):
    """The socket that receives the events: the first argument of every handler."""

    @property
    def public_id(self) -> str:
        """The name of the socket in the log."""

    @property
    def session(self) -> "Session":
        """The session with the client."""

    @property
    def _membership(self) -> "Membership":
        """The life of the socket."""

    @property
    def _participant(self) -> EventSender:
        """The client."""


class EventPlace(Protocol):
    """The namespace of the socket."""

    @property
    def _registry(self) -> "Registry":
        """Holds the handlers."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes the answers."""

    @property
    def _workers(self) -> "Workers":
        """The workers that run async handlers."""
