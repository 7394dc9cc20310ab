"""Clients that send far more than they may: python -m bench.flooding PORT TOKENS COUNT

COUNT clients, of the last users in TOKENS, each send BATCH events every PAUSE_S, and read away what
they are told. It prints "ready", and goes on until its input ends.
"""

import base64
import os
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

BATCH = 50
PAUSE_S = 0.01
_EVENT = b'42["echo_ack","flood"]'


def frame(payload: bytes) -> bytes:
    """Return a text frame whose mask is zero."""
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size)
    if size > 125:
        head = struct.pack("!BBH", 0x81, 0xFE, size)
    return head + bytes(4) + payload


def connect(port: int, token: str) -> socket.socket:
    """Open a WebSocket, and join the main namespace."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    peer.sendall(frame(b'40{"token":"%s"}' % token.encode()))
    told = b""
    while b'40{"sid"' not in told:
        if not (data := peer.recv(1 << 16)):
            sys.exit(f"flooding: the server hung up: {told[-200:]!r}")
        told += data
    peer.setblocking(False)
    return peer


def main(port: str, tokens: str, count: str) -> None:
    last = Path(tokens).read_text().split()[-int(count) :]
    peers = [connect(int(port), token) for token in last]
    batch = frame(_EVENT) * BATCH
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ, peer)
        print("ready", flush=True)
        next_at = time.monotonic()
        while True:
            for key, _ in selector.select(max(next_at - time.monotonic(), 0)):
                if key.data is None:
                    return
                if not key.data.recv(1 << 18):
                    sys.exit("flooding: the server hung up")
            if time.monotonic() >= next_at:
                next_at += PAUSE_S
                for peer in peers:
                    with suppress(BlockingIOError):  # what does not fit is not sent
                        peer.send(batch)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
