"""Claims whose clients were lost and may come back."""

import heapq
from collections.abc import Iterator
from math import inf

from trio_socketio.im.presence.claims import Claim


class Lingering:
    """The claims of lost clients, by namespace and id. All times: seconds on trio's clock.

    A claim that others have ended may stay here, so that its client is not let in again (PRES-58).
    """

    __slots__ = ("_by_id", "_ends")

    def __init__(self) -> None:
        self._by_id: dict[tuple[str, str], Claim] = {}
        self._ends: list[tuple[float, int, Claim]] = []  # a heap; also claims that have gone

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._by_id.values())

    def add(self, claim: Claim) -> None:
        """Remember a claim until its time is over."""
        self._by_id[claim.namespace, claim.id] = claim
        heapq.heappush(self._ends, (claim.until, claim.attempt, claim))

    def find(self, namespace: str, public_id: str) -> Claim | None:
        """Return the claim of the lost socket with this id."""
        return self._by_id.get((namespace, public_id))

    def forget(self, claim: Claim) -> None:
        """Forget a claim, if it is there: its client is back, or will not be let in."""
        if self.find(claim.namespace, claim.id) is claim:
            del self._by_id[claim.namespace, claim.id]

    def clear(self) -> None:
        """Forget all claims."""
        self._by_id.clear()
        self._ends.clear()

    def next_end(self) -> float:
        """When to call end_due again."""
        return self._ends[0][0] if self._ends else inf

    def end_due(self, now: float) -> list[Claim]:
        """Forget the claims whose time is over, and return them."""
        ended = []
        while self._ends and self._ends[0][0] <= now:
            _, _, claim = heapq.heappop(self._ends)
            if self.find(claim.namespace, claim.id) is not claim:
                continue
            if claim.until > now:  # a kick has put its end off
                heapq.heappush(self._ends, (claim.until, claim.attempt, claim))
                continue
            self.forget(claim)
            ended.append(claim)
        return ended
