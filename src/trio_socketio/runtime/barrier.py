"""The barrier around user code: whatever it raises is its own failure, and ends nothing else.

SystemExit and KeyboardInterrupt are no exception: one handler must not end the server for all. (A
real Ctrl-C is not raised in handlers, because whatever calls them runs under trio's
KeyboardInterrupt protection.) Only what unwinds a task has to be handed on: trio's Cancelled, and
the GeneratorExit of a task that is thrown away because trio itself has crashed.
"""

import trio


def split_failure(
    error: BaseException,
) -> tuple[BaseException | None, BaseException | None]:
    """Tell what user code has failed with from what has to be raised again.

    Args:
        error: that user code raised, perhaps a group.
    Returns:
        The failure, and what unwinds the task; either may be None, not both.
    """
    if isinstance(error, trio.Cancelled):
        return None, error
    if isinstance(error, GeneratorExit) and not trio.lowlevel.in_trio_task():
        return None, error  # it was not raised: the task is thrown away, for trio has crashed
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ExceptionGroup):
        # A GeneratorExit in a group was raised by somebody: it unwinds nothing.
        unwinding, failure = error.split(trio.Cancelled)
        return (failure, unwinding) if unwinding is not None else (error, None)
    return error, None


def disown(error: GeneratorExit, whose: object) -> RuntimeError:
    """What to raise instead of a GeneratorExit that user code raised of itself.

    Where tasks are awaited it could not be told from one that unwinds them. Python does the same
    with the StopIteration of a generator.
    """
    return RuntimeError(f"{whose} raised {error!r}")
