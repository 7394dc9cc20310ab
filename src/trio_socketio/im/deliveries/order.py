"""What a caller asks to have delivered, and how that is checked: once, when it comes."""

import uuid
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from trio_socketio.codec.json_rpc import decode_value, encode_value
from trio_socketio.codec.json_text import decode_json
from trio_socketio.codec.names import unfit_character
from trio_socketio.control.failures import invalid, too_large
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError
from trio_socketio.im.deliveries.options import MAX_EXPIRES_S, DeliveriesOptions, find_fault
from trio_socketio.im.deliveries.record import Head, Key, Outcome, Record
from trio_socketio.protocol.message_ids import BACKEND_PREFIX
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.user_ids import is_reserved_room, parse_user_id
from trio_socketio.socketio.broadcast import check_event

MAX_ID: Final = 64
"""The most characters of the id of a message."""
MAX_ROOMS: Final = 100
"""The most rooms that one message may be for."""
_MAX_ROOM: Final = 256
_MAX_NAMESPACE: Final = 256


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A message that its users have to acknowledge.

    Args:
        namespace: where the users are.
        event: the name of the event.
        args: its arguments: Python values, or raw JSON as it came over the control socket. The
            first one is an object, whose ``id`` tells copies of the message from others; it gets
            one if it has none.
        users: ids of users who have to acknowledge it, whether they are there or not.
        rooms: the identified users who are in these rooms now, on any node, have to as well.
        expires_s: how long after it was accepted it ends; None means what is configured.
        schedule_s: how long after that it is sent again; None means what is configured, as far as
            it fits into expires_s.
        sender: the user whose message it is; None for one of the backend. In the message of a user
            the server has set ``at``, so that does not make another message of it.
        durable: whether it has to outlive the program; None means what is configured.
    """

    namespace: str
    event: str
    args: Sequence[Any]
    users: Sequence[str] = ()
    rooms: Sequence[str] = ()
    expires_s: float | None = None
    schedule_s: Sequence[float] | None = None
    sender: str | None = None
    durable: bool | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of an order.

    Args:
        id: of the message.
        targets: how many users have to acknowledge it.
        confirmed: how many of them have.
        state: open, confirmed or expired.
        is_new: false if the message was known already, and so was not sent anew.
    """

    id: str
    targets: int
    confirmed: int
    state: Outcome
    is_new: bool


class Checked(NamedTuple):
    """An order without a fault.

    Args:
        key: names the delivery.
        event: the name of the event.
        args: its arguments as a JSON array.
        users: those who were named, each once.
        rooms: those that were named, each once.
        expires_s: how long it may take.
        schedule_s: of its retries.
        sender: whose message it is.
        digest: of all that makes it this message and no other.
    """

    key: Key
    event: str
    args: bytes
    users: tuple[str, ...]
    rooms: tuple[str, ...]
    expires_s: float
    schedule_s: tuple[float, ...]
    sender: str | None
    digest: str

    def record(self, users: Sequence[str], now: float, *, durable: bool) -> Record:
        """Return what is kept of it.

        Args:
            users: those who have to acknowledge it.
            now: in seconds since 1970.
            durable: whether it has to outlive the program.
        """
        head = Head(
            namespace=self.key.namespace,
            id=self.key.id,
            event=self.event,
            sender=self.sender,
            rooms=self.rooms,
            accepted_at=now,
            expires_at=now + self.expires_s,
            schedule_s=self.schedule_s,
            digest=self.digest,
            targets=len(users),
            durable=durable,
        )
        return Record(head, tuple(users), self.args, {})


def check(order: Order, options: DeliveriesOptions) -> Checked:
    """Check an order.

    Raises:
        ControlError: it has a fault, which the message names.
    """
    namespace = full_name(order.namespace)
    if unfit_character(namespace) or len(namespace) > _MAX_NAMESPACE:
        raise invalid("namespace", "expected a name without control characters")
    try:
        check_event(order.event)
    except LocalProtocolError as error:
        raise invalid("event", str(error)) from None
    name, args = _check_args(order.args, options.max_message_bytes)
    users = _check_users(order.users)
    rooms = _check_rooms(order.rooms)
    if not users and not rooms:
        raise invalid("users", "expected users, rooms, or both")
    expires_s, schedule_s = _check_times(order, options)
    if order.sender is not None:
        _check_user("sender", order.sender)
        if name.startswith(BACKEND_PREFIX):  # DELIV-49
            raise invalid("args[0].id", f"begins with {BACKEND_PREFIX!r}, as ids of the backend do")
    values = decode_json(args)
    if order.sender is not None:
        values[0].pop("at", None)  # the time of each call, which the server has added (DELIV-22)
    told = [order.event, values, sorted(users), sorted(rooms), order.sender]
    canonical = msgspec.json.encode(told, order="sorted")
    digest = blake2b(canonical, digest_size=16).hexdigest()
    return Checked(
        Key(namespace, name),
        order.event,
        args,
        users,
        rooms,
        expires_s,
        schedule_s,
        order.sender,
        digest,
    )


def read_id(value: Any) -> str:
    """Return the id of a message.

    Raises:
        ControlError: no message can have it.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID or unfit_character(value):
        raise invalid("id", f"expected 1 to {MAX_ID} characters, and no control characters")
    return value


def _check_args(args: Sequence[Any], most: int) -> tuple[str, bytes]:
    """Return the id of the message, and its arguments as JSON."""
    if not args:
        raise invalid("args", "the first argument has to be an object, and there is none")
    texts = []
    for number, value in enumerate(args):
        try:
            text = bytes(value) if isinstance(value, Raw) else encode_value(value)
            decode_value(text)
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise invalid(f"args[{number}]", str(error)) from None
        texts.append(text)
    try:
        first = msgspec.json.decode(texts[0], type=dict[str, Raw])
    except msgspec.MsgspecError:
        raise invalid("args[0]", "expected an object") from None
    given = first.get("id")
    value = None if given is None else msgspec.json.decode(given)
    if value in (None, ""):
        name = str(uuid.uuid4())  # DELIV-21
        first = {**first, "id": Raw(msgspec.json.encode(name))}
        texts[0] = msgspec.json.encode(first)
    else:
        try:
            name = read_id(value)
        except ControlError as error:
            raise invalid("args[0].id", error.message.removeprefix("id: ")) from None
    size = sum(map(len, texts))
    if size > most:
        raise too_large(
            f"the message has {size} bytes, but {most} at most are delivered (max_message_bytes in "
            "[deliveries])"
        )
    return name, b"[%b]" % b",".join(texts)


def _check_user(parameter: str, user: Any) -> str:
    try:
        return parse_user_id(user)
    except RemoteProtocolError as error:
        raise invalid(parameter, str(error)) from None


def _check_users(users: Sequence[Any]) -> tuple[str, ...]:
    found = (_check_user(f"users[{number}]", user) for number, user in enumerate(users))
    return tuple(dict.fromkeys(found))


def _check_rooms(rooms: Sequence[Any]) -> tuple[str, ...]:
    if len(rooms) > MAX_ROOMS:
        raise invalid("rooms", f"expected {MAX_ROOMS} at most, not {len(rooms)}")
    for number, room in enumerate(rooms):
        if not isinstance(room, str) or not 0 < len(room) <= _MAX_ROOM:
            raise invalid(f"rooms[{number}]", f"expected 1 to {_MAX_ROOM} characters")
        if is_reserved_room(room):
            raise invalid(f"rooms[{number}]", "is the room of a user or of a socket: name users")
    return tuple(dict.fromkeys(rooms))


def _check_times(order: Order, options: DeliveriesOptions) -> tuple[float, tuple[float, ...]]:
    expires_s = options.expires_s if order.expires_s is None else float(order.expires_s)
    if not 0 < expires_s <= MAX_EXPIRES_S:
        raise invalid("expires_s", f"expected a number, above 0 and at most {MAX_EXPIRES_S:g}")
    if order.schedule_s is None:
        return expires_s, tuple(one for one in options.schedule_s if one < expires_s)
    schedule_s = tuple(order.schedule_s)
    fault = find_fault(schedule_s, expires_s)
    if fault:
        raise invalid("schedule_s", fault)
    return expires_s, schedule_s
