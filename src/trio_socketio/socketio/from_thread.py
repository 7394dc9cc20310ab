"""Calls to a server from threads other than the one in which it serves.

The server's state has no locks, so every public method that changes something refuses to be called
from another thread. What is here has the server's own thread make the call, and waits for it.
Threads therefore cannot ask for more than the server can do, and an error is raised where the call
was made.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.signatures import is_async
from trio_socketio.socketio.broadcast import Broadcast

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers

_NOT_SERVING: Final = "nothing was done, because the server does not serve or is stopping"


class Calls:
    """Has the server's thread make the calls of other threads.

    Args:
        workers: of the server; async functions run there.
    """

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self._lock = Lock()
        self._token: trio.lowlevel.TrioToken | None = None  # set while calls are taken
        self._waiting: set[Future[Any]] = set()

    def open(self) -> None:
        """Take calls: the server serves."""
        self._token = trio.lowlevel.current_trio_token()

    def close(self) -> None:
        """Take no more calls: the server stops. Calls that have not begun raise."""
        with self._lock:
            self._token = None

    def abandon(self) -> None:
        """Tell every thread that still waits that the server has ended, for whatever reason."""
        self.close()
        for call in tuple(self._waiting):
            if not call.done():
                call.set_exception(LocalProtocolError(_NOT_SERVING))

    def make(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Have the server's thread call function, and wait; see FromThread.run."""
        if get_ident() == self._workers.thread:
            raise LocalProtocolError(
                "from_thread was used in the server's own thread, which would wait for itself: "
                "call the server directly"
            )
        call: Future[Any] = Future()
        # Under the lock, so that abandon, which takes it too, misses no waiting thread (THREAD-03).
        with self._lock:
            token = self._token
            if token is None:
                raise LocalProtocolError(_NOT_SERVING)
            self._waiting.add(call)
        try:
            token.run_sync_soon(self._begin, call, function, arguments)  # THREAD-02: in order
            return call.result()
        except trio.RunFinishedError:
            raise LocalProtocolError(_NOT_SERVING) from None
        finally:
            with self._lock:
                self._waiting.discard(call)

    def _begin(
        self, call: "Future[Any]", function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        if call.done():
            return
        try:
            if self._token is None:
                raise LocalProtocolError(_NOT_SERVING)
            if is_async(function):
                self._workers.submit(_AsyncCall(call, function, arguments))
            else:
                call.set_result(self._workers.run(function, *arguments))
        except BaseException as error:  # it is raised in the calling thread
            call.set_exception(error)


class _AsyncCall:
    """An async function that another thread waits for."""

    __slots__ = ("_arguments", "_call", "_function")

    def __init__(
        self, call: "Future[Any]", function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self._call = call
        self._function = function
        self._arguments = arguments

    async def run(self, workers: "Workers") -> bool:
        """Run the function, and hand its result or its exception to the thread.

        Returns:
            False, because the clock was not read.
        """
        try:
            result = await workers.call_async(self._function, *self._arguments)
        except BaseException as error:  # it is raised in the calling thread
            failure, unwinding = split_failure(error)
            if not self._call.done():
                self._call.set_exception(
                    failure or LocalProtocolError("the server stopped before the call ended")
                )
            if unwinding is not None:
                raise unwinding from None
        else:
            self._call.set_result(result)
        return False


class BroadcastFromThread:
    """Emits to a selection of sockets from another thread. Each call waits until it was made.

    Args:
        calls: reach the server's thread.
        receivers: the selection.
    """

    __slots__ = ("_calls", "_receivers")

    def __init__(self, calls: Calls, receivers: Broadcast) -> None:
        self._calls = calls
        self._receivers = receivers

    def _choose(self, receivers: Broadcast) -> "BroadcastFromThread":
        return BroadcastFromThread(self._calls, receivers)

    def to(self, rooms: str | Iterable[str]) -> "BroadcastFromThread":
        """Select the sockets in these rooms; in a chain, those too."""
        return self._choose(self._receivers.to(rooms))

    def in_(self, rooms: str | Iterable[str]) -> "BroadcastFromThread":
        """Do the same as `to`."""
        return self.to(rooms)

    def except_(self, rooms: str | Iterable[str]) -> "BroadcastFromThread":
        """Leave out the sockets in these rooms."""
        return self._choose(self._receivers.except_(rooms))

    @property
    def local(self) -> "BroadcastFromThread":
        """Select only sockets of this node."""
        return self._choose(self._receivers.local)

    @property
    def volatile(self) -> "BroadcastFromThread":
        """Drop the event for clients that cannot take it at once."""
        return self._choose(self._receivers.volatile)

    def compress(self, compress: bool) -> "BroadcastFromThread":
        """Say whether transports that compress may compress the event. By default they may."""
        return self._choose(self._receivers.compress(compress))

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to each socket once.

        Raises:
            LocalProtocolError: the event cannot be sent, the server does not serve, or this is the
                server's own thread. Nothing was sent.
        """
        self._calls.make(self._receivers.emit, (event, *arguments))

    def send(self, *arguments: Any) -> None:
        """Emit "message"."""
        self.emit("message", *arguments)

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the sockets into rooms. Raises what `emit` does."""
        self._calls.make(self._receivers.sockets_join, (rooms,))

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the sockets out of rooms. Raises what `emit` does."""
        self._calls.make(self._receivers.sockets_leave, (rooms,))

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the clients out of the namespace, or with ``close`` out of all, and hang up.

        Raises what `emit` does.
        """
        self._calls.make(self._receivers.disconnect_sockets, (close,))


class Serving(Protocol):
    """The server, as far as other threads may use it."""

    def of(self, name: str) -> Broadcast:
        """Return the namespace of that name, which is created if need be."""

    def stop(self) -> None:
        """Begin to stop."""


class FromThread(BroadcastFromThread):
    """The server, as other threads may use it. Broadcasts go to the main namespace.

    Args:
        calls: reach the server's thread.
        server: the server.
        everyone: all sockets of its main namespace.
    """

    __slots__ = ("_server",)

    def __init__(self, calls: Calls, server: Serving, everyone: Broadcast) -> None:
        super().__init__(calls, everyone)
        self._server = server

    def of(self, name: str) -> BroadcastFromThread:
        """Return what emits to a namespace, which is created if need be. Raises as `emit` does."""
        namespace: Broadcast = self._calls.make(self._server.of, (name,))
        return self._choose(namespace)

    def stop(self) -> None:
        """Begin to stop the server, and return without waiting for it. Raises what `emit` does."""
        self._calls.make(self._server.stop, ())

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have the server's thread call function, wait for it, and return what it returns.

        Args:
            function: plain, and as quick as a plain handler has to be; or async, such as
                ``emit_with_ack``.
            arguments: those of the call.
        Raises:
            LocalProtocolError: the server does not serve, it stopped before an async function had
                ended, or this is the server's own thread.
            BaseException: whatever function raises.
        """
        return self._calls.make(function, arguments)
