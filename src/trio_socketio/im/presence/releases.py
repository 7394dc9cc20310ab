"""The queue of claims that are to be released."""

from collections.abc import Container
from typing import Final

import trio

from trio_socketio.im.presence.claims import Claim

MAX_BATCH: Final = 64
"""How many releases are under way at once."""


class Releases:
    """Releases on their way into the store, those of each user in order.

    A release that waits for the store is a mark on its claim. So the queue is bounded by the claims
    themselves: each is released once, and none can be made while the store is away (PRES-52).
    """

    __slots__ = ("_aside", "_awaited", "_last", "_queue")

    def __init__(self) -> None:
        self._aside: dict[str, dict[Claim, str]] = {}  # by namespace, the oldest first
        self._queue: dict[Claim, str] = {}  # the oldest first
        self._last: dict[tuple[str, str], Claim] = {}  # by namespace and user
        self._awaited: dict[Claim, trio.Event] = {}

    def __len__(self) -> int:
        return len(self._queue) + sum(map(len, self._aside.values()))

    def add(self, claim: Claim, reason: str) -> None:
        """Queue a release, with its reason for the log."""
        self._queue[claim] = reason
        self._last[claim.place] = claim

    def next_batch(self, unusable: Container[str] = ()) -> list[tuple[Claim, str]]:
        """Return the oldest ones, at most one of each user; they stay until they are taken.

        Args:
            unusable: namespaces for which the store cannot take any. Theirs are put aside.
        """
        found: dict[tuple[str, str], tuple[Claim, str]] = {}
        aside: list[Claim] = []
        count = 0
        for claim, reason in self._queue.items():
            if claim.namespace in unusable:
                aside.append(claim)
                continue
            found.setdefault(claim.place, (claim, reason))
            count += 1
            if count == MAX_BATCH:
                break
        for claim in aside:
            self._aside.setdefault(claim.namespace, {})[claim] = self._queue.pop(claim)
        return list(found.values())

    def bring_back(self, namespace: str) -> None:
        """Queue those of a namespace again that were put aside, before any that came later."""
        self._queue = {**self._aside.pop(namespace, {}), **self._queue}

    def note_taken(self, claim: Claim) -> None:
        """Note that the store has taken the release of a claim, unless it was forgotten."""
        queue = self._queue if claim in self._queue else self._aside.get(claim.namespace, {})
        if queue.pop(claim, None) is None:
            return
        if self._last.get(claim.place) is claim:
            del self._last[claim.place]
        if claim in self._awaited:
            self._awaited.pop(claim).set()

    def clear(self) -> None:
        """Forget all releases: the lease ends instead."""
        for claim in (*self._queue, *(one for part in self._aside.values() for one in part)):
            self.note_taken(claim)
        self._aside.clear()

    def holds(self, namespace: str, user: str) -> bool:
        """Whether there are releases of a user's clients on this node."""
        return (namespace, user) in self._last

    def wake(self) -> None:
        """Have those who wait check whether that is still of use."""
        for claim in tuple(self._awaited):
            self._awaited.pop(claim).set()

    async def wait_taken(self, namespace: str, user: str) -> None:
        """Wait until the store has taken the releases of a user's clients on this node (PRES-51).

        Otherwise a client that has left could keep its successor out. It may return early.
        """
        claim = self._last.get((namespace, user))
        if claim is not None:
            await self._awaited.setdefault(claim, trio.Event()).wait()
