"""The options of confirmed delivery."""

from typing import Final

from trio_socketio.errors import OptionError
from trio_socketio.im.deliveries.store import Bounds
from trio_socketio.option_checks import OptionGroup, check_range
from trio_socketio.protocol.namespace_patterns import ByNamespace, is_pattern

MAX_RETRIES: Final = 20
"""How many retries a message may have."""
MAX_EXPIRES_S: Final = 7 * 86_400.0
"""For how long a message may wait for its users."""

NO_PLACE: Final = (
    "needs a place that outlives the program: set folder in [state], or url in [redis]"
)
"""What is wrong with `durable` if there is none."""


class DeliveriesOptions(OptionGroup, frozen=True, kw_only=True):
    """Confirmed delivery: messages that are sent again until their users have acknowledged them.

    Args:
        schedule_s: how long after a message was accepted it is sent again to those users who have
            not acknowledged it, ascending. They get it as well when they come back.
        expires_s: how long after that it ends, and is reported. At most 7 days.
        durable: namespaces, or patterns such as /room-*, whose messages outlive a restart: in the
            folder of [state]. With [redis] all of them are kept there, and do.
        max_open: how many messages may wait for their users at a time; a quarter of them are for
            the backend alone.
        max_bytes: about how many bytes they and the reports may take together; the same quarter is
            for the backend.
        max_sender_open: how many messages of one user may wait on a node.
        max_sender_bytes: about how many bytes these may take together.
        max_message_bytes: the largest message.
        max_targets: the most users that one message may be for.
        keep_s: how long the report of a message is kept after its end.
        max_reports: how many of them are kept.
    """

    schedule_s: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0)
    expires_s: float = 30.0
    durable: tuple[str, ...] = ()
    max_open: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    max_sender_open: int = 500
    max_sender_bytes: int = 8 * 1024 * 1024
    max_message_bytes: int = 64 * 1024
    max_targets: int = 1000
    keep_s: float = 3600.0
    max_reports: int = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "expires_s", 0.001, MAX_EXPIRES_S)
        fault = find_fault(self.schedule_s, self.expires_s)
        if fault:
            raise OptionError("schedule_s", fault)
        check_range(self, "max_message_bytes", 64, 512 * 1024)
        check_range(self, "max_targets", 1, 10_000)
        for pattern in self.durable:
            if not is_pattern(pattern):
                raise OptionError(
                    "durable",
                    f"expected names of namespaces, as /chat or /room-*, not {pattern!r}",
                )

    @property
    def bounds(self) -> Bounds:
        """What a store keeps."""
        return Bounds(self.max_open, self.max_bytes, self.max_reports, self.keep_s)

    def durable_namespaces(self) -> ByNamespace[bool]:
        """Return what says of a namespace whether its messages have to outlive a restart."""
        return ByNamespace(dict.fromkeys(self.durable, True), False)


def find_fault(schedule_s: tuple[float, ...], expires_s: float) -> str:
    """Return what is wrong with the times of a message; empty text if nothing is."""
    if len(schedule_s) > MAX_RETRIES:
        return f"has {len(schedule_s)} retries, but a message may have {MAX_RETRIES} at most"
    last = 0.0
    for number in schedule_s:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return f"expected seconds, not {number!r}"
        if not last < number < expires_s:
            return (
                f"expected ascending times between 0 and expires_s ({expires_s:g}), not {number:g}"
            )
        last = number
    return ""
