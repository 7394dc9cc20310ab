"""Authentication by event: a client sends its credentials after its CONNECT was answered.

The first event of an agreed name carries the credentials. Events behind it wait until they have
been judged. Events before it are dropped, and the client is told so.
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.socketio.intake import OVERLOAD_FACTOR

if TYPE_CHECKING:
    from trio_socketio.socketio.socket import Socket

ERROR_EVENT: Final = "logic/error"
SERVER_ERROR: Final = 1
BAD_TOKEN: Final = 3
AUTH_TIMEOUT: Final = 4
NOT_AUTHENTICATED: Final = 5


class AuthenticationTimedOut(ConnectRefused):
    """The credentials of a client have not come, or have not been judged, in time."""

    def __init__(self) -> None:
        super().__init__("authentication timed out")


class Credentials:
    """The credentials of one socket, and the events that wait behind them.

    Args:
        socket: has been accepted.
        event: the name of the event that carries the credentials.
        reply: the name of the event that answers it; None if only acknowledgements do.
    """

    __slots__ = ("_ack_id", "_arguments", "_arrived", "_event", "_held", "_reply", "_socket")

    def __init__(self, socket: "Socket", event: str, reply: str | None = None) -> None:
        self._socket = socket
        self._event = event
        self._reply = reply
        self._arguments: list[Any] | None = None
        self._ack_id: int | None = None
        self._arrived = trio.Event()
        self._held: deque[tuple[list[Any], int | None, int]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether another event may wait."""
        return len(self._held) < self._socket.namespace._workers.queue_bound

    def receive_event(self, arguments: list[Any], ack_id: int | None, weight: int) -> None:
        """Take an event of a client that has not been authenticated yet.

        Args:
            arguments: the event's name, then its arguments.
            ack_id: of the event; None if no answer is asked for.
            weight: as Intake weighs it.
        """
        if self._arguments is not None:  # JOIN-22
            self._held.append((arguments, ack_id, weight))
            client = self._socket._participant
            client.host.intake.add(client, weight)
            if not self.has_room:  # JOIN-26
                overload = OVERLOAD_FACTOR * self._socket.namespace._workers.queue_bound
                client.burdened(is_overload=len(self._held) >= overload)
        elif arguments[0] == self._event:
            self._arguments = arguments[1:]
            self._ack_id = ack_id
            self._arrived.set()
        else:  # JOIN-21
            self._socket.namespace._workers.events_dropped += 1
            error = {"errcode": NOT_AUTHENTICATED, "errmsg": "not authenticated"}
            self._socket.emit(ERROR_EVENT, error)
            self._acknowledge(ack_id, error)  # JOIN-40: as with any other refusal

    async def wait(self) -> list[Any]:
        """Wait for the event with the credentials. Returns its arguments."""
        await self._arrived.wait()
        return self._arguments or []

    def answer(self, told: dict[str, Any]) -> None:
        """Tell the client what has become of its credentials, if they have come.

        Whoever lets it in or turns it away calls this, as a later step may refuse a client whose
        credentials are good (JOIN-37).

        Raises:
            LocalProtocolError: the answer cannot be sent.
        """
        if self._reply is not None and self._arguments is not None:
            self._socket.emit(self._reply, told)
            self.acknowledge(told)

    def acknowledge(self, *arguments: Any) -> None:
        """Answer the event with the credentials, once, if an answer was asked for.

        Raises:
            LocalProtocolError: an argument cannot be sent.
        """
        ack_id, self._ack_id = self._ack_id, None
        self._acknowledge(ack_id, *arguments)

    def _acknowledge(self, ack_id: int | None, *arguments: Any) -> None:
        if ack_id is not None and self._socket._is_reachable:
            self._socket.session.send(self._socket.namespace._packets.encode_ack(arguments, ack_id))

    def release(self) -> None:
        """Hand the events that waited to the socket, which has joined (JOIN-22)."""
        while self._held and self._socket.connected:  # one of the handlers may disconnect it
            self._socket._open_events().receive(self._socket, *self._take())
        self.drop()

    def drop(self) -> None:
        """Count the events that still wait as dropped: the socket has left or was turned away."""
        self._socket.namespace._workers.events_dropped += len(self._held)
        while self._held:
            self._take()
        self._socket._participant.queue_eased()

    def _take(self) -> tuple[list[Any], int | None, int]:
        arguments, ack_id, weight = self._held.popleft()
        client = self._socket._participant
        client.host.intake.remove(client, weight)
        return arguments, ack_id, weight


def describe_refusal(error: "ConnectRefused", default: int) -> dict[str, Any]:
    """Return what an accepted client is told when it is turned away.

    Args:
        error: its data may hold an ``errcode``, and what programs go by: a ``reason``, and
            ``retry_after_s``, the time after which the client may try again (JOIN-41).
        default: the errcode if it holds none.
    """
    data = error.data if isinstance(error.data, dict) else {}
    code = data.get("errcode")
    told: dict[str, Any] = {
        "errcode": code if type(code) is int else default,
        "errmsg": error.message,
    }
    if isinstance(data.get("reason"), str):
        told["reason"] = data["reason"]
    if type(data.get("retry_after_s")) in (int, float):
        told["retry_after_s"] = data["retry_after_s"]
    return told
