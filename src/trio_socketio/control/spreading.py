"""Calls methods on all nodes of a cluster.

The call is made on this node first, and is sent to the others in the same step, so that the calls
of one peer take effect everywhere in the order in which they came.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import trio

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.call_queue import drive
from trio_socketio.control.caller import Caller
from trio_socketio.control.failures import timed_out, unavailable
from trio_socketio.control.methods import Method
from trio_socketio.control.nodes import Answers, Nodes, Question
from trio_socketio.control.spread import Parts, Spread
from trio_socketio.control.targets import find_namespace
from trio_socketio.errors import ControlError, TrioSocketIOError
from trio_socketio.socketio.adapter import Adapter
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
        make = self._make_once if spread.question else self._make_everywhere
        return await make(method, spread, given, caller)

    async def _make_everywhere(
        self, method: Method, spread: Spread, given: dict[str, Any], caller: Caller
    ) -> Any:
        """Make a call that each node makes for its own clients."""
        if self._nodes.fault:  # NODE-51: half of an answer looks like one
            raise unavailable(
                f"other nodes cannot be asked, so nothing was done here either: {self._nodes.fault}"
            )
        spared: list[str] = []
        to: list[str] | None = None
        if spread.is_for_sharers is not None and await spread.is_for_sharers(self._server, given):
            spared = [one.name for one in self._nodes.others() if one.shares_presence]
            to = [one.name for one in self._nodes.others() if not one.shares_presence]
            to += [name for name, shares in self._nodes.unheard().items() if not shares]
        results: dict[str, Any] = {}
        fault: ControlError | None = None
        told = {**method.tell(given, spread.left_out), **spread.added}
        # Prepared first: a call that cannot be sent to the others has no effect here either.
        with self._nodes.question(method.name, told, to) as question:
            try:
                results[self._nodes.name] = await _run(method, given, caller, question.send)
            except ControlError as error:
                if error.code != Code.NOT_FOUND:
                    raise
                fault = error
            else:
                if spread.stops_at_first:
                    return spread.merge(self._parts(given, results))
            # A call that may take its time may take it on other nodes, too.
            timeout_s = given.get("timeout_s", NODES_S)
            answers = await question.wait(timeout_s, one_is_enough=spread.stops_at_first)
        found, failed = _read(answers, spread.answer or method.result)
        results |= found
        if not results:
            raise _absent(fault, answers.missing, failed)
        parts = self._parts(given, results, {}, answers.missing, failed, spared=spared)
        return spread.merge(parts)

    async def _make_once(
        self, method: Method, spread: Spread, given: dict[str, Any], caller: Caller
    ) -> Any:
        """Make a call that one node makes for all, and merge what the others reply about it."""
        place: Namespace | None = None
        fault: ControlError | None = None
        told = {**method.tell(given, spread.left_out), **spread.added}
        with self._nodes.question(spread.question, told) as question:
            try:
                place = find_namespace(self._server, given["namespace"])
            except ControlError as error:
                fault = error
            else:
                sending = _Sending(question, place.adapter)
                own = await _run(method, given, caller, sending.send)
                sending.send()
                if sending.has_failed:
                    others = [one.name for one in self._nodes.others()]
                    others += self._nodes.unheard()
                    return spread.merge(self._parts(given, {self._nodes.name: own}, missing=others))
            answers = await question.wait(NODES_S)
        replies, failed = _read(answers, spread.answer)
        unknown: int | None = None
        if place is None:
            # NODE-43: this node cannot reach the clients of a namespace that it does not have.
            if not replies:
                raise _absent(fault, answers.missing, failed)
            acting = next(iter(replies))
            del replies[acting]
            results = {acting: await self._forward(method, given, acting)}
        else:
            results = {self._nodes.name: own}
            parents = {one.name for one in self._nodes.listed() if one.workers}
            ours = len({self._nodes.name, *replies} - parents)  # those that have clients
            unknown = await self._count_unknown(place, ours)
            if unknown and (answers.missing or failed):
                unknown = None  # NODE-53: those that are counted may be ours
        return spread.merge(self._parts(given, results, replies, answers.missing, failed, unknown))

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
        spared: Sequence[str] = (),
    ) -> Parts:
        return Parts(
            results,
            replies or {},
            missing or [],
            failed or {},
            given,
            spared,
            unknown,
            self._max_answer_bytes,
        )


class _Sending:
    """Sends the question about a call behind the call, if that is on its way to other nodes.

    Without the call, they would reply as if it had reached their clients (NODE-54).

    Args:
        question: about the call.
        adapter: sends the call.

    Attributes:
        has_failed: whether the call does not reach other nodes; then there is no question, either.
    """

    def __init__(self, question: Question, adapter: Adapter) -> None:
        self.has_failed = False
        self._question = question
        self._adapter = adapter
        self._unpublished = adapter.unpublished
        self._is_over = False

    def send(self) -> None:
        """Send it, unless that was done or given up before."""
        if self._is_over:
            return
        self._is_over = True
        adapter = self._adapter
        if not adapter.reaches_other_nodes or adapter.unpublished > self._unpublished:
            self.has_failed = True
        else:
            self._question.send()


async def _run(
    method: Method, given: dict[str, Any], caller: Caller, on_wait: Callable[[], None]
) -> Any:
    """Make a call on this node; on_wait is called whenever it waits for something."""
    result = method.run(given, caller)
    return await drive(result, on_wait, on_wait) if method.is_async else result


def _read(answers: Answers, kind: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the results of nodes; return also why the others have refused.

    A node that does not have what the call names has nothing to contribute, and is neither.
    """
    found: dict[str, Any] = {}
    failed = {
        node: error.message
        for node, error in answers.errors.items()
        if error.code != Code.NOT_FOUND
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
