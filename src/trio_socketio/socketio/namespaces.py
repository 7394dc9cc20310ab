"""The namespaces of a server: those that it names, and those that clients ask for."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, overload

import trio
from trio.lowlevel import enable_ki_protection

from trio_socketio.codec.parsers import JSON, PARSERS, Parser
from trio_socketio.errors import ConfigurationError, LocalProtocolError
from trio_socketio.options import ServerOptions
from trio_socketio.runtime.jobs import Workers
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S
from trio_socketio.socketio.adapter import Adapter, AdapterFactory
from trio_socketio.socketio.broadcast import Broadcast, Broadcasting
from trio_socketio.socketio.intake import Intake
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.observers import Observer
from trio_socketio.socketio.parent_namespace import Matcher, ParentNamespace
from trio_socketio.socketio.recovering_adapter import RecoveringAdapter
from trio_socketio.socketio.recovery import Recovery
from trio_socketio.socketio.registry import Function, Registry
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

REMOVAL_S: Final = 5.0
"""How long the handlers of a namespace that is removed may go on."""


class Namespaces(Broadcasting):
    """The part of a server that user code registers with.

    Args:
        options: see ServerOptions.
        adapter: makes the adapter of each namespace.
        parser: instead of the one that the options name.
    """

    def __init__(
        self, options: ServerOptions, adapter: AdapterFactory, parser: Parser | None
    ) -> None:
        self.options = options
        self._adapter = adapter
        self._own_parser = parser
        self.parser = parser or PARSERS[options.parser]
        self.recovery: Recovery | None = None  # while serving, if it is on
        self.workers = Workers()
        self.everywhere = Registry("every namespace", self.workers)
        self.intake = Intake()
        self.intake.begin(options)
        self.namespaces: dict[str, Namespace] = {}
        self.parents: dict[Matcher, ParentNamespace] = {}
        self._new_namespace_handlers: list[Callable[[Namespace], Any]] = []
        self._dynamic_count = 0
        self._main = self.of("/")

    @overload
    def of(self, name: str) -> Namespace: ...

    @overload
    def of(self, name: Matcher) -> ParentNamespace: ...

    def of(self, name: str | Matcher) -> Namespace | ParentNamespace:
        """The namespace of that name, or the parent of all that a matcher accepts; new if need be.

        A client that asks for a name that does not exist has the matchers asked, in the order in
        which they came; the first that accepts it is the parent of the new namespace. A matcher
        says which names there are, not who may join: once a namespace exists, only its middleware
        is asked.

        Args:
            name: a leading slash may be left out; or a compiled pattern that the whole name must
                match; or a predicate, plain or async, called with the name and the payload of
                the CONNECT. Who raises does not accept.
        Raises:
            LocalProtocolError: there can be no such namespace.
        """
        if not isinstance(name, str):
            return self._parent_of(name)
        if not name.startswith("/"):
            name = "/" + name
        namespace = self.namespaces.get(name)
        if namespace is None:
            self.workers.check_thread()
            if "," in name or not name.isprintable():
                raise LocalProtocolError(f"a namespace cannot be called {name!r}")
            for parent in self.parents.values():
                if parent.matches(name):
                    return self._add(parent.create_child(name, dynamic=False))
            namespace = self._add(Namespace(self._server(), name))
        return namespace

    def prepare(self, deadlines: "Deadlines") -> None:
        """Serving begins: the options hold from here on.

        Raises:
            ConfigurationError: an option asks for what the adapter or parser cannot do.
        """
        options = self.options
        self.intake.begin(options)
        self.parser = self._own_parser or PARSERS[options.parser]
        if options.allow_eio3 and self.parser is not JSON:
            raise ConfigurationError("allow_eio3: clients 1.x and 2.x speak JSON only")
        if options.allow_eio3 and options.cors_origins and not options.cors_credentials:
            log.warning(
                "allow_eio3: clients 1.x and 2.x poll with credentials, and browsers let pages of "
                "cors_origins do that only with cors_credentials=True and origins by name"
            )
        self.recovery = Recovery(options, deadlines) if options.state_recovery else None
        for namespace in self.namespaces.values():
            namespace.speak()
            if (
                namespace.adapter_is_closed
                or self.recovery is not None
                or isinstance(namespace.adapter, RecoveringAdapter)
            ):
                namespace.renew_adapter()
            if self.recovery is not None and not namespace.adapter.recovers:
                raise ConfigurationError("state_recovery: the adapter of this server cannot do it")

    def create_adapter(self, namespace: Namespace) -> Adapter:
        """The adapter of a namespace."""
        if self.recovery is not None and self._adapter is Adapter:
            return RecoveringAdapter(namespace, self.recovery)
        return self._adapter(namespace)

    def close_adapters(self) -> None:
        """Serving has ended, for everybody."""
        for namespace in tuple(self.namespaces.values()):
            namespace.close_adapter()

    def _parent_of(self, matcher: Matcher) -> ParentNamespace:
        parent = self.parents.get(matcher)
        if parent is None:
            self.workers.check_thread()
            parent = self.parents[matcher] = ParentNamespace(self._server(), matcher)
        return parent

    @enable_ki_protection  # Ctrl-C is not a handler's failure
    def _add(self, namespace: Namespace) -> Namespace:
        self.namespaces[namespace.name] = namespace
        for function in self._new_namespace_handlers:
            try:
                self.workers.run(function, namespace)
            except BaseException as error:
                if self.workers.thread is None and not isinstance(error, Exception):
                    raise  # the program is being built, and may end itself
                self.workers.log_failure("handler of 'new_namespace'", namespace.name, error)
        return namespace

    def create_child(self, parent: ParentNamespace, name: str) -> Namespace | None:
        """A namespace that a client asked for; None if there are too many such.

        Raises:
            Exception: whatever the adapter's factory raises.
        """
        if self._dynamic_count >= self.options.max_dynamic_namespaces:
            return None
        child = parent.create_child(name, dynamic=True)
        self._dynamic_count += 1
        if self._dynamic_count == self.options.max_dynamic_namespaces:  # once, not per refusal
            log.warning("max_dynamic_namespaces is reached with %r: no more are let in", name)
        return self._add(child)

    def remove_child(self, child: Namespace) -> None:
        """A namespace that clients had asked for is deserted."""
        if child.parent is not None and self.namespaces.get(child.name) is child:
            self._forget(child)
            child.close_adapter()

    def add_steps(self, steps: Iterable[Step]) -> None:
        """See Namespace.add_steps, of every namespace that is there or comes."""
        steps = tuple(steps)
        self.everywhere.add_steps(steps)
        for namespace in self.namespaces.values():
            namespace.add_steps(steps)

    def observe(self, observer: Observer) -> None:
        """See Namespace.observe, of every namespace that is there or comes."""
        self.everywhere.observe(observer)
        for namespace in self.namespaces.values():
            namespace.observe(observer)

    async def remove(self, name: str, reason: str = "namespace removed") -> None:
        """End a namespace: put everybody out, and forget it. `of` makes a new one of that name.

        Clients that ask for it later are told that it does not exist. Saved sessions end with it.

        Args:
            name: of a namespace that `of` or a client has made; not of the main one.
            reason: what "disconnect" handlers are told, and clients that are on their way in.
        Returns:
            When everybody is out, and the handlers of their events have ended or had REMOVAL_S.
        Raises:
            LocalProtocolError: there is no such namespace, or it is the main one.
        """
        namespace = self.namespaces.get(name if name.startswith("/") else "/" + name)
        if namespace is None or namespace is self._main:
            raise LocalProtocolError(f"there is no namespace {name!r} that could be removed")
        self._forget(namespace)
        await trio.lowlevel.checkpoint()
        sockets = namespace.put_everybody_out(reason)
        if self.recovery is not None:
            self.recovery.end_all_of(namespace)
        with trio.move_on_after(REMOVAL_S):
            if sockets:
                await namespace.poller.wait_settled()
            for socket in sockets:
                await socket.wait_handled()
        namespace.close_adapter()

    def _forget(self, namespace: Namespace) -> None:
        del self.namespaces[namespace.name]
        if namespace.parent is not None:
            self._dynamic_count -= 1
        for parent in self.parents.values():
            if parent.children.get(namespace.name) is namespace:
                del parent.children[namespace.name]

    def use(self, function: Function) -> Function:
        """See Namespace.use, of the main namespace."""
        return self._main.use(function)

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """See Namespace.on, of the main namespace.

        "new_namespace" is the server's own: a plain function that is called with every namespace
        that is created from now on, before anybody joins it.
        """
        if event != "new_namespace":
            return self._main.on(event, concurrent=concurrent)

        def register(function: Function) -> Function:
            check_function("handler of 'new_namespace'", function, ("namespace",))
            if is_async(function):
                raise LocalProtocolError("the handler of 'new_namespace' is a plain function")
            self.workers.check_thread()
            self._new_namespace_handlers.append(function)
            return function

        return register

    def on_session_expired(self, function: Function) -> Function:
        """See Namespace.on_session_expired, of the main namespace."""
        return self._main.on_session_expired(function)

    def on_server_side(self, event: str) -> Callable[[Function], Function]:
        """See Namespace.on_server_side, of the main namespace."""
        return self._main.on_server_side(event)

    def server_side_emit(self, event: str, *arguments: Any) -> None:
        """See Namespace.server_side_emit, of the main namespace."""
        self._main.server_side_emit(event, *arguments)

    async def server_side_emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> list[Any]:
        """See Namespace.server_side_emit_with_ack, of the main namespace."""
        return await self._main.server_side_emit_with_ack(event, *arguments, timeout_s=timeout_s)

    def _everybody(self) -> Broadcast:
        return Broadcast(self._main)

    def _server(self) -> "Server":
        raise NotImplementedError
