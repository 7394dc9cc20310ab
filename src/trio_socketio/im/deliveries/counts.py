"""What confirmed delivery counts, and how often it says so in the log."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.runtime.sampling import Pace, SampledLog

if TYPE_CHECKING:
    from trio_socketio.errors import ControlError
    from trio_socketio.im.deliveries.coordinator import Attended
    from trio_socketio.im.deliveries.store import DeliveryStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveriesStatistics:
    """A snapshot of the deliveries.

    It has 14 attributes, because each of them is a metric.

    Args:
        open: those that go on; with a store that is shared, on all nodes.
        reports: how many are kept that have ended.
        size: about how many bytes all of them take.
        attended: those that this node attends to.
        waiting: copies here that have not been acknowledged.
        accepted: messages that were accepted here.
        refused: messages that were refused, by reason.
        confirmed: how many users have confirmed.
        unconfirmed: how many had not when their delivery ended.
        sent: copies that were sent to sockets here, retries included.
        unsent: copies that were not sent, because too many wait for their acknowledgements.
        retries: how often copies were sent again, users counted.
        taken: deliveries that were taken over from another node or process.
        failures: writes to the store that had to be made again, and messages that no node took.
    """

    open: int
    reports: int
    size: int
    attended: int
    waiting: int
    accepted: int
    refused: dict[str, int]
    confirmed: int
    unconfirmed: int
    sent: int
    unsent: int
    retries: int
    taken: int
    failures: int


class Counts:
    """What a service has counted, and how often it may say so.

    Attributes:
        goes_on: whether any delivery does, on any node, as far as is known here.
        kept: how many deliveries of each store go on, how many have ended, and their bytes.
    """

    def __init__(self) -> None:
        self.goes_on = False
        self.kept: dict[DeliveryStore, tuple[int, int, int]] = {}
        self.accepted = 0
        self.confirmed = 0
        self.unconfirmed = 0
        self.retries = 0
        self.taken = 0
        self.refused: dict[str, int] = {}
        self._ends = SampledLog(log, logging.INFO, Pace(5, 1))
        self._refusals = SampledLog(log, logging.INFO, Pace(5, 1))

    def refuse(self, error: "ControlError") -> None:
        """Count a message that was refused."""
        reason = Code(error.code).name.lower()
        self.refused[reason] = self.refused.get(reason, 0) + 1
        if self._refusals.admits(f"messages were refused ({reason})"):
            log.info("a message was refused: %s", error)

    def end(self, one: "Attended") -> None:
        """Count a delivery that has ended, and say so if somebody has not confirmed it."""
        head, left = one.record.head, len(one.life.pending)
        self.unconfirmed += left
        if left and self._ends.admits("messages have expired"):
            log.info(
                "%s: the message %s has expired, and %d of %d users have not confirmed it",
                head.namespace,
                head.id,
                left,
                head.targets,
            )
