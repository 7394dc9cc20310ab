"""What all chat events share: answers, permission, bounds, the time, and who is elsewhere."""

import time
from collections.abc import Callable
from typing import Any

from trio_socketio.im.chat.answers import Answers
from trio_socketio.im.chat.inquiries import Inquiries
from trio_socketio.im.chat.refusals import Reason, Refused
from trio_socketio.im.chat.roles import Denial, Permits
from trio_socketio.protocol.user_ids import is_reserved_room
from trio_socketio.socketio.socket import Socket


class Desk:
    """What all chat events share.

    Args:
        max_targets: how many rooms or users an event may name.
        inquiries: asks other nodes who is there; None if there are none that can be asked.
        clock: seconds since 1970.

    Attributes:
        answers: tells clients what has become of their events.
        permits: says what clients may do; None if they may do everything.
    """

    __slots__ = ("_clock", "answers", "inquiries", "max_targets", "permits")

    def __init__(
        self,
        max_targets: int,
        inquiries: Inquiries | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.answers = Answers()
        self.permits: Permits | None = None
        self.max_targets = max_targets
        self.inquiries = inquiries
        self._clock = clock

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self._clock() * 1000)


def is_in(socket: Socket, room: str) -> bool:
    """Whether a client is in a room, or was when it left the namespace.

    The rooms of users and sockets are no rooms of clients (CHAT-12). The set of the socket is read
    directly, because `Socket.rooms` makes a copy of it for each message.
    """
    joined = socket._membership.joined
    if joined is None:
        # Events of a client that has left are handled last, as if it still were in its rooms.
        is_member = not socket.connected and room != socket.id and room in socket.rooms
    else:
        is_member = room in joined
    return is_member and not is_reserved_room(room)


def check_denial(denial: Denial | None, place: Callable[[int], str]) -> None:
    """Refuse what is not permitted (CHAT-14).

    Args:
        denial: why it is not; None if it is.
        place: returns where a room or user stands in the event, given its number.
    Raises:
        Refused: with the reason that was given, and when it may be tried again.
    """
    if denial is not None:
        more: dict[str, Any] = {"reason": denial.reason}  # as in what rules tell themselves
        if denial.retry_after_s is not None:
            more["retry_after_s"] = denial.retry_after_s
        where = "" if denial.number is None else place(denial.number)
        raise Refused(Reason(denial.reason), denial.message, more).at(where)
