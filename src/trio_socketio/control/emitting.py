"""The methods that send events to clients."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from trio_socketio.acks import Ack
from trio_socketio.codec.json_rpc import decode_value, pass_value
from trio_socketio.control.failures import invalid, too_large
from trio_socketio.control.methods import rpc
from trio_socketio.control.targets import Missing, Names, find_namespace, select
from trio_socketio.errors import AckTimeout, LocalProtocolError, RemoteProtocolError
from trio_socketio.socketio.broadcast import Broadcast, check_event
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.target import Target

MAX_ASKED = 10_000
"""The most clients that one call may ask for an answer."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """The receivers of an event.

    Args:
        reached: how many sockets it was sent to.
        missing: the names in the call that do not exist.
    """

    reached: int
    missing: Missing


class SocketAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one client.

    Args:
        socket: its public id.
        answer: the first argument of its answer; null if there is none.
    """

    socket: str
    answer: Any


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of the clients that were asked.

    Args:
        asked: how many clients were sent the event.
        answers: those that came in time, in order.
        unanswered: the public ids of the clients that did not answer in time, or have left.
        missing: the names in the call that do not exist.
    """

    asked: int
    answers: list[SocketAnswer]
    unanswered: list[str]
    missing: Missing


class Emitting:
    """The methods emit and emit_with_ack.

    Args:
        server: has the clients.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("emit")
    def emit(
        self,
        event: str,
        args: tuple[Raw, ...] = (),
        namespace: str = "/",
        all_: bool = False,
        rooms: Names = (),
        sockets: Names = (),
        except_: Names = (),
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
        """
        place, target, missing = self._choose(event, namespace, all_, rooms, sockets, except_)
        arguments = read_arguments(args, is_overheard=bool(place._overheard))
        if target is None:
            return Reached(reached=0, missing=missing)
        try:
            reached = Broadcast(place, target).emit(event, *arguments)
        except LocalProtocolError as error:
            raise invalid("args", str(error)) from None
        return Reached(reached=reached, missing=missing)

    @rpc("emit_with_ack")
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
        """
        place, target, missing = self._choose(event, namespace, all_, rooms, sockets, except_)
        arguments = read_arguments(args, is_overheard=bool(place._overheard))
        if target is None:
            return Asked(asked=0, answers=[], unanswered=[], missing=missing)
        asked = [socket.public_id for socket in place.adapter.select(target)]
        if len(asked) > MAX_ASKED:
            raise too_large(
                f"{len(asked)} clients would be asked, but one call may ask {MAX_ASKED} at most: "
                "nothing was sent; ask room by room",
                asked=len(asked),
            )
        acks: list[Ack]
        try:
            # No checkpoint separates the selection above from the sending in this call.
            acks = await Broadcast(place, target).gather_acks(
                event, *arguments, timeout_s=timeout_s
            )
        except AckTimeout as error:
            acks = [Ack(*ack) for ack in error.acks]
        except LocalProtocolError as error:
            raise invalid("args", str(error)) from None
        answers = [SocketAnswer(socket=ack.socket_id or "", answer=ack.answer) for ack in acks]
        answered = {ack.socket_id for ack in acks}
        return Asked(
            asked=len(asked),
            answers=answers,
            unanswered=[public_id for public_id in asked if public_id not in answered],
            missing=missing,
        )

    def _choose(
        self,
        event: str,
        namespace: str,
        all_: bool,
        rooms: Names,
        sockets: Names,
        excluded: Names,
    ) -> tuple[Namespace, Target | None, Missing]:
        place = find_namespace(self._server, namespace)
        try:
            check_event(event)
        except LocalProtocolError as error:
            raise invalid("event", str(error)) from None
        target, missing = select(place, all_=all_, rooms=rooms, sockets=sockets, excluded=excluded)
        return place, target, missing


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
