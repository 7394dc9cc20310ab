"""Users and tokens that were revoked. They are kept until no token can be valid any more."""

from collections.abc import Callable
from typing import NamedTuple

from trio_socketio.im.identity.identity import Identity


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
    """

    def __init__(self, kept_s: float, bound: int, clock: Callable[[], float]) -> None:
        self._kept_s = kept_s
        self._bound = bound
        self._clock = clock
        self._users: dict[str, Revocation] = {}
        self._tokens: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._users) + len(self._tokens)

    @property
    def has_room(self) -> bool:
        """Whether another one can be kept; those that are over are forgotten first."""
        if len(self) >= self._bound:
            now = self._clock()
            self._users = {key: one for key, one in self._users.items() if one.until_s > now}
            self._tokens = {key: one for key, one in self._tokens.items() if one.until_s > now}
        return len(self) < self._bound

    def add(
        self, *, user: str | None = None, token_id: str | None = None, for_s: float | None = None
    ) -> None:
        """Revoke the tokens that a user has now, a token, or both. There must be room for them.

        Args:
            user: the id of the user.
            token_id: the id of the token.
            for_s: how long to keep it; never shorter than an earlier one of the same.
        """
        now = self._clock()
        until_s = now + (self._kept_s if for_s is None else for_s)
        for kept, key in ((self._users, user), (self._tokens, token_id)):
            if key is not None:
                before = kept.pop(key, None)
                kept[key] = Revocation(now, max(until_s, before.until_s if before else until_s))

    def covers(self, identity: Identity) -> bool:
        """Whether an identity was revoked (IDENT-40)."""
        if not self._users and not self._tokens:
            return False
        now = self._clock()
        token_id = identity.token_id
        found = None if token_id is None else self._tokens.get(token_id)
        if found is not None and found.until_s > now:
            return True
        # Times within tokens are whole seconds, so one that was issued in the second of the
        # revocation counts as older.
        found = self._users.get(identity.user)
        return found is not None and found.until_s > now and identity.issued_at_s <= found.at_s
