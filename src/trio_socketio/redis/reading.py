"""Has what arrived while the process stood still read before anything is judged."""

from trio.lowlevel import checkpoint


async def wait_read() -> None:
    """Let other tasks read what has arrived. Read the clock before, and judge by that.

    The next pass of the scheduler asks the kernel, and wakes whoever reads together with the
    caller, in any order. In the pass after it they have all run.
    """
    await checkpoint()
    await checkpoint()
