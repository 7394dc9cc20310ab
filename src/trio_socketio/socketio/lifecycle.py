"""Whether a server serves: the one place that says so.

The states, and what leads from one to the next: ::

            BEGIN             STARTED
    IDLE ──────────▶ STARTING ────────▶ SERVING
     │                   │                 │
     │ STOP              └────── STOP ─────┤
     ▼         BEGIN                       ▼
    FORESTALLED ──────────────────────▶ STOPPING ────▶ IDLE
                                                 END

END comes from every state in the middle, too: serving may fail or be cancelled.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

import trio

from trio_socketio.errors import LocalProtocolError

log = logging.getLogger(__name__)


class State(Enum):
    """The stage of a server's life."""

    IDLE = auto()
    FORESTALLED = auto()  # it was told to stop, and has not begun to serve
    STARTING = auto()
    SERVING = auto()
    STOPPING = auto()


class Input(Enum):
    """The inputs that change the state."""

    BEGIN = auto()
    STARTED = auto()
    STOP = auto()
    END = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.IDLE, Input.BEGIN): State.STARTING,
    (State.IDLE, Input.STOP): State.FORESTALLED,
    (State.FORESTALLED, Input.BEGIN): State.STOPPING,
    (State.FORESTALLED, Input.STOP): State.FORESTALLED,
    (State.STARTING, Input.STARTED): State.SERVING,
    (State.STARTING, Input.STOP): State.STOPPING,
    (State.STARTING, Input.END): State.IDLE,
    (State.SERVING, Input.STOP): State.STOPPING,
    (State.SERVING, Input.END): State.IDLE,
    (State.STOPPING, Input.STARTED): State.STOPPING,
    (State.STOPPING, Input.STOP): State.STOPPING,
    (State.STOPPING, Input.END): State.IDLE,
}


class Lifecycle:
    """The state of one server, and those who wait for its stop.

    Attributes:
        state: changed by this object alone.
    """

    def __init__(self) -> None:
        self.state = State.IDLE
        self._stopping = trio.Event()  # set in FORESTALLED and STOPPING; a new one in IDLE

    @property
    def is_idle(self) -> bool:
        """Whether the server does not serve, so that what it serves with can be changed."""
        return self.state in (State.IDLE, State.FORESTALLED)

    @property
    def told(self) -> str:
        """The state as programs see it; a stop that is kept has not stopped anything yet."""
        return State.IDLE.name.lower() if self.is_idle else self.state.name.lower()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be more than idle while the block runs.

        Raises:
            LocalProtocolError: the server is running already.
        """
        if not self.is_idle:
            raise LocalProtocolError("the server is running already")
        if self.state is State.FORESTALLED:
            log.info("stop was called before the server served: it stops when it has started")
        self._move(Input.BEGIN)
        try:
            yield
        finally:
            self._move(Input.END)
            self._stopping.set()  # RUN-27: wakes waiting tasks even if stop was not called
            self._stopping = trio.Event()

    def started(self) -> None:
        """Note that everything has started that serving needs."""
        self._move(Input.STARTED)

    def stop(self) -> None:
        """Ask for the stop. It is kept if the server has not begun to serve (RUN-26)."""
        self._move(Input.STOP)
        self._stopping.set()

    async def wait_stopping(self) -> None:
        """Wait until the stop is asked for, or serving ends without that."""
        await self._stopping.wait()

    def _move(self, received: Input) -> None:
        self.state = TRANSITIONS[self.state, received]
