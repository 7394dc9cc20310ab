"""Messages of clients and their envelopes: read and checked once, and made whole for delivery.

Old clients send ``meta`` as the text of a JSON value, new ones may send an object. It is passed on
as it came: what is in it is between the clients.
"""

from typing import Annotated, Any, Final, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from trio_socketio.im.chat.refusals import MALFORMED, SPOOFED, TOO_MANY, Refused, explain
from trio_socketio.protocol.message_ids import BACKEND_PREFIX

MAX_WORD: Final = 64
"""How many characters ver, evt and id of a message may have."""

DEFAULT_VERSION: Final = "1.0.0"

Word = Annotated[str, Meta(max_length=MAX_WORD)]
Entry = TypeVar("Entry", bound=Struct)


class Message(Struct, forbid_unknown_fields=True):
    """A message as a client sends it. Other fields would be lost on the way, so there are none.

    A field may also be null, which is the same as to leave it out.

    Args:
        ver: the version of the format of the message, as clients agree.
        meta: text or an object, which is passed on as it is; null if there is none.
        evt: what kind of message it is; empty for the name of the event.
        id: names the message; empty for an id that the server makes.
        sender: the sender's own id, or nothing; anybody else's is refused.
    """

    ver: Word | None = None
    meta: Any = None
    evt: Word | None = None
    id: Word | None = None
    sender: str | int | None = msgspec.field(name="from", default=None)


class ToRoom(Struct, forbid_unknown_fields=True, rename="camel"):
    """A message to a room, as the payload of an event has it."""

    room_id: str
    msg: Message
    nsp_name: str | None = None


class ToUser(Struct, forbid_unknown_fields=True, rename="camel"):
    """A message to a user, as the payload of an event has it."""

    user_id: str | int
    msg: Message
    nsp_name: str | None = None


class ToEverybody(Struct, forbid_unknown_fields=True, rename="camel"):
    """A message to everybody in the namespace, as the payload of an event has it."""

    msg: Message
    nsp_name: str | None = None


class RoomName(Struct, forbid_unknown_fields=True, rename="camel"):
    """A room, as the events join and leave name it."""

    room_id: str


class RoomNames(Struct, forbid_unknown_fields=True):
    """The rooms of an event join or leave."""

    rooms: list[RoomName]


def only_argument(arguments: tuple[Any, ...]) -> Any:
    """Return the argument of an event that has one.

    Raises:
        Refused: it has none, or more.
    """
    if len(arguments) != 1:
        raise Refused(MALFORMED, f"expected one argument, not {len(arguments)}")
    return arguments[0]


def read_entries(arguments: tuple[Any, ...], kind: type[Entry], most: int) -> list[Entry]:
    """Read the entries of an event: a list of them, or one by itself.

    Args:
        arguments: of the event.
        kind: of the entries.
        most: how many there may be.
    Raises:
        Refused: they are of another shape, or too many (CHAT-05, CHAT-06).
    """
    payload = only_argument(arguments)
    if type(payload) is not list:
        return [read_entry(payload, kind, "")]
    if not payload:
        raise Refused(MALFORMED, "the list is empty, so there is nothing to send")
    if len(payload) > most:
        raise Refused(TOO_MANY, f"the list has {len(payload)} entries, and {most} are allowed")
    try:
        # One by one: msgspec prepares the type of a list anew at each call, which takes longer.
        return [msgspec.convert(entry, kind) for entry in payload]
    except msgspec.ValidationError:
        # Again, to name the first that is wrong.
        return [read_entry(entry, kind, f"[{number}]") for number, entry in enumerate(payload)]


def read_entry(value: Any, kind: type[Entry], place: str) -> Entry:
    """Read one value.

    Args:
        value: as it was sent.
        kind: what it has to be.
        place: where it stands in the event, for the error.
    Raises:
        Refused: it is something else (CHAT-05).
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise explain(error, place) from None


def complete(message: Message, event: str, sender: str | None, at_ms: int) -> dict[str, Any]:
    """Return a message as its receivers get it (CHAT-07).

    Args:
        message: as it was sent.
        event: that has brought it.
        sender: the user of the client that has sent it; None if nothing has established that.
        at_ms: when it came, milliseconds since 1970.
    Raises:
        Refused: its meta is neither text nor an object, or it names another sender (CHAT-08), or
            its id is one for the backend.
    """
    if message.id and message.id.startswith(BACKEND_PREFIX):  # DELIV-49
        raise Refused(MALFORMED, f"msg.id: begins with {BACKEND_PREFIX!r}, as ids of backends do")
    meta, claimed = message.meta, message.sender
    if meta is not None and type(meta) is not str and type(meta) is not dict:
        raise Refused(MALFORMED, "msg.meta: expected text or an object")
    if claimed is not None and (sender is None or str(claimed) != sender):
        raise Refused(SPOOFED, "msg.from: names another user; leave it out, as the server adds it")
    return {
        "ver": DEFAULT_VERSION if message.ver is None else message.ver,
        "meta": meta,
        "evt": message.evt or event,
        "id": message.id or str(uuid4()),  # CHAT-09
        "from": sender,
        "at": at_ms,
    }
