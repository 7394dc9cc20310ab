"""Has a server go by the definitions of namespaces: makes, changes and ends them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.errors import ConnectRefused, OptionError
from trio_socketio.im.namespaces.definition import NamespaceDefinition
from trio_socketio.protocol.joining import State
from trio_socketio.protocol.user_ids import user_room
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.namespaces import Ended
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

CHANGED: Final = "namespace changed"
"""What clients are told that have to come in anew."""

_MAY_RETURN: Final = {"reason": "namespace_changed", "retry_after_s": 0}
"""What they are told besides: no official client returns by itself after a DISCONNECT (NSP-41)."""

ERROR_EVENT: Final = "logic/error"
_UNDEFINED: Final = -1  # the errcode of the contract for what has no code of its own


class Part(Protocol):
    """A part of the server that goes by the definition of a namespace, such as its identity."""

    def check(self, definition: NamespaceDefinition) -> None:
        """Refuse a definition that this server cannot go by.

        Raises:
            OptionError: it names the field.
        """

    def define(self, definition: NamespaceDefinition) -> None:
        """Go by a definition, which takes the place of an earlier one of the same name.

        It is called before the namespace is made, so that the first client finds it complete.

        Raises:
            OptionError: this server cannot go by it.
        """

    def forget(self, namespace: str) -> None:
        """Go by the configuration again; also if there was no definition."""


class LiveNamespaces:
    """The namespaces of a server that have definitions.

    Args:
        server: the server.
        wait_ended: waits, in the background, until the handlers of a namespace have ended.

    Attributes:
        parts: whatever goes by the definitions.
        replaces: whether a new client of a user puts out the old one, by the name of the namespace.
        faults: why definitions are not served here, by name.
    """

    def __init__(self, server: "Server", wait_ended: "Callable[[Ended], None]") -> None:
        self.parts: Sequence[Part] = ()
        self.replaces: Callable[[str], bool] = _replace_none
        self.faults: dict[str, str] = {}
        self._server = server
        self._wait_ended = wait_ended
        self._definitions: dict[str, NamespaceDefinition] = {}
        self._capacities: dict[str, Capacity] = {}

    @property
    def definitions(self) -> Mapping[str, NamespaceDefinition]:
        """The definitions that are served, by name."""
        return self._definitions

    def check(self, definition: NamespaceDefinition) -> None:
        """Refuse a definition that cannot be served here.

        Raises:
            OptionError: it names the field.
        """
        name = definition.namespace
        if name not in self._definitions:
            fault = self._find_conflict(name)
            if fault:
                raise OptionError("namespace", fault)
        for part in self.parts:
            part.check(definition)

    def _find_conflict(self, name: str) -> str:
        """Say why a namespace cannot be defined: somebody else has made it, or would (NSP-05)."""
        namespaces = self._server._namespaces
        parent = namespaces.find_parent(name)
        if parent is not None:
            return f"the app or the configuration serves {name} already, with {parent.name}"
        if name in namespaces.by_name:
            return f"the app or the configuration serves {name} already"
        return ""

    def take(self, definition: NamespaceDefinition) -> int:
        """Serve a namespace by a definition from now on; return how many clients were put out.

        If that fails, the log says why, and the namespace is not served here (NSP-12).
        """
        name = definition.namespace
        old = self._definitions.get(name)
        out = 0
        fault = "" if old is not None else self._find_conflict(name)
        if fault:
            self._note_fault(
                name,
                f"{fault}: call namespaces.remove to keep that one, or take it out of the app or "
                "configuration and restart",
            )
            return 0
        if old is not None and definition.needs_new_clients(old):
            # First, so that seats are given back to those who have given them.
            out = self._end(name, CHANGED)
        try:
            for part in self.parts:
                part.define(definition)
        except OptionError as error:
            out += self.drop(name, CHANGED)
            self._note_fault(name, str(error))
            return out
        self.faults.pop(name, None)
        self._definitions[name] = definition
        if name not in self._server._namespaces.by_name:
            self._make(definition)
        self._capacities[name].max_sockets = definition.max_sockets
        return out

    def _make(self, definition: NamespaceDefinition) -> None:
        namespace = self._server.of(definition.namespace)
        namespace._allow_recovery(definition.recovery)
        capacity = self._capacities[definition.namespace] = Capacity(namespace, self.replaces)
        namespace.add_steps([Step(State.AUTHENTICATING, capacity.admit)])
        namespace.observe(capacity)

    def drop(self, name: str, reason: str) -> int:
        """Serve a namespace no longer; return how many clients were put out."""
        self.faults.pop(name, None)
        self._definitions.pop(name, None)
        out = self._end(name, reason) if name in self._capacities else 0
        for part in self.parts:
            part.forget(name)
        return out

    def _end(self, name: str, reason: str) -> int:
        """End a namespace that a definition has made; return how many clients were put out."""
        del self._capacities[name]
        namespaces = self._server._namespaces
        namespace = namespaces.by_name.get(name)
        if namespace is None:  # the app has removed it
            return 0
        if namespace.sockets:
            told = {"errcode": _UNDEFINED, "errmsg": reason}
            if reason == CHANGED:
                told |= _MAY_RETURN
            namespace.local.emit(ERROR_EVENT, told)  # NSP-06
        ended = namespaces.end(name, reason)
        self._wait_ended(ended)
        return len(ended.sockets)

    def _note_fault(self, name: str, fault: str) -> None:
        log.error("the namespace %s is defined, but not served by this node: %s", name, fault)
        self.faults[name] = fault


class Capacity(Observer):
    """Bounds the clients of a namespace on this node (NSP-10).

    Args:
        namespace: the namespace.
        replaces: whether a new client of a user puts out the old one, by the name of a namespace.

    Attributes:
        max_sockets: how many may be in; None means any number. Those that are in stay in.
    """

    def __init__(self, namespace: "Namespace", replaces: Callable[[str], bool]) -> None:
        self.max_sockets: int | None = None
        self._namespace = namespace
        self._replaces = replaces
        self._sockets = namespace.sockets
        self._joining: set[Socket] = set()

    def admit(self, joining: "Joining") -> None:
        """Take a place for a client, or refuse it: a step of joining.

        Raises:
            ConnectRefused: the namespace is full.
        """
        if self.max_sockets is None:
            return
        socket = joining.socket
        assert socket is not None
        is_full = len(self._sockets) + len(self._joining) >= self.max_sockets
        if is_full and not self._has_place(socket):
            message = "Namespace is full"
            raise ConnectRefused(message, {"errcode": _UNDEFINED, "errmsg": message})
        self._joining.add(socket)
        joining.undo(lambda: self._joining.discard(socket))

    def _has_place(self, socket: "Socket") -> bool:
        """Whether a client takes the place of one of its user, which it puts out (NSP-28)."""
        user = socket.user
        if user is None or not self._replaces(self._namespace.name):
            return False
        return any(one.user == user for one in self._namespace.rooms.joined(user_room(user)))

    def joined(self, socket: "Socket") -> None:
        self._joining.discard(socket)


def _replace_none(namespace: str) -> bool:
    return False
