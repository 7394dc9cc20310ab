"""Which nodes are alive: each holds a lease, which it has to renew.

A lease that has ended never comes back, as others may have relied on its end. The node has to
enroll again, under another boot.
"""

from dataclasses import dataclass
from typing import Final

TOMBSTONE_S: Final = 24 * 3600.0
"""The time for which an ended lease is remembered, so that a late packet cannot revive it."""


@dataclass(slots=True)
class _Lease:
    node: str
    ends_at: float
    is_dead: bool = False


class Leases:
    """The leases of all nodes. All times: seconds on the caller's clock.

    Args:
        lease_s: how long a lease lasts; infinity where nodes cannot be lost without the store.
    """

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._by_boot: dict[str, _Lease] = {}

    def enroll(self, node: str, boot: str, now: float) -> tuple[str, ...] | None:
        """Give a node a lease. The leases of other boots of the same node end (PRES-23).

        Args:
            node: its name, which may be the same after a restart.
            boot: names this incarnation of it; never used before.
            now: the time.
        Returns:
            The boots whose leases have ended; None if this boot has had a lease that has ended.
        """
        self._forget(now)
        if boot in self._by_boot and not self.is_alive(boot, now):
            return None
        before = [
            other
            for other, lease in self._by_boot.items()
            if lease.node == node and other != boot and not lease.is_dead
        ]
        for other in before:
            self.end(other, now)
        self._by_boot[boot] = _Lease(node, now + self.lease_s)
        return tuple(before)

    def renew(self, boot: str, now: float) -> bool:
        """Lengthen a lease; return False if it has ended, or never was (PRES-22)."""
        if not self.is_alive(boot, now):
            return False
        self._by_boot[boot].ends_at = now + self.lease_s
        return True

    def end(self, boot: str, now: float) -> None:
        """End a lease for good: what its node does from now on has no effect."""
        lease = self._by_boot.get(boot)
        if lease is not None:
            lease.is_dead = True
            lease.ends_at = min(lease.ends_at, now)

    def is_alive(self, boot: str, now: float) -> bool:
        """Whether a boot has a lease that has not ended."""
        lease = self._by_boot.get(boot)
        return lease is not None and not lease.is_dead and now < lease.ends_at

    def ends_at(self, boot: str) -> float:
        """When a lease ends, or has ended, unless it is renewed. The boot has had one."""
        return self._by_boot[boot].ends_at

    def _forget(self, now: float) -> None:
        old = [boot for boot, lease in self._by_boot.items() if lease.ends_at + TOMBSTONE_S <= now]
        for boot in old:
            del self._by_boot[boot]
