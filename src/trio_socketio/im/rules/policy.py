"""The rules of a namespace in the form in which they are asked."""

from copy import copy
from typing import NamedTuple

from trio_socketio.im.rules.options import EventRate, NamespaceRules, Rate
from trio_socketio.im.rules.patterns import Patterns
from trio_socketio.protocol.token_bucket import TokenRate, token_rate


class SharedRate(NamedTuple):
    """A rate that many users share.

    Args:
        all: of all of them.
        own: of each of them, once half of it is used up.
    """

    all: TokenRate
    own: TokenRate


class Policy:
    """What clients may do in a namespace.

    Args:
        rules: see NamespaceRules.
        everywhere: the rate of one user in all namespaces together; None for no bound.

    Attributes:
        rules, everywhere: see above.
        events, rooms, users: what clients may send and where; None for everything.
        user, joins: rates of one user; None for no bound.
        room, namespace: rates that users share; None for no bound.
    """

    __slots__ = (
        "_events",
        "events",
        "everywhere",
        "joins",
        "namespace",
        "room",
        "rooms",
        "rules",
        "user",
        "users",
    )

    def __init__(self, rules: NamespaceRules, everywhere: TokenRate | None = None) -> None:
        self.rules = rules
        self.everywhere = everywhere
        self.events, self.rooms, self.users = (
            None if one is None else Patterns(one)
            for one in (rules.events, rules.rooms, rules.users)
        )
        rates = rules.rates
        self.user, self.joins = compile_rate(rates.user), compile_rate(rates.joins)
        self.room, self.namespace = _share(rates.room), _share(rates.namespace)
        self._events = [
            (one.name, Patterns((one.name,)), token_rate(one.per_s, _burst(one)))
            for one in rates.events
        ]

    def with_rate(self, everywhere: TokenRate | None) -> "Policy":
        """Return what holds if the rate in all namespaces together is another one."""
        changed = copy(self)
        changed.everywhere = everywhere
        return changed

    def is_free(self, event: str) -> bool:
        """Whether clients may send an event as often as they like, whatever their tokens say."""
        return (
            self.events is None
            and self.rules.claim is None
            and self.user is None
            and self.everywhere is None
            and self.namespace is None
            and not self.event_rates(event)
        )

    def allows(self, event: str) -> bool:
        """Whether clients may send an event, as far as their tokens say nothing else."""
        return self.events is None or self.events.match(event)

    def event_rates(self, event: str) -> tuple[tuple[str, TokenRate], ...]:
        """Return the rates of an event, each with the name under which it is counted."""
        return tuple((name, rate) for name, patterns, rate in self._events if patterns.match(event))


def compile_rate(rate: Rate | None) -> TokenRate | None:
    """Return the rate of the buckets of an option."""
    return None if rate is None else token_rate(rate.per_s, _burst(rate))


def _share(rate: Rate | None) -> SharedRate | None:
    if rate is None:
        return None
    burst = _burst(rate)
    return SharedRate(token_rate(rate.per_s, burst), token_rate(rate.per_s / 2, max(burst // 2, 1)))


def _burst(rate: Rate | EventRate) -> int:
    return max(int(rate.per_s), 1) if rate.burst is None else rate.burst
