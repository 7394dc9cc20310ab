"""Lines on a blocking socket, as the client of the control socket for threads has them."""

import json
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.control.address import Address
from trio_socketio.control.hints import explain_failure, foreign_protocol
from trio_socketio.errors import ConnectFailed

if TYPE_CHECKING:
    import ssl

MAX_LINE_BYTES: Final = 4 << 20


class Line:
    """Lines on a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.most_bytes = MAX_LINE_BYTES  # the longest line that the server accepts

    def has_ended(self) -> bool:
        """Whether the server has closed the connection, or sent something unasked."""
        poll = select.poll()  # select.select refuses descriptors above 1023
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, message: bytes, ends: float) -> None:
        self._set_timeout(ends)
        self._sock.sendall(message)

    def receive(self, ends: float) -> Any:
        """Return the content of the next line.

        Raises:
            OSError: the connection has ended; TimeoutError if it took too long.
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                raise OSError(f"the server has sent a line of more than {MAX_LINE_BYTES} bytes")
            self._set_timeout(ends)
            data = self._sock.recv(65536)
            if not data:
                raise OSError("the server has closed the connection")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"the server has sent what is not JSON: {error}"
            raise OSError(foreign_protocol(line) or what) from None

    def _set_timeout(self, ends: float) -> None:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)

    def close(self) -> None:
        self._sock.close()


def connect(where: Address, context: "ssl.SSLContext | None", ends: float) -> socket.socket:
    """Connect to a control socket.

    Raises:
        ConnectFailed: nothing listens there, or it is not trusted.
    """
    timeout_s = max(ends - time.monotonic(), 0.001)
    try:
        if where.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout_s)
                sock.connect(where.path)
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((where.host, where.port), timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not where.secure:
            return sock
        import ssl  # here, because few addresses need it, and the import takes a while

        try:
            context = context or ssl.create_default_context()
            return context.wrap_socket(sock, server_hostname=where.host)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError; a host may be no name
        raise ConnectFailed(explain_failure(where, error)) from error
