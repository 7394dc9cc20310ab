"""Holds off users who log in again and again."""

from typing import TYPE_CHECKING

from trio_socketio.im.rules.keys import login_key
from trio_socketio.protocol.token_bucket import TokenBuckets, TokenRate, token_rate

if TYPE_CHECKING:
    from trio_socketio.im.rules.options import LoginRate


class Logins:
    """The logins of users to namespaces.

    Args:
        buckets: count the logins; others may count something else with them.
        options: how often a user may log in; None means no limit.
    """

    __slots__ = ("_buckets", "_held", "_hold_off_s", "_rate")

    def __init__(self, buckets: TokenBuckets[str], options: "LoginRate | None" = None) -> None:
        self._buckets = buckets
        self._held: dict[str, float] = {}  # until when, in the order of their beginning
        self.apply(options)

    def __len__(self) -> int:
        return len(self._held)

    def apply(self, options: "LoginRate | None") -> None:
        """Apply other options. Users who are held off remain so."""
        self._rate: TokenRate | None = None
        self._hold_off_s = 0.0
        if options is None:
            self._held.clear()
        else:
            self._rate = token_rate(options.count / options.within_s, options.count)
            self._hold_off_s = options.hold_off_s

    def admit(self, namespace: str, user: str, now: float) -> float:
        """Count a login. One that is refused is not counted, and prolongs nothing.

        Args:
            namespace: to which the user logs in.
            user: the id of the user.
            now: seconds on the caller's clock.
        Returns:
            For how long the user is held off, in seconds; 0 if it may log in.
        """
        if self._rate is None:
            return 0.0
        key = login_key(namespace, user)
        until = self._held.get(key)
        if until is not None:
            if now < until:
                return until - now
            del self._held[key]
        due_s = self._buckets.take(key, self._rate, now)
        if not due_s:
            return 0.0
        self._make_room(now)
        wait_s = max(self._hold_off_s, due_s)  # RULE-23
        self._held[key] = now + wait_s
        return wait_s

    def _make_room(self, now: float) -> None:
        """Forget whose time is over, and if there are still too many, who was held off first.

        They are looked at in the order in which they began; some of them end later than others that
        began after them, and are forgotten a little later.
        """
        while self._held:
            first, until = next(iter(self._held.items()))
            if now < until and len(self._held) < self._buckets.most:
                break
            del self._held[first]
