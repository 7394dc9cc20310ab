"""Dynamic namespaces: a parent stands for every name that its matcher accepts.

Children are created when a client asks for one. They inherit what is registered with the parent,
also what is registered later.
"""

import re
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import Ack, Keep
from trio_socketio.errors import AckTimeout, LocalProtocolError, TrioSocketIOError
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.broadcast import Broadcast
from trio_socketio.socketio.entrance import Predicate
from trio_socketio.socketio.founding import MAX_DYNAMIC_NAME, is_dynamic_name
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.registrar import Registrar
from trio_socketio.socketio.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.adapter import Adapter
    from trio_socketio.socketio.remote_socket import SocketDetails
    from trio_socketio.socketio.target import Target

Matcher = re.Pattern[str] | Predicate


class ParentNamespace(Registrar, Broadcast):
    """Namespaces of one kind, which are created on demand.

    What is registered with it holds for its children, and what is broadcast from it reaches all of
    them. A child's own handler of an event comes before the parent's.

    Args:
        workers: of the server.
        matcher: a pattern that the whole name must match, or a predicate.

    Attributes:
        adapter: does with every child what is asked of it.
        children: by name. Do not change it.
        name: the pattern, or the name of the predicate.
    """

    def __init__(self, workers: "Workers", matcher: Matcher) -> None:
        self.name = _name(matcher)
        Registrar.__init__(self, Registry(self.name, workers))
        Broadcast.__init__(self, self)
        self.children: dict[str, Namespace] = {}
        self.adapter = ChildrenAdapter(self.children)
        self._workers = workers
        self._matcher = matcher

    def __repr__(self) -> str:
        return f"<ParentNamespace {self.name}>"

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """Send an event to every child on every other node; see Namespace.server_side_emit."""
        self._workers.check_thread()
        for child in tuple(self.children.values()):
            child.server_side_emit(event, *arguments)

    # -- children

    def _matches(self, name: str) -> bool:
        """Whether a name that the program uses matches the pattern.

        A predicate is not asked, because it judges what clients ask for.
        """
        return isinstance(self._matcher, re.Pattern) and _fits(self._matcher, name)

    def _may_accept(self, name: str) -> bool:
        """Whether a client that asks for this name may get a child, as far as the name tells."""
        if isinstance(self._matcher, re.Pattern):
            return _fits(self._matcher, name) and is_dynamic_name(name)
        return is_dynamic_name(name)

    @property
    def _ask(self) -> Predicate:
        """Says whether a name that a client asks for is one of its children."""
        matcher = self._matcher
        if isinstance(matcher, re.Pattern):
            pattern: re.Pattern[str] = matcher
            return lambda name, _: _fits(pattern, name)
        return matcher

    @property
    def _is_async(self) -> bool:
        """Whether the predicate is async."""
        return not isinstance(self._matcher, re.Pattern) and is_async(self._matcher)

    def _adopt(self, child: Namespace) -> None:
        """Make a namespace one of the children: what is registered here holds for it."""
        self.children[child.name] = child
        self._registry.bequeath(child._registry)

    def _disown(self, child: Namespace) -> None:
        """Forget a namespace that has ended; one that is no child of this parent is ignored."""
        if self.children.get(child.name) is child:
            del self.children[child.name]
            self._registry.disinherit(child._registry)


_NO_MATCHER: Final = "{!r} is neither a name, nor a compiled pattern of text, nor a predicate"


def check_matcher(matcher: Matcher) -> Matcher:
    """Refuse what cannot be looked up among the matchers that are known.

    Raises:
        LocalProtocolError: it cannot be hashed.
    """
    try:
        hash(matcher)
    except TypeError as error:
        if callable(matcher):
            raise LocalProtocolError(f"a predicate must be hashable: {error}") from None
        raise LocalProtocolError(_NO_MATCHER.format(matcher)) from None
    return matcher


def _name(matcher: Any) -> str:
    if isinstance(matcher, re.Pattern) and isinstance(matcher.pattern, str):
        return matcher.pattern
    if not callable(matcher):
        raise LocalProtocolError(_NO_MATCHER.format(matcher))
    check_function("predicate", matcher, ("name", "auth"))
    return str(getattr(matcher, "__qualname__", repr(matcher)))


def _fits(pattern: re.Pattern[str], name: str) -> bool:
    return len(name) <= MAX_DYNAMIC_NAME and pattern.fullmatch(name) is not None


class ChildrenAdapter:
    """Does with every child what a broadcast to the parent asks of an adapter (SURF-04).

    Args:
        children: by name.
    """

    def __init__(self, children: dict[str, Namespace]) -> None:
        self._children = children

    def _adapters(self) -> "list[Adapter]":
        return [child.adapter for child in self._children.values()]

    def broadcast(self, arguments: list[Any], target: "Target") -> int:
        """Send an event to the sockets of target in every child."""
        return sum(adapter.broadcast(arguments, target) for adapter in self._adapters())

    async def broadcast_with_ack(
        self, arguments: list[Any], target: "Target", timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        """Ask the sockets of target in every child, all at the same time.

        Returns:
            The answers from all children together.
        Raises:
            AckTimeout: clients have not answered in time, or have left; it holds the answers of the
                others.
            LocalProtocolError: the arguments cannot be sent.
        """
        answers: list[Ack] = []
        failures: list[TrioSocketIOError] = []

        async def ask(adapter: "Adapter") -> None:
            try:
                acks = await adapter.broadcast_with_ack(arguments, target, timeout_s, keep)
            except TrioSocketIOError as error:  # the nursery would wrap it in a group
                failures.append(error)
                if isinstance(error, AckTimeout):
                    answers.extend(Ack(*ack) for ack in error.acks)
            else:
                answers.extend(acks)

        async with trio.open_nursery() as nursery:
            for adapter in self._adapters():
                nursery.start_soon(ask, adapter)
        for error in failures:
            if not isinstance(error, AckTimeout):
                raise error
        if failures:
            raise AckTimeout("; ".join(map(str, failures)), answers)
        return answers

    def add_sockets(self, target: "Target", rooms: "Iterable[str]") -> None:
        """Put the sockets of target in every child into rooms."""
        for adapter in self._adapters():
            adapter.add_sockets(target, rooms)

    def remove_sockets(self, target: "Target", rooms: "Iterable[str]") -> None:
        """Take the sockets of target in every child out of rooms."""
        for adapter in self._adapters():
            adapter.remove_sockets(target, rooms)

    def disconnect_sockets(self, target: "Target", *, close: bool) -> None:
        """Put the sockets of target out of every child, or out of all namespaces."""
        for adapter in self._adapters():
            adapter.disconnect_sockets(target, close=close)

    async def fetch_sockets(self, target: "Target") -> "list[SocketDetails]":
        """Describe the sockets of target in every child, of this node only.

        Raises:
            LocalProtocolError: target is not local. Other nodes may have children that this node
                does not know, so the list would be incomplete.
        """
        if not target.local:
            raise LocalProtocolError(
                "other nodes may have children that this one does not know: "
                "fetch the sockets of a child, or of parent.local"
            )
        found: list[SocketDetails] = []
        for adapter in self._adapters():
            found += await adapter.fetch_sockets(target)
        await trio.lowlevel.checkpoint()
        return found
