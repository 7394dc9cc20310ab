"""Development mode: shows administrators every socket, room and event.

Nothing of this is there in production mode, or without an Admin UI: the sockets have no listeners,
and the rooms no hooks.
"""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trio_socketio.codec.javascript_dates import iso_text
from trio_socketio.codec.shown_values import shorten
from trio_socketio.ops.admin_ui.shown import show_data, show_socket
from trio_socketio.socketio.adapter import describe, shown_rooms
from trio_socketio.socketio.registrar import Observer

if TYPE_CHECKING:
    from trio_socketio.ops.admin_ui.channel import Channel
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

_SLICE: Final = 256


class Watcher(Observer):
    """Watches the sockets of a server.

    Args:
        server: the server, which does not serve yet.
        channel: tells administrators.
        space: the namespace of administrators, whose events are not shown: each would be the cause
            of the next one.
        max_shown_characters: about how much of an event or of data is shown.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        server: "Server",
        channel: "Channel",
        space: "Namespace",
        max_shown_characters: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._channel = channel
        self._space = space
        self._max_shown = max_shown_characters
        self._clock = clock
        self._known: dict[Socket, tuple[str, bytes]] = {}  # its transport and data, as last told
        self._is_behind = False  # nobody listened, so _known may be older than any list
        for namespace in server.namespaces.values():
            self._watch(namespace)
        server.on("new_namespace")(self._watch)
        server.observe(self)

    def _watch(self, namespace: "Namespace") -> None:
        """Be told who enters and leaves the rooms of a namespace."""

        def entered(room: str, socket_id: str) -> None:
            socket = namespace.rooms.find(socket_id)
            if socket is not None:
                name = socket.public_id if room == socket.id else room
                self._channel.tell(
                    "room_joined", namespace.name, name, socket.public_id, self._now()
                )

        def left(room: str, socket_id: str) -> None:
            socket = namespace.rooms.find(socket_id)
            # The rooms of a socket that leaves the namespace are told of after its end (AUI-22).
            if socket is not None and socket.connected:
                self._channel.tell("room_left", namespace.name, room, socket.public_id, self._now())

        namespace.adapter.on("join_room")(entered)
        namespace.adapter.on("leave_room")(left)

    # -- observing

    def joined(self, socket: "Socket") -> None:
        name = socket.namespace.name
        self._known[socket] = self._look_at(socket)
        shown = show_socket(describe(socket), name, self._max_shown)
        self._channel.tell("socket_connected", shown, self._now())
        if socket.namespace is not self._space:
            # First, so that it sees what the listeners of the app may change.
            socket.prepend_any(partial(self._received, name, socket.public_id))
            socket.prepend_any_outgoing(partial(self._sent, name, socket.public_id))

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        self._known.pop(socket, None)
        name, socket_id = socket.namespace.name, socket.public_id
        self._channel.tell("socket_disconnected", name, socket_id, reason, self._now())
        for room in shown_rooms(socket):  # AUI-22
            self._channel.tell("room_left", name, room, socket_id, self._now())

    # -- events

    def _received(self, namespace: str, socket_id: str, name: Any, *arguments: Any) -> None:
        self._show("event_received", namespace, socket_id, [name, *arguments])

    def _sent(self, namespace: str, socket_id: str, name: Any, *arguments: Any) -> None:
        self._show("event_sent", namespace, socket_id, [name, *arguments])

    def _show(self, kind: str, namespace: str, socket_id: str, event: list[Any]) -> None:
        if self._channel.has_room():
            shown = shorten(event, self._max_shown)
            self._channel.tell(kind, namespace, socket_id, shown, self._now())

    # -- what nobody tells of: changes of data and of the transport

    async def look_round(self) -> None:
        """Tell of the sockets whose data or transport has changed since they were last told.

        Data is a plain dict of the program, and nothing else could see that it changes. While
        nobody listens, nothing is looked at, as it takes about 10 us for each socket with data.
        """
        if not self._channel.is_heard:
            self._is_behind = True
        if self._is_behind:
            return
        async for socket, (transport, data) in self._each():
            found = self._look_at(socket)
            if found == (transport, data):
                continue
            self._known[socket] = found
            named = {"id": socket.public_id, "nsp": socket.namespace.name}
            if found[0] != transport:
                self._channel.tell("socket_updated", {**named, "transport": found[0]})
            if found[1] != data:
                shown = show_data(socket.data, self._max_shown)
                self._channel.tell("socket_updated", {**named, "data": shown})

    async def catch_up(self) -> None:
        """Look at all sockets before a list of them is sent, if nobody has listened before."""
        if self._is_behind:
            async for socket, _ in self._each():
                self._known[socket] = self._look_at(socket)
            self._is_behind = False

    async def _each(self) -> AsyncIterator["tuple[Socket, tuple[str, bytes]]"]:
        """Yield the sockets that are there, with what is known of them, in slices."""
        for number, socket in enumerate(list(self._known)):
            if number % _SLICE == _SLICE - 1:
                await trio.lowlevel.checkpoint()
            known = self._known.get(socket)
            if known is not None:
                yield socket, known

    def _look_at(self, socket: "Socket") -> tuple[str, bytes]:
        data = socket._data
        encoded = msgspec.json.encode(show_data(data, self._max_shown)) if data else b""
        return socket.session.transport, encoded

    def _now(self) -> str:
        return iso_text(self._clock())
