"""The exceptions that this package raises, in one tree."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final


class TrioSocketIOError(Exception):
    """Root of everything this package raises."""


class ConfigurationError(TrioSocketIOError):
    """An option, app, address or certificate cannot be used as it was given.

    The message says what is wrong and what to do; the command line prints it and exits with 2.
    """


class OptionError(ConfigurationError):
    """An option has a value that cannot be used.

    Args:
        option: the name of the option in the place where it was set.
        reason: what is wrong with the value, and what is expected instead.
        hides_value: whether the reason does not show the value, so that it may be told of a secret.
    """

    def __init__(self, option: str, reason: str, *, hides_value: bool = False) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason
        self.hides_value = hides_value

    def within(self, option: str) -> "OptionError":
        """Return the error as one of an option that holds this one."""
        return OptionError(f"{option}.{self.option}", self.reason, hides_value=self.hides_value)


class ProgramFailed(TrioSocketIOError):
    """The program cannot go on. The command line prints the message, and exits with 1."""


class ProtocolError(TrioSocketIOError):
    """Abstract: catch it, never raise it."""


class LocalProtocolError(ProtocolError):
    """Our caller asked for something illegal: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: close that peer, keep serving.

    If an HTTP request is at fault, it is answered with ``http_status``.
    """

    http_status: ClassVar[int] = 400


class PayloadTooLarge(RemoteProtocolError):
    """A body, frame or message is larger than the limit the handshake announced."""

    http_status: ClassVar[int] = 413


class SessionClosed(TrioSocketIOError):
    """The session ended before the operation could finish.

    Args:
        reason: one of the disconnect reasons, such as "transport close".
        socket_id: the id of the socket that ended, if it is one of a server; empty otherwise.
    """

    def __init__(self, reason: str, socket_id: str = "") -> None:
        super().__init__(f"the session is closed: {reason}")
        self.reason = reason
        self.socket_id = socket_id


class BufferFull(TrioSocketIOError):
    """A client holds as much unsent output as it may, because the server does not take it.

    The call that raised this has queued nothing. ``wait_drained`` waits until there is room.
    """


class AckTimeout(TrioSocketIOError):
    """The peer did not acknowledge an event in time.

    Args:
        message: how long the wait was, and for whom.
        acks: after a broadcast, a pair for each client that did answer: its public id and its
            answer.
    """

    def __init__(self, message: str, acks: Sequence[tuple[str | None, Any]] = ()) -> None:
        super().__init__(message)
        self.acks = list(acks)

    @property
    def responses(self) -> list[Any]:
        """The answers of the clients that did acknowledge the event."""
        return [answer for _, answer in self.acks]


class EventRefused(TrioSocketIOError):
    """Raised by event middleware, or by a handler, to drop an event.

    Nothing is sent to the client; if it asked for an acknowledgement, it waits until its own
    timeout. This exception is not a failure: it is not counted, and it is logged at debug level.
    """


class ControlError(TrioSocketIOError):
    """A call on the control socket failed; methods raise it to fail with this code.

    Args:
        code: one of codec.json_rpc.Code: negative codes are those of JSON-RPC 2.0.
        message: what is wrong, in plain words.
        data: details for programs, such as the wrong parameter; None if there are none.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code = int(code)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


class ConnectFailed(TrioSocketIOError):
    """A client could not connect: nothing answers, or what answers is not a Socket.IO server."""


class ConnectRefused(TrioSocketIOError):
    """A client may not join a namespace.

    Middleware of a server raises it to refuse a client, and a client raises it when it was refused.

    Args:
        message: sent to the client as ``message``; it is the text of its ``connect_error``.
        data: any value that JSON can carry; sent to the client as ``data`` unless it is None.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class RedisUnavailable(TrioSocketIOError):
    """There is no connection to Redis, its queue is full, or it was lost before Redis answered.

    Nothing is sent twice.

    Args:
        reason: why.
        is_unsure: whether the command may have been carried out, because the connection was lost
            before the answer. Otherwise nothing was sent.
    """

    def __init__(self, reason: str, *, is_unsure: bool = False) -> None:
        super().__init__(reason)
        self.is_unsure = is_unsure


class StorageUnavailable(TrioSocketIOError):
    """Something could not be kept on disk, or be read from it.

    Args:
        reason: why, such as "the disk is full".
        is_unsure: whether it may be kept later, because the disk has not answered. Otherwise
            nothing was changed.
    """

    def __init__(self, reason: str, *, is_unsure: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unsure = is_unsure


_REFUSED_AT_ONCE: Final = frozenset(
    (
        *("OOM", "MISCONF", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "NOSCRIPT"),
        *("NOAUTH", "BUSY", "CLUSTERDOWN", "FOREIGN"),  # the last one our scripts say themselves
    )
)
_ADVICE: Final = {
    "OOM": "Redis is out of memory: raise maxmemory, or free some",
    "READONLY": "Redis takes no writes, as it is a replica: [redis] url has to name the master",
    "MISCONF": "Redis takes no writes, because it could not save to its disk",
    "NOREPLICAS": "Redis takes no writes, because too few replicas are connected",
    "NOPERM": "the user of Redis has too few rights",
    "FOREIGN": (
        "a key of Redis is not ours: look at it, and delete it or set another [redis] prefix"
    ),
}


class RedisCommandError(TrioSocketIOError):
    """Redis answered a command with an error.

    Args:
        message: as Redis words it, such as "WRONGTYPE Operation against a key ...".
    """

    @property
    def code(self) -> str:
        """The first word of the message, which tells the kinds of errors apart."""
        return str(self).partition(" ")[0]

    @property
    def is_unsure(self) -> bool:
        """Whether a script may have changed something before it failed.

        Redis refuses writes for these reasons only to a script that has not written yet.
        """
        return self.code not in _REFUSED_AT_ONCE

    def explain(self) -> str:
        """Say what went wrong, and what to do if that is known; without the place in a script."""
        told = str(self).partition(" script: ")[0].rstrip(".")
        advice = _ADVICE.get(self.code)
        return f"{advice} ({told})" if advice else f"Redis refuses it: {told}"
