"""What a client passes on its way into a namespace, stage by stage."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import is_async

if TYPE_CHECKING:
    from collections.abc import Iterable

STEP_STAGES: Final = (State.AUTHENTICATING, State.MIDDLEWARE, State.SEAT)
"""The stages that have steps."""


class Step:
    """One question on the way into a namespace.

    Args:
        stage: AUTHENTICATING, MIDDLEWARE or SEAT.
        function: plain or async. Middleware is called with the socket, other steps with the
            Joining. It raises ConnectRefused to keep the client out.
        timeout_s: how long an async one may take; None means hook_timeout_s.
    """

    __slots__ = ("function", "is_async", "stage", "timeout_s")

    def __init__(
        self, stage: State, function: Callable[..., Any], *, timeout_s: float | None = None
    ) -> None:
        if stage not in STEP_STAGES:
            raise LocalProtocolError(f"there are no steps in the stage {stage.name}")
        self.stage = stage
        self.function = function
        self.is_async = is_async(function)
        self.timeout_s = timeout_s

    @property
    def takes_socket(self) -> bool:
        """Whether the function is called with the socket rather than with the Joining."""
        return self.stage is State.MIDDLEWARE

    def describe(self, namespace: str) -> str:
        """Names the step in the log."""
        what = "middleware" if self.takes_socket else f"{self.stage.name.lower()} step"
        return f"{what} of {namespace} ({function_name(self.function)})"


class Awaited(NamedTuple):
    """An async step at work, or another question that takes its time.

    Args:
        function: async.
        arguments: of the function.
        timeout_s: how long it may take; None means hook_timeout_s.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout_s: float | None = None


class Steps:
    """The steps of one namespace, in the order in which a client passes them."""

    __slots__ = ("_by_stage", "plan")

    def __init__(self) -> None:
        self._by_stage: dict[State, list[Step]] = {stage: [] for stage in STEP_STAGES}
        self.plan: tuple[Step, ...] = ()

    def add(self, steps: "Iterable[Step]") -> None:
        """Add steps behind the others of their stages."""
        for step in steps:
            self._by_stage[step.stage].append(step)
        self.plan = tuple(step for stage in STEP_STAGES for step in self._by_stage[stage])
