"""The adapter of a namespace from its start to its end.

A task of the server owns the start. Clients that want to join only wait for its result, so that one
of them may leave without taking the start from the others.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import trio

from trio_socketio.errors import ConnectRefused

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers


class State(Enum):
    """The stage of an adapter's life."""

    NEW = auto()  # also after a start that has failed
    STARTING = auto()
    STARTED = auto()
    CLOSED = auto()


class Startable(Protocol):
    """An adapter, as far as its life is concerned. The contracts are those of Adapter."""

    @property
    def needs_start(self) -> bool:
        """Whether `start` has to be awaited."""

    async def start(self) -> None:
        """Reach the other nodes."""

    def close(self) -> None:
        """Release what `start` has opened."""


class AdapterLife:
    """Starts one adapter, once, before any client joins, and closes it (RUN-09).

    Args:
        adapter: of the namespace.
        name: of the namespace.
        workers: run the start that a client has caused.

    Attributes:
        state: changed by this object alone.
    """

    __slots__ = ("_adapter", "_attempt", "_name", "_workers", "state")

    def __init__(self, adapter: Startable, name: str, workers: "Workers") -> None:
        self.state = State.NEW if adapter.needs_start else State.STARTED
        self._adapter = adapter
        self._name = name
        self._workers = workers
        self._attempt: _Attempt | None = None

    async def start(self, timeout_s: float) -> None:
        """Start the adapter in this task, before the server accepts clients.

        Raises:
            TimeoutError: it takes longer than timeout_s.
            Exception: whatever the adapter raises.
        """
        if self.state is State.NEW:
            with trio.move_on_after(timeout_s) as scope:
                await self._adapter.start()
                self.state = State.STARTED
            if scope.cancelled_caught:  # RUN-24
                raise self._too_slow(timeout_s)

    async def wait_started(self, timeout_s: float) -> None:
        """Wait until the adapter has started; begin the start if no other task has.

        Args:
            timeout_s: how long the start may take, if it is tried.
        Raises:
            ConnectRefused: it does not start. The reason was logged.
        """
        if self.state is State.STARTED:
            return
        attempt = self._attempt
        if attempt is None:
            attempt = _Attempt()
            # RUN-29: in a task of the server, not of this client
            if self.state is not State.NEW or not self._workers.spawn(
                self._try_to_start, attempt, timeout_s
            ):
                raise ConnectRefused("server shutting down")
            self._attempt = attempt
            self.state = State.STARTING
        await attempt.over.wait()
        if not attempt.succeeded:
            raise ConnectRefused("Internal server error")

    async def _try_to_start(self, attempt: "_Attempt", timeout_s: float) -> None:
        try:
            attempt.scope.deadline = trio.current_time() + timeout_s
            with attempt.scope:
                await self._workers.call_async(self._adapter.start)
                attempt.succeeded = True
            if attempt.scope.cancelled_caught and self.state is State.STARTING:  # RUN-24
                raise self._too_slow(timeout_s)
        except BaseException as error:
            self._workers.log_failure("the start of the adapter", self._name, error)
        finally:
            self._attempt = None  # RUN-30
            if self.state is State.CLOSED:
                attempt.succeeded = False
                self._close()
            else:
                self.state = State.STARTED if attempt.succeeded else State.NEW
            attempt.over.set()

    def close(self) -> None:
        """Close the adapter, once: the namespace or the server ends.

        One that is being started is closed when the start has ended, which is cancelled. An
        exception of the adapter is logged.
        """
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        if self._attempt is None:
            self._close()
        else:
            self._attempt.scope.cancel()

    def _close(self) -> None:
        try:
            self._adapter.close()
        except BaseException as error:
            self._workers.log_failure("closing the adapter", self._name, error)

    def _too_slow(self, timeout_s: float) -> TimeoutError:
        return TimeoutError(f"the adapter of {self._name} did not start within {timeout_s:g} s")


class _Attempt:
    """One try to start an adapter."""

    __slots__ = ("over", "scope", "succeeded")

    def __init__(self) -> None:
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self.succeeded = False
