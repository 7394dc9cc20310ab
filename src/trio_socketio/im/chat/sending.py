"""The events chat/* and signal/*: messages to rooms, to users and to everybody in a namespace.

Both kinds carry the same messages. A message of chat/* comes back to a client that is among the
receivers, because old clients show their own messages only then. A signal/*, such as that somebody
is typing, goes to the others, and is never repeated.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.acks import LateAnswer
from trio_socketio.codec.json_rpc import Code
from trio_socketio.codec.notepack import encode_value
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError
from trio_socketio.im.chat.desk import Desk, check_denial, is_in
from trio_socketio.im.chat.inquiries import Whereabouts
from trio_socketio.im.chat.message import ToEverybody, ToRoom, ToUser, complete, read_entries
from trio_socketio.im.chat.refusals import (
    BAD_NAME,
    MALFORMED,
    NOT_ACCEPTED,
    NOT_IN_ROOM,
    NOT_SENT,
    OTHER_NAMESPACE,
    REJECTED,
    UNKNOWN_USER,
    UNREACHED,
    Refused,
)
from trio_socketio.im.chat.roles import Confirm, ToConfirm
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.user_ids import parse_user_id, user_room
from trio_socketio.socketio.socket import Socket
from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from trio_socketio.socketio.place import Place

CHAT_ROOMS: Final = "chat/rooms"
CHAT_USERS: Final = "chat/users"
CHAT_BROADCAST: Final = "chat/broadcast"
SIGNAL_ROOM: Final = "signal/room"
SIGNAL_USER: Final = "signal/user"
SIGNAL_BROADCAST: Final = "signal/broadcast"

_FAULTS_OF_CLIENTS: Final = frozenset((Code.INVALID_PARAMS, Code.EXISTS, Code.TOO_LARGE))
_MAX_SHOWN: Final = 5  # of the users that an error names


Parcel = tuple[dict[str, Any], str | None, str | None]
"""A message as its receivers get it; the room whose sockets they are, or None for everybody; and
the user whose room that is, or None if it is no user's."""

Sent = tuple[str, str | None]
"""The id of a message, and the user whom it is for; None if it is for others."""

Read = Callable[[Desk, Socket, str, tuple[Any, ...]], list[Parcel]]
"""Reads what an event sends. It raises Refused if any of it cannot be sent (CHAT-06)."""


def read_to_rooms(
    desk: Desk, socket: Socket, event: str, arguments: tuple[Any, ...]
) -> list[Parcel]:
    """Read messages to rooms, in which the sender has to be (CHAT-15)."""
    entries = read_entries(arguments, ToRoom, desk.max_targets)
    at_ms = desk.now_ms()
    parcels: list[Parcel] = []
    for number, entry in enumerate(entries):
        try:
            if entry.nsp_name:
                _check_namespace(socket, entry.nsp_name)
            room = entry.room_id
            if not is_in(socket, room):
                raise Refused(NOT_IN_ROOM, f"roomId: you are not in the room {room[:256]!r}")
            message = complete(entry.msg, event, socket._user, at_ms)
        except Refused as error:
            raise _at(error, number, arguments) from None
        parcels.append((message, room, None))
    return parcels


def read_to_users(
    desk: Desk, socket: Socket, event: str, arguments: tuple[Any, ...]
) -> list[Parcel]:
    """Read messages to users."""
    entries = read_entries(arguments, ToUser, desk.max_targets)
    at_ms = desk.now_ms()
    parcels: list[Parcel] = []
    for number, entry in enumerate(entries):
        try:
            if entry.nsp_name:
                _check_namespace(socket, entry.nsp_name)
            user = _read_user(entry.user_id)
            message = complete(entry.msg, event, socket._user, at_ms)
        except Refused as error:
            raise _at(error, number, arguments) from None
        parcels.append((message, user_room(user), user))
    return parcels


def read_to_everybody(
    desk: Desk, socket: Socket, event: str, arguments: tuple[Any, ...]
) -> list[Parcel]:
    """Read messages to everybody in the namespace."""
    entries = read_entries(arguments, ToEverybody, desk.max_targets)
    at_ms = desk.now_ms()
    parcels: list[Parcel] = []
    for number, entry in enumerate(entries):
        try:
            if entry.nsp_name:
                _check_namespace(socket, entry.nsp_name)
            message = complete(entry.msg, event, socket._user, at_ms)
        except Refused as error:
            raise _at(error, number, arguments) from None
        parcels.append((message, None, None))
    return parcels


def _at(error: Refused, number: int, arguments: tuple[Any, ...]) -> Refused:
    """Say which entry a refusal is about, if there is a list of them."""
    return error.at(_place(arguments, number))


def _place(arguments: tuple[Any, ...], number: int) -> str:
    return f"[{number}]" if type(arguments[0]) is list else ""


def _check_permitted(
    desk: Desk, socket: Socket, event: str, parcels: list[Parcel], arguments: tuple[Any, ...]
) -> None:
    """Refuse what the client may not send, at least not now. All else has been checked."""
    permits = desk.permits
    if permits is None:
        return
    users = [user for _, _, user in parcels if user is not None]
    rooms = [room for _, room, user in parcels if room is not None and user is None]
    denial = permits.may_send_to_users(socket, event, users) if users else None
    if rooms:
        denial = permits.may_send(socket, event, rooms)
    check_denial(denial, partial(_place, arguments))


def _check_namespace(socket: Socket, name: str) -> None:
    """Refuse a message for another namespace than that of the socket (CHAT-16).

    The sender is known, and what it may do is ruled, in one namespace; elsewhere it may be somebody
    else or nobody. A client that is in the other one, too, has a socket there to send with.
    """
    own = socket.namespace.name
    if name != own and full_name(name) != own:
        raise Refused(
            OTHER_NAMESPACE,
            f"nspName: this socket is in {own}, and can send only there; to send in "
            f"{name[:100]!r}, connect to it",
        )


def _read_user(user_id: str | int) -> str:
    try:
        return parse_user_id(user_id)  # CHAT-17
    except RemoteProtocolError as error:
        raise Refused(BAD_NAME, f"userId: {error}") from None


class Sender:
    """Handles one of these events.

    Args:
        desk: what all chat events share.
        event: the name, which is also that of the event for the receivers.
        read: reads what the event sends.
        to_others: whether the sending socket is left out.
    """

    def __init__(self, desk: Desk, event: str, read: Read, *, to_others: bool) -> None:
        self._desk = desk
        self._event = event
        self._read = read
        self._to_others = to_others

    def send(self, socket: Socket, *arguments: Any) -> dict[str, Any] | LateAnswer:
        """Send what an event asks for: all of it, or nothing if any of it is refused (CHAT-06)."""
        event, answers = self._event, self._desk.answers
        ids: list[str] = []
        try:
            parcels = self._read(self._desk, socket, event, arguments)
            if len(parcels) > 1:
                _check_all(socket.namespace, event, parcels)
            _check_permitted(self._desk, socket, event, parcels, arguments)
            absent = self._post(socket, parcels, ids)
            if absent and not socket.namespace.adapter.reaches_other_nodes:
                ids = _ids_without(absent, _name_receivers(parcels))
                raise _unknown(absent, socket, is_all=not ids)
        except Refused as error:
            return answers.refuse(socket, event, error, ids=ids)
        inquiries = self._desk.inquiries
        if not absent or inquiries is None:
            return answers.accept(event, ids=ids)
        late = LateAnswer()
        conclude = partial(self._conclude, late, socket, _name_receivers(parcels))
        inquiries.ask(socket.namespace.name, absent, conclude)
        return late

    def _post(self, socket: Socket, parcels: list[Parcel], ids: list[str]) -> list[str]:
        """Send messages.

        Args:
            socket: of the sender.
            parcels: the messages.
            ids: takes the ids of those that were sent.
        Returns:
            The users who have no client on this node.
        Raises:
            Refused: a message cannot be sent, or other nodes have not got it.
        """
        namespace, event = socket.namespace, self._event
        adapter = namespace.adapter
        excluded = (socket.public_id,) if self._to_others else ()  # CHAT-26
        unpublished = adapter.unpublished
        absent = []
        for message, room, user in parcels:
            if user is not None and not _is_here(namespace, user):
                absent.append(user)
            try:
                adapter.broadcast(
                    [event, message], Target(() if room is None else (room,), excluded)
                )
            except LocalProtocolError as error:
                raise _unsendable(error) from None
            ids.append(message["id"])
        if adapter.unpublished != unpublished:  # CHAT-20
            raise Refused(
                UNREACHED,
                "sent to the clients of this node alone, because Redis cannot be reached; clients "
                "of other nodes have not got it, so send it again later",
            )
        return absent

    def _conclude(
        self, late: LateAnswer, socket: Socket, sent: list[Sent], found: Whereabouts
    ) -> None:
        """Answer when other nodes have said which users they have (CHAT-19)."""
        event, answers = self._event, self._desk.answers
        ids = _ids_without(found.absent, sent)
        if found.absent:
            error = _unknown(found.absent, socket, is_all=not ids)
        elif found.unknown:
            error = Refused(
                UNREACHED,
                f"sent, but nobody knows whether {_name(found.unknown)} has got it: {found.fault}",
            )
        else:
            late.give(answers.accept(event, ids=ids))
            return
        late.give(answers.refuse(socket, event, error, ids=ids))


class ConfirmedSender:
    """Handles one of these events in namespaces whose messages are confirmed.

    Args:
        desk: what all chat events share.
        event: its name.
        read: reads what the event sends.
        confirm: accepts messages for confirmed delivery.
    """

    def __init__(self, desk: Desk, event: str, read: Read, confirm: Confirm) -> None:
        self._desk = desk
        self._event = event
        self._read = read
        self._confirm = confirm

    async def send(self, socket: Socket, *arguments: Any) -> dict[str, Any]:
        """Hand over what an event asks for, and answer once it is accepted (CHAT-21)."""
        event, answers = self._event, self._desk.answers
        ids: list[str] = []
        try:
            parcels = self._read(self._desk, socket, event, arguments)
            deliveries = _by_id(parcels)
            _check_permitted(self._desk, socket, event, parcels, arguments)
            messages = [
                ToConfirm(
                    socket.namespace.name,
                    event,
                    same[0][0],
                    users=tuple(user for _, _, user in same if user is not None),
                    rooms=tuple(room for _, room, user in same if room and user is None),
                    sender=socket._user,
                )
                for same in deliveries
            ]
            try:
                await self._confirm(messages, ids)
            except ControlError as error:
                reason = REJECTED if error.code in _FAULTS_OF_CLIENTS else NOT_ACCEPTED
                told = f"not accepted: {error.message}"
                if len(messages) == 1:
                    told = f"the message {messages[0].message['id']!r} was {told}"
                raise Refused(reason, told) from None
        except Refused as error:
            return answers.refuse(socket, event, error, ids=ids)
        return answers.accept(event, ids=ids)


def _by_id(parcels: list[Parcel]) -> list[list[Parcel]]:
    """Put the parcels of each message together, because its id names one delivery.

    Raises:
        Refused: different messages have the same id.
    """
    found: dict[str, list[Parcel]] = {}
    for parcel in parcels:
        same = found.setdefault(parcel[0]["id"], [parcel])
        if same[0][0] != parcel[0]:
            raise Refused(MALFORMED, f"two messages have the id {parcel[0]['id']!r}")
        if same[0] is not parcel:
            same.append(parcel)
    return list(found.values())


def _check_all(namespace: "Place", event: str, parcels: list[Parcel]) -> None:
    """Refuse messages of which one cannot be sent, before any of them is (CHAT-06).

    A meta that is text can always be sent. An object may hold what neither an official client nor
    another node could read, such as an integer of more than 64 bits.

    Raises:
        Refused: one of them cannot be sent.
    """
    for number, (message, _, _) in enumerate(parcels):
        if type(message["meta"]) is dict:
            try:
                namespace._packets.encode_event([event, message], None)
                encode_value(message)
            except LocalProtocolError as error:
                raise _unsendable(error).at(f"[{number}]") from None


def _unsendable(error: LocalProtocolError) -> Refused:
    return Refused(NOT_SENT, f"a message cannot be sent: {error}")


def _is_here(namespace: "Place", user: str) -> bool:
    """Whether a user has a client on this node; the app may put others into the user's room."""
    return any(one.user == user for one in namespace.rooms.joined(user_room(user)))


def _name_receivers(parcels: list[Parcel]) -> list[Sent]:
    return [(message["id"], user) for message, _, user in parcels]


def _ids_without(absent: list[str], sent: list[Sent]) -> list[str]:
    """Return the ids of those messages that were not for absent users alone (CHAT-34)."""
    return [name for name, user in sent if user not in absent]


def _unknown(users: list[str], socket: Socket, *, is_all: bool) -> Refused:
    """Return what the sender is told of users who are not there (CHAT-18, CHAT-34).

    Args:
        users: their ids.
        socket: of the sender.
        is_all: whether nobody else was to get a message of the event.
    """
    told = f"nobody is connected as {_name(users)} in {socket.namespace.name}"
    if not is_all:
        told += "; the other messages were sent"
    return Refused(UNKNOWN_USER, told, {"absent": users})


def _name(users: list[str]) -> str:
    shown = " or ".join(map(repr, users[:_MAX_SHOWN]))
    more = len(users) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
