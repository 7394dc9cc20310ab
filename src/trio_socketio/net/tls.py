"""TLS on the poller: an SSLObject stands between the descriptor and the receiver."""

import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from trio_socketio.errors import ConfigurationError
from trio_socketio.net.connection import READ_BYTES, Connection
from trio_socketio.net.driving import Owner
from trio_socketio.net.receiver import Receiver
from trio_socketio.protocol.connection import IDLE, QUEUED


class TlsConnection(Connection):
    """A connection whose bytes are TLS records.

    A handshake computes for a millisecond or two, so the poller's turn ends after it.

    Args:
        owner, sock, address: see Connection.
        context: of a server, or of a client for a connection that was dialed.
    """

    secure: ClassVar[bool] = True

    __slots__ = ("_cleartext", "_incoming", "_outgoing", "_tls", "_up")

    def __init__(
        self, owner: Owner, sock: socket.socket, address: str, context: ssl.SSLContext
    ) -> None:
        super().__init__(owner, sock, address)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        dials = context.protocol is ssl.PROTOCOL_TLS_CLIENT
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=not dials)
        self._up = False
        if dials:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()  # its first records are sent before what is written

    def set_receiver(self, receiver: Receiver) -> None:
        super().set_receiver(receiver)
        self._cleartext = self._receive
        self._receive = self._receive_records

    def _receive_records(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._up:
                self._tls.do_handshake()
                self._up = True
                if self._out and self._output is IDLE:  # written meanwhile, such as a greeting
                    self.owner.poller.mark_dirty(self)
                    self._output = QUEUED
            # Another read, only to learn that there is no more, costs as much as opening a record.
            while self._incoming.pending and not self.closed:
                cleartext = self._tls.read(READ_BYTES)
                if not cleartext:
                    self.lose("transport close")
                    return
                self._cleartext(cleartext)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.lose("transport close")
        except ssl.SSLError as error:
            self._send_records()  # the alert, which tells the peer why
            self.lose("transport error", error)
            return
        self._send_records()

    def _on_writable(self) -> None:
        super()._on_writable()
        self._send_records()

    def _send_records(self) -> None:
        """Send the records of handshakes and the like, which no write has caused."""
        if self._outgoing.pending and self._output is IDLE:
            records = self._outgoing.read()
            self.traffic.bytes_out += len(records)
            self._send(records)

    def _shut_down(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()  # writes our close_notify; we do not wait for the peer's
        with suppress(OSError):
            self.traffic.bytes_out += self._sock.send(self._outgoing.read())
        super()._shut_down()

    def _flush_early(self) -> None:
        if self._up:  # until the handshake is done, nothing can be sealed
            super()._flush_early()

    def flush(self) -> None:
        if self._shared is not None:
            self._shared.detach(self)
        if self._output is QUEUED:
            if not self._up:  # nothing can be sealed yet: it is kept, see _receive_records
                self._output = IDLE
                self._send_records()  # which may have waited behind what was written
                return
            self.traffic.packets_out += len(self._out) - 1  # one is left, and counted below
            self._tls.write(b"".join(self._out))
            self._out[:] = [self._outgoing.read()]
        super().flush()


def create_context(certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
    """Create the context of a server.

    Args:
        certfile: a certificate chain in PEM form.
        keyfile: its private key; None if certfile holds it.
    Raises:
        ConfigurationError: a file is missing or cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    for path in (certfile, keyfile):
        if path is not None and not os.path.isfile(
            path
        ):  # False, too, if access to its folder is denied
            what = "certificate" if path is certfile else "key"
            raise ConfigurationError(f"{what} file not found: {path}")
    try:
        # Without a password function, OpenSSL asks for the one of an encrypted key on the terminal.
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot use certificate {certfile}{f' with key {keyfile}' if keyfile else ''}: {error}"
        ) from error
    return context
