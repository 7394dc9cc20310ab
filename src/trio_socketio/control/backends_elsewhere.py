"""Backends that are registered on other nodes.

A node asks them only while none of its own fits. Each node says in its heartbeats, and at once when
that changes, for which namespaces there are backends on it.
"""

from collections.abc import Collection
from typing import Annotated, Any, Final, Protocol

import msgspec
import trio
from msgspec import Meta, Raw

from trio_socketio.codec.json_rpc import Code, decode_value, encode_value
from trio_socketio.codec.node_messages import EVERY_NAMESPACE, NodeFacts
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.failures import invalid, overloaded, timed_out, too_large, unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.nodes import Nodes
from trio_socketio.control.options import AUTHENTICATE
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError

EVENT: Final = "backend.event"
MAX_STRANGERS: Final = 64
"""How many clients other nodes may be asked about at a time."""
_ABSENT: Final = Raw(b"")

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error of a backend, or of the call that it was to answer.

    Args:
        code, message: as in JSON-RPC 2.0.
        data: JSON; empty if there is none.
    """

    code: int
    message: str
    data: Raw = _ABSENT

    def raised(self) -> ControlError:
        """Return it as an exception."""
        data = bytes(self.data)
        return ControlError(self.code, self.message, msgspec.json.decode(data) if data else None)


class Called(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of a call of a backend on another node.

    Args:
        peer: the name of the backend there; empty if there is none, and so nothing was done.
        result: what it has answered; empty if it has failed.
        error: how it has failed.
    """

    peer: str = ""
    result: Raw = _ABSENT
    error: Fault | None = None

    def read(self) -> Raw:
        """Return the result.

        Raises:
            ControlError: it has failed.
        """
        if self.error is not None:
            raise self.error.raised()
        return self.result


class Choosing(Protocol):
    """The backends of a node, as far as calls from other nodes need them."""

    def choose(self, namespace: str, *, to_authenticate: bool, name: str) -> BackendPeer | None:
        """Return the backend of this name if it fits, or else the least busy one, or None."""


class NodeBackends:
    """The methods node.backend_event and node.authenticate, which other nodes call.

    Args:
        backends: those of this node.
    """

    def __init__(self, backends: Choosing) -> None:
        self._backends = backends

    @rpc("node.backend_event")
    async def event(
        self, namespace: str, params: Raw, timeout_s: Seconds, peer: str = ""
    ) -> Called:
        """Have a backend of this node handle an event of a client of another one.

        Args:
            namespace: the namespace of the client.
            params: those of backend.event.
            timeout_s: how long the backend may take, in seconds.
            peer: the backend that has handled the client's last event; empty if none has.
        """
        chosen = self._backends.choose(namespace, to_authenticate=False, name=peer)
        if chosen is None:
            return Called()
        try:
            result = await chosen.call(EVENT, _decode(params), timeout_s)
        except ControlError as error:
            return Called(peer=chosen.name, error=_tell(error))
        return Called(peer=chosen.name, result=result)

    @rpc("node.authenticate")
    async def authenticate(self, namespace: str, params: Raw, timeout_s: Seconds) -> Called:
        """Have a backend of this node say who a client of another one is.

        Args:
            namespace: the namespace that the client wants to enter.
            params: those of backend.authenticate.
            timeout_s: how long the backend may take, in seconds.
        """
        chosen = self._backends.choose(namespace, to_authenticate=True, name="")
        if chosen is None:
            return Called()
        try:
            result = await chosen.ask(AUTHENTICATE, _decode(params), timeout_s)
        except ControlError as error:
            return Called(peer=chosen.name, error=_tell(error))
        return Called(peer=chosen.name, result=result)


class Elsewhere:
    """The backend of a socket on another node.

    Args:
        node: the name of the node.
        boot: of the node.
        peer: the name of the backend there.
    """

    __slots__ = ("boot", "node", "peer")

    def __init__(self, node: str, boot: str, peer: str) -> None:
        self.node = node
        self.boot = boot
        self.peer = peer


class BackendsElsewhere:
    """Calls the backends of other nodes.

    Args:
        nodes: the cluster.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._strangers = 0
        self._turn = 0

    def still_fits(self, backend: Elsewhere, namespace: str) -> bool:
        """Whether the node of a backend lives, and has backends for a namespace."""
        return any(
            one.boot == backend.boot and _covers(one.backends, namespace)
            for one in self._nodes.others()
        )

    async def handle(
        self, namespace: str, event: Any, timeout_s: float, last: Elsewhere | None
    ) -> tuple[Called, Elsewhere]:
        """Have a backend of another node handle an event.

        Args:
            namespace: the namespace of the client.
            event: the parameters of backend.event.
            timeout_s: how long it may take.
            last: has handled the client's last event, and still fits; None if there is none.
        Returns:
            The outcome, and the backend.
        Raises:
            ControlError: no node has a backend for this, or its node has not answered in time, or
                has gone.
        """
        fitting = [one for one in self._nodes.others() if _covers(one.backends, namespace)]
        if last is not None:
            fitting.sort(key=lambda one: one.boot != last.boot)
        else:
            fitting = self._rotate(fitting)
        extra = {} if last is None else {"peer": last.peer}
        node, called = await self._call(
            "node.backend_event", namespace, event, timeout_s, fitting, extra
        )
        if called is None or node is None:
            raise unavailable("no backend is registered for this event")
        return called, Elsewhere(node.name, node.boot, called.peer)

    async def authenticate(self, namespace: str, question: Any, timeout_s: float) -> Raw:
        """Have a backend of another node say who a client is.

        Any number of strangers can cause such calls, so they have a bound of their own: CONTROL-95.

        Raises:
            ControlError: see handle; or it has failed, or too many are asked about already.
        """
        if self._strangers >= MAX_STRANGERS:
            raise overloaded(f"other nodes are asked about {MAX_STRANGERS} clients already")
        self._strangers += 1
        try:
            return (await self._authenticate(namespace, question, timeout_s)).read()
        finally:
            self._strangers -= 1

    async def _authenticate(self, namespace: str, question: Any, timeout_s: float) -> Called:
        fitting = self._rotate(
            [one for one in self._nodes.others() if _covers(one.authenticators, namespace)]
        )
        _, called = await self._call(
            "node.authenticate", namespace, question, timeout_s, fitting, {}
        )
        if called is None:  # IDENT-27
            raise unavailable("no backend is registered that authenticates clients")
        return called

    def _rotate(self, fitting: list[NodeFacts]) -> list[NodeFacts]:
        if not fitting:
            return fitting
        self._turn += 1
        first = self._turn % len(fitting)
        return fitting[first:] + fitting[:first]

    async def _call(
        self,
        method: str,
        namespace: str,
        params: Any,
        timeout_s: float,
        fitting: list[NodeFacts],
        extra: dict[str, Any],
    ) -> tuple[NodeFacts | None, Called | None]:
        """Call a method of the first node that has a backend after all; see node.backend_event."""
        try:
            text = Raw(encode_value(params))
        except LocalProtocolError as error:
            raise too_large(f"{method} cannot be sent: {error}") from None
        ends_at = trio.current_time() + timeout_s
        for node in fitting:
            left_s = ends_at - trio.current_time()
            if left_s <= 0:
                break
            told = {"namespace": namespace, "params": text, "timeout_s": left_s, **extra}
            answers = await self._nodes.ask(method, told, left_s, [node.name])
            if node.name in answers.missing:
                if any(one.boot == node.boot for one in self._nodes.others()):
                    raise timed_out(f"the backend has not answered within {timeout_s:g} s")
                raise unavailable(f"the node of the backend, {node.name!r}, has gone")
            if node.name in answers.errors:
                raise answers.errors[node.name]
            try:
                called = msgspec.json.decode(answers.results[node.name], type=Called)
            except msgspec.MsgspecError as error:
                raise ControlError(
                    Code.INTERNAL_ERROR, f"the answer of the node {node.name!r} is wrong: {error}"
                ) from None
            if called.peer:
                return node, called
            # Its backend has just gone, and nothing was done there.
        return None, None


def _covers(names: Collection[str], namespace: str) -> bool:
    return EVERY_NAMESPACE in names or namespace in names


def _decode(params: Raw) -> Any:
    try:
        return decode_value(bytes(params))
    except RemoteProtocolError as error:
        raise invalid("params", str(error)) from None


def _tell(error: ControlError) -> Fault:
    data = _ABSENT if error.data is None else Raw(encode_value(error.data))
    return Fault(code=error.code, message=error.message, data=data)
