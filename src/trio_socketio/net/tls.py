"""TLS without a stream: an SSLObject between the descriptor and the receiver."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

from trio_socketio.errors import ConfigurationError
from trio_socketio.net.connection import READ_BYTES, Connection, Owner
from trio_socketio.net.receiver import Receiver


class TlsConnection(Connection):
    """A connection whose bytes are TLS records.

    A handshake takes the processor for a millisecond or two; the poller's turn ends after it.
    """

    __slots__ = ("_cleartext", "_incoming", "_outgoing", "_tls", "_up")

    def __init__(
        self, owner: Owner, sock: socket.socket, address: str, context: ssl.SSLContext
    ) -> None:
        super().__init__(owner, sock, address, secure=True)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._up = False

    def set_receiver(self, receiver: Receiver) -> None:
        """See Connection."""
        super().set_receiver(receiver)
        self._cleartext = self._receive
        self._receive = self._receive_records

    def _receive_records(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._up:
                self._tls.do_handshake()
                self._up = True
            while not self.closed:
                cleartext = self._tls.read(READ_BYTES)
                if not cleartext:
                    self.lose("transport close")
                    return
                self._cleartext(cleartext)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.lose("transport close")
        except ssl.SSLError:
            self._send_records()  # the alert that says why
            self.lose("transport error")
            return
        self._send_records()

    def _on_writable(self) -> None:
        super()._on_writable()
        self._send_records()

    def _send_records(self) -> None:
        """Handshake and control records, which no write made."""
        if self._outgoing.pending and not self.closed and not self._queued:
            self._send(self._outgoing.read())

    def _shut_down(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()  # our close_notify; the peer's is not waited for
        with suppress(OSError):
            self._sock.send(self._outgoing.read())
        super()._shut_down()

    def _seal(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()


def create_context(certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
    """A server's context.

    Raises:
        ConfigurationError: a file is missing or not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    for path in (certfile, keyfile):
        if path is not None and not path.is_file():
            what = "certificate" if path is certfile else "key"
            raise ConfigurationError(f"{what} file not found: {path}")
    try:
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot use certificate {certfile} with key {keyfile or certfile}: {error}"
        ) from error
    return context
