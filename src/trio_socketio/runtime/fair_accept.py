"""An accept loop for one of several processes that accept connections of the same sockets.

All of them are woken by each connection, and the kernel gives it to the first that asks. That is
often the same one, as the one that has least to do is the fastest, and it would take all that wait.
So each of them takes one connection per look, and one that has more than the others leaves it to
them for a moment (WORK-32). For a moment only: a process that stands still takes none, and its
clients must not wait for it.
"""

import select
import socket
from collections.abc import Callable
from typing import Final, Protocol

import trio

from trio_socketio.runtime.listeners import Accepting

LEAVE_S: Final = 0.002
"""How long a connection is left to others."""
_SLICE_S: Final = 0.0005


class Balance(Protocol):
    """Compares this process with the others."""

    def publish(self, count: int) -> None:
        """Tell the others how many connections this process has."""

    def is_ahead(self, count: int) -> bool:
        """Return whether another process is to take the next connection."""


@trio.lowlevel.enable_ki_protection
async def accept_fairly(
    listener: socket.socket,
    on_accept: Callable[[socket.socket, str], None],
    balance: Balance,
    count: Callable[[], int],
) -> None:
    """Accept connections, and hand them over, until cancelled; see accept_forever.

    Args:
        listener: a non-blocking socket.
        on_accept: called with each connection; see accept_forever.
        balance: the numbers of the other processes.
        count: returns the number of connections of this one.
    """
    accepting = Accepting(listener, on_accept)
    pending = select.poll()
    pending.register(listener, select.POLLIN)
    while True:
        balance.publish(count())
        if await accepting.wait() and await _is_ours(balance, count, pending):
            accepting.take()
            await accepting.rest()


async def _is_ours(balance: Balance, count: Callable[[], int], pending: select.poll) -> bool:
    """Leave a connection to others if they are to take it; return whether it is still there."""
    balance.publish(count())  # connections have ended since
    leave_until = trio.current_time() + LEAVE_S
    while balance.is_ahead(count()):
        if trio.current_time() >= leave_until:  # WORK-31
            return True
        await trio.sleep(_SLICE_S)
        if not pending.poll(0):  # otherwise the wait for the next one would count as one for this
            return False
    return True
