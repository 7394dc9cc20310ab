"""The queue of claims that are to be released."""

from collections import deque

import trio

from trio_socketio.im.presence.claims import Claim


class Releases:
    """Releases on their way into the store, in order.

    The queue is bounded by the claims themselves: each is released once, and none can be made while
    the store is away (PRES-52).
    """

    __slots__ = ("_awaited", "_last", "_queue")

    def __init__(self) -> None:
        self._queue: deque[tuple[Claim, str]] = deque()
        self._last: dict[tuple[str, str], Claim] = {}  # by namespace and user
        self._awaited: dict[Claim, trio.Event] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, claim: Claim, reason: str) -> None:
        """Queue a release, with its reason for the log."""
        self._queue.append((claim, reason))
        self._last[claim.place] = claim

    @property
    def first(self) -> tuple[Claim, str]:
        """The oldest one; it stays there until the store has taken it."""
        return self._queue[0]

    def remove_first(self) -> None:
        """Note that the store has taken the oldest one."""
        claim, _ = self._queue.popleft()
        if self._last.get(claim.place) is claim:
            del self._last[claim.place]
        if claim in self._awaited:
            self._awaited.pop(claim).set()

    def clear(self) -> None:
        """Forget all releases: the lease ends instead."""
        while self._queue:
            self.remove_first()

    async def wait_taken(self, namespace: str, user: str) -> None:
        """Wait until the store has taken the releases of a user's clients on this node (PRES-51).

        Otherwise a client that has left could keep its successor out.
        """
        claim = self._last.get((namespace, user))
        if claim is not None:
            await self._awaited.setdefault(claim, trio.Event()).wait()
