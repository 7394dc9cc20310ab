"""Follows who is online, in a thread of its own: the other half of ControlClient."""

import json
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.presence_following import (
    ANSWER_S,
    SILENCE_S,
    Call,
    Note,
    Place,
    PresenceBatch,
    Step,
    passes,
)
from trio_socketio.errors import ConnectFailed, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.control.blocking_line import Line

log = logging.getLogger(__name__)


def follow_presence(open_line: "Callable[[float], Line]", place: Place) -> Iterator[PresenceBatch]:
    """Follow a place on connections of its own, one after the other; see ControlClient.

    Args:
        open_line: connects and introduces itself, until a time on the monotonic clock.
        place: what to follow.
    """
    while True:
        line: Line | None = None
        try:
            line = open_line(time.monotonic() + ANSWER_S)
            yield from _drive(_Calls(line), place.follow())
        except ControlError as error:
            if not passes(error):
                raise
            reason = str(error)
        except (ConnectFailed, OSError) as error:
            reason = str(error)
        finally:
            if line is not None:
                line.close()
        pause_s = place.next_pause()
        log.warning("presence is followed again in %.1f s: %s", pause_s, reason)
        time.sleep(pause_s)


def _drive(calls: "_Calls", steps: Generator[Step, Any, None]) -> Iterator[PresenceBatch]:
    step = next(steps)
    while True:
        outcome: Any = None
        try:
            if isinstance(step, PresenceBatch):
                yield step
            elif isinstance(step, Call):
                outcome = calls.call(step)
            elif isinstance(step, Note):
                calls.send(step, None)
            else:
                outcome = calls.receive()
        except ControlError as error:
            step = steps.throw(error)
        else:
            step = steps.send(outcome)


class _Calls:
    """The calls and notifications on a line."""

    def __init__(self, line: "Line") -> None:
        self._line = line
        self._notices: deque[Any] = deque()
        self._last_id = 0

    def send(self, step: Call | Note, number: int | None) -> None:
        request: dict[str, Any] = {"jsonrpc": "2.0", "method": step.method, "params": step.params}
        if number is not None:
            request["id"] = number
        message = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        self._line.send(message, time.monotonic() + ANSWER_S)

    def call(self, step: Call) -> Any:
        ends = time.monotonic() + ANSWER_S
        self._last_id += 1
        self.send(step, self._last_id)
        while True:
            try:
                message = self._line.receive(ends)
            except TimeoutError:
                raise ControlError(
                    Code.TIMEOUT, f"the server has not answered within {ANSWER_S:g} s"
                ) from None
            self._keep(message)
            if message.get("id") == self._last_id:
                if "result" in message:
                    return message["result"]
                error = message["error"]
                raise ControlError(error["code"], error["message"], error.get("data"))

    def receive(self) -> Any:
        ends = time.monotonic() + SILENCE_S
        try:
            while not self._notices:
                self._keep(self._line.receive(ends))
        except TimeoutError:
            return None
        return self._notices.popleft()

    def _keep(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise OSError("the server has sent what is not JSON-RPC")
        if message.get("method") == "backend.presence":
            self._notices.append(message["params"])
