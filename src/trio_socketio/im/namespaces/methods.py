"""The methods namespaces.create, update and remove of the control socket.

The store orders the changes, and tells every node of them. The node that was asked then asks each
of the others, by node.namespaces, to answer when a change has had its effect there. So no call of
a node to another one changes anything.
"""

from typing import Annotated, Any, Final

import msgspec
import trio
from msgspec import UNSET, Meta, UnsetType

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import invalid, overloaded, store_unavailable, timed_out
from trio_socketio.control.methods import rpc
from trio_socketio.control.nodes import Nodes
from trio_socketio.control.spread import NONE_MISSING, MissingNodes, OverNodes
from trio_socketio.errors import ControlError, OptionError
from trio_socketio.im.namespaces.definition import (
    MaxSockets,
    Methods,
    NamespaceDefinition,
    SeatDefinition,
    check_name,
    encode_definition,
)
from trio_socketio.im.namespaces.service import NO_STORE, REMOVED, DefinedNamespaces
from trio_socketio.im.namespaces.store import (
    MAX_NAMESPACES,
    MAX_TOTAL_BYTES,
    Change,
    DefinitionRefused,
    DefinitionsUnavailable,
    Stamp,
)

ANSWER_S: Final = 2.0
"""How long nodes may take to do their part."""

_MORE_S: Final = 0.5  # for an answer to come back
_TRIES: Final = 5

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Reason = Annotated[str, Meta(min_length=1, max_length=200)]
Rules = dict[str, Any]


class Defined(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """What has become of a namespace.

    Args:
        done: how many clients were put out, of all nodes that have answered.
        definition: the namespace as it is now; null if it was removed.
        missing: what is missing; left out if all nodes have answered.
    """

    done: int
    definition: NamespaceDefinition | None = None
    missing: MissingNodes = NONE_MISSING


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has done about a change.

    Args:
        done: how many clients it has put out.
        fault: why it does not serve the namespace; empty if it does, or if that was removed.
    """

    done: int
    fault: str = ""


class DefinitionMethods:
    """The methods namespaces.create, update and remove.

    Args:
        service: the namespaces.
        nodes: that share them; None if there is no cluster.
    """

    def __init__(self, service: DefinedNamespaces, nodes: Nodes | None = None) -> None:
        self._service = service
        self._nodes = nodes

    @rpc("namespaces.create")
    async def create(
        self,
        namespace: Name,
        identity: Methods | None = None,
        seats: SeatDefinition | None = None,
        rules: Rules | None = None,
        chat: bool = False,
        confirm: bool | None = None,
        durable: bool | None = None,
        recovery: bool = True,
        max_sockets: MaxSockets | None = None,
    ) -> Defined:
        """Make a namespace, on all nodes, which is there until it is removed, also after a restart.

        Args:
            namespace: its name; a leading slash may be left out.
            identity: the methods that identify its clients: static, jwt, des, backend, webhook;
                with an empty list nobody is asked. Null means what [identity] says of the name.
            seats: the seats of its users; null means what [presence] says of the name.
            rules: what its clients may do; null means what [rules] says of the name.
            chat: whether it has the chat events.
            confirm: whether messages of its clients are delivered with confirmation; null means
                what [chat] says of the name.
            durable: whether such deliveries outlive a restart; null means what [deliveries] says of
                the name.
            recovery: whether lost clients can come back to their sockets, if [recovery] is on.
            max_sockets: how many clients each node lets in; null means any number.
        """
        definition = NamespaceDefinition(
            namespace=_read_name(namespace),
            identity=identity,
            seats=seats,
            rules=rules,
            chat=chat,
            confirm=confirm,
            durable=durable,
            recovery=recovery,
            max_sockets=max_sockets,
        )
        try:
            return await self._put(Change("create", definition.namespace), definition)
        except DefinitionRefused as error:
            raise _refused(error, definition.namespace) from None

    @rpc("namespaces.update")
    async def update(
        self,
        namespace: Name,
        identity: Methods | UnsetType | None = UNSET,
        seats: SeatDefinition | UnsetType | None = UNSET,
        rules: Rules | UnsetType | None = UNSET,
        chat: bool | UnsetType = UNSET,
        confirm: bool | UnsetType | None = UNSET,
        durable: bool | UnsetType | None = UNSET,
        recovery: bool | UnsetType = UNSET,
        max_sockets: MaxSockets | UnsetType | None = UNSET,
        revision: int | None = None,
    ) -> Defined:
        """Change a namespace that namespaces.create has made. What is left out stays as it is.

        If its identity, seats or recovery change, its clients are put out, and may come in anew.

        Args:
            namespace: its name; a leading slash may be left out.
            identity: as in namespaces.create; so are the following.
            seats: the seats of its users.
            rules: what its clients may do.
            chat: whether it has the chat events.
            confirm: whether messages of its clients are delivered with confirmation.
            durable: whether such deliveries outlive a restart.
            recovery: whether lost clients can come back to their sockets.
            max_sockets: how many clients each node lets in; those that are in stay in.
            revision: of the definition that is to be changed; another one is an error. Null changes
                whichever there is.
        """
        name = _read_name(namespace)
        given = {
            field: value
            for field, value in (
                ("identity", identity),
                ("seats", seats),
                ("rules", rules),
                ("chat", chat),
                ("confirm", confirm),
                ("durable", durable),
                ("recovery", recovery),
                ("max_sockets", max_sockets),
            )
            if value is not UNSET
        }
        for number in range(1, _TRIES + 1):
            old = self._service.find(name)
            if old is None:
                raise _refused(DefinitionRefused("missing"), name)
            if revision is not None and revision != old.revision:
                raise _changed(name, old.revision)
            definition = msgspec.structs.replace(old, **given)
            change = Change("update", name, expected=old.revision)
            try:
                return await self._put(change, definition)
            except DefinitionRefused as error:
                if error.why != "changed":
                    raise _refused(error, name) from None
            # Another node has changed it in this moment, and this one is about to hear of it.
            with trio.move_on_after(ANSWER_S / _TRIES * number):
                await self._service.wait_changed()
        raise overloaded(f"namespace: {name} is changed by others again and again")

    @rpc("namespaces.remove")
    async def remove(self, namespace: Name, reason: Reason = REMOVED) -> Defined:
        """Remove a namespace that namespaces.create has made, and put out its clients, everywhere.

        Clients that ask for it later are refused, as with any namespace that does not exist.

        Args:
            namespace: its name; a leading slash may be left out.
            reason: told to its clients, in the event logic/error.
        """
        name = _read_name(namespace)
        try:
            stamp = await self._change(Change("remove", name, reason=reason))
        except DefinitionRefused as error:
            raise _refused(error, name) from None
        return await self._settle(name, stamp, None)

    async def _put(self, change: Change, definition: NamespaceDefinition) -> Defined:
        """Have a definition kept, and wait for its effect.

        Raises:
            DefinitionRefused: because of what is kept already.
            ControlError: it cannot be used, or cannot be kept now.
        """
        try:
            self._service.live.check(definition)
            change = change._replace(definition=encode_definition(definition))
        except OptionError as error:
            if error.option == "namespace" and change.kind == "create":
                raise ControlError(
                    Code.EXISTS, str(error), {"parameter": "namespace"}
                ) from None  # NSP-05
            raise invalid(error.option, error.reason) from None
        stamp = await self._change(change)
        definition = msgspec.structs.replace(definition, revision=stamp.revision)
        return await self._settle(change.name, stamp, definition)

    async def _change(self, change: Change) -> Stamp:
        try:
            return await self._service.change(change)
        except DefinitionsUnavailable as error:
            if str(error) == NO_STORE:
                raise ControlError(Code.UNAVAILABLE, NO_STORE, {"retryable": False}) from None
            what = "it is unknown whether it was done" if error.is_unsure else "nothing was changed"
            raise store_unavailable(f"{what}: {error}") from None  # NSP-17

    async def _settle(
        self, name: str, stamp: Stamp, definition: NamespaceDefinition | None
    ) -> Defined:
        """Wait until a change has had its effect on all nodes, and add up what it has done."""
        service, nodes = self._service, self._nodes
        if nodes is None:
            await service.wait_made(stamp)
            return Defined(done=service.count_of(stamp.revision), definition=definition)
        params = {"namespace": name, **stamp._asdict()}
        answers = await nodes.ask("node.namespaces", params, ANSWER_S + _MORE_S)
        counts: dict[str, int] = {}
        failed = {node: error.message for node, error in answers.errors.items()}
        missing = list(answers.missing)
        for node, raw in answers.results.items():
            try:
                found = msgspec.json.decode(raw, type=Applied)
            except msgspec.MsgspecError as error:  # it is of another version
                failed[node] = f"its answer cannot be read: {error}"
            else:
                counts[node] = found.done
                if found.fault:
                    failed[node] = found.fault
        with trio.move_on_after(ANSWER_S) as waiting:
            await service.wait_made(stamp)
            counts[nodes.name] = service.count_of(stamp.revision)
        if waiting.cancelled_caught:
            missing.append(nodes.name)
        elif fault := service.live.faults.get(name, ""):
            failed[nodes.name] = fault
        return Defined(
            done=sum(counts.values()),
            definition=definition,
            nodes=dict(sorted(counts.items())),
            failed=failed,
            missing=MissingNodes(nodes=sorted(missing)) if missing else NONE_MISSING,
        )


class NodeNamespaces:
    """The method node.namespaces, which nodes call of one another.

    Args:
        service: the namespaces of this node.
    """

    def __init__(self, service: DefinedNamespaces) -> None:
        self._service = service

    @rpc("node.namespaces")
    async def settle(self, namespace: str, revision: int, epoch: str) -> Applied:
        """Answer when a change has had its effect here.

        Args:
            namespace: its name.
            revision: of the change.
            epoch: in which it was made.
        """
        service = self._service
        with trio.move_on_after(ANSWER_S):
            await service.wait_made(Stamp(epoch, revision))
            return Applied(
                done=service.count_of(revision), fault=service.live.faults.get(namespace, "")
            )
        raise timed_out(f"the node has not heard of it yet: {service.fault or 'it is busy'}")


def _read_name(text: str) -> str:
    try:
        return check_name(text)
    except OptionError as error:
        raise invalid("namespace", error.reason) from None


def _changed(name: str, revision: int) -> ControlError:
    return invalid("revision", f"{name} has the revision {revision} by now", revision=revision)


def _refused(error: DefinitionRefused, name: str) -> ControlError:
    if error.why == "exists":
        return ControlError(
            Code.EXISTS,
            f"namespace: {name} exists already; namespaces.update changes it",
            {"parameter": "namespace"},
        )
    if error.why == "missing":
        return ControlError(
            Code.NOT_FOUND,
            f"namespace: no namespace {name} was made by namespaces.create",
            {"parameter": "namespace"},
        )
    return overloaded(
        f"namespace: {MAX_NAMESPACES:,} namespaces, or definitions of {MAX_TOTAL_BYTES:,} bytes, "
        "are all that may be kept: remove others first",
        60_000,
    )
