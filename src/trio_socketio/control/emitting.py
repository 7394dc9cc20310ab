"""The methods that send events to clients."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from trio_socketio.acks import Ack
from trio_socketio.codec.json_rpc import decode_value, encode_value, pass_value
from trio_socketio.codec.json_text import encode_json
from trio_socketio.control.failures import invalid, too_large
from trio_socketio.control.methods import rpc
from trio_socketio.control.node_methods import MAX_ASKED, Reach
from trio_socketio.control.spread import OverNodes, Parts, Spread, merge_missing
from trio_socketio.control.targets import Missing, Names, Users, find_namespace, select
from trio_socketio.errors import AckTimeout, LocalProtocolError, RemoteProtocolError
from trio_socketio.socketio.broadcast import Broadcast, check_event
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

_TOO_LARGE: Final = Raw(b"")
"""Stands for an answer that is not kept."""
_ID_BYTES: Final = len('"",')
_ANSWER_BYTES: Final = len('{"socket":,"user":,"answer":}')
_ENVELOPE_BYTES: Final = 512
"""All that is in the line besides; ids of requests may be longer, but no client has such ids."""


class Reached(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The receivers of an event.

    Args:
        reached: how many sockets of our nodes it was sent to.
        missing: the names in the call that do not exist.
        unknown: how many nodes of other programs have received it, too, for clients whose number
            they do not tell; null if that could not be found out, and left out if there are none.
    """

    reached: int
    missing: Missing
    unknown: int | None = 0


class SocketAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of one client.

    Args:
        socket: its public id; empty for a client on a node that does not tell it.
        user: who the client is; left out if nothing has established it.
        answer: the first argument of its answer; null if there is none.
    """

    socket: str
    user: str | None = None
    answer: Raw


class Asked(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The answers of the clients that were asked.

    Args:
        asked: how many clients of our nodes were sent the event.
        answers: those that came in time, in order.
        too_large: the public ids of the clients whose answers came in time, and do not fit into the
            line behind the others; left out if there are none.
        unanswered: the public ids of the clients that did not answer in time, or have left.
        missing: the names in the call that do not exist.
        unknown: how many nodes of other programs were asked, too; their clients are in answers
            alone. Null if that could not be found out, and left out if there are none.
    """

    asked: int
    answers: list[SocketAnswer]
    too_large: list[str] = msgspec.field(default_factory=list)
    unanswered: list[str]
    missing: Missing
    unknown: int | None = 0


class _Room:
    """The room for answers in a line; it is taken as they come (CONTROL-74).

    What does not fit is not kept, so that no more than a line is held in memory.

    Args:
        size: in bytes, besides the id that each client has in the line in any case.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def keep(self, ack: Ack) -> Ack:
        """Write an answer as JSON if there is room for it; else put _TOO_LARGE in its place."""
        try:
            text = encode_value(ack.answer)
        except LocalProtocolError:  # it is nested too deep for a line
            return Ack(ack.socket_id, _TOO_LARGE)
        size = len(text) + _ANSWER_BYTES
        if size > self._left:
            return Ack(ack.socket_id, _TOO_LARGE)
        self._left -= size
        return Ack(ack.socket_id, Raw(text))


def merge_reached(parts: Parts) -> Reached:
    """Add up how many sockets an event has reached on each node."""
    ((acting, own),) = parts.results.items()
    several = {acting: own, **parts.replies}
    return Reached(
        reached=sum(one.reached for one in several.values()),
        missing=merge_missing([one.missing for one in several.values()], parts.missing),
        nodes={node: several[node].reached for node in sorted(several)},
        failed=parts.failed,
        unknown=parts.unknown,
    )


def merge_asked(parts: Parts) -> Asked:
    """Add the clients of other nodes to the result of the node that has asked them all."""
    ((acting, own),) = parts.results.items()
    users = {socket: user for one in parts.replies.values() for socket, user in one.clients}
    answers = [
        msgspec.structs.replace(one, user=users[one.socket]) if one.socket in users else one
        for one in own.answers
    ]
    heard = {one.socket for one in answers}.union(own.too_large)
    counts = {acting: own.asked, **{node: one.reached for node, one in parts.replies.items()}}
    asked = Asked(
        asked=sum(counts.values()),
        answers=answers,
        too_large=own.too_large,
        unanswered=[*own.unanswered, *(socket for socket in users if socket not in heard)],
        missing=merge_missing(
            [own.missing, *(one.missing for one in parts.replies.values())], parts.missing
        ),
        nodes=dict(sorted(counts.items())),
        failed=parts.failed,
        unknown=parts.unknown,
    )
    return _fit(asked, parts.max_bytes - _ENVELOPE_BYTES)


def _fit(asked: Asked, most: int) -> Asked:
    """Leave out the last answers if the line would be too long (CONTROL-74)."""
    over = len(encode_json(asked)) - most
    if over <= 0:
        return asked
    answers, too_large_ = list(asked.answers), list(asked.too_large)
    while over > 0 and answers:
        last = answers.pop()
        over -= len(encode_json(last)) - len(last.socket) - _ID_BYTES
        too_large_.append(last.socket)
    return msgspec.structs.replace(asked, answers=answers, too_large=too_large_)


class Emitting:
    """The methods emit and emit_with_ack.

    Args:
        server: has the clients.
        max_answer_bytes: the longest answer of a call.
    """

    def __init__(self, server: Server, max_answer_bytes: int) -> None:
        self._server = server
        self._max_answer_bytes = max_answer_bytes

    @rpc("emit", Spread(merge_reached, "node.reach", Reach, ("event", "args")))
    def emit(
        self,
        event: str,
        args: tuple[Raw, ...] = (),
        namespace: str = "/",
        all_: bool = False,
        rooms: Names = (),
        sockets: Names = (),
        except_: Names = (),
        users: Users = (),
        except_users: Users = (),
    ) -> Reached:
        """Send an event to clients; the result comes when the event is on its way to all of them.

        Args:
            event: its name.
            args: its arguments; bytes are written as {"$bytes": base64}.
            namespace: the namespace of the clients.
            all_: whether every client of the namespace gets the event.
            rooms: clients in any of these rooms get the event, each of them once.
            sockets: public ids of clients that get the event.
            except_: rooms, and public ids of clients, that do not get the event.
            users: ids of users whose clients get the event.
            except_users: ids of users whose clients do not get the event.
        """
        place = self._check(event, namespace)
        target, missing = select(
            place,
            all_=all_,
            rooms=rooms,
            sockets=sockets,
            users=users,
            excluded=except_,
            excluded_users=except_users,
        )
        arguments = read_arguments(args, is_overheard=bool(place._overheard))
        if target is None:
            return Reached(reached=0, missing=missing)
        try:
            reached = Broadcast(place, target).emit(event, *arguments)
        except LocalProtocolError as error:
            raise invalid("args", str(error)) from None
        return Reached(reached=reached, missing=missing)

    @rpc(
        "emit_with_ack",
        Spread(merge_asked, "node.reach", Reach, ("event", "args", "timeout_s"), {"named": True}),
    )
    async def emit_with_ack(
        self,
        event: str,
        args: tuple[Raw, ...] = (),
        namespace: str = "/",
        all_: bool = False,
        rooms: Names = (),
        sockets: Names = (),
        except_: Names = (),
        timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 20.0,
        users: Users = (),
        except_users: Users = (),
    ) -> Asked:
        """Send an event to clients, and wait for their answers.

        Args:
            event: its name.
            args: its arguments; bytes are written as {"$bytes": base64}.
            namespace: the namespace of the clients.
            all_: whether every client of the namespace gets the event.
            rooms: clients in any of these rooms get the event, each of them once.
            sockets: public ids of clients that get the event.
            except_: rooms, and public ids of clients, that do not get the event.
            timeout_s: how long the clients may take, in seconds.
            users: ids of users whose clients get the event.
            except_users: ids of users whose clients do not get the event.
        """
        place = self._check(event, namespace)
        target, missing = select(
            place,
            all_=all_,
            rooms=rooms,
            sockets=sockets,
            users=users,
            excluded=except_,
            excluded_users=except_users,
        )
        arguments = read_arguments(args, is_overheard=bool(place._overheard))
        if target is None:
            return Asked(asked=0, answers=[], unanswered=[], missing=missing)
        asked = {socket.public_id: socket.user for socket in place.adapter.select(target)}
        if len(asked) > MAX_ASKED:
            raise too_large(
                f"{len(asked)} clients would be asked, but one call may ask {MAX_ASKED} at most: "
                "nothing was sent; ask room by room",
                asked=len(asked),
            )
        room = _Room(self._room_for_answers(asked, missing))
        acks: list[Ack]
        try:
            # No checkpoint separates the selection above from the sending in this call.
            acks = await Broadcast(place, target).gather_acks(
                event, *arguments, timeout_s=timeout_s, keep=room.keep
            )
        except AckTimeout as error:
            acks = [Ack(*ack) for ack in error.acks]
        except LocalProtocolError as error:
            raise invalid("args", str(error)) from None
        answered = {ack.socket_id for ack in acks}
        return Asked(
            asked=len(asked),
            answers=[
                SocketAnswer(
                    socket=ack.socket_id or "",
                    user=asked.get(ack.socket_id or ""),
                    answer=ack.answer,
                )
                for ack in acks
                if ack.answer is not _TOO_LARGE
            ],
            too_large=[ack.socket_id or "" for ack in acks if ack.answer is _TOO_LARGE],
            unanswered=[public_id for public_id in asked if public_id not in answered],
            missing=missing,
        )

    def _room_for_answers(self, asked: Mapping[str, str | None], missing: Missing) -> int:
        """Return how many bytes the answers may have, if each client has its id in the line.

        Raises:
            ControlError: not even the ids fit.
        """
        ids = sum(len(public_id) + _ID_BYTES for public_id in asked)
        ids += sum(len(encode_json(user)) for user in asked.values() if user is not None)
        left = self._max_answer_bytes - _ENVELOPE_BYTES - len(encode_json(missing)) - ids
        if left < 0:
            raise too_large(
                f"the ids of {len(asked)} clients do not fit into a line: nothing was sent; ask "
                "room by room, or raise max_line_bytes in [control]",
                asked=len(asked),
            )
        return left

    def _check(self, event: str, namespace: str) -> Namespace:
        """Return the namespace in which an event can be sent."""
        place = find_namespace(self._server, namespace)
        try:
            check_event(event)
        except LocalProtocolError as error:
            raise invalid("event", str(error)) from None
        return place


def read_arguments(args: Iterable[Raw], *, is_overheard: bool) -> list[Any]:
    """Return the arguments of an event: as they were sent, or decoded if there are bytes inside.

    Args:
        args: as they were sent.
        is_overheard: whether the app has outgoing listeners, which need decoded values.
    Raises:
        ControlError: one of them has a malformed $bytes or $object.
    """
    arguments = []
    for number, raw in enumerate(args):
        try:
            arguments.append(decode_value(bytes(raw)) if is_overheard else pass_value(raw))
        except RemoteProtocolError as error:
            raise invalid(f"args[{number}]", str(error)) from None
    return arguments
