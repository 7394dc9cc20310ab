"""The calls between this node and others: what it asks of them, and what they ask of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Raw

from trio_socketio.cluster.calls import MAX_CALL_BYTES, NodeCalls
from trio_socketio.cluster.channel import EVERYBODY, NodeChannel
from trio_socketio.cluster.questions import OpenQuestion, Questions
from trio_socketio.codec.json_rpc import Response, decode_messages
from trio_socketio.codec.json_text import encode_json
from trio_socketio.codec.node_messages import Answer, Ask, NodeFacts
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.failures import too_large
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError
from trio_socketio.protocol.nodes import NodesMachine


class Exchange:
    """Calls methods of other nodes, and answers their calls.

    Args:
        name: of this node.
        channel: carries the messages.
        machine: knows the other nodes.
        unheard: returns the names of nodes that may have clients, but cannot be asked.

    Attributes:
        calls: those of other nodes.
        questions: the calls of this node.
    """

    def __init__(
        self,
        name: str,
        channel: NodeChannel,
        machine: NodesMachine,
        unheard: Callable[[], Iterable[str]],
    ) -> None:
        self.calls = NodeCalls(Dispatcher((), MAX_CALL_BYTES))
        self.questions = Questions()
        self._name = name
        self._channel = channel
        self._machine = machine
        self._unheard = unheard

    def question(
        self, method: str, params: Any, to: Collection[str] | None
    ) -> AbstractContextManager[OpenQuestion]:
        """Prepare to call a method of other nodes; see control.nodes.Nodes."""
        number = self.questions.next_id()
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
        try:
            call = encode_json(request)
        except LocalProtocolError as error:
            raise too_large(f"{method} cannot be sent to other nodes: {error}") from None
        if len(call) > MAX_CALL_BYTES:  # NODE-33
            raise too_large(
                f"{method} has {len(call)} bytes, and a call of other nodes at most "
                f"{MAX_CALL_BYTES}"
            )
        return self.questions.opened(number, lambda: self._ask(Raw(call), to))

    def lose(self, node: NodeFacts) -> None:
        """Note that a node has gone."""
        self.questions.lose(node.name, node.boot)
        self.calls.lose(node.boot)

    def receive_ask(self, ask: Ask) -> None:
        """Take a call, which may be one of this node itself."""
        own = self._machine.own
        if own.is_own(ask.boot) or (ask.to and not own.is_own(ask.to)):
            return

        def reply(text: bytes) -> None:
            boot = self._machine.own.boot
            answer = Answer(name=self._name, boot=boot, to=ask.boot, reply=Raw(text))
            self._channel.send(ask.name, answer)

        self.calls.receive(ask.boot, bytes(ask.call), reply)

    def receive_answer(self, answer: Answer) -> None:
        """Take an answer, which may be one for another node of the same name."""
        if not self._machine.own.is_own(answer.to):
            return
        try:
            (response,), _ = decode_messages(bytes(answer.reply), 1)
        except ControlError as error:
            self._channel.drop_malformed(error)
            return
        if not isinstance(response, Response):
            self._channel.drop_malformed(RemoteProtocolError("an answer is not a response"))
        elif not self.questions.receive(answer.name, answer.boot, response):
            self._channel.dropped["late"] += 1

    def _ask(self, call: Raw, to: Collection[str] | None) -> tuple[Mapping[str, str], bool]:
        """Send a call; return the boots of the nodes that are asked, and whether it was sent."""
        peers = self._machine.roster.peers
        boot = self._machine.own.boot
        if to is None:
            asked = dict.fromkeys(self._unheard(), "")  # NODE-23: they are missing at once
            asked |= {name: peer.node.boot for name, peer in peers.items()}
            return asked, self._channel.send(EVERYBODY, Ask(name=self._name, boot=boot, call=call))
        asked = {name: peers[name].node.boot if name in peers else "" for name in to}
        sent = [
            self._channel.send(name, Ask(name=self._name, boot=boot, to=its_boot, call=call))
            for name, its_boot in asked.items()
            if its_boot
        ]
        return asked, all(sent)
