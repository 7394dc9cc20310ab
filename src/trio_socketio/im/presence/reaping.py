"""Ends the claims of nodes that are lost: what they would have said, the survivors say."""

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.im.presence.insisting import Insistence
from trio_socketio.im.presence.put_aside import PutAside
from trio_socketio.im.presence.store import NamespaceUnusable, StoreUnavailable

if TYPE_CHECKING:
    from trio_socketio.im.presence.store import PresenceStore

log = logging.getLogger(__name__)

MAX_LOOK_S: Final = 0.5
MIN_LOOK_S: Final = 0.05


async def reap(store: "PresenceStore", boot: str, insistence: Insistence) -> int:
    """End the claims of a boot whose lease has ended, slice by slice.

    Several nodes may do so at the same time.

    Returns:
        How many were ended from here.
    Raises:
        NamespaceUnusable: some cannot be ended, but all others were.
    """
    count = 0
    while ended := await insistence.ask("to end claims of lost nodes", lambda: store.reap(boot)):
        count += ended
    return count


class Reaper:
    """Looks for boots whose leases have ended, and ends their claims, until cancelled.

    Args:
        store: has the leases and the claims.
        insistence: asks it.
        aside: boots that have claims which cannot be ended.
    """

    def __init__(self, store: "PresenceStore", insistence: Insistence, aside: PutAside) -> None:
        self._store = store
        self._insistence = insistence
        self._aside = aside
        self._lost: dict[str, None] = {}  # boots, in the order in which they were found
        self._found = trio.Event()

    async def run(self) -> None:
        """Do both at the same time, as the store counts on being asked without a break."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            nursery.start_soon(self._try_again)
            while True:
                self._found = trio.Event()
                while self._lost:
                    boot = next(iter(self._lost))
                    await self._end(boot)
                    del self._lost[boot]
                await self._found.wait()

    async def _look(self) -> None:
        pause_s = min(max(self._store.lease_s / 20, MIN_LOOK_S), MAX_LOOK_S)  # LEASE-20
        while True:
            await trio.sleep(pause_s)
            try:
                lost = await self._store.expired()
            except StoreUnavailable:  # the renewals, which fail too, say why
                continue
            # The store names those that were put aside as long as they have claims.
            self._lost.update(dict.fromkeys(one for one in lost if one not in self._aside))
            if self._lost:
                self._found.set()

    async def _try_again(self) -> None:
        while True:
            for boot in await self._aside.wait_due():
                if boot in self._aside:
                    self._aside.put_on_trial(boot)
                else:
                    self._aside.forget(boot)

    async def _end(self, boot: str) -> None:
        try:
            ended = await reap(self._store, boot, self._insistence)  # LEASE-21
        except NamespaceUnusable as error:
            self._aside.note(boot, error)
            return
        if ended:
            log.warning(
                "presence: a node is lost: the lease of boot %s has ended, and %d seats of its "
                "clients with it",
                boot,
                ended,
            )
