"""Registers functions and sends events: for a namespace, or a server's main namespace."""

from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.socketio.broadcast import Audience, Broadcast, Reaching
from trio_socketio.socketio.registrar import Registrar
from trio_socketio.socketio.registry import check_server_side

if TYPE_CHECKING:
    from trio_socketio.socketio.registry import Registry


class Linking(Reaching, Protocol):
    """The further part of an adapter that a channel needs. The contracts are those of Adapter."""

    def server_side_emit(self, arguments: list[Any]) -> None:
        """Send an event to the same namespace of every other node."""

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        """Send an event to every other node, and wait for their answers."""


class LinkedAudience(Audience, Protocol):
    """One namespace, which other nodes may have too."""

    @property
    def adapter(self) -> Linking:
        """Sends to the sockets and to the other nodes."""


class Channel(Registrar, Broadcast):
    """Registers handlers with one namespace, broadcasts to it, and reaches it on other nodes.

    Args:
        registry: of the namespace.
        namespace: the namespace.
    """

    def __init__(self, registry: "Registry", namespace: LinkedAudience) -> None:
        Registrar.__init__(self, registry)
        Broadcast.__init__(self, namespace)
        self._linked = namespace

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """Send an event to this namespace on every other node; see on_server_side.

        Raises:
            LocalProtocolError: the name is reserved between servers.
        """
        self._registry.workers.check_thread()
        check_server_side(event)
        self._linked.adapter.server_side_emit([event, *arguments])

    async def server_side_emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> list[Any]:
        """Send an event to this namespace on every other node, and wait for their answers.

        Returns:
            One answer of each other node; an empty list if there is no other node.
        Raises:
            AckTimeout: some nodes did not answer in time; ``responses`` holds the answers of the
                others.
            LocalProtocolError: the name is reserved between servers, or the timeout is not above
                zero.
        """
        self._registry.workers.check_thread()
        check_server_side(event)
        return await self._linked.adapter.server_side_emit_with_ack(
            [event, *arguments], check_timeout(timeout_s)
        )
