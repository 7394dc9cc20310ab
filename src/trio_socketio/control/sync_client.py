"""A client of the control socket for scripts, threads and web frameworks.

It blocks and needs no trio: it uses only the standard library, and those modules of this package
that do so too, because `trio-socketio ctl` should start at once. So it reads and writes messages
itself; a test compares that with codec.json_rpc.
"""

import base64
import itertools
import json
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.address import default_address, parse_address
from trio_socketio.control.blocking_line import MAX_LINE_BYTES, Line, connect
from trio_socketio.control.hints import (
    explain_silence,
    too_long,
)
from trio_socketio.errors import (
    ConfigurationError,
    ConnectFailed,
    ControlError,
    LocalProtocolError,
    SessionClosed,
)

if TYPE_CHECKING:
    import ssl

    from trio_socketio.control.presence_following import PresenceBatch

GREETING_S: Final = 10.0
"""The longest time from the connection to the greeting of the server."""
_MARKS: Final = ("$bytes", "$object")

Params = Mapping[str, Any] | Sequence[Any] | None


class ControlClient:
    """Calls the methods of a server on its control socket.

    It connects with the first call, and again with the first call after the connection was lost; a
    call that was under way is not repeated, because it may have been done. Threads may share it:
    their calls are made one after the other. After a fork the child has a connection of its own.

    Args:
        address: ``unix:PATH``, ``tcp:HOST:PORT`` or, for TLS, ``tls:HOST:PORT``; None means
            ``control.sock`` in $RUNTIME_DIRECTORY or $XDG_RUNTIME_DIR/trio-socketio.
        token: the secret, which TCP needs.
        ssl_context: for TLS; None trusts the certificates that the system trusts.
        timeout_s: how long connecting, and each call, may take, in seconds.
    Raises:
        ConfigurationError: the address cannot be used.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        ssl_context: "ssl.SSLContext | None" = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._address = parse_address(default_address() if address is None else address)
        if ssl_context is not None and not self._address.secure:
            raise ConfigurationError(
                f"ssl_context has no effect with {self._address}: write tls:HOST:PORT"
            )
        self._token = token
        self._ssl_context = ssl_context
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._line: Line | None = None
        _clients.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, method: str, params: Params = None, *, timeout_s: float | None = None) -> Any:
        """Call a method, and wait for its result.

        Args:
            method: its name; ``rpc.discover`` describes them all.
            params: by name, or by position. Bytes may be anywhere inside.
            timeout_s: how long to wait, in seconds; None means the client's own timeout_s.
                Whether the method was done is not known after that.
        Returns:
            Its result: dicts, lists, text, numbers, None and bytes.
        Raises:
            ControlError: the server has answered with an error, or not in time.
            ConnectFailed: the server cannot be reached; nothing was sent.
            SessionClosed: the connection was lost; whether the method was done is not known.
            LocalProtocolError: the parameters cannot be sent.
        """
        number = next(self._ids)
        answers = self._exchange(_encode(_request(method, params, number)), [number], timeout_s)
        result = _read(answers[number])
        if isinstance(result, ControlError):
            raise result
        return result

    def batch(
        self, calls: Iterable[tuple[str, Params]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """Make several calls, one after the other, in one line.

        Args:
            calls: the methods and their parameters.
            timeout_s: how long to wait for all of them; see `call`.
        Returns:
            The result of each call, or the ControlError with which it failed.
        Raises:
            ControlError: the server has refused the batch, or not answered in time.
            ConnectFailed, SessionClosed, LocalProtocolError: see `call`.
        """
        requests = [_request(method, params, next(self._ids)) for method, params in calls]
        if not requests:
            return []
        numbers = [request["id"] for request in requests]
        answers = self._exchange(_encode(requests), numbers, timeout_s)
        return [_read(answers[number]) for number in numbers]

    def notify(self, method: str, params: Params = None) -> None:
        """Call a method without asking for an answer; a failure is not reported.

        Raises:
            ConnectFailed, SessionClosed, LocalProtocolError: see `call`.
        """
        self._exchange(_encode(_request(method, params, None)), [], None)

    def follow_presence(
        self,
        namespace: str,
        *,
        cursor: str | None = None,
        group: str | None = None,
        credit: int = 1000,
    ) -> "Iterator[PresenceBatch]":
        """Follow who is online in a namespace, without end.

        It has a connection of its own, and connects again whenever that is lost. A batch is
        acknowledged when the next one is asked for. No entry comes twice from one iterator; the
        next one gives entries again that were not acknowledged, unless cursor leaves them out.

        Args:
            namespace: its name.
            cursor: of the last batch that was dealt with; None begins with the number of those that
                are online now.
            group: of backends that share the work: see presence.subscribe. The one that is not
                active is given nothing.
            credit: how many entries may be on their way.
        Raises:
            ControlError: the server refuses, for a reason that does not pass by itself: the token,
                the namespace or a parameter.
        """
        # Here, because `ctl` needs none of it, and the imports take a while.
        from trio_socketio.control.presence_following import Place
        from trio_socketio.control.sync_presence import follow_presence

        return follow_presence(self._open_line, Place(namespace, cursor, group, credit))

    def close(self) -> None:
        """Close the connection, if there is one. A later call opens another."""
        with self._lock:
            self._drop()

    # -- the connection

    def _exchange(
        self, message: bytes, numbers: list[int], timeout_s: float | None
    ) -> dict[int, dict[str, Any]]:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        ends = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise ControlError(
                Code.TIMEOUT, f"other threads have used the client for {timeout_s:g} s"
            )
        try:
            line = self._connected(ends)
            if len(message) - 1 > line.most_bytes:  # CONTROL-28
                told = too_long(len(message) - 1, line.most_bytes)
                raise LocalProtocolError(f"the parameters cannot be sent: {told}")
            try:
                line.send(message, ends)
                return _gather(line, numbers, ends)
            except TimeoutError:
                self._drop()  # a part of the message may have been sent
                told = f"the server has not answered within {timeout_s:g} s"
                raise ControlError(Code.TIMEOUT, told, {"retryable": False}) from None
            except OSError as error:
                self._drop()
                raise SessionClosed(str(error)) from error
            except BaseException:
                self._drop()
                raise
        finally:
            self._lock.release()

    def _connected(self, ends: float) -> "Line":
        if self._line is not None:
            if not self._line.has_ended():
                return self._line
            self._drop()
        self._line = self._open_line(ends)
        return self._line

    def _open_line(self, ends: float) -> "Line":
        line = Line(connect(self._address, self._ssl_context, ends))
        try:
            self._introduce(line, ends)
        except OSError as error:
            line.close()
            reason = "it has sent nothing" if isinstance(error, TimeoutError) else str(error)
            raise ConnectFailed(explain_silence(self._address, reason)) from error
        except BaseException:
            line.close()
            raise
        return line

    def _introduce(self, line: "Line", ends: float) -> None:
        hello = line.receive(min(ends, time.monotonic() + GREETING_S))
        params = hello.get("params") if isinstance(hello, dict) else None
        if isinstance(hello, dict) and "error" in hello:
            raise ConnectFailed(f"{self._address}: {_error_of(hello)}")
        if not isinstance(params, dict) or hello.get("method") != "hello" or "api" not in params:
            raise ConnectFailed(explain_silence(self._address, "it has sent something else"))
        line.most_bytes = int(params.get("max_line_bytes", MAX_LINE_BYTES))
        if self._token is not None:
            number = next(self._ids)
            line.send(_encode(_request("auth", {"token": self._token}, number)), ends)
            granted = _read(_gather(line, [number], ends)[number])
            if isinstance(granted, ControlError):
                raise granted
        elif params.get("needs_token", True):
            raise ControlError(Code.UNAUTHORIZED, f"{self._address} needs a token")

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _begin_anew(self) -> None:
        """Forget the lock and the connection of the process that has forked (CONTROL-80).

        A thread that does not exist here may have held the lock, and may still be using the
        connection there. To close our descriptor of it sends nothing.
        """
        self._lock = threading.Lock()
        self._drop()


_clients: Final = weakref.WeakSet[ControlClient]()


def _begin_anew() -> None:
    for client in tuple(_clients):
        client._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _gather(line: Line, numbers: list[int], ends: float) -> dict[int, dict[str, Any]]:
    """Read until all these answers are there. Anything else that the server sends is ignored."""
    answers: dict[int, dict[str, Any]] = {}
    while len(answers) < len(numbers):
        received = line.receive(ends)
        for message in received if isinstance(received, list) else [received]:
            if not isinstance(message, dict) or "method" in message:
                continue
            number = message.get("id")
            if number is None:  # the line as a whole was refused
                raise _error_of(message)
            if number in numbers:
                answers[number] = message
    return answers


# -- messages


def _request(method: str, params: Params, number: int | None) -> dict[str, Any]:
    request: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        request["params"] = escape(params)
    if number is not None:
        request["id"] = number
    return request


def _encode(message: object) -> bytes:
    try:
        return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"the parameters cannot be sent: {error}") from None


def _read(message: dict[str, Any]) -> Any:
    return unescape(message["result"]) if "result" in message else _error_of(message)


def _error_of(message: dict[str, Any]) -> ControlError:
    error = message.get("error")
    if not isinstance(error, dict):
        return ControlError(Code.INTERNAL_ERROR, "the server's answer is not one of JSON-RPC 2.0")
    code, text = error.get("code", Code.INTERNAL_ERROR), error.get("message", "")
    return ControlError(code, text, error.get("data"))


def escape(value: Any) -> Any:
    """Copy a value with marks instead of bytes; see codec.json_rpc.escape."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        escaped = {name: escape(item) for name, item in value.items()}
        return {"$object": escaped} if len(value) == 1 and next(iter(value)) in _MARKS else escaped
    if isinstance(value, (list, tuple)):
        return [escape(item) for item in value]
    return value


def unescape(value: Any) -> Any:
    """Copy a value with bytes instead of marks.

    Raises:
        ValueError: a mark has the wrong content.
    """
    if isinstance(value, list):
        return [unescape(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        if "$bytes" in value:
            if not isinstance(value["$bytes"], str):
                raise ValueError("$bytes needs text")
            return base64.b64decode(value["$bytes"], validate=True)
        if "$object" in value:
            return {name: unescape(item) for name, item in value["$object"].items()}
    return {name: unescape(item) for name, item in value.items()}
