"""Backends: peers on the control socket that handle events of clients.

The options say which events are forwarded. A backend's result answers the client's acknowledgement.
Events of one socket go one at a time, and to the same backend while it is registered. An event that
fails is not given to another backend, since the first one may have handled it.
"""

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Raw

from trio_socketio.codec.json_rpc import NULL, Code, pass_value
from trio_socketio.codec.node_messages import EVERY_NAMESPACE, MAX_NAMESPACES
from trio_socketio.control.api import BackendEvent
from trio_socketio.control.backends_elsewhere import (
    EVENT,
    BackendsElsewhere,
    Elsewhere,
    NodeBackends,
)
from trio_socketio.control.caller import BackendPeer, Caller
from trio_socketio.control.failures import forbidden, unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.nodes import BackendNamespaces, Nodes
from trio_socketio.control.options import AUTHENTICATE, BackendOptions, ForwardedEvents
from trio_socketio.control.refusals import Refusals
from trio_socketio.errors import (
    ConfigurationError,
    ControlError,
    LocalProtocolError,
    RemoteProtocolError,
)
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[..., Awaitable[Any]]

log = logging.getLogger(__name__)

ERROR_EVENT: Final = "backend_error"
"""The event that tells a client that one of its events was not handled."""
REGISTER: Final = "backend.register"
"""The method that a token has to allow for as long as its peer is given events."""
_EVERY_EVENT: Final = "*"
_NAMES_LENGTH: Final = 4096


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """Events that a backend will receive.

    Args:
        namespace: the name of the namespace.
        events: the names of the events; * is every event that the app does not handle.
    """

    namespace: str
    events: list[str]


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The events for which a backend is registered.

    Args:
        forwarded: the events that it will receive.
        missing: namespaces that it named, but of which no event is forwarded.
        authenticates: whether it will be asked who clients are.
    """

    forwarded: list[Forwarded]
    missing: list[str]
    authenticates: bool


class _Registration(NamedTuple):
    """What a peer is registered for.

    Args:
        namespaces: their names; None means all.
        authenticates: whether it is also asked who their clients are.
    """

    namespaces: frozenset[str] | None
    authenticates: bool


class Backends:
    """The backends that are registered, and the handler of every forwarded event.

    Args:
        options: which events are forwarded.
        refusals: logs the events that were not handled.
        nodes: the cluster, whose other nodes may have backends, too; None if there is none.

    Attributes:
        failed: how many events were not handled; their clients were told.
        handled: how many events were.
    """

    def __init__(
        self,
        options: BackendOptions,
        refusals: Refusals | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        self._options = options
        self._nodes = nodes
        self._elsewhere = None if nodes is None else BackendsElsewhere(nodes)
        if nodes is not None:
            nodes.serve(NodeBackends(self))
            nodes.use_backends(self.list_namespaces)
        self._refusals = refusals or Refusals()
        self._is_forwarding = False
        self._events: dict[str, list[str]] = {}
        for forwarded in options.forward:
            self._add(forwarded)
        # The peer that was chosen last stands last.
        self._registered: dict[BackendPeer, _Registration] = {}
        self._assigned: WeakKeyDictionary[Socket, BackendPeer | Elsewhere] = WeakKeyDictionary()
        self.failed = 0
        self.handled = 0

    def __len__(self) -> int:
        return sum(peer.may_be_backend() for peer in self._registered)

    def _add(self, forwarded: ForwardedEvents) -> None:
        events = self._events.setdefault(full_name(forwarded.namespace), [])
        events += [event for event in forwarded.events if event not in events]

    def forward(self, server: Server) -> None:
        """Register the handlers of the forwarded events, unless that was done before.

        Raises:
            ConfigurationError: the app handles one of them, or a namespace cannot have its name.
        """
        if self._is_forwarding:
            return
        self._is_forwarding = True
        for name, events in self._events.items():
            try:
                namespace = server.of(name)
                for event in events:
                    if event == _EVERY_EVENT:
                        namespace.on_unhandled(self._handler_of_every_event(name))
                    else:
                        namespace.on(event)(self._handler_of(name, event))
            except LocalProtocolError as error:
                raise ConfigurationError(f"control.backends.forward: {error}") from None

    # -- registration

    @rpc(REGISTER)
    def register(
        self, caller: Caller, namespaces: list[str] | None = None, authenticate: bool = False
    ) -> Registered:
        """Have the server call backend.event on this connection with events of clients.

        A backend that registers again replaces what it was registered for. It is registered until
        its connection ends.

        Args:
            caller: makes the call.
            namespaces: only events of these; null means every namespace with forwarded events.
            authenticate: whether to call backend.authenticate, too, for clients that have to be
                identified before they enter one of these namespaces. It is given their tokens, so
                the backend's own token has to allow backend.authenticate.
        """
        grant = caller.grant
        if authenticate and grant is not None and not grant.allows(AUTHENTICATE):  # CONTROL-97
            raise forbidden(AUTHENTICATE, grant.name)
        peer = caller.connected()
        if peer is None:
            raise ControlError(
                Code.INVALID_REQUEST,
                "backend.register needs a connection to the control socket, not HTTP",
            )
        wanted = None if namespaces is None else frozenset(map(full_name, namespaces))
        self.forget(peer)
        self._registered[peer] = _Registration(wanted, authenticate)
        if self._nodes is not None:
            self._nodes.announce()
        log.info("%s is registered as a backend", peer.name)
        missing = () if wanted is None or authenticate else wanted - self._events.keys()
        return Registered(
            forwarded=[
                Forwarded(namespace=name, events=events)
                for name, events in self._events.items()
                if wanted is None or name in wanted
            ],
            missing=sorted(missing),
            authenticates=authenticate,
        )

    def forget(self, peer: BackendPeer) -> None:
        """Stop giving events to a peer, and asking it."""
        if self._registered.pop(peer, None) is not None and self._nodes is not None:
            self._nodes.announce()

    def list_namespaces(self) -> BackendNamespaces:
        """Return the namespaces for which there are backends, for the other nodes."""
        events: set[str] = set()
        authenticate: set[str] = set()
        for peer, registered in self._registered.items():
            if not peer.may_be_backend():
                continue
            names = {EVERY_NAMESPACE} if registered.namespaces is None else registered.namespaces
            events |= names
            if registered.authenticates and peer.allows(AUTHENTICATE):
                authenticate |= names
        return BackendNamespaces(_in_a_message(events), _in_a_message(authenticate))

    def _fits(self, peer: BackendPeer, namespace: str, *, to_authenticate: bool = False) -> bool:
        """Whether a peer is registered for a namespace, and may be given events now.

        Args:
            peer: the peer.
            namespace: the name of the namespace.
            to_authenticate: whether it is to say who a client is instead.
        """
        registered = self._registered.get(peer)  # CONTROL-72
        return (
            registered is not None
            and (registered.namespaces is None or namespace in registered.namespaces)
            and peer.may_be_backend()
            and (
                not to_authenticate
                or (registered.authenticates and peer.allows(AUTHENTICATE))  # CONTROL-97
            )
        )

    def _least_busy(self, namespace: str, *, to_authenticate: bool = False) -> BackendPeer | None:
        """Return the peer that fits and has the fewest calls to answer, or None."""
        fitting = [
            one
            for one in self._registered
            if self._fits(one, namespace, to_authenticate=to_authenticate)
        ]
        if not fitting:
            return None
        peer = min(fitting, key=lambda one: one.pending)
        self._registered[peer] = self._registered.pop(peer)
        return peer

    def choose(self, namespace: str, *, to_authenticate: bool, name: str) -> BackendPeer | None:
        """Return the backend of this name if it fits, or else the least busy one, or None."""
        for peer in self._registered:
            if name and peer.name == name and self._fits(peer, namespace):
                return peer
        return self._least_busy(namespace, to_authenticate=to_authenticate)

    async def _call(self, namespace: str, socket: Socket, told: BackendEvent) -> Raw:
        """Give an event to the backend of a socket: the one that it has, or else the least busy.

        One on this node comes before those on others.
        """
        peer = self._assigned.get(socket)
        last = None
        if isinstance(peer, Elsewhere):
            assert self._elsewhere is not None
            last = peer if self._elsewhere.still_fits(peer, namespace) else None
            peer = None
        if last is None:
            if peer is None or not self._fits(peer, namespace):  # CONTROL-32
                peer = self._least_busy(namespace)
            if peer is not None:
                self._assigned[socket] = peer
                return await peer.call(EVENT, told, self._options.deadline_s)
        if self._elsewhere is None:
            raise unavailable("no backend is registered for this event")
        called, self._assigned[socket] = await self._elsewhere.handle(
            namespace, told, self._options.deadline_s, last
        )
        return called.read()

    # -- the identity of clients

    async def authenticate(self, namespace: str, question: Any, timeout_s: float) -> bytes:
        """Ask a backend who a client is.

        Args:
            namespace: the namespace that the client wants to enter.
            question: the parameters of backend.authenticate.
            timeout_s: how long the backend may take.
        Returns:
            Its answer, as it was sent.
        Raises:
            ControlError: no backend is registered for this, or it has refused, or it has not
                answered in time.
        """
        peer = self._least_busy(namespace, to_authenticate=True)
        if peer is None and self._elsewhere is not None:
            return bytes(await self._elsewhere.authenticate(namespace, question, timeout_s))
        if peer is None:  # IDENT-27
            raise unavailable("no backend is registered that authenticates clients")
        return bytes(await peer.ask(AUTHENTICATE, question, timeout_s))

    # -- events

    def _handler_of(self, namespace: str, event: str) -> "Handler":
        async def forward(socket: Socket, *arguments: Any) -> Any:
            return await self._handle(namespace, socket, event, *arguments)

        forward.__qualname__ = _name_in_the_log(namespace)
        return forward

    def _handler_of_every_event(self, namespace: str) -> "Handler":
        async def forward(socket: Socket, event: Any, *arguments: Any) -> Any:
            return await self._handle(namespace, socket, event, *arguments)

        forward.__qualname__ = _name_in_the_log(namespace)
        return forward

    async def _handle(self, namespace: str, socket: Socket, event: Any, *arguments: Any) -> Any:
        """Give an event to a backend, and return the answer to the client."""
        told = BackendEvent(
            namespace=namespace,
            event=str(event),
            args=list(arguments),
            socket=socket.public_id,
            user=socket.user,
        )
        try:
            result = await self._call(namespace, socket, told)
            # CONTROL-30: null answers without arguments, as None does in a handler of the app.
            answer = None if bytes(result) == bytes(NULL) else pass_value(result)
        except ControlError as error:
            return self._refuse(socket, told.event, error)
        except RemoteProtocolError as error:
            wrong = ControlError(Code.INTERNAL_ERROR, "the backend's result cannot be sent")
            log.warning("the result of a backend for %r is wrong: %s", told.event, error)
            return self._refuse(socket, told.event, wrong)
        self.handled += 1
        return answer

    def _refuse(self, socket: Socket, event: str, error: ControlError) -> dict[str, Any]:
        """Tell a client that its event was not handled (CONTROL-33).

        It gets an event, because it may not have asked for an answer, and the answer as well.
        """
        self.failed += 1
        kind = "events that no backend has handled"
        self._refusals.tell(
            kind, "the event %r was not handled by a backend: %s", event[:100], error
        )
        reason: dict[str, Any] = {"code": error.code, "message": error.message}
        socket.emit(ERROR_EVENT, {"event": event, **reason})
        return {"error": reason}


def _in_a_message(names: set[str]) -> tuple[str, ...]:
    """Return the names as each heartbeat lists them: as all, if they are too many or too long."""
    if len(names) > MAX_NAMESPACES or sum(map(len, names)) > _NAMES_LENGTH:
        return (EVERY_NAMESPACE,)  # a node that asks in vain is told so, and asks another one
    return tuple(sorted(names))


def _name_in_the_log(namespace: str) -> str:
    """Name a handler by the option that creates it, which an operator knows."""
    return f"[control.backends] forward ({namespace})"
