"""Every exception this package raises, in one tree."""

from collections.abc import Sequence
from typing import Any, ClassVar


class TrioSocketIOError(Exception):
    """Root of everything this package raises."""


class ConfigurationError(TrioSocketIOError):
    """An option, app, address or certificate that a person gave cannot be used.

    The message says what is wrong and what to do; the command line prints it and ends with 2.
    """


class OptionError(ConfigurationError):
    """One option has a value that cannot be used.

    Args:
        option: its name where it was set.
        reason: what is wrong with the value, and what is expected.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason


class ProtocolError(TrioSocketIOError):
    """Abstract: catch it, never raise it."""


class LocalProtocolError(ProtocolError):
    """Our caller asked for something illegal: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: close that peer, keep serving.

    Where the offence is an HTTP request, ``http_status`` is how it is answered.
    """

    http_status: ClassVar[int] = 400


class PayloadTooLarge(RemoteProtocolError):
    """A body, frame or message is larger than the limit the handshake announced."""

    http_status: ClassVar[int] = 413


class SessionClosed(TrioSocketIOError):
    """The session ended before the operation could finish.

    Args:
        reason: why it ended, one of the disconnect reasons ("transport close", ...).
        socket_id: of the server's socket that has ended; empty elsewhere.
    """

    def __init__(self, reason: str, socket_id: str = "") -> None:
        super().__init__(f"the session is closed: {reason}")
        self.reason = reason
        self.socket_id = socket_id


class BufferFull(TrioSocketIOError):
    """A client was asked to send more than may wait for the server to take it.

    What raised it was not accepted. ``wait_drained`` waits for room.
    """


class AckTimeout(TrioSocketIOError):
    """The peer did not acknowledge an event in time.

    Args:
        message: how long was waited, for whom.
        acks: of a broadcast: a pair for each client that did, its public id and its answer.
    """

    def __init__(self, message: str, acks: Sequence[tuple[str | None, Any]] = ()) -> None:
        super().__init__(message)
        self.acks = list(acks)

    @property
    def responses(self) -> list[Any]:
        """The answers of the clients that did acknowledge."""
        return [answer for _, answer in self.acks]


class EventRefused(TrioSocketIOError):
    """Raised by event middleware, or by a handler, to drop an event.

    Nothing is sent to the client: if it asked for an acknowledgement, its timeout decides. Unlike
    any other exception it is no failure: it is neither counted nor logged above debug.
    """


class ConnectFailed(TrioSocketIOError):
    """A client could not connect: nobody answers there, or no Socket.IO server does."""


class ConnectRefused(TrioSocketIOError):
    """Raised by middleware to refuse a client's connection to a namespace, and to that client.

    Args:
        message: sent to the client as ``message``; it shows as the text of ``connect_error``.
        data: anything JSON can carry; sent to the client as ``data`` when it is not None.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
