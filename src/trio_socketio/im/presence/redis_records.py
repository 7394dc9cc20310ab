"""Seats, entries and orders as the presence store keeps them in Redis: arrays in MessagePack."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_claims import Claimed, ClaimRequest, Order, Seat
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import Entry, EntryType


class _Seat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    sequence: int
    boot: str
    attempt: int
    id: str
    node: str
    at_ms: int
    former_generation: int
    former_sequence: int


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    type: EntryType
    user: str
    id: str
    node: str
    boot: str
    attempt: int
    token: int
    prev: str
    reason: str
    unconfirmed: int
    at_ms: int
    claimed_at_ms: int


class _Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    namespace: str
    user: str
    generation: int
    sequence: int
    attempt: int
    reason: str


_decode_seats: Final = msgspec.msgpack.Decoder(tuple[_Seat, ...]).decode
_decode_entry: Final = msgspec.msgpack.Decoder(_Entry).decode
_decode_order: Final = msgspec.msgpack.Decoder(_Order).decode
_NUMBER_BYTES: Final = 20  # in a member of the inbox, behind the boot: keeps them in order


def read_seats(generation: int, value: bytes) -> tuple[Seat, ...]:
    """Read the seats of a user.

    Raises:
        StoreUnavailable: they were not written by this program.
    """
    try:
        seats = _decode_seats(value)
    except msgspec.MsgspecError as error:
        raise _unreadable("the seats of a user", error) from None
    return tuple(
        Seat(
            token=Cursor(generation, seat.sequence),
            id=seat.id,
            node=seat.node,
            boot=seat.boot,
            attempt=seat.attempt,
            at=seat.at_ms / 1000,
        )
        for seat in seats
    )


def read_entry(namespace: str, cursor: Cursor, value: bytes) -> tuple[Entry, Seat]:
    """Read an entry of the log, and the seat that it is about.

    Raises:
        StoreUnavailable: it was not written by this program.
    """
    try:
        found = _decode_entry(value)
    except msgspec.MsgspecError as error:
        raise _unreadable("an entry of the log", error) from None
    token = Cursor(cursor.generation, found.token)
    entry = Entry(
        cursor=str(cursor),
        type=found.type,
        namespace=namespace,
        user=found.user,
        id=found.id,
        node=found.node,
        boot=found.boot,
        token=str(token),
        prev=found.prev or None,
        reason=found.reason or None,
        unconfirmed=bool(found.unconfirmed),
        at=found.at_ms / 1000,
    )
    seat = Seat(
        token=token,
        id=found.id,
        node=found.node,
        boot=found.boot,
        attempt=found.attempt,
        at=found.claimed_at_ms / 1000,
    )
    return entry, seat


def read_order(member: bytes) -> Order:
    """Read a member of the inbox.

    Raises:
        StoreUnavailable: it was not written by this program.
    """
    boot, _, rest = member.partition(b"\0")
    try:
        found = _decode_order(rest[_NUMBER_BYTES:])
        name = boot.decode("ascii")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _unreadable("an order", error) from None
    return Order(
        namespace=found.namespace,
        user=found.user,
        boot=name,
        attempt=found.attempt,
        token=Cursor(found.generation, found.sequence),
        reason=found.reason,
    )


def read_claimed(request: ClaimRequest, values: Sequence[Any]) -> Claimed:
    """Read what a script has answered to a claim that was made."""
    _, generation, sequence, mine, awaits, _ = values
    orders = (
        Order(
            namespace=request.namespace,
            user=request.user,
            boot=request.boot,
            attempt=attempt,
            token=Cursor(first, second),
            reason=reason.decode(),
        )
        for first, second, attempt, reason in mine
    )
    return Claimed(
        token=Cursor(generation, sequence),
        orders=tuple(orders),
        awaits=tuple(Cursor(first, second) for first, second in awaits),
    )


def read_present(values: Sequence[Any]) -> tuple[dict[str, tuple[Seat, ...]], Cursor]:
    """Read what a script has answered that tells who is online, and where in the log.

    Raises:
        StoreUnavailable: the seats were not written by this program.
    """
    generation, sequence, users, found = values
    seats = {
        user.decode(): read_seats(generation, value)
        for user, value in zip(users, found, strict=True)
        if value is not None
    }
    return seats, Cursor(generation, sequence)


def read_owned(member: bytes) -> str:
    """Return the namespace of a seat from a member of the seats of all boots.

    Raises:
        StoreUnavailable: it was not written by this program.
    """
    _, _, rest = member.partition(b"\0")
    length, _, text = rest.partition(b":")
    try:
        return text[: int(length)].decode()
    except ValueError as error:
        raise _unreadable("a seat of a node", error) from None


def _unreadable(what: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{what} in Redis cannot be read, it was not written by us: {error}")


def fold(users: dict[str, tuple[Seat, ...]], entry: Entry, seat: Seat) -> None:
    """Apply an entry to a state that may have it already; that changes nothing then."""
    gone = entry.prev if entry.type == "moved" else entry.token
    kept = [one for one in users.get(entry.user, ()) if str(one.token) not in (gone, entry.token)]
    if entry.type in ("online", "moved", "seat_added"):
        kept.append(seat)
    if kept:
        users[entry.user] = tuple(sorted(kept, key=lambda one: one.token))
    else:
        users.pop(entry.user, None)
