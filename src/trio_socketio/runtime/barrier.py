"""The barrier around user code: whatever a function raises is its own failure, and ends no other.

That includes SystemExit and KeyboardInterrupt, because one handler must not end the server for all
clients. (A real Ctrl-C is not raised in handlers: their callers run under trio's protection from
KeyboardInterrupt.) Only what unwinds a task must be raised again: trio's Cancelled, and the
GeneratorExit of a task that is thrown away because trio itself has crashed.
"""

import trio


def split_failure(
    error: BaseException,
) -> tuple[BaseException | None, BaseException | None]:
    """Separate the failure of user code from what must be raised again (CODE-02).

    Args:
        error: what user code raised; it may be a group.
    Returns:
        The failure, and what unwinds the task. One of them may be None.
    """
    if isinstance(error, trio.Cancelled):
        return None, error
    if isinstance(error, GeneratorExit) and not trio.lowlevel.in_trio_task():
        return None, error  # not raised by the function: trio has crashed and discards the task
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ExceptionGroup):
        # A GeneratorExit in a group was raised by a function, so it is a failure like any other.
        unwinding, failure = error.split(trio.Cancelled)
        return (failure, unwinding) if unwinding is not None else (error, None)
    return error, None


def disown(error: GeneratorExit, whose: object) -> RuntimeError:
    """Make the error to raise instead of a GeneratorExit that user code raised of its own accord.

    Further out it could not be told from one that unwinds the task. Python does the same with a
    StopIteration that is raised inside a generator.
    """
    return RuntimeError(f"{whose} raised {error!r}")


def sole_error(error: BaseException) -> BaseException:
    """Return the exception in a group of one, however deep: user code may have used a nursery."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
