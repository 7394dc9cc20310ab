"""An accept loop for one of several processes that accept connections of the same sockets.

All of them are woken by each connection, and the kernel gives it to the first that asks. That is
often the same one, as the one that has least to do is the fastest, and it would take all that wait.
So each of them looks at the numbers of all before it takes a connection, and one that has more than
the others leaves it to them for a moment (WORK-32). For a moment only: a process that stands still
takes none, and its clients must not wait for it.
"""

import select
import socket
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, Protocol

import trio

from trio_socketio.runtime.listeners import Accepting, need_no_place

LEAVE_S: Final = 0.002
"""How long a connection is left to others."""
_ACCEPTS_PER_LOOK: Final = 8
"""With one per look, a process that is busy for a whole turn between two looks takes too few."""
_SLICE_S: Final = 0.001
VAIN_S: Final = 0.5
"""How long others may take nothing of what is left to them."""
REST_S: Final = 0.25
"""How long nothing is left to them then; one connection is then, and decides whether to go on."""
_PAUSE_S: Final = 0.05
"""After such a time without connections nobody can tell whether others would have taken them."""


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
    wait_place: Callable[[str], Awaitable[None]] = need_no_place,
) -> None:
    """Accept connections, and hand them over, until cancelled; see accept_forever.

    Args:
        listener: a non-blocking socket.
        on_accept: called with each connection; see accept_forever.
        balance: the numbers of the other processes.
        count: returns the number of connections of this one.
        wait_place: called before on_accept; see accept_forever.
    """
    accepting = Accepting(listener, on_accept, wait_place)
    pending = select.poll()
    pending.register(listener, select.POLLIN)
    patience = Patience()
    while True:
        balance.publish(count())
        if await accepting.wait() and await _is_ours(balance, count, pending, patience):
            for _ in range(_ACCEPTS_PER_LOOK):
                if not await accepting.take():
                    break
                balance.publish(count())
                if balance.is_ahead(count()):
                    break
            await accepting.rest()


async def _is_ours(
    balance: Balance, count: Callable[[], int], pending: select.poll, patience: "Patience"
) -> bool:
    """Leave a connection to others if they are to take it; return whether it is still there."""
    leave_until = trio.current_time() + LEAVE_S
    while balance.is_ahead(count()):
        if patience.is_over():
            return True
        if trio.current_time() >= leave_until:  # WORK-31
            patience.was_in_vain()
            return True
        await trio.sleep(_SLICE_S)
        if not pending.poll(0):  # otherwise the wait for the next one would count as one for this
            patience.was_rewarded()
            return False
    return True


class Patience:
    """Whether to leave connections to others at all.

    If a process stands still that has few of them, all others leave every connection to it. They
    would accept one in LEAVE_S, just when many clients come back that it has kept waiting. So once
    nobody has taken what was left for VAIN_S, nothing is left for REST_S (WORK-34). On a machine
    with more to do than it can, others may miss a few in a row that they would have taken.
    """

    def __init__(self) -> None:
        self._vain_from = self._vain_at = -inf
        self._over_until = -inf

    def is_over(self) -> bool:
        """Whether to take every connection for now."""
        return trio.current_time() < self._over_until

    def was_in_vain(self) -> None:
        """Note that nobody has taken a connection that was left."""
        now = trio.current_time()
        if now - max(self._vain_at, self._over_until) > _PAUSE_S:
            self._vain_from = now
        self._vain_at = now
        if now - self._vain_from >= VAIN_S:
            self._over_until = now + REST_S

    def was_rewarded(self) -> None:
        """Note that another process has taken one."""
        self._vain_at = self._over_until = -inf
