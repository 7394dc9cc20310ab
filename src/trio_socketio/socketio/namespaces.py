"""The namespaces of a server: those that the program names, and those that clients ask for."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio
from trio.lowlevel import enable_ki_protection

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.adapter import Adapter
from trio_socketio.socketio.handlers import Function
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.parent_namespace import Matcher, ParentNamespace
from trio_socketio.socketio.registry import Registry

if TYPE_CHECKING:
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

AdapterFactory = Callable[[Namespace], Adapter]

REMOVAL_S: Final = 5.0
"""The time that the handlers of a removed namespace have left."""


class Ended(NamedTuple):
    """A namespace that has ended.

    Args:
        namespace: the namespace.
        sockets: those that were in it, whose handlers may still be at work.
    """

    namespace: Namespace
    sockets: "list[Socket]"


class Namespaces:
    """Creates, finds and ends the namespaces of one server.

    Args:
        host: the options of the server, and the parts that are shared.
        create_adapter: makes the adapter of each namespace.

    Attributes:
        by_name: the namespaces that exist.
        everywhere: what is registered with every namespace, also with those that are created later.
        main: the namespace "/".
        parents: those that stand for further namespaces, in the order in which they are asked.
    """

    def __init__(self, host: "Host", create_adapter: AdapterFactory) -> None:
        self.host = host
        self.by_name: dict[str, Namespace] = {}
        self.parents: dict[Matcher, ParentNamespace] = {}
        self.everywhere = Registry("every namespace", host.workers)
        self._created: list[Callable[[Namespace], Any]] = []
        self.create_adapter = create_adapter
        self._dynamic_count = 0
        self._is_full = False  # that max_dynamic_namespaces is reached was told
        self._deserted: dict[Namespace, None] = {}  # perhaps not any more
        self.main = self.find_or_create("/")

    @property
    def has_own_adapters(self) -> bool:
        """Whether the program has given another adapter than that of a single node."""
        return self.create_adapter is not Adapter

    def use_adapter(self, create_adapter: AdapterFactory) -> None:
        """Make the adapters of all namespaces with another factory; the server does not serve yet.

        Hooks of rooms stay, because they belong to the index of rooms of this node.
        """
        self.create_adapter = create_adapter
        for namespace in self.by_name.values():
            namespace._make_adapter()

    def on_created(self, function: Function) -> Function:
        """Register the handler of "new_namespace"; see Server.on.

        Raises:
            LocalProtocolError: it is async, or cannot be called with a namespace.
        """
        check_function("handler of 'new_namespace'", function, ("namespace",))
        if is_async(function):
            raise LocalProtocolError("the handler of 'new_namespace' is a plain function")
        self.host.workers.check_thread()
        self._created.append(function)
        return function

    # -- namespaces that the program names

    def find_or_create(self, name: str) -> Namespace:
        """Return the namespace of that name, and create it if need be; see Server.of.

        Raises:
            LocalProtocolError: no namespace can have this name.
        """
        name = full_name(name)
        namespace = self.by_name.get(name)
        if namespace is None:
            self.host.workers.check_thread()
            if "," in name or unfit_character(name):
                raise LocalProtocolError(f"a namespace cannot be called {name!r}")
            namespace = self._create(name, self.find_parent(name), None)
        return namespace

    def find_parent(self, name: str) -> ParentNamespace | None:
        """Return the first parent whose pattern fits a name that the program uses."""
        parents = self.parents.values()
        return next((parent for parent in parents if parent._matches(name)), None)

    def parent_of(self, matcher: Matcher) -> ParentNamespace:
        """Return the parent of all names that a matcher accepts, and create it if need be."""
        parent = self.parents.get(matcher)
        if parent is None:
            self.host.workers.check_thread()
            parent = self.parents[matcher] = ParentNamespace(self.host.workers, matcher)
        return parent

    @enable_ki_protection  # else a Ctrl-C in here would pass for a failure of the handler
    def _create(self, name: str, parent: ParentNamespace | None, family: str | None) -> Namespace:
        namespace = Namespace(self, name, family)
        self.everywhere.bequeath(namespace._registry)
        if parent is not None:
            parent._adopt(namespace)
        self.by_name[name] = namespace
        workers = self.host.workers
        for function in self._created:
            try:
                workers.run(function, namespace)
            except BaseException as error:
                if workers.thread is None and not isinstance(error, Exception):
                    raise  # nothing serves yet, so SystemExit ends the program
                workers.log_failure("handler of 'new_namespace'", name, error)
        return namespace

    def may_exist(self, name: str) -> bool:
        """Whether a client that asks for a namespace may get one, as far as its name tells.

        What a predicate will say depends on the client, so it counts as if it accepted the name.
        """
        return name in self.by_name or any(one._may_accept(name) for one in self.parents.values())

    # -- namespaces that clients ask for

    def create_child(self, parent: ParentNamespace, name: str) -> Namespace | None:
        """Create a namespace that a client asked for; None if there are too many of them (SURF-03).

        Raises:
            Exception: whatever the adapter's factory raises.
        """
        bound = self.host.options.sockets.max_dynamic_namespaces
        if self._dynamic_count >= bound and not self._end_deserted():  # SURF-03
            return None
        self._dynamic_count += 1
        try:
            child = self._create(name, parent, parent.name)
        except BaseException:
            self._dynamic_count -= 1
            raise
        if self._dynamic_count == bound and not self._is_full:  # once, not for each refusal
            self._is_full = True
            log.warning(
                "max_dynamic_namespaces (%d) is reached with %r: from now on an empty one is ended "
                "for each that a client asks for, and clients are refused when none is empty",
                bound,
                name,
            )
        return child

    def child_deserted(self, child: Namespace) -> None:
        """Note that a namespace which clients had asked for is empty.

        It ends, if the options say so; otherwise as soon as its place is needed.
        """
        if self.host.options.sockets.cleanup_empty_child_namespaces:
            self._remove_child(child)
        else:
            self._deserted[child] = None

    def _end_deserted(self) -> bool:
        """End one empty namespace to make room (BND-18); return whether there was one.

        Without this, a client that comes and goes could use up the places of all others.
        """
        while self._deserted:
            child = next(iter(self._deserted))
            del self._deserted[child]
            if child._is_deserted and self.by_name.get(child.name) is child:
                self._remove_child(child)
                return True
        return False

    def _remove_child(self, child: Namespace) -> None:
        if self.by_name.get(child.name) is child:
            self._forget(child)
            child._adapter_life.close()

    # -- ends

    async def remove(self, name: str, reason: str) -> None:
        """End a namespace; see Server.remove.

        Raises:
            LocalProtocolError: there is no such namespace, or it is the main one.
        """
        self.host.workers.check_thread()
        # The only checkpoint before all is done: a removal is cancelled here, or is complete.
        await trio.lowlevel.checkpoint()
        await self.wait_ended(self.end(name, reason))

    def end(self, name: str, reason: str) -> "Ended":
        """End a namespace at once, all but its handlers, for which `wait_ended` waits.

        Raises:
            LocalProtocolError: there is no such namespace, or it is the main one.
        """
        namespace = self.by_name.get(full_name(name))
        if namespace is None or namespace is self.main:
            raise LocalProtocolError(f"there is no namespace {name!r} that could be removed")
        # JOIN-30: `of` makes a new one from now on, and no client finds the old one.
        self._forget(namespace)
        sockets = namespace._put_everybody_out(reason)
        if self.host.recovery is not None:
            self.host.recovery.end_all_of(namespace._registry)
        return Ended(namespace, sockets)

    async def wait_ended(self, ended: "Ended") -> None:
        """Wait until the handlers of a namespace have ended, for REMOVAL_S; close its adapter."""
        try:
            with trio.move_on_after(REMOVAL_S):
                if ended.sockets:
                    await self.host.engine._poller.wait_settled()
                for socket in ended.sockets:
                    events = socket._open_events()
                    if not events.is_handled_here:  # else this handler would wait for itself
                        await events.wait_handled(socket)
        finally:
            ended.namespace._adapter_life.close()

    def _forget(self, namespace: Namespace) -> None:
        del self.by_name[namespace.name]
        self.everywhere.disinherit(namespace._registry)
        if namespace._is_dynamic:
            self._dynamic_count -= 1
            self._deserted.pop(namespace, None)
        for parent in self.parents.values():
            parent._disown(namespace)

    # -- serving

    def begin(self) -> None:
        """Take the options of the server as they are now: serving begins."""
        for namespace in self.by_name.values():
            namespace._begin()

    async def start_adapters(self) -> None:
        """Start the adapters of all namespaces: serving begins."""
        for namespace in tuple(self.by_name.values()):
            await namespace._adapter_life.start(self.host.options.engine.hook_timeout_s)

    def close_adapters(self) -> None:
        """Close the adapters of all namespaces: serving has ended."""
        for namespace in tuple(self.by_name.values()):
            namespace._adapter_life.close()
