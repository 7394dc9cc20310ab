"""Dynamic namespaces: a parent stands for every name that its matcher accepts.

Children are created when a client asks for one, and inherit what was registered with the parent,
whenever it was.
"""

import re
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import Ack
from trio_socketio.errors import AckTimeout, LocalProtocolError, TrioSocketIOError
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.adapter import Adapter, Target
from trio_socketio.socketio.broadcast import Broadcast, Broadcasting
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.observers import Observer
from trio_socketio.socketio.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.socketio.remote_socket import SocketDetails
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket
    from trio_socketio.socketio.steps import Step

MAX_DYNAMIC_NAME: Final = 255
"""Characters of a name that a matcher is asked about; longer ones are refused."""

Predicate = Callable[[str, dict[str, Any]], bool | Awaitable[bool]]
"""Called with a name and the payload of the CONNECT; says whether there is such a namespace."""

Matcher = re.Pattern[str] | Predicate


class ParentNamespace(Registry, Broadcasting):
    """Namespaces of one kind, created on demand.

    What is registered with it, its children have; what is broadcast from it, all of them get.
    A child's own handler of an event comes before the parent's.

    Args:
        server: owns it.
        matcher: a pattern that the whole name must match, or a predicate.
    """

    def __init__(self, server: "Server", matcher: Matcher) -> None:
        super().__init__(_name(matcher), server.workers)
        self.server = server
        self.children: dict[str, Namespace] = {}
        self._matcher = matcher
        self.adapter = ChildrenAdapter(self.children)

    def __repr__(self) -> str:
        return f"<ParentNamespace {self.name}>"

    def _everybody(self) -> Broadcast:
        return Broadcast(self)

    # -- registering

    def add_steps(self, steps: "Iterable[Step]") -> None:
        """See Registry."""
        steps = tuple(steps)
        super().add_steps(steps)
        for child in self.children.values():
            child.add_steps(steps)

    def observe(self, observer: Observer) -> None:
        """See Registry."""
        super().observe(observer)
        for child in self.children.values():
            child.observe(observer)

    def add_handler(self, handler: Handler) -> None:
        """See Registry."""
        super().add_handler(handler)
        for child in self.children.values():
            child.inherit_handler(handler)

    def add_server_side_handler(self, event: str, handler: Handler) -> None:
        """See Registry."""
        super().add_server_side_handler(event, handler)
        for child in self.children.values():
            child.add_server_side_handler(event, handler)

    def add_expiry_handler(self, handler: Handler) -> None:
        """See Registry."""
        super().add_expiry_handler(handler)
        for child in self.children.values():
            child.inherit_expiry_handler(handler)

    def add_unhandled(self, handler: Handler) -> None:
        """See Registry."""
        super().add_unhandled(handler)
        for child in self.children.values():
            child.inherit_unhandled(handler)

    # -- between servers

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """See Namespace.server_side_emit, of every child."""
        self.workers.check_thread()
        for child in tuple(self.children.values()):
            child.server_side_emit(event, *arguments)

    # -- children

    def matches(self, name: str) -> bool:
        """Whether a name is one of its kind by its pattern; a predicate's opinion is not asked."""
        return isinstance(self._matcher, re.Pattern) and _fits(self._matcher, name)

    @property
    def ask(self) -> Predicate:
        """What says whether a name that a client asks for is one of its kind."""
        matcher = self._matcher
        if isinstance(matcher, re.Pattern):
            pattern: re.Pattern[str] = matcher
            return lambda name, _: _fits(pattern, name)
        return matcher

    @property
    def is_async(self) -> bool:
        """Whether that takes its time."""
        return not isinstance(self._matcher, re.Pattern) and is_async(self._matcher)

    def create_child(self, name: str, *, dynamic: bool) -> Namespace:
        """A namespace with all that was registered here.

        Args:
            name: of it.
            dynamic: a client wanted it; the program did not name it.
        """
        child = Namespace(self.server, name, self if dynamic else None)
        child.inherit(self)
        self.children[name] = child
        return child


def _name(matcher: Any) -> str:
    if isinstance(matcher, re.Pattern) and isinstance(matcher.pattern, str):
        return matcher.pattern
    if not callable(matcher):
        raise LocalProtocolError(f"{matcher!r} is no name, pattern of text or predicate")
    check_function("predicate", matcher, ("name", "auth"))
    return str(getattr(matcher, "__qualname__", repr(matcher)))


def is_dynamic_name(name: str) -> bool:
    """Whether a namespace that a client asks for may have that name at all."""
    return len(name) <= MAX_DYNAMIC_NAME and name.isprintable() and "," not in name


def _fits(pattern: re.Pattern[str], name: str) -> bool:
    return len(name) <= MAX_DYNAMIC_NAME and pattern.fullmatch(name) is not None


class ChildrenAdapter(Adapter):
    """Does with every child what is asked of their parent."""

    def __init__(self, children: dict[str, Namespace]) -> None:
        self._children = children

    def _adapters(self) -> list[Adapter]:
        return [child.adapter for child in self._children.values()]

    def select(self, target: Target) -> "Collection[Socket]":
        """See Adapter."""
        return [socket for adapter in self._adapters() for socket in adapter.select(target)]

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """See Adapter."""
        return sum(adapter.broadcast(arguments, target) for adapter in self._adapters())

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float
    ) -> list[Ack]:
        """See Adapter; the children's answers together."""
        answers: list[Ack] = []
        failures: list[TrioSocketIOError] = []

        async def ask(adapter: Adapter) -> None:
            try:
                answers.extend(await adapter.broadcast_with_ack(arguments, target, timeout_s))
            except TrioSocketIOError as error:  # a nursery would wrap it
                failures.append(error)
                if isinstance(error, AckTimeout):
                    answers.extend(Ack(*ack) for ack in error.acks)

        async with trio.open_nursery() as nursery:
            for adapter in self._adapters():
                nursery.start_soon(ask, adapter)
        for error in failures:
            if not isinstance(error, AckTimeout):
                raise error
        if failures:
            raise AckTimeout("; ".join(map(str, failures)), answers)
        return answers

    def add_sockets(self, target: Target, rooms: "Iterable[str]") -> None:
        """See Adapter."""
        for adapter in self._adapters():
            adapter.add_sockets(target, rooms)

    def remove_sockets(self, target: Target, rooms: "Iterable[str]") -> None:
        """See Adapter."""
        for adapter in self._adapters():
            adapter.remove_sockets(target, rooms)

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """See Adapter."""
        for adapter in self._adapters():
            adapter.disconnect_sockets(target, close=close)

    async def fetch_sockets(self, target: Target) -> "list[SocketDetails]":
        """See Adapter; of this node only, and only if that is asked for.

        Raises:
            LocalProtocolError: nobody knows the children that other nodes alone have.
        """
        if not target.local:
            raise LocalProtocolError(
                "other nodes may have children that this one does not know: "
                "fetch the sockets of a child, or of parent.local"
            )
        return await super().fetch_sockets(target)
