"""Clients that were put out of a namespace and may not have been told yet."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import SessionClosed

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session

LEAVES_S: Final = 0.05
"""The longest wait for an old client to be told that it is out. Telling it usually takes less than
a millisecond, but longer if the client does not read, or is not polling just then."""

_PASSES: Final = 10  # of the scheduler


class Leaver:
    """A client that was put out. Whoever waits until it has been told keeps this alive.

    Args:
        session: with the client.
    """

    __slots__ = ("__weakref__", "session")

    def __init__(self, session: "Session") -> None:
        self.session = session


async def wait_told(leavers: Iterable[Leaver]) -> None:
    """Wait until clients have been told that they are out, for LEAVES_S at most.

    Without it, a newer client could be told that it is in before the old one is told that it is
    out, because output is gathered for a moment.
    """
    with trio.move_on_after(LEAVES_S) as scope:
        for leaver in leavers:
            with suppress(SessionClosed):
                await leaver.session.wait_drained()
    if scope.cancelled_caught:
        # On a busy machine the time can pass before the poller has had its turn to send.
        for _ in range(_PASSES):
            await trio.lowlevel.checkpoint()
