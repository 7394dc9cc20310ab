"""The copies of messages that clients of this node have, and have yet to acknowledge.

Whoever answers a copy is known by the socket that the answer comes from: by its user, as joining
has established it. What the answer says does not matter (DELIV-06). A copy goes to the sockets of
its user themselves, because the app may put others into any room.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from trio_socketio.control.emitting import read_arguments
from trio_socketio.control.targets import find_user
from trio_socketio.errors import (
    ControlError,
    LocalProtocolError,
    SessionClosed,
    TrioSocketIOError,
)
from trio_socketio.im.deliveries.record import Key
from trio_socketio.runtime.sampling import Pace, SampledLog
from trio_socketio.socketio.repeated_question import RepeatedQuestion

if TYPE_CHECKING:
    from trio_socketio.socketio.place import Place
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

MAX_COPIES: Final = 200_000
"""How many copies may wait for their acknowledgements on a node; one for each user of a message,
however often it is sent."""

Note = Callable[[str, Key, str], None]
"""Is told the node that attends to a delivery, the delivery, and the user who has confirmed."""


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """A copy of a message for each of some users, as nodes tell one another.

    Args:
        namespace: where the users are.
        id: of the message.
        event: the name of the event.
        args: its arguments, a JSON array.
        users: who gets a copy, if they have sockets here.
        for_s: how long acknowledgements are waited for.
    """

    namespace: str
    id: str
    event: str
    args: Raw
    users: tuple[str, ...]
    for_s: float

    @property
    def key(self) -> Key:
        """Names the delivery."""
        return Key(self.namespace, self.id)


class Offers:
    """Sends copies to the sockets of this node, and waits for the acknowledgements.

    Args:
        server: has the sockets.
        note: is told of each user who has confirmed.

    Attributes:
        sent: how many copies were sent to sockets.
        refused: how many were not, because too many wait for their acknowledgements.
    """

    def __init__(self, server: "Server", note: Note) -> None:
        self.sent = 0
        self.refused = 0
        self._server = server
        self._note = note
        self._copies: dict[Key, dict[str, Copy]] = {}  # by user
        self._nodes: dict[Key, str] = {}
        self._ends: list[tuple[float, Key]] = []
        self._until: dict[Key, float] = {}
        self._count = 0
        self._warnings = SampledLog(log, logging.WARNING, Pace(1, 0.1))

    def __len__(self) -> int:
        return self._count

    def send(self, node: str, offer: Offer, now: float) -> int:
        """Send copies; return how many sockets have got one.

        Args:
            node: attends to the delivery.
            offer: the message.
            now: on a clock of this node.
        """
        place = self._server.namespaces.get(offer.namespace)
        if place is None:
            return 0
        users = {user: found for user in offer.users if (found := find_user(place, user))}
        if not users:
            return 0
        try:
            args = msgspec.json.decode(offer.args, type=list[Raw])
            arguments = read_arguments(args, is_overheard=bool(place._overheard))
        except (ControlError, msgspec.MsgspecError):  # of a node of another version
            return 0
        key = offer.key
        reached = 0
        for user, sockets in users.items():
            copy = self._open(place, key, user)
            if copy is None:
                self._refuse(key, user)
                continue
            with suppress(LocalProtocolError):  # a listener of the app has changed the arguments
                reached += copy.question.ask(sockets, [offer.event, *arguments])
            copy.close_if_deserted()
        if key in self._copies:
            self._nodes[key] = node
            self._keep_until(key, now + offer.for_s)
        self.sent += reached
        return reached

    def expire(self, now: float) -> None:
        """Wait no longer for the acknowledgements of deliveries whose time is over."""
        while self._ends and self._ends[0][0] <= now:
            _, key = heappop(self._ends)
            if self._until.get(key, now + 1) <= now:
                for copy in tuple(self._copies.get(key, {}).values()):
                    copy.close()

    def forget(self) -> None:
        """Wait for nothing any more: the service ends."""
        for copies in tuple(self._copies.values()):
            for copy in tuple(copies.values()):
                copy.close()

    def confirmed(self, key: Key, user: str) -> None:
        """Tell the node that attends to a delivery that a user has confirmed."""
        node = self._nodes.get(key)
        if node is not None:
            self._note(node, key, user)

    def close(self, copy: "Copy") -> None:
        """Count a copy no longer for whose acknowledgement nobody waits."""
        copies = self._copies.get(copy.key)
        if copies is not None and copies.get(copy.user) is copy:
            del copies[copy.user]
            self._count -= 1
            if not copies:
                del self._copies[copy.key]
                self._until.pop(copy.key, None)
                self._nodes.pop(copy.key, None)
                if len(self._ends) > 2 * len(self._until) + 100:
                    self._ends = [(until, key) for key, until in self._until.items()]
                    heapify(self._ends)

    def _open(self, place: "Place", key: Key, user: str) -> "Copy | None":
        """Return the copy of a user, which is a new one the first time; None if there are too many.

        A retry sends the same copy again: it waits for one acknowledgement, whichever comes.
        """
        copy = self._copies.get(key, {}).get(user)
        if copy is None and self._count < MAX_COPIES:
            copy = Copy(self, place, key, user)
            self._copies.setdefault(key, {})[user] = copy
            self._count += 1
        return copy

    def _refuse(self, key: Key, user: str) -> None:
        """Count a copy that is not sent, and say so: the next retry may find room (DELIV-27)."""
        self.refused += 1
        if self._warnings.admits("copies of messages were not sent"):
            log.warning(
                "%s: a copy of the message %s for %s was not sent, because %d wait for their "
                "acknowledgements: do the clients acknowledge messages?",
                *(*key, user, self._count),
            )

    def _keep_until(self, key: Key, until: float) -> None:
        if self._until.get(key) != until:
            self._until[key] = until
            heappush(self._ends, (until, key))


class Copy:
    """A copy for the sockets of one user; told their acknowledgements.

    Args:
        offers: all copies of this node.
        place: the namespace of the sockets.
        key: of the delivery.
        user: whose sockets they are.

    Attributes:
        question: sends the copy.
    """

    __slots__ = ("_offers", "key", "question", "user")

    def __init__(self, offers: Offers, place: "Place", key: Key, user: str) -> None:
        self._offers = offers
        self.key = key
        self.user = user
        self.question = RepeatedQuestion(place, self)

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """Take an acknowledgement: one socket of a user is enough (DELIV-06)."""
        socket = self.question.asked.get(socket_id or "")
        if socket is not None and socket.user == self.user:
            self._offers.confirmed(self.key, self.user)
            self.close()

    def fail(self, error: TrioSocketIOError) -> None:
        """Note that a socket has left."""
        if isinstance(error, SessionClosed):
            self.question.forget(error.socket_id)
        self.close_if_deserted()

    def close_if_deserted(self) -> None:
        """Wait no longer if no socket can answer."""
        if not self.question.asked:
            self.close()

    def close(self) -> None:
        """Wait no longer."""
        self._offers.close(self)
        self.question.close()
