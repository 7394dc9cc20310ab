"""Nodes of a cluster in one process: an adapter that overrides what reaches further.

What passes from node to node is encoded on the way, as it would be on a wire.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import msgspec
import trio

from trio_socketio import (
    AckTimeout,
    Adapter,
    Namespace,
    Server,
    ServerOptions,
    SocketDetails,
    Target,
)
from trio_socketio.acks import Ack, Keep
from trio_socketio.errors import TrioSocketIOError
from trio_socketio.socketio.acks import GatheredAcks


class Relay:
    """Passes each answer of one node's clients on."""

    def __init__(
        self,
        answered: Callable[[list[Any], str | None], None],
        left: Callable[[TrioSocketIOError], None],
    ) -> None:
        self._answered = answered
        self.fail = left

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        self._answered(arguments, socket_id)


class LinkedAdapter(Adapter):
    """Knows the adapters of its namespace on all nodes.

    Args:
        namespace: whose sockets it serves.
        links: adapters by name of namespace.
    """

    def __init__(self, namespace: Namespace, links: dict[str, list["LinkedAdapter"]]) -> None:
        super().__init__(namespace)
        self._links = links.setdefault(namespace.name, [])
        self._links.append(self)
        self.is_mute = False  # its answers get lost

    def close(self) -> None:
        self._links.remove(self)

    def _others(self, target: Target) -> list["LinkedAdapter"]:
        return [] if target.local else [link for link in self._links if link is not self]

    # -- what has an effect and no answer

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        selected = super().broadcast(arguments, target)
        for other in self._others(target):
            Adapter.broadcast(other, *travelled(arguments, target))
        return selected

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        rooms = tuple(rooms)
        super().add_sockets(target, rooms)
        for other in self._others(target):
            Adapter.add_sockets(other, travelled(target)[0], rooms)

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        rooms = tuple(rooms)
        super().remove_sockets(target, rooms)
        for other in self._others(target):
            Adapter.remove_sockets(other, travelled(target)[0], rooms)

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        super().disconnect_sockets(target, close=close)
        for other in self._others(target):
            Adapter.disconnect_sockets(other, travelled(target)[0], close=close)

    # -- what asks

    async def node_count(self) -> int:
        await trio.lowlevel.checkpoint()
        return len(self._links)

    async def sockets(self, target: Target) -> set[str]:
        found = await super().sockets(target)
        for other in self._others(target):
            found |= await Adapter.sockets(other, target)
        return found

    async def socket_rooms(self, socket_id: str) -> frozenset[str] | None:
        found = await self.fetch_sockets(Target(rooms=(socket_id,)))
        return next((details.rooms for details in found), None)

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        found = await super().fetch_sockets(target)
        for other in self._others(target):
            found += travelled(*await Adapter.fetch_sockets(other, travelled(target)[0]))
        return found

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        acks = GatheredAcks(keep)
        with ExitStack() as asked:
            acks.expect(asked.enter_context(self.asking(arguments, target, acks)))
            for other in self._others(target):
                acks.expect(1)  # the node, until it has said how many it asks
                relay = Relay(lambda answer, who: acks.receive(*travelled(answer, who)), acks.fail)
                there: tuple[Any, Any] = (travelled(arguments)[0], travelled(target)[0])
                count = asked.enter_context(other.asking(*there, relay))
                if not other.is_mute:
                    acks.expect(count - 1)
            return await acks.wait(timeout_s)

    # -- from server to server

    def server_side_emit(self, arguments: list[Any]) -> None:
        for other in self._others(Target()):
            other.receive_server_side(travelled(arguments)[0])

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        answers: list[Any] = []
        others = self._others(Target())
        done = trio.Event()

        def answered(answer: Any) -> None:
            answers.extend(travelled(answer))
            if len(answers) == len(others):
                done.set()

        for other in others:
            other.receive_server_side(travelled(arguments)[0], answered)
        with trio.move_on_after(timeout_s):
            if others:
                await done.wait()
            return answers
        acks = [(None, answer) for answer in answers]
        raise AckTimeout(f"{len(answers)} of {len(others)} nodes answered", acks)


def travelled(*values: Any) -> list[Any]:
    """What arrives of values that were sent to another node."""
    return [
        msgspec.msgpack.decode(
            msgspec.msgpack.encode(value),
            type=type(value) if isinstance(value, msgspec.Struct) else Any,
        )
        for value in values
    ]


def linked_servers(count: int, options: ServerOptions | None = None) -> list[Server]:
    """Servers that are nodes of one cluster."""
    links: dict[str, list[LinkedAdapter]] = {}
    return [
        Server(options, adapter=lambda namespace: LinkedAdapter(namespace, links))
        for _ in range(count)
    ]
