"""The calls of the server on the connection of a backend."""

from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Raw

from trio_socketio.codec.json_rpc import Response, encode_request
from trio_socketio.control.backends import REGISTER
from trio_socketio.control.failures import too_large, unavailable
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.outgoing_calls import OutgoingCalls
from trio_socketio.control.outlet import Outlet
from trio_socketio.control.standing import Standing
from trio_socketio.errors import ControlError, LocalProtocolError, SessionClosed

if TYPE_CHECKING:
    from collections.abc import Callable


MAX_QUESTIONS: Final = 64
"""How many calls of `BackendCalls.ask` may wait for their answers."""


class Line(Protocol):
    """The part of a connection that the calls need; see Peer."""

    name: str

    def ask(self, request: bytes) -> None:
        """Send a request, and read on, so that its answer comes."""

    def close(self, reason: str) -> None:
        """Close the connection."""


class BackendCalls:
    """Calls the methods of a peer, and waits for its answers.

    Args:
        line: the connection.
        outlet: of the connection.
        standing: of the peer.
        options: the bounds.
    """

    __slots__ = (
        "_asked",
        "_line",
        "_on_end",
        "_options",
        "_outlet",
        "_questions",
        "_standing",
        "_timeouts",
        "name",
    )

    def __init__(
        self, line: Line, outlet: Outlet, standing: Standing, options: ControlOptions
    ) -> None:
        self.name = line.name
        self._line = line
        self._outlet = outlet
        self._standing = standing
        self._options = options
        ids = count(1)
        self._asked = OutgoingCalls("the backend", options.backends.max_in_flight, ids)
        self._questions = OutgoingCalls("the backend", MAX_QUESTIONS, ids)
        self._on_end: list[Callable[[], None]] = []
        self._timeouts = 0  # deadlines that have passed since its last answer

    @property
    def pending(self) -> int:
        """The number of calls that it has not answered yet."""
        return len(self._asked) + len(self._questions)

    def may_be_backend(self) -> bool:
        """Whether it is connected, and its token still lets it be told of events (CONTROL-76)."""
        return self.allows(REGISTER)

    def allows(self, method: str) -> bool:
        """Whether it is connected, and its token allows this method now."""
        return self._standing.may_be_called(method)

    def on_end(self, callback: "Callable[[], None]") -> None:
        """Have a function called once, when the peer sends nothing more or has gone."""
        self._on_end.append(callback)

    def notify(self, message: bytes) -> None:
        """Send a notification that is encoded already."""
        self._outlet.write(message)

    async def wait_room(self) -> None:
        """Wait until the peer has taken nearly all that was sent to it, or has gone."""
        await self._outlet.wait_room()

    def receive(self, response: Response) -> None:
        """Take an answer of the peer."""
        calls = self._questions if response.id in self._questions else self._asked
        calls.receive(response)

    def end(self, reason: str) -> None:
        """Tell all waiting callers that no answer will come, and who else has to know."""
        self._asked.close(reason)
        self._questions.close(reason)
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback()

    async def call(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Call a method of the peer, and wait for its result.

        Raises:
            ControlError: the peer has answered with an error, or not in time, or has gone, or
                cannot be sent the call.
        """
        return await self._call(self._asked, method, params, timeout_s)

    async def ask(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Call a method because of a client that nobody knows yet (CONTROL-95, CONTROL-96).

        Any number of strangers can cause such calls, so they have a bound of their own, and those
        that are not answered do not end a connection that carries the events of others.

        Raises:
            ControlError: see call.
        """
        return await self._call(self._questions, method, params, timeout_s)

    async def _call(self, calls: OutgoingCalls, method: str, params: Any, timeout_s: float) -> Raw:
        try:
            number = calls.expect()
            try:
                request = encode_request(method, params, number)
                if len(request) > self._options.max_line_bytes:  # CONTROL-34
                    raise too_large(f"{method} does not fit into a line of {self.name}")
            except BaseException:
                calls.forget([number])
                raise
            self._line.ask(request)
            (answer,) = await self._wait(calls, number, timeout_s)
        except SessionClosed:
            raise unavailable("the backend has gone") from None
        except LocalProtocolError as error:
            raise too_large(f"{method} cannot be sent: {error}") from None
        if isinstance(answer, ControlError):
            raise answer
        return answer

    async def _wait(
        self, calls: OutgoingCalls, number: int, timeout_s: float
    ) -> list[Raw | ControlError]:
        try:
            answers = await calls.wait([number], timeout_s)
        except ControlError:
            self._timeouts += calls is self._asked
            if self._timeouts >= self._options.backends.max_timeouts:  # CONTROL-35
                self._line.close(f"it has let {self._timeouts} deadlines pass without an answer")
            raise
        self._timeouts = 0
        return answers
