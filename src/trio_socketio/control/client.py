"""A client of the control socket, for trio."""

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import trio

from trio_socketio.codec.json_rpc import (
    NULL,
    Code,
    Malformed,
    Message,
    Request,
    Response,
    decode_messages,
    decode_value,
    encode_batch,
    encode_error,
    encode_request,
    encode_result,
)
from trio_socketio.control.address import Address, default_address, parse_address
from trio_socketio.control.api import Authentication, BackendEvent, Greeting
from trio_socketio.control.failures import unknown_method
from trio_socketio.control.hints import (
    explain_failure,
    explain_silence,
    foreign_protocol,
    too_long,
)
from trio_socketio.control.outgoing_calls import OutgoingCalls
from trio_socketio.control.wire import Wire
from trio_socketio.errors import (
    ConfigurationError,
    ConnectFailed,
    ControlError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.runtime.groups import alone
from trio_socketio.signatures import check_function, is_async

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S: Final = 30.0
MAX_PENDING: Final = 10_000
"""The most answers that may be awaited at a time."""
_GOODBYE_S: Final = 2.0
"""The time in which the server has to accept the last output, when the block ends."""

Handler = Callable[[BackendEvent], Any]
"""Handles an event of a client, plain or async; its return value answers the client."""
Authenticator = Callable[[Authentication], Any]
"""Says who a client is, plain or async: an id, an object as webhooks answer, or None to refuse."""
Params = Mapping[str, Any] | Sequence[Any] | None


class Control:
    """A connection with the control socket of a server; programs get one from `open_control`.

    Args:
        wire: the connection.
        nursery: where handlers run.

    Attributes:
        greeting: how the server has introduced itself.
    """

    def __init__(self, wire: Wire, nursery: trio.Nursery) -> None:
        self._wire = wire
        self._nursery = nursery
        self._asked = OutgoingCalls("the server", MAX_PENDING)
        self._handlers: dict[str, tuple[Callable[[Any], Any], type]] = {}  # by method
        self._listeners: dict[str, Callable[[bytes], None]] = {}  # to notifications, by method
        self._on_closed: list[Callable[[], None]] = []
        self._greeted = trio.Event()
        self.greeting: Greeting

    async def call(
        self, method: str, params: Params = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Any:
        """Call a method, and wait for its result.

        Args:
            method: its name; ``rpc.discover`` describes them all.
            params: by name, or by position. Bytes may be anywhere inside.
            timeout_s: how long to wait, in seconds. Whether the method was done is not known then.
        Returns:
            Its result: dicts, lists, text, numbers, None and bytes.
        Raises:
            ControlError: the server has answered with an error, or not in time.
            SessionClosed: the connection has ended.
            LocalProtocolError: the parameters cannot be sent.
        """
        (answer,) = await self.batch([(method, params)], timeout_s=timeout_s)
        if isinstance(answer, ControlError):
            raise answer
        return answer

    async def notify(self, method: str, params: Params = None) -> None:
        """Call a method without asking for an answer; a failure is not reported.

        Raises:
            SessionClosed: the connection has ended.
            LocalProtocolError: the parameters cannot be sent.
        """
        line = encode_request(method, {} if params is None else params, None)
        self._check_length(line)
        await self._wire.send(line)

    async def batch(
        self, calls: Iterable[tuple[str, Params]], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> list[Any]:
        """Make several calls, one after the other, in one line.

        Args:
            calls: the methods and their parameters.
            timeout_s: how long to wait for all of them, in seconds.
        Returns:
            The result of each call, or the ControlError with which it failed.
        Raises:
            ControlError: the server has not answered in time.
            SessionClosed: the connection has ended.
            LocalProtocolError: parameters cannot be sent; nothing was sent.
        """
        ids: list[int] = []
        try:
            requests = []
            for method, params in calls:
                ids.append(self._asked.expect())
                requests.append(encode_request(method, {} if params is None else params, ids[-1]))
            if not requests:
                await trio.lowlevel.checkpoint()
                return []
            line = requests[0] if len(ids) == 1 else encode_batch(requests)
            self._check_length(line)
            await self._wire.send(line)
            answers = await self._asked.wait(ids, timeout_s)
        finally:
            self._asked.forget(ids)
        return [
            answer if isinstance(answer, ControlError) else _decode(bytes(answer))
            for answer in answers
        ]

    async def register(
        self,
        handler: Handler,
        namespaces: Sequence[str] | None = None,
        *,
        authenticate: Authenticator | None = None,
    ) -> dict[str, Any]:
        """Handle the events of clients that the server forwards, until the block ends.

        Args:
            handler: called with each event; plain or async. Its return value answers the client's
                acknowledgement; None is an answer without arguments. Events of one client come one
                at a time; async handlers of different clients run side by side. A ControlError that
                it raises is sent to the client; of any other exception it learns only that the
                handler failed.
            namespaces: only events of these; None means all namespaces.
            authenticate: called with each client that wants to enter one of the namespaces, if the
                server's configuration has backends asked. It returns the id of the user, or an
                object with ``user`` and perhaps ``token_id``, ``issued_at_s``, ``expires_at_s`` and
                ``claims``; None, or an object with ``refused``, keeps the client out.
        Returns:
            The events that the server forwards, and the namespaces of which it forwards none.
        Raises:
            ControlError: the server refuses.
            SessionClosed: the connection has ended.
            LocalProtocolError: the handler cannot be called with an event, or authenticate with a
                client.
        """
        check_function("handler of backend events", handler, ("event",))
        self._handlers = {"backend.event": (handler, BackendEvent)}
        params: dict[str, Any] = {}
        if namespaces is not None:
            params["namespaces"] = list(namespaces)
        if authenticate is not None:
            check_function("authenticate", authenticate, ("client",))
            self._handlers["backend.authenticate"] = (authenticate, Authentication)
            params["authenticate"] = True
        registered: dict[str, Any] = await self.call("backend.register", params)
        return registered

    def _check_length(self, line: bytes) -> None:
        """Refuse a line that is too long for the server (CONTROL-28).

        Raises:
            LocalProtocolError: it is too long.
        """
        most = self.greeting.max_line_bytes
        if len(line) > most:
            raise LocalProtocolError(f"the parameters cannot be sent: {too_long(len(line), most)}")

    async def wait_closed(self) -> str:
        """Wait until the connection ends; return why."""
        return await self._wire.wait_closed()

    # -- what the server sends

    def _receive_line(self, line: bytes) -> None:
        try:
            messages, is_batch = decode_messages(line, MAX_PENDING)
        except ControlError as error:
            # A line that cannot be read may have been the answer to any call.
            self._wire.lose(
                foreign_protocol(line) or f"the server has sent what is not JSON-RPC: {error}"
            )
            return
        if len(messages) == 1 and not is_batch and isinstance(messages[0], Response):
            self._receive_answer(messages[0])
            return
        for message in messages:
            self._receive(message)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Response):
            self._asked.receive(message)
        elif isinstance(message, Malformed):
            log.warning("the server has sent what is neither a call nor an answer")
        elif message.method == "hello":
            try:
                self.greeting = msgspec.json.decode(message.params or b"{}", type=Greeting)
            except msgspec.DecodeError as error:
                self._wire.lose(f"the server does not greet as a control socket does: {error}")
            else:
                self._greeted.set()
        elif message.method in self._listeners:
            self._listeners[message.method](bytes(message.params or b"{}"))
        elif message.method in self._handlers:
            handler, kind = self._handlers[message.method]
            self._nursery.start_soon(self._handle, handler, kind, message)
        elif message.id is not None:
            self._wire.send_nowait(encode_error(message.id, unknown_method(message.method, ())))

    def _receive_answer(self, response: Response) -> None:
        if response.id is None and response.error is not None:
            # It concerns a whole line, and does not say which.
            self._wire.lose(f"the server has refused a line: {response.error}")
        else:
            self._asked.receive(response)

    def _listen(
        self, method: str, listener: Callable[[bytes], None], on_closed: Callable[[], None]
    ) -> None:
        """Have a plain function called with the parameters of each notification of a method.

        Args:
            method: its name.
            listener: is called where the notification is read, so they come in order.
            on_closed: called once, when the connection has ended and none comes any more.
        """
        self._listeners[method] = listener
        self._on_closed.append(on_closed)

    def _lost(self, reason: str) -> None:
        self._asked.close(reason)
        for on_closed in self._on_closed:
            on_closed()

    async def _handle(self, handler: Callable[[Any], Any], kind: type, request: Request) -> None:
        try:
            told: Any = msgspec.convert(decode_value(bytes(request.params or NULL)), kind)
            result = handler(told)
            if is_async(handler) or isinstance(result, Awaitable):
                result = await result
            if kind is Authentication and not isinstance(result, Mapping):
                result = {"refused": ""} if result is None else {"user": result}
            answer = encode_result(request.id or NULL, result)
            self._check_length(answer)
        except ControlError as error:
            answer = encode_error(request.id or NULL, error)
        except Exception as error:
            log.exception("the handler of %s has failed", request.method)
            reason = str(error) if isinstance(error, LocalProtocolError) else "the handler failed"
            answer = encode_error(request.id or NULL, ControlError(Code.INTERNAL_ERROR, reason))
        if request.id is not None:
            self._wire.send_nowait(answer)

    async def _wait_greeting(self) -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await self._wire.wait_closed()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await self._greeted.wait()
            nursery.cancel_scope.cancel()
        if not self._greeted.is_set():
            raise SessionClosed(await self._wire.wait_closed())


@asynccontextmanager
async def open_control(
    address: str | None = None,
    *,
    token: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Control]:
    """Connect to the control socket of a server for the block.

    At the end of the block, handlers of backend events are cancelled, and pending output is sent.

    Args:
        address: ``unix:PATH``, ``tcp:HOST:PORT`` or, for TLS, ``tls:HOST:PORT``; None means
            ``control.sock`` in $RUNTIME_DIRECTORY or $XDG_RUNTIME_DIR/trio-socketio.
        token: the secret, which TCP needs.
        ssl_context: for TLS; None trusts the certificates that the system trusts.
        timeout_s: how long connecting may take, in seconds.
    Raises:
        ConnectFailed: nothing listens there, or it is not a control socket.
        ControlError: the server does not accept the token, or needs one.
        ConfigurationError: the address cannot be used.
    """
    where = parse_address(default_address() if address is None else address)
    if ssl_context is not None and not where.secure:
        raise ConfigurationError(f"ssl_context has no effect with {where}: write tls:HOST:PORT")
    with trio.move_on_after(timeout_s) as scope:
        stream = await _connect(where, ssl_context)
    if scope.cancelled_caught:
        raise ConnectFailed(f"{where} has not answered within {timeout_s:g} s")
    wire = Wire(stream)
    async with alone(trio.open_nursery()) as nursery:
        control = Control(wire, nursery)
        try:
            nursery.start_soon(wire.run, control._receive_line, control._lost)
            await _introduce(control, where, token, timeout_s)
            yield control
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _GOODBYE_S):
                await wire.aclose()
            nursery.cancel_scope.cancel()


async def _introduce(control: Control, where: Address, token: str | None, timeout_s: float) -> None:
    with trio.move_on_after(timeout_s):
        try:
            await control._wait_greeting()
        except SessionClosed as error:
            raise ConnectFailed(explain_silence(where, error.reason)) from None
    if not control._greeted.is_set():
        silence = f"it has sent nothing for {timeout_s:g} s"
        raise ConnectFailed(explain_silence(where, silence))
    if token is not None:
        await control.call("auth", {"token": token}, timeout_s=timeout_s)
    elif control.greeting.needs_token:
        raise ControlError(Code.UNAUTHORIZED, f"{where} needs a token")


async def _connect(where: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    try:
        if where.path:
            return await trio.open_unix_socket(where.path)
        stream = await trio.open_tcp_stream(where.host, where.port)
        if not where.secure:
            return stream
        secured = trio.SSLStream(
            stream, ssl_context or ssl.create_default_context(), server_hostname=where.host
        )
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return secured
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise ConnectFailed(explain_failure(where, error.__cause__ or error)) from error


def _decode(text: bytes) -> Any:
    try:
        return decode_value(text)
    except RemoteProtocolError as error:
        raise ControlError(Code.INTERNAL_ERROR, f"the result cannot be read: {error}") from None
