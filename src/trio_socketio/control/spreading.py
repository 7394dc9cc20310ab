"""Calls methods on all nodes of a cluster.

The call is made on this node first, and is sent to the others in the same step, so that the calls
of one peer take effect everywhere in the order in which they came.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import trio

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.call_queue import drive
from trio_socketio.control.caller import Caller
from trio_socketio.control.failures import timed_out, unavailable
from trio_socketio.control.methods import Method
from trio_socketio.control.nodes import Answers, Nodes
from trio_socketio.control.spread import Parts
from trio_socketio.control.targets import find_namespace
from trio_socketio.errors import ControlError, TrioSocketIOError
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

NODES_S: Final = 2.0
"""How long other nodes may take to answer, if the call does not say."""


class Spreading:
    """Makes calls on all nodes.

    Args:
        nodes: the cluster.
        server: the server of this node.
        max_answer_bytes: the longest answer of a call.
    """

    def __init__(self, nodes: Nodes, server: Server, max_answer_bytes: int) -> None:
        self._nodes = nodes
        self._server = server
        self._max_answer_bytes = max_answer_bytes

    async def call(self, method: Method, given: dict[str, Any], caller: Caller) -> Any:
        """Make a call on all nodes.

        Args:
            method: has a `Spread`.
            given: its arguments, as it has read them.
            caller: makes the call.
        Returns:
            Its merged result.
        Raises:
            ControlError: this node refuses it, or no node has what it names.
        """
        spread = method.spread
        assert spread is not None
        if self._nodes.fault and not spread.question:  # NODE-51: half of an answer looks like one
            raise unavailable(
                f"other nodes cannot be asked, so nothing was done here either: {self._nodes.fault}"
            )
        told = {**method.tell(given, spread.left_out), **spread.added}
        fault: ControlError | None = None
        # Prepared first: a call that cannot be sent to the others has no effect here either.
        with self._nodes.question(spread.question or method.name, told) as question:
            try:
                own = method.run(given, caller)
                if method.is_async:
                    own = await drive(own, question.send, question.send)
            except ControlError as error:
                if error.code != Code.NOT_FOUND:
                    raise
                fault = error
            else:
                if spread.stops_at_first:
                    return spread.merge(self._parts(given, {self._nodes.name: own}))
            # A call that may take its time may take it on other nodes, too.
            timeout_s = NODES_S if spread.question else given.get("timeout_s", NODES_S)
            answers = await question.wait(timeout_s, one_is_enough=spread.stops_at_first)
        kind = method.result if spread.answer is None else spread.answer
        found, failed = _read(answers, kind)
        results = {} if fault else {self._nodes.name: own}
        if spread.question:
            return await self._merge_once(method, given, results, found, answers, failed, fault)
        results |= found
        if not results:
            raise _absent(fault, answers.missing, failed)
        return spread.merge(self._parts(given, results, {}, answers.missing, failed))

    async def _merge_once(
        self,
        method: Method,
        given: Mapping[str, Any],
        results: dict[str, Any],
        replies: dict[str, Any],
        answers: Answers,
        failed: dict[str, str],
        fault: ControlError | None,
    ) -> Any:
        """Merge the result of a call that one node makes for all with the replies of the others."""
        spread = method.spread
        assert spread is not None
        unknown: int | None = None
        missing = answers.missing
        if fault is None:
            place = find_namespace(self._server, given["namespace"])
            if place.adapter.reaches_other_nodes:
                unknown = await self._count_unknown(place, 1 + len(replies))
            else:  # nothing has gone out
                unknown, replies, failed = 0, {}, {}
                missing = [one.name for one in self._nodes.others()]
        else:
            # This node does not have the namespace, so it cannot reach the others' clients in it.
            if not replies:
                raise _absent(fault, missing, failed)
            acting = next(iter(replies))
            del replies[acting]
            results = {acting: await self._forward(method, given, acting)}
        return spread.merge(self._parts(given, results, replies, missing, failed, unknown))

    async def _forward(self, method: Method, given: Mapping[str, Any], node: str) -> Any:
        """Have another node make a call, for the clients of all nodes."""
        timeout_s = given.get("timeout_s", 0.0) + NODES_S
        answers = await self._nodes.ask(method.name, method.tell(given), timeout_s, [node])
        if node in answers.errors:
            raise answers.errors[node]
        found, failed = _read(answers, method.result)
        if node not in found:
            why = failed.get(node, f"it has not answered within {timeout_s:g} s")
            raise timed_out(f"the node {node!r}, which may have done it all the same: {why}")
        return found[node]

    async def _count_unknown(self, place: Namespace, ours: int) -> int | None:
        """Count the nodes of other programs that serve a namespace; None if that is not known."""
        with trio.move_on_after(NODES_S):
            try:
                return max(0, await place.adapter.node_count() - ours)
            except (TrioSocketIOError, TimeoutError):
                return None
        return None

    def _parts(
        self,
        given: Mapping[str, Any],
        results: Mapping[str, Any],
        replies: Mapping[str, Any] | None = None,
        missing: list[str] | None = None,
        failed: dict[str, str] | None = None,
        unknown: int | None = 0,
    ) -> Parts:
        return Parts(
            results,
            replies or {},
            missing or [],
            failed or {},
            given,
            unknown,
            self._max_answer_bytes,
        )


def _read(answers: Answers, kind: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the results of nodes; return also why the others have refused.

    A node that does not have what the call names has nothing to contribute, and is neither.
    """
    found: dict[str, Any] = {}
    failed = {
        node: str(error) for node, error in answers.errors.items() if error.code != Code.NOT_FOUND
    }
    for node, raw in answers.results.items():
        try:
            found[node] = msgspec.json.decode(raw, type=kind)
        except msgspec.MsgspecError as error:  # it is of another version
            failed[node] = f"its answer cannot be read: {error}"
    return found, failed


def _absent(
    fault: ControlError | None, missing: list[str], failed: Mapping[str, str]
) -> ControlError:
    """Make the error of a call that names something that no node has, as far as they tell."""
    assert fault is not None
    silent = [*missing, *failed]
    if not silent:
        return fault
    return ControlError(
        Code.UNAVAILABLE,
        f"{fault.message} on the nodes that have answered, and {len(silent)} have not: "
        f"{', '.join(silent[:5])}",
        {"retryable": True, "missing": {"nodes": missing}, "failed": dict(failed)},
    )
