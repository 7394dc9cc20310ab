"""Users and tokens that were revoked. They are kept until no token can be valid any more."""

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple

from trio_socketio.im.identity.identity import Identity

_SLICE: Final = 64
"""How many revocations that are over are forgotten at a time."""


class Revocation(NamedTuple):
    """A revocation.

    Args:
        at_s: when it was made; a user's tokens that were issued later are not concerned.
        until_s: until when it is kept.
    """

    at_s: float
    until_s: float


class Revocations:
    """What was revoked.

    Args:
        kept_s: how long a revocation is kept, unless it is made for another time.
        bound: how many are kept.
        clock: seconds since 1970.

    Attributes:
        kept_s: may be changed at any time, for revocations that are made later.
    """

    def __init__(self, kept_s: float, bound: int, clock: Callable[[], float]) -> None:
        self.kept_s = kept_s
        self._bound = bound
        self._clock = clock
        self._users: dict[str, Revocation] = {}
        self._tokens: dict[str, Revocation] = {}
        # When each ends, whether it is one of a token, and its key: one entry for each, which is
        # too early if the revocation was made again.
        self._ends: list[tuple[float, bool, str]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def add(
        self, *, user: str | None = None, token_id: str | None = None, for_s: float | None = None
    ) -> bool:
        """Revoke the tokens that a user has now, a token, or both.

        Args:
            user: the id of the user.
            token_id: the id of the token.
            for_s: how long to keep it; never shorter than an earlier one of the same.
        Returns:
            Whether there was room; otherwise nothing has changed (IDENT-41). One that is kept
            already needs no room.
        """
        now = self._clock()
        self._forget(now)
        until_s = now + (self.kept_s if for_s is None else for_s)
        keys = ((self._users, False, user), (self._tokens, True, token_id))
        named = [(kept, is_token, key) for kept, is_token, key in keys if key is not None]
        new = [(is_token, key) for kept, is_token, key in named if key not in kept]
        if new and len(self) + len(new) > self._bound:
            return False
        for kept, _, key in named:
            before = kept.get(key)
            kept[key] = Revocation(now, max(until_s, before.until_s if before else until_s))
        for is_token, key in new:
            heappush(self._ends, (until_s, is_token, key))
        return True

    def _forget(self, now: float) -> None:
        """Forget some that are over: never so many that others would have to wait for it."""
        for _ in range(_SLICE):
            if not self._ends or self._ends[0][0] > now:
                return
            _, is_token, key = self._ends[0]
            kept = self._tokens if is_token else self._users
            until_s = kept[key].until_s
            if until_s > now:
                heapreplace(self._ends, (until_s, is_token, key))
            else:
                heappop(self._ends)
                del kept[key]

    def covers(self, identity: Identity) -> bool:
        """Whether an identity was revoked (IDENT-40)."""
        if not self._ends:
            return False
        now = self._clock()
        token_id = identity.token_id
        found = None if token_id is None else self._tokens.get(token_id)
        if found is not None and found.until_s > now:
            return True
        found = self._users.get(identity.user)
        if found is None or found.until_s <= now:
            return False
        # The clock of the issuer may be ahead (IDENT-63). Times within tokens are whole seconds, so
        # one that was issued in the second of the revocation counts as older.
        return identity.issued_at_s - identity.leeway_s <= found.at_s
