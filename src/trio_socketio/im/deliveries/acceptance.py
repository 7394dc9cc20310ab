"""Whether a message can be accepted, and what its sender is told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.failures import overloaded
from trio_socketio.errors import ControlError
from trio_socketio.im.deliveries.coordinator import Coordinator
from trio_socketio.im.deliveries.order import Accepted, Checked
from trio_socketio.im.deliveries.record import Record
from trio_socketio.im.deliveries.store import DeliveryStore

if TYPE_CHECKING:
    from trio_socketio.im.deliveries.options import DeliveriesOptions


class Prepared(NamedTuple):
    """A message that can be accepted, as far as that is known.

    Args:
        checked: what was asked for.
        record: what is kept of it.
        store: keeps it.
        known: what has become of it, if it was accepted before.
    """

    checked: Checked
    record: Record
    store: DeliveryStore
    known: Accepted | None


def check_load(
    record: Record,
    before: Sequence[Record],
    coordinator: Coordinator,
    options: "DeliveriesOptions",
) -> None:
    """Refuse a message of a user of whose messages too many wait already (DELIV-29).

    Args:
        record: the message.
        before: those of the same sender that are accepted together with it.
        coordinator: knows those that wait.
        options: the bounds.

    Raises:
        ControlError: it is one.
    """
    sender = record.head.sender
    if sender is None:
        return
    count, size = coordinator.load(record.head.namespace, sender)
    count += len(before)
    size += sum(one.size + len(one.args) for one in before)
    if count >= options.max_sender_open:
        raise overloaded(
            f"{count} messages of the user {sender!r} wait already (max_sender_open): wait "
            "until some have ended"
        )
    if size + record.size + len(record.args) > options.max_sender_bytes:
        raise overloaded(
            f"the messages of the user {sender!r} that wait take {size} bytes already "
            "(max_sender_bytes): wait until some have ended"
        )


def tell(record: Record, *, is_new: bool) -> Accepted:
    """Return what has become of a message."""
    return Accepted(
        id=record.head.id,
        targets=record.head.targets,
        confirmed=len(record.confirmed),
        state=record.outcome,
        is_new=is_new,
    )


def tell_known(record: Record, checked: Checked) -> Accepted:
    """Say what has become of a message that was sent before (DELIV-22).

    Raises:
        ControlError: it was another one (DELIV-23).
    """
    if record.head.digest != checked.digest:
        raise ControlError(
            Code.EXISTS,
            f"id: another message had the id {checked.key.id!r}: give each message one of its own",
            {"parameter": "id", "retryable": False},
        )
    return tell(record, is_new=False)
