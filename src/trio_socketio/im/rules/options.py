"""The options of rules: what clients may do in a namespace, and how often."""

from typing import Any, Final

from trio_socketio.errors import OptionError
from trio_socketio.im.rules.patterns import check_patterns, is_text_pattern
from trio_socketio.option_checks import OptionGroup, check_group, check_groups, check_range
from trio_socketio.protocol.namespace_patterns import is_pattern

MAX_PER_S: Final = 1_000_000.0
MAX_BURST: Final = 1_000_000


class Rate(OptionGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often something may happen. Each node counts for itself.

    Args:
        per_s: how often in a second, in the long run.
        burst: how often at once; None means per_s, and 1 at least.
    """

    per_s: float
    burst: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "per_s", 0.0001, MAX_PER_S)
        if self.burst is not None:
            check_range(self, "burst", 1, MAX_BURST)


class EventRate(OptionGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a user may send one kind of event. Each node counts for itself.

    Args:
        name: of the event; a * in it stands for any text, and then all such events share the rate.
        per_s: how often in a second, in the long run.
        burst: how often at once; None means per_s, and 1 at least.
    """

    name: str
    per_s: float
    burst: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_text_pattern(self.name):
            raise OptionError("name", f"expected an event, with one * at most, not {self.name!r}")
        check_range(self, "per_s", 0.0001, MAX_PER_S)
        if self.burst is not None:
            check_range(self, "burst", 1, MAX_BURST)


def _check_rate(name: str, rate: Any) -> None:
    if rate is not None:
        check_group(name, rate, Rate)


class Rates(OptionGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often something may happen in a namespace. None means no limit.

    Each node counts for itself: a user with sockets on two nodes may send twice as much.

    Args:
        user: events of one user, over all its sockets on a node; a client without a user is counted
            by its connection.
        events: events of one user that have a certain name.
        room: messages into one room, or to one user. Once half of that is used up, one sender gets
            no more than half of it, so that there is room for others.
        namespace: events of all clients of the namespace; shared out like those of a room.
        joins: rooms that one user enters.
    """

    user: Rate | None = None
    events: tuple[EventRate, ...] = ()
    room: Rate | None = None
    namespace: Rate | None = None
    joins: Rate | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("user", "room", "namespace", "joins"):
            _check_rate(name, getattr(self, name))
        check_groups("events", self.events, EventRate)
        names = [one.name for one in self.events]
        for name in names:
            if names.count(name) > 1:
                raise OptionError("events", f"two of them are named {name!r}")


class NamespaceRules(OptionGroup, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients may do in one namespace, and how often.

    A pattern is a name in which one * may stand for any text. A list that is left out allows
    everything, and an empty one nothing. Rooms and users are those of chat events; the handlers of
    an app must check the rooms that they use.

    Args:
        name: of the namespace; with a * at its end, of all that begin so. It is left out where
            rules are part of the definition of a namespace.
        events: patterns of the events that clients may send.
        rooms: patterns of the rooms that they may enter, and send to.
        users: patterns of the ids of users that they may send to.
        claim: the name of a claim of their tokens: an object in which events, rooms, users and rate
            (of the user's events) each take the place of what is given here. None means that tokens
            change nothing.
        rates: how often.
    """

    name: str = ""
    events: tuple[str, ...] | None = None
    rooms: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    claim: str | None = None
    rates: Rates = Rates()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name and not is_pattern(self.name):
            raise OptionError(
                "name", f"expected the name of a namespace, as /chat or /room-*, not {self.name!r}"
            )
        for name in ("events", "rooms", "users"):
            check_patterns(name, getattr(self, name))
        if self.claim == "":
            raise OptionError("claim", "expected the name of a claim, not ''")


class LoginRate(OptionGroup, frozen=True, kw_only=True):
    """How often a user may log in to a namespace, as each node counts it, before it is held off.

    Args:
        count: how many logins are allowed at once.
        within_s: the time in which as many more become allowed, one after the other.
        hold_off_s: how long a user that has logged in more often is refused, at least; it is not
            let in before another login is allowed.
    """

    count: int
    within_s: float
    hold_off_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "count", 1, MAX_BURST)
        check_range(self, "within_s", 0.001, 86_400)
        check_range(self, "hold_off_s", 0.001, 86_400)


class RulesOptions(OptionGroup, frozen=True, kw_only=True):
    """What clients may do, and how often. As long as nothing is given, they may do everything.

    Every rate is counted by each node for itself.

    Args:
        namespaces: what holds in single namespaces.
        user: events of one user, over all its sockets on a node, in all namespaces together.
        logins: how often a user may log in to a namespace before it is held off; None means no
            limit. A client that recovers its session does not log in.
        max_counted: of how many users, rooms and so on a node counts how often they did something,
            which takes about 300 bytes for each. Beyond it, whoever has done nothing for the
            longest time is forgotten.
    """

    _reloadable = frozenset(("namespaces", "user", "logins", "max_counted"))

    namespaces: tuple[NamespaceRules, ...] = ()
    user: Rate | None = None
    logins: LoginRate | None = None
    max_counted: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_groups("namespaces", self.namespaces, NamespaceRules)
        _check_rate("user", self.user)
        if self.logins is not None:
            check_group("logins", self.logins, LoginRate)
        check_range(self, "max_counted", 100, 10_000_000)
        names = [one.name for one in self.namespaces]
        for name in names:
            if not name:
                raise OptionError("namespaces", "one of them has no name")
            if names.count(name) > 1:
                raise OptionError("namespaces", f"two of them are named {name!r}")
