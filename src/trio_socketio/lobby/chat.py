"""The lobby with its page: guests who give a name have a seat under it, and see who is online.

The page is at ``/``. A client says its name in the payload of its CONNECT (``{"name": "ann"}``);
whoever gives none joins all the same, as before. A second client of one name takes the seat over,
and the first one is put out with the event ``session/replaced``. Nothing proves a name.

Besides the events of the lobby, clients with a name may emit these:

- ``hello``: asks for who is online and for the last entries of the presence log. From then on the
  client gets ``presence`` with what changes.
- ``who`` (room): asks for the clients in a room that it is in, as pairs of id and name.
- ``typing`` (room): tells the others in the room.
- ``got`` (id of a socket, id of a message): tells that socket that its message has arrived.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

import trio

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import ConnectRefused
from trio_socketio.http.pages import Page
from trio_socketio.im.presence import Entries, Entry, MemoryStore, Presence
from trio_socketio.lobby import create, room_name
from trio_socketio.protocol.joining import State as JoiningState
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.options import ServerOptions
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket
from trio_socketio.socketio.steps import Step

log = logging.getLogger(__name__)

MAX_NAME: Final = 32
MAX_SHOWN: Final = 200
"""The most users or members that an answer names; it counts all."""

_RECENT: Final = 50  # entries of the log for a client that has just come
_READ: Final = 1000
_PAUSE_S: Final = 0.05  # between two reports, so that a storm of logins makes few of them
_MESSAGE_ID: Final = 64
_SOCKET_ID: Final = 20
_PAGE: Final = Path(__file__).with_name("chat.html")

_chats: "WeakKeyDictionary[Server, ref[Chat]]" = WeakKeyDictionary()


class Chat:
    """What the lobby has besides its rooms: names, seats, and reports of who comes and goes.

    Args:
        server: the lobby.

    Attributes:
        dashboard: where the dashboard is; empty if there is none.
    """

    def __init__(self, server: Server) -> None:
        self.dashboard = ""
        self._server = server
        # In memory, because the lobby has to work without Redis, and a name proves nothing anyway.
        self._store = MemoryStore(max_events=10_000)
        self._online: dict[str, None] = {}  # in the order in which they have come
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._listeners: set[Socket] = set()

    def serve(self) -> None:
        """Register everything with the server, which has to keep this object."""
        server = self._server
        place = server.of("/")
        place.add_steps([Step(JoiningState.AUTHENTICATING, take_name)])
        Presence(server, self._store).seat("/", guests=True)
        server.lifespan(self._report)
        for event, handler in (
            ("hello", self._greet),
            ("who", self._list_members),
            ("typing", self._tell_typing),
            ("got", self._tell_arrival),
        ):
            server.on(event)(handler)
        options = server.options
        page = Page(_PAGE, {"path": options.path, "parser": str(options.parser)})
        server._host.pages["/"] = page.receive_request  # PAGE-01

    def forget(self, socket: Socket) -> None:
        """Report nothing more to a client that has left."""
        self._listeners.discard(socket)

    # -- events

    def _greet(self, socket: Socket, *_: Any) -> dict[str, Any]:
        if socket.user is None:
            return {"error": "hello is for clients that have given a name"}
        if socket.connected:
            self._listeners.add(socket)
        return {
            "id": socket.public_id,
            "name": socket.user,
            "dashboard": self.dashboard,
            "recent": list(self._recent),
            **self._list_online(),
        }

    def _list_members(self, socket: Socket, *arguments: Any) -> dict[str, Any]:
        room = room_name(arguments)
        if room is None or room not in socket.rooms:
            return {"error": "who takes the name of a room that you are in"}
        members = self._server.of("/").rooms.joined(room)
        shown = [(one.public_id, one.user) for one in islice(members, MAX_SHOWN)]
        return {"members": shown, "total": len(members)}

    def _tell_typing(self, socket: Socket, *arguments: Any) -> None:
        room = room_name(arguments)
        if room is not None and room in socket.rooms and socket.user is not None:
            socket.to(room).volatile.emit("typing", room, socket.public_id)

    def _tell_arrival(self, socket: Socket, *arguments: Any) -> None:
        sender, message = (*arguments, None, None)[:2]
        if (
            socket.user is not None
            and isinstance(sender, str)
            and len(sender) == _SOCKET_ID  # no other room has such a name
            and isinstance(message, str)
            and len(message) <= _MESSAGE_ID
        ):
            self._server.to(sender).emit("got", message, socket.public_id)

    # -- who comes and goes

    def _list_online(self) -> dict[str, Any]:
        return {"online": list(islice(self._online, MAX_SHOWN)), "users": len(self._online)}

    async def _report(self, _: Server) -> AsyncIterator[None]:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._follow)
            yield
            tasks.cancel_scope.cancel()

    async def _follow(self) -> None:
        """Follow the log of presence, and report it to those who have said hello."""
        cursor = (await self._store.count("/")).cursor
        while True:
            await self._store.wait_for_more("/", cursor)
            found = await self._store.read("/", cursor, _READ)
            if isinstance(found, Entries):
                cursor = found.cursor
                report: dict[str, Any] = {"entries": list(map(_show, found.entries))}
                self._fold(found.entries)
            else:  # more has happened in a moment than the log holds
                now = await self._store.snapshot("/")
                cursor, self._online = now.cursor, dict.fromkeys(now.users)
                report = {"entries": [], "online": list(islice(self._online, MAX_SHOWN))}
            self._recent.extend(report["entries"])
            if self._listeners:
                report["users"] = len(self._online)
                to = [one.public_id for one in self._listeners]
                self._server.of("/").local.to(to).emit("presence", report)
            await trio.sleep(_PAUSE_S)

    def _fold(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.type == "online":
                self._online[entry.user] = None
            elif entry.type == "offline":
                self._online.pop(entry.user, None)


def take_name(joining: Joining) -> None:
    """Identify a client by the name that it gives, if it gives one: a step of its joining.

    Raises:
        ConnectRefused: the name cannot be used.
    """
    socket = joining.socket
    name = joining.auth.get("name")
    if name is None or (socket is not None and socket.user is not None):
        return
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME or name != name.strip():
        raise ConnectRefused(f"a name has 1 to {MAX_NAME} characters, without blanks around it")
    unfit = unfit_character(name)
    if unfit:
        raise ConnectRefused(f"a name cannot have the character {unfit}")
    if not any(one.isprintable() and not one.isspace() for one in name):
        raise ConnectRefused("a name needs a character that can be seen")
    joining.identify(name)


def _show(entry: Entry) -> dict[str, Any]:
    return {
        "cursor": entry.cursor,
        "type": entry.type,
        "user": entry.user,
        "reason": entry.reason,
        "at": entry.at,
    }


def create_chat(options: ServerOptions) -> Server:
    """Create a server with the lobby and its page."""
    server = create(options)
    chat = Chat(server)
    chat.serve()
    _chats[server] = ref(chat)

    @server.of("/").on("disconnecting")
    def leave(socket: Socket, _: str) -> None:
        chat.forget(socket)

    return server


def has_page(server: Server) -> bool:
    """Whether this is the lobby, with its page at ``/``."""
    return server in _chats


def tell_dashboard(server: Server, url: str) -> None:
    """Have the page say where the dashboard is; does nothing for other servers than the lobby."""
    found = _chats.get(server)
    chat = None if found is None else found()
    if chat is not None:
        chat.dashboard = url
