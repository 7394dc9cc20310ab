"""The steps that a client passes on its way into a namespace, by stage."""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final, NamedTuple

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import check_function, is_async

STEP_STAGES: Final = (State.AUTHENTICATING, State.MIDDLEWARE, State.SEAT)
"""The stages that have steps."""


class Step:
    """A function that is asked whether a client may join.

    Args:
        stage: AUTHENTICATING, MIDDLEWARE or SEAT.
        function: plain or async. Middleware is called with the socket, other steps with the
            Joining. It raises ConnectRefused to keep the client out. A plain one may return an
            Awaited, which goes on with its work; so only the clients that need a task get one.
        timeout_s: how long an async function may take; None means hook_timeout_s.

    Raises:
        LocalProtocolError: the stage has no steps, the function cannot be called so, or the time is
            not a number above zero.

    Attributes:
        is_async: whether the function is async.
        takes_socket: whether the function is called with the socket rather than with the Joining.
    """

    __slots__ = ("function", "is_async", "stage", "takes_socket", "timeout_s")

    def __init__(
        self, stage: State, function: Callable[..., Any], *, timeout_s: float | None = None
    ) -> None:
        if stage not in STEP_STAGES:
            known = ", ".join(stage.name for stage in STEP_STAGES)
            shown = getattr(stage, "name", repr(stage))
            raise LocalProtocolError(f"the stages that have steps are {known}, not {shown}")
        what = "socket" if stage is State.MIDDLEWARE else "joining"
        check_function(f"{stage.name.lower()} step", function, (what,))
        _check_time(timeout_s)
        self.stage = stage
        self.function = function
        self.is_async = is_async(function)
        self.takes_socket = stage is State.MIDDLEWARE
        self.timeout_s = timeout_s

    def describe(self, namespace: str) -> str:
        """Return a name of the step for the log."""
        what = "middleware" if self.takes_socket else f"{self.stage.name.lower()} step"
        return f"{what} of {namespace} ({function_name(self.function)})"


def check_steps(steps: object) -> tuple[Step, ...]:
    """Return the steps as a tuple.

    Raises:
        LocalProtocolError: these are not steps.
    """
    found = tuple(steps) if isinstance(steps, Iterable) else ()
    if not isinstance(steps, Iterable) or not all(isinstance(step, Step) for step in found):
        raise LocalProtocolError(f"expected a list of Step(...), not {steps!r}")
    return found


def _check_time(timeout_s: object) -> None:
    if timeout_s is None:
        return
    if (
        not isinstance(timeout_s, (int, float))
        or isinstance(timeout_s, bool)
        or not 0 < timeout_s <= inf
    ):
        raise LocalProtocolError(
            f"the timeout_s of a step is a number of seconds above zero or None, not {timeout_s!r}"
        )


class Awaited(NamedTuple):
    """A call of an async function that the stages of a joining wait for.

    Args:
        function: async.
        arguments: those of the call.
        timeout_s: how long it may take; None means hook_timeout_s.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout_s: float | None = None


class Steps:
    """The steps of one namespace.

    Attributes:
        plan: the steps in the order in which a client passes them: by stage, then by registration.
    """

    __slots__ = ("_by_stage", "plan")

    def __init__(self) -> None:
        self._by_stage: dict[State, list[Step]] = {stage: [] for stage in STEP_STAGES}
        self.plan: tuple[Step, ...] = ()

    def add(self, steps: Iterable[Step]) -> None:
        """Add steps, each after the others of its stage."""
        for step in steps:
            self._by_stage[step.stage].append(step)
        # JOIN-06
        self.plan = tuple(step for stage in STEP_STAGES for step in self._by_stage[stage])
