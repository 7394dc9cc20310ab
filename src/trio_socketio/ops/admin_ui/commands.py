"""What administrators do to sockets and rooms, on all servers."""

import logging
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.ops.admin_ui.features import Grant
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX, is_reserved_room
from trio_socketio.runtime.sampling import REFUSALS, SampledLog
from trio_socketio.socketio.handlers import PrivateHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.socketio.broadcast import Broadcast
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

MAX_NAME: Final = 256
"""How many characters the name of a namespace, room or event may have."""


class _Unusable(Exception):
    """A command that cannot be carried out; the message says why."""


class Commands:
    """Carries out the commands of administrators.

    Args:
        server: the server.
        space: the namespace of administrators.
        grant_of: returns what a socket of an administrator was let in for.

    Attributes:
        done: how many commands were carried out.
        refused: how many were not: they were malformed, or the administrator may not give them.
    """

    def __init__(
        self, server: "Server", space: "Namespace", grant_of: "Callable[[Socket], Grant | None]"
    ) -> None:
        self.done = 0
        self.refused = 0
        self._server = server
        self._space = space
        self._grant_of = grant_of
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)

    def register(self) -> None:
        """Take the commands of clients in the namespace from now on.

        The handlers are the server's own, so neither rules nor listeners come before them (AUI-10).
        """
        for event, feature, least, run in (
            ("emit", "EMIT", 3, self._emit),
            ("join", "JOIN", 2, self._join),
            ("leave", "LEAVE", 2, self._leave),
            ("_disconnect", "DISCONNECT", 1, self._disconnect),
        ):
            handle = self._make_handler(event, feature, least, run)
            self._space._registry.add_handler(PrivateHandler(event, handle))

    def _make_handler(
        self, event: str, feature: str, least: int, run: "Callable[..., str]"
    ) -> "Callable[..., None]":
        def handle(socket: "Socket", *arguments: Any) -> None:
            grant = self._grant_of(socket)
            try:
                if grant is None or feature not in grant.commands:
                    raise _Unusable("it is not allowed")
                if len(arguments) < least:
                    raise _Unusable(f"it needs {least} arguments")
                what = run(*arguments)
            except (_Unusable, LocalProtocolError) as error:
                self.refused += 1
                if self._lines.admits("commands that were ignored"):
                    log.warning("the Admin UI has ignored %r of %s: %s", event, _name(grant), error)
            else:
                self.done += 1
                log.info("%s has used the Admin UI: %s", _name(grant), what)

        return handle

    # -- the commands

    def _emit(self, namespace: Any, room: Any, event: Any, *arguments: Any) -> str:
        chosen = self._select(namespace, room)
        if namespace == self._space.name:
            raise _Unusable("what is emitted to administrators is for the server alone to say")
        if _text("event", event) in RESERVED_EVENTS:
            raise _Unusable(f"the event name {event!r} is reserved")
        chosen.emit(event, *arguments)
        return f"{event!r} was emitted to {_describe(namespace, room)}"

    def _join(self, namespace: Any, room: Any, among: Any = None, *_: Any) -> str:
        self._select(namespace, among).sockets_join(_room_for_others(room))
        return f"{_describe(namespace, among)} has joined {room!r}"

    def _leave(self, namespace: Any, room: Any, among: Any = None, *_: Any) -> str:
        self._select(namespace, among).sockets_leave(_room(room))
        return f"{_describe(namespace, among)} has left {room!r}"

    def _disconnect(self, namespace: Any, close: Any = False, among: Any = None, *_: Any) -> str:
        if close is not None and type(close) is not bool:
            raise _Unusable("close is true or false")
        self._select(namespace, among).disconnect_sockets(bool(close))
        return f"{_describe(namespace, among)} was disconnected"

    def _select(self, namespace: Any, room: Any) -> "Broadcast":
        """Return sockets of a namespace that is there: none is made for a command (AUI-09)."""
        space = self._server.namespaces.get(_text("namespace", namespace))
        if space is None:
            raise _Unusable(f"there is no namespace {namespace!r}")
        return space.to(()) if room is None or room == "" else space.to(_text("filter", room))


def _text(what: str, value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= MAX_NAME:
        raise _Unusable(f"{what} is text of 1 to {MAX_NAME} characters")
    return value


def _room(value: Any) -> str:
    """Return the name of a room that sockets may enter or leave.

    Whoever is in the room of a user gets what is sent to that user.
    """
    if _text("room", value).startswith(USER_ROOM_PREFIX):
        raise _Unusable("the room of a user is for the sockets of that user alone")
    return str(value)


def _room_for_others(value: Any) -> str:
    """Return the name of a room that any sockets may enter: not that of a socket either (AUI-34).

    Which names of 20 characters are ids of sockets on other servers is not known here.
    """
    room = _room(value)
    if is_reserved_room(room):
        raise _Unusable("a name of 20 characters may be the id of a socket, whose room is its own")
    return room


def _describe(namespace: str, room: str | None) -> str:
    return f"{room!r} in {namespace}" if room else f"everybody in {namespace}"


def _name(grant: Grant | None) -> str:
    return "somebody" if grant is None else repr(grant.name)
