"""The calls that other nodes make of this one."""

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from trio_socketio.codec.json_rpc import NULL, Code, decode_messages, encode_error
from trio_socketio.codec.node_messages import MAX_MESSAGE_BYTES
from trio_socketio.control.call_queue import CallQueue, Nursery
from trio_socketio.control.dispatcher import Call, Dispatcher
from trio_socketio.control.failures import overloaded, too_large, unauthorized, unavailable
from trio_socketio.control.tokens import LOCAL, Grant
from trio_socketio.errors import ControlError

MAX_CALLS: Final = 1024
"""How many calls of one node may be under way here."""
MAX_ALL_CALLS: Final = 4 * MAX_CALLS
"""The same of all nodes."""
MAX_CALL_BYTES: Final = MAX_MESSAGE_BYTES - (64 << 10)
"""The longest call or answer: a message has some more around it."""

Reply = Callable[[bytes], None]
"""Sends a response of JSON-RPC 2.0 to the node that has called."""


class NodeCaller:
    """Another node, as the caller of methods: whoever can write to Redis may be one."""

    @property
    def grant(self) -> Grant:
        return LOCAL

    def authenticate(self, secret: str) -> Grant:
        raise unauthorized("nodes have no tokens")

    def connected(self) -> None:
        """Return None: there is no connection to a node."""


class NodeCalls:
    """Makes the calls of other nodes, those of each node in the order in which they came.

    Args:
        dispatcher: the methods that nodes may call of one another.

    Attributes:
        answered: how many calls were answered.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.answered = 0
        self.dispatcher = dispatcher
        self._caller = NodeCaller()
        self._nursery: Nursery | None = None
        self._queues: dict[str, CallQueue] = {}  # by the boot of the node

    def begin(self, nursery: Nursery) -> None:
        """Make calls that wait for something in tasks of this nursery."""
        self._nursery = nursery

    def end(self) -> None:
        """Make no more calls."""
        self._nursery = None

    def receive(self, boot: str, text: bytes, reply: Reply) -> None:
        """Make a call of a node.

        Args:
            boot: of the node.
            text: a request of JSON-RPC 2.0.
            reply: is called with the answer, now or later.
        """
        try:
            (call,), is_batch = decode_messages(text, 1)
            if is_batch or not isinstance(call, Call):
                raise ControlError(Code.INVALID_REQUEST, "expected one request")
        except ControlError as error:
            self._answer(NULL, encode_error(NULL, error), reply)
            return
        queue = self._queues.get(boot)
        if self._nursery is None:
            self._refuse(call, unavailable("the node ends"), reply)
        elif self.dispatcher.is_plain(call) and (queue is None or queue.is_idle):
            self._answer(call.id, self.dispatcher.answer_now(call, self._caller), reply)
        elif self._is_full(queue):  # NODE-36
            self._refuse(call, overloaded("the node has too many calls of this one to make"), reply)
        else:
            if queue is None:
                queue = self._queues[boot] = CallQueue(self._nursery, lambda: self._forget(boot))
            queue.add(lambda: self._make(call, reply))

    def lose(self, boot: str) -> None:
        """Cancel the calls of a node that wait for something: the node has gone."""
        queue = self._queues.pop(boot, None)
        if queue is not None:
            queue.cancel()

    async def _make(self, call: Call, reply: Reply) -> None:
        self._answer(call.id, await self.dispatcher.answer(call, self._caller), reply)

    def _forget(self, boot: str) -> None:
        queue = self._queues.get(boot)
        if queue is not None and not queue.count:
            del self._queues[boot]

    def _refuse(self, call: Call, error: ControlError, reply: Reply) -> None:
        self._answer(call.id, self.dispatcher.refuse([call], error, is_batch=False), reply)

    def _is_full(self, queue: CallQueue | None) -> bool:
        if queue is not None and queue.count >= MAX_CALLS:
            return True
        return sum(one.count for one in self._queues.values()) >= MAX_ALL_CALLS

    def _answer(self, call_id: Raw | None, answer: bytes | None, reply: Reply) -> None:
        if answer is None:  # it was a notification
            return
        if len(answer) > MAX_CALL_BYTES:  # an error that quotes what it was given
            error = too_large(f"the error has {len(answer)} bytes")
            answer = encode_error(call_id or NULL, error)
        self.answered += 1
        reply(answer)
