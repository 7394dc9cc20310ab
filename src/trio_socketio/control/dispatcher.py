"""Finds the method of a request, checks its caller and parameters, and encodes the answer.

It knows no transport: the control socket and ``/rpc`` hand their requests to the same one.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import Final

import trio

from trio_socketio.codec.json_rpc import (
    Code,
    Malformed,
    Request,
    encode_batch,
    encode_error,
    encode_result,
)
from trio_socketio.control.call_queue import SLICE_S
from trio_socketio.control.caller import Caller
from trio_socketio.control.failures import forbidden, too_large, unauthorized, unknown_method
from trio_socketio.control.methods import Method, find_methods
from trio_socketio.control.refusals import Refusals
from trio_socketio.control.spreading import Spreading
from trio_socketio.errors import ControlError, LocalProtocolError

log = logging.getLogger(__name__)

_NOT_DONE: Final = "not done: the answers before it fill the line; send fewer calls at once"

Call = Request | Malformed
"""A message to answer: a request, or one that should have been a request."""


class Tally:
    """Counts the calls of a method.

    Attributes:
        calls: how many have ended, in whatever way.
        failures: how many of them were answered with an error, or would have been.
        seconds: how long all of them took together, waiting included.
    """

    __slots__ = ("calls", "failures", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.seconds = 0.0


class Dispatcher:
    """The methods of the control API.

    Args:
        groups: objects whose functions are marked as methods.
        max_answer_bytes: an answer that would be longer is an error instead.
        refusals: logs refused notifications, because they have no answer.
        spreading: makes calls on all nodes; None if the server belongs to no cluster.

    Attributes:
        methods: by name.
        tallies: by the names of the methods, so peers cannot add to them.
    """

    def __init__(
        self,
        groups: Iterable[object],
        max_answer_bytes: int = 1 << 20,
        refusals: Refusals | None = None,
        spreading: Spreading | None = None,
    ) -> None:
        self.methods: dict[str, Method] = {}
        self.tallies: dict[str, Tally] = {}
        self._others = Tally()  # of calls of methods that do not exist
        self._max_answer_bytes = max_answer_bytes
        self._refusals = refusals or Refusals()
        self._spreading = spreading
        for group in groups:
            self.add(group)

    def add(self, group: object) -> None:
        """Add the methods of an object.

        Raises:
            LocalProtocolError: there is a method of this name already.
        """
        for method in find_methods(group):
            if method.name in self.methods:
                raise LocalProtocolError(f"there is a method {method.name} already")
            self.methods[method.name] = method
            self.tallies[method.name] = Tally()

    def is_plain(self, call: Call) -> bool:
        """Whether a call is answered without waiting for anything."""
        if isinstance(call, Malformed):
            return True
        method = self.methods.get(call.method)
        return method is None or not (
            method.is_async or (self._spreading is not None and method.spread is not None)
        )

    # -- one call

    def answer_now(self, call: Call, caller: Caller) -> bytes | None:
        """Make a plain call; return its answer, or None for a notification (RPC-07)."""
        if isinstance(call, Malformed):
            return encode_error(call.id, call.error)
        tally = self.tallies.get(call.method, self._others)
        began = perf_counter()
        try:
            method = self._find(call, caller)
            return self._encode(call, method, method.call(call.params, caller))
        except Exception as error:
            tally.failures += 1
            return self._fail(call, error)
        finally:
            tally.calls += 1
            tally.seconds += perf_counter() - began

    async def answer(self, call: Call, caller: Caller, *, is_spread: bool = True) -> bytes | None:
        """Make any call; return its answer, or None for a notification (RPC-07).

        Args:
            call: the call.
            caller: makes it.
            is_spread: False makes it on this node alone, even if its method is for all nodes.
        """
        if isinstance(call, Malformed):
            return encode_error(call.id, call.error)
        tally = self.tallies.get(call.method, self._others)
        began = perf_counter()
        try:
            method = self._find(call, caller)
            if is_spread and self._spreading is not None and method.spread is not None:
                given = method.read(call.params)
                return self._encode(call, method, await self._spreading.call(method, given, caller))
            result = method.call(call.params, caller)
            return self._encode(call, method, await result if method.is_async else result)
        except Exception as error:
            tally.failures += 1
            return self._fail(call, error)
        finally:
            tally.calls += 1
            tally.seconds += perf_counter() - began

    async def answer_batch(
        self,
        calls: Sequence[Call],
        caller: Caller,
        pause: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> bytes | None:
        """Make calls one after the other (RPC-14); return their answers.

        Once the answers fill a line, the other calls are not made.

        Args:
            calls: the batch.
            caller: makes them.
            pause: lets other tasks run, and is awaited between two calls when these take long.
        Returns:
            None if all were notifications (RPC-15).
        """
        answers: list[bytes] = []
        size = 0
        slice_ends = perf_counter() + SLICE_S
        for call in calls:
            if size > self._max_answer_bytes:  # CONTROL-22
                answer = self._refuse(call, too_large(_NOT_DONE))
            else:
                answer = await self.answer(call, caller)
            if answer is not None:
                answers.append(answer)
                size += len(answer)
            if perf_counter() > slice_ends:
                await pause()
                slice_ends = perf_counter() + SLICE_S
        return encode_batch(answers) if answers else None

    def refuse(self, calls: Sequence[Call], error: ControlError, *, is_batch: bool) -> bytes | None:
        """Make none of the calls; return the error of each, or None if all were notifications."""
        answers = [answer for call in calls if (answer := self._refuse(call, error)) is not None]
        if not answers:
            return None
        return encode_batch(answers) if is_batch else answers[0]

    # -- the steps

    def _refuse(self, call: Call, error: ControlError) -> bytes | None:
        if isinstance(call, Malformed):
            return encode_error(call.id, call.error)
        return self._fail(call, error)

    def _find(self, request: Request, caller: Caller) -> Method:
        grant = caller.grant
        if grant is None and request.method != "auth":  # CONTROL-13
            raise unauthorized("no valid token was given")
        method = self.methods.get(request.method)
        if method is None:
            raise unknown_method(request.method, self.methods)  # RPC-16
        if grant is not None and not grant.allows(request.method):  # CONTROL-15
            raise forbidden(request.method, grant.name)
        return method

    def _encode(self, request: Request, method: Method, result: object) -> bytes | None:
        if request.id is None:
            return None
        try:
            answer = encode_result(request.id, result, has_bytes=method.has_bytes)
        except LocalProtocolError as error:
            raise too_large(f"the result cannot be sent: {error}") from None
        if len(answer) > self._max_answer_bytes:  # CONTROL-21
            raise too_large(
                f"the result has {len(answer)} bytes, and a line at most {self._max_answer_bytes}",
                max_line_bytes=self._max_answer_bytes,
            )
        return answer

    def _fail(self, request: Request, error: Exception) -> bytes | None:
        if not isinstance(error, ControlError):
            log.error(
                "%s failed: this is a defect of trio-socketio", request.method, exc_info=error
            )
            error = ControlError(Code.INTERNAL_ERROR, "internal error; the server's log has it")
        elif request.id is None:
            kind = "notifications that were refused"
            self._refusals.tell(
                kind, "the notification %s was refused: %s", request.method[:100], error
            )
        if request.id is None:
            return None
        try:
            return encode_error(request.id, error)
        except LocalProtocolError as fault:  # its data is a method's own
            log.error("the data of an error of %s cannot be sent: %s", request.method, fault)
            return encode_error(request.id, ControlError(error.code, error.message))
