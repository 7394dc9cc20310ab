"""The options of presence: which users have seats, where that is kept, and how much of the log."""

from typing import Final, Literal, get_args

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.presence.hook_options import (
    PresenceWebhookOptions,
    WatchedRooms,
    check_watched,
)
from trio_socketio.im.presence.seat_options import SeatOptions
from trio_socketio.option_checks import OptionGroup, check_groups, check_range
from trio_socketio.protocol.incarnation import Outage
from trio_socketio.protocol.namespace_patterns import is_pattern
from trio_socketio.protocol.presence_claims import Takeover
from trio_socketio.socketio.options import ServerOptions

Seating = Literal["newest", "reject", "many", "none"]
"""The policies of seats, and "none" for no seats at all."""

Kept = Literal["redis", "memory"]
"""Where presence is kept."""

SEAT_OPTIONS: Final = frozenset(("policy", "maximum", "takeover", "linger_s", "namespaces"))
"""The options that an app takes over with a Presence of its own."""

STORE_OPTIONS: Final = frozenset(("store", "lease_s", "outage", "max_events", "max_bytes"))
"""The options that an app takes over with a Presence to which it has given a store."""

_TOLD: Final = {
    "newest": "a user has one seat, which the newest client takes",
    "reject": "a user has one seat, which the first client keeps",
    "many": "a user may have several seats",
    "none": "there are no seats",
}


class NamespaceSeats(OptionGroup, frozen=True, kw_only=True):
    """The seats of one namespace. Whatever is left out is as for all others.

    Args:
        name: of the namespace; with a * at its end, of all that begin so.
        policy: newest, reject, many, or none for no seats.
        maximum: how many seats a user may have with the policy many.
        takeover: strict or fast.
        linger_s: how long the seat of a lost client is held.
    """

    _may_be_zero = frozenset(("linger_s",))

    name: str
    policy: Seating | None = None
    maximum: int | None = None
    takeover: Takeover | None = None
    linger_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_pattern(self.name):
            raise OptionError(
                "name", f"expected the name of a namespace, as /chat or /room-*, not {self.name!r}"
            )


def check_linger(what: str, linger_s: float, options: ServerOptions) -> None:
    """Refuse to hold a seat for longer than its client can come back to it.

    Raises:
        ConfigurationError: the time is too long; the message begins with `what`.
    """
    recovery_s = options.state_recovery_max_disconnection_s
    if options.state_recovery and linger_s > recovery_s:
        raise ConfigurationError(
            f"{what} is {linger_s:g}, which is more than state_recovery_max_disconnection_s "
            f"({recovery_s:g})"
        )


class PresenceOptions(OptionGroup, frozen=True, kw_only=True):
    """Who is online: every user has a seat in each namespace that asks for identity.

    It has 13 attributes, because they are all options of a table of the configuration file.

    Args:
        policy: who wins when a user logs in again: the "newest" client, the old one ("reject"), or
            "many" at once. With "none" there are no seats, so nobody is known to be online.
        maximum: how many seats a user may have with the policy many, which needs it.
        takeover: with "strict", a new client enters when the node of the old one has confirmed that
            it is out, or is lost; "fast" waits for that no longer than a second.
        linger_s: how long the seat of a lost client is held, so that it can come back without going
            offline. It needs [recovery].
        namespaces: what is different in single namespaces. What is left out there (or false) is as
            for all others.
        store: where it is kept who is online: in "redis" for all nodes together, or in the "memory"
            of each node, which then knows of its own clients alone. None means redis if there is a
            url in [redis], and memory if not.
        lease_s: how long the lease of a node lasts in Redis, 1 to 300 seconds. If a node is lost,
            its users are offline, and their seats free, about so much later. All nodes need the
            same.
        outage: what happens when a node cannot renew its lease because Redis is away: with "strict"
            it closes the connections of all clients that have a seat, so that nobody is ever logged
            in twice; with "available" they stay and nobody can log in, and whoever has logged in on
            another node meanwhile takes their place when Redis is back.
        max_events: how many entries the log keeps: in memory all namespaces together, in Redis each
            of them.
        max_bytes: about how many bytes the log may take in memory.
        webhook: a URL to which the log is posted; None if there is none.
        legacy_records: how many on/off records of the original contract each namespace keeps for
            presence.legacy_list on the control socket; 0 means none.
        watch: rooms whose clients are told which users come and go.
    """

    _may_be_zero = frozenset(("linger_s", "legacy_records"))
    # A policy holds for seats that are taken already, so another one would have to unseat clients.
    _reloadable = frozenset(("maximum", "takeover", "linger_s"))

    policy: Seating = "newest"
    maximum: int | None = None
    takeover: Takeover = "strict"
    linger_s: float = 0.0
    namespaces: tuple[NamespaceSeats, ...] = ()
    store: Kept | None = None
    lease_s: float = 10.0
    outage: Outage = "strict"
    max_events: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    webhook: PresenceWebhookOptions | None = None
    legacy_records: int = 0
    watch: tuple[WatchedRooms, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy not in get_args(Seating):
            raise OptionError(
                "policy", f"expected newest, reject, many or none, not {self.policy!r}"
            )
        if self.store not in (None, *get_args(Kept)):
            raise OptionError("store", f"expected redis or memory, not {self.store!r}")
        if self.outage not in get_args(Outage):
            raise OptionError("outage", f"expected strict or available, not {self.outage!r}")
        check_range(self, "lease_s", 1, 300)
        check_groups("namespaces", self.namespaces, NamespaceSeats)
        check_watched(self.watch)
        names = [one.name for one in self.namespaces]
        for name in names:
            if names.count(name) > 1:
                raise OptionError("namespaces", f"two of them are named {name!r}")
        for pattern in (None, *names):
            self.resolve(pattern)
        uses_maximum = "many" in (self.policy, *(one.policy for one in self.namespaces))
        if self.maximum is not None and not uses_maximum:
            raise OptionError("maximum", "has no effect without the policy many")

    def kept_in(self, has_redis: bool) -> Kept:
        """Return where it is kept who is online.

        Args:
            has_redis: whether there is a url in [redis].
        """
        return self.store or ("redis" if has_redis else "memory")

    def resolve(self, name: str | None) -> SeatOptions | None:
        """Return the rules by which seats are given; None if there are no seats.

        Args:
            name: as in one of `namespaces`; None means all others.
        Raises:
            OptionError: two options contradict each other.
        """
        own = next((one for one in self.namespaces if one.name == name), None)
        policy, maximum, takeover, linger_s = (
            getattr(self if own is None or getattr(own, option) is None else own, option)
            for option in ("policy", "maximum", "takeover", "linger_s")
        )
        option, place = ("policy", "") if own is None else ("namespaces", f"{own.name}: policy ")
        if policy == "many" and maximum is None:
            raise OptionError(
                option, f"{place}many needs a maximum, which is how many seats a user may have"
            )
        if own is not None and own.maximum is not None and policy != "many":
            raise OptionError(option, f"{own.name}: maximum has no effect without the policy many")
        if policy == "none":
            return None
        try:
            return SeatOptions(
                policy=policy,
                maximum=maximum if policy == "many" else 1,
                takeover=takeover,
                linger_s=linger_s,
            )
        except OptionError as error:
            if own is None:
                raise
            raise OptionError(option, f"{own.name}: {error.option} {error.reason}") from None

    def check_lingers(self, options: ServerOptions) -> None:
        """Refuse to hold seats for longer than their clients can come back to them.

        Args:
            options: of the server, which say how long that is.
        Raises:
            ConfigurationError: a time is too long.
        """
        check_linger("[presence] linger_s", self.linger_s, options)
        for one in self.namespaces:
            check_linger(
                f"[presence] namespaces: linger_s of {one.name}", one.linger_s or 0, options
            )

    def describe(self) -> str:
        """Say in a line what holds, for the log."""
        places = [("wherever identity is asked for", self.policy)]
        places += [(f"in {one.name}", one.policy or self.policy) for one in self.namespaces]
        return "; ".join(f"{place}, {_TOLD[policy]}" for place, policy in places)
