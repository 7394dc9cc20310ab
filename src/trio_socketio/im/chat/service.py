"""Chat events in the namespaces of a server."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.errors import LocalProtocolError, OptionError
from trio_socketio.im.chat.desk import Desk
from trio_socketio.im.chat.inquiries import Inquiries
from trio_socketio.im.chat.membership import JOIN, LEAVE, RoomEvents
from trio_socketio.im.chat.options import MAIN, ChatOptions
from trio_socketio.im.chat.roles import Confirm, Permits
from trio_socketio.im.chat.sending import (
    CHAT_BROADCAST,
    CHAT_ROOMS,
    CHAT_USERS,
    SIGNAL_BROADCAST,
    SIGNAL_ROOM,
    SIGNAL_USER,
    ConfirmedSender,
    Sender,
    read_to_everybody,
    read_to_rooms,
    read_to_users,
)
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.namespace_patterns import ByNamespace
from trio_socketio.socketio.handlers import DefaultHandler, Handler
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

if TYPE_CHECKING:
    from trio_socketio.control.nodes import Nodes
    from trio_socketio.runtime.runtime import Runtime

_SENDING: Final = (
    (CHAT_ROOMS, read_to_rooms, False),
    (CHAT_USERS, read_to_users, False),
    (CHAT_BROADCAST, read_to_everybody, False),
    (SIGNAL_ROOM, read_to_rooms, True),
    (SIGNAL_USER, read_to_users, True),
    (SIGNAL_BROADCAST, read_to_everybody, True),
)
"""The events that send, with what reads them, and whether the sending socket is left out."""

_CONFIRMED: Final = frozenset((CHAT_ROOMS, CHAT_USERS))


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatStatistics:
    """A snapshot of the chat events.

    Args:
        events: how many there were, by name and result.
        namespaces: how many namespaces have them.
    """

    events: dict[tuple[str, str], int]
    namespaces: int


class Chat:
    """Gives namespaces their chat events. Nothing is started before `run`.

    Args:
        server: the server.
        options: say which namespaces have them, also those that are created later. Those that
            they name are created now, so that clients find them.
        nodes: the other nodes of a cluster; None if there are none.
        permits: says what clients may do; None if they may do everything.
        confirm: accepts messages for confirmed delivery; None if nothing does.
        clock: seconds since 1970.

    Raises:
        OptionError: messages are to be confirmed, and nothing does that.
    """

    def __init__(
        self,
        server: Server,
        options: ChatOptions,
        *,
        nodes: "Nodes | None" = None,
        permits: Permits | None = None,
        confirm: Confirm | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if options.confirm and confirm is None:
            raise OptionError("confirm", "needs confirmed delivery, which was not given")
        self._server = server
        self._inquiries = None if nodes is None else Inquiries(server, nodes)
        self._desk = Desk(options.max_targets, self._inquiries, clock)
        self._desk.permits = permits
        self._plain = self._make_handlers(None)
        self._confirmed = self._make_handlers(confirm)
        self._by_name: dict[str, tuple[Handler, ...]] = {}
        by_pattern = {
            name: self._confirmed if name in options.confirm else self._plain
            for name in options.namespaces
        }
        self._by_pattern = ByNamespace[tuple[Handler, ...]](by_pattern, ())
        for name in options.namespaces:
            if not name.endswith("*"):
                server.of(name)
        for namespace in server.namespaces.values():
            self._furnish(namespace)
        if options.namespaces:
            log.info("clients have chat events in %s", ", ".join(options.namespaces))
        server.on("new_namespace")(self._furnish)

    def serve(self, namespace: str, *, confirm: bool | None = False) -> None:
        """Give a namespace its chat events, now or when it is created.

        Args:
            namespace: its name; a leading slash may be left out.
            confirm: whether messages to users and rooms are confirmed; None means as the options
                say of its name.
        Raises:
            LocalProtocolError: it is the main namespace, which has no chat.
        """
        self._server._workers.check_thread()
        name = full_name(namespace)
        if name == MAIN:  # CHAT-01
            raise LocalProtocolError("the namespace / has no chat events")
        if confirm is None:
            self._by_name[name] = self._by_pattern.find(name) or self._plain
        else:
            self._by_name[name] = self._confirmed if confirm else self._plain
        self._renew(name)

    def cease(self, namespace: str) -> None:
        """Take back what `serve` has given (CHAT-24); what the options say holds again."""
        self._server._workers.check_thread()
        name = full_name(namespace)
        self._by_name.pop(name, None)
        self._renew(name)

    def serves(self, namespace: str) -> bool:
        """Whether a namespace has chat events, or will have them when it is created."""
        return bool(self._find(namespace))

    def statistics(self) -> ChatStatistics:
        """Return what was done so far."""
        served = sum(map(self.serves, self._server.namespaces))
        return ChatStatistics(dict(self._desk.answers.tally), served)

    async def run(
        self,
        runtime: "Runtime",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Ask other nodes about users, until cancelled: for Runtime.start_service."""
        answers = self._desk.answers
        answers.begin(runtime.deadlines)
        task_status.started()
        try:
            if self._inquiries is None:
                await trio.sleep_forever()
            else:
                await self._inquiries.run()
        finally:
            answers.end()

    def _find(self, name: str) -> tuple[Handler, ...]:
        """Return the handlers of a namespace; none if it has no chat events."""
        if name == MAIN:  # CHAT-01: also if a pattern fits it
            return ()
        return self._by_name.get(name) or self._by_pattern.find(name)

    def _furnish(self, namespace: Namespace) -> None:
        """Register the handlers of a namespace, unless the app handles an event itself."""
        registry = namespace._registry
        for handler in self._find(namespace.name):
            if handler.name not in registry.handlers:  # CHAT-02
                registry.add_handler(handler)

    def _renew(self, name: str) -> None:
        """Replace the handlers of a namespace, if it is there, by those that it has now."""
        namespace = self._server.namespaces.get(name)
        if namespace is not None:
            for handler in (*self._plain, *self._confirmed):
                namespace._registry.remove_handler(handler)  # those of the app stay
            self._furnish(namespace)

    def _make_handlers(self, confirm: Confirm | None) -> tuple[Handler, ...]:
        """Make the handlers, which all namespaces share.

        Args:
            confirm: accepts messages for confirmed delivery; None if they are just sent.
        """
        desk = self._desk
        rooms = RoomEvents(desk)
        handlers = [DefaultHandler(JOIN, rooms.join), DefaultHandler(LEAVE, rooms.leave)]
        for event, read, to_others in _SENDING:
            function: Callable[..., Any]
            if confirm is not None and event in _CONFIRMED:
                function = ConfirmedSender(desk, event, read, confirm).send
            else:
                function = Sender(desk, event, read, to_others=to_others).send
            handlers.append(DefaultHandler(event, function))
        return tuple(handlers)
