"""Users and tokens that were revoked. They are kept until no token can be valid any more."""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Final, NamedTuple

from trio_socketio.im.identity.identity import Identity

_SLICE: Final = 64
"""How many revocations that are over are forgotten at a time."""


class Revocation(NamedTuple):
    """A revocation.

    Args:
        at_s: when it was made; a user's tokens that were issued later are not concerned.
        until_s: until when it is kept.
        noted_s: when this node has learned of it.
        undated: the ids of tokens of the user that do not say when they were issued, and are
            concerned nevertheless.
    """

    at_s: float
    until_s: float
    noted_s: float
    undated: frozenset[str] = frozenset()


class RevokedId(NamedTuple):
    """What was revoked.

    Args:
        is_token: whether it is a token; otherwise it is a user.
        id: of the token or user.
    """

    is_token: bool
    id: str


class Record(NamedTuple):
    """A revocation as nodes tell one another of it.

    Args:
        what: was revoked.
        at_s: when, by the clock of the node that was asked to.
        until_s: see Revocation.
        undated: see Revocation.
    """

    what: RevokedId
    at_s: float
    until_s: float
    undated: frozenset[str] = frozenset()


class Revocations:
    """What was revoked.

    Args:
        kept_s: how long a revocation is kept, unless it is made for another time.
        bound: how many are kept; each token among the undated ones of a user counts as another.
        clock: seconds since 1970.

    Attributes:
        kept_s: may be changed at any time, for revocations that are made later.
        on_kept_out: called with a user of whom another token was found that is to stay out.
    """

    def __init__(self, kept_s: float, bound: int, clock: Callable[[], float]) -> None:
        self.kept_s = kept_s
        self.on_kept_out: Callable[[str], None] | None = None
        self._bound = bound
        self._clock = clock
        self._users: dict[str, Revocation] = {}
        self._tokens: dict[str, Revocation] = {}
        self._undated = 0  # the tokens within the revocations of users
        # When each ends, whether it is one of a token, and its key: one entry for each, which is
        # too early if the revocation was made again.
        self._ends: list[tuple[float, bool, str]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def add(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        for_s: float | None = None,
        undated: Iterable[str] = (),
    ) -> float | None:
        """Revoke the tokens that a user has now, a token, or both.

        Args:
            user: the id of the user.
            token_id: the id of the token.
            for_s: how long to keep it; never shorter than an earlier one of the same.
            undated: the ids of the user's tokens that do not say when they were issued.
        Returns:
            Until when it is kept, seconds since 1970. None if there was no room: then nothing has
            changed (IDENT-41). One that is kept already needs no room.
        """
        now = self._clock()
        self._forget(now)
        until_s = now + (self.kept_s if for_s is None else for_s)
        keys = ((self._users, False, user), (self._tokens, True, token_id))
        named = [(kept, is_token, key) for kept, is_token, key in keys if key is not None]
        new = [(is_token, key) for kept, is_token, key in named if key not in kept]
        earlier = self._users.get(user or "")
        more = frozenset(undated) - (earlier.undated if earlier else frozenset())
        needed = len(new) + len(more)
        if needed and len(self) + self._undated + needed > self._bound:
            return None
        for kept, _, key in named:
            before = kept.get(key, Revocation(now, until_s, now))
            kept[key] = Revocation(now, max(until_s, before.until_s), now, before.undated)
        for is_token, key in new:
            heappush(self._ends, (until_s, is_token, key))
        if user is not None and more:
            self._keep_out(user, more)
        return max((kept[key].until_s for kept, _, key in named), default=until_s)

    def keep_out(self, identity: Identity) -> None:
        """Have a token stay revoked that does not say when it was issued (IDENT-76).

        Its client was being judged when its user was revoked. There are never more of these than
        clients that are judged at once, so that they are kept also if there is no room.

        Args:
            identity: is covered.
        """
        if identity.token_id is not None and not identity.is_dated and identity.user in self._users:
            before = self._undated
            self._keep_out(identity.user, frozenset((identity.token_id,)))
            if self.on_kept_out is not None and self._undated > before:
                self.on_kept_out(identity.user)

    def note(self, record: Record) -> bool:
        """Learn of a revocation that was made elsewhere (IDENT-81).

        It is kept also if there is no room: whoever has made it has found some.

        Args:
            record: of it. What is known already of the same user or token stays.
        Returns:
            Whether it was news.
        """
        now = self._clock()
        self._forget(now)
        if record.until_s <= now:
            return False
        is_token, key = record.what
        kept = self._tokens if is_token else self._users
        before = kept.get(key)
        if before is None:
            heappush(self._ends, (record.until_s, is_token, key))
            before = Revocation(-inf, record.until_s, now)
        is_newer = record.at_s > before.at_s
        kept[key] = Revocation(
            max(record.at_s, before.at_s),
            max(record.until_s, before.until_s),
            now if is_newer else before.noted_s,
            before.undated,
        )
        more = record.undated - before.undated
        if more:
            self._keep_out(key, more)
        return is_newer or bool(more) or record.until_s > before.until_s

    def find(self, what: RevokedId) -> Record | None:
        """Return what other nodes have to know of a revocation; None if there is none."""
        found = (self._tokens if what.is_token else self._users).get(what.id)
        if found is None or found.until_s <= self._clock():
            return None
        return Record(what, found.at_s, found.until_s, found.undated)

    def ids(self) -> Iterator[RevokedId]:
        """Return all that are kept at this moment; some may be over."""
        return (RevokedId(is_token, key) for _, is_token, key in tuple(self._ends))

    def _keep_out(self, user: str, token_ids: frozenset[str]) -> None:
        before = self._users[user]
        self._users[user] = before._replace(undated=before.undated | token_ids)
        self._undated += len(self._users[user].undated) - len(before.undated)

    def lift(self, *, user: str | None = None, token_id: str | None = None) -> bool:
        """Lift a revocation (IDENT-78). It looks through all that are kept.

        Args:
            user: the id of the user.
            token_id: the id of the token.
        Returns:
            Whether there was one.
        """
        now = self._clock()
        self._forget(now)
        was_in_force = False
        for kept, is_token, key in ((self._users, False, user), (self._tokens, True, token_id)):
            if key is None or key not in kept:
                continue
            lifted = kept.pop(key)
            self._undated -= len(lifted.undated)
            was_in_force |= lifted.until_s > now
            self._ends = [one for one in self._ends if one[2] != key or one[1] is not is_token]
            heapify(self._ends)
        return was_in_force

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
                self._undated -= len(kept.pop(key).undated)

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
        # one that was issued in the second of the revocation counts as older. A time of our own
        # clock is not compared with that of another node, but says whether the token was there
        # before this node learned of the revocation (IDENT-84).
        is_of_our_clock = identity.is_of_our_clock or not identity.is_dated
        revoked_at_s = found.noted_s if is_of_our_clock else found.at_s
        is_older = identity.issued_at_s - identity.leeway_s <= revoked_at_s
        return is_older or token_id in found.undated
