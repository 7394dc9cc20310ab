"""Clients that all come back at once: python -m bench.reconnecting PORT COUNT [TOKENS]

COUNT clients, each with the token of its line in TOKENS, join over WebSockets, some at a time. It
prints "ready". For each line of its input all of them reset their connections and connect anew at
once, as after an outage of the network; when the last one has joined, or after LIMIT_S, it prints
in JSON how long that took. A client that is refused, or loses its connection, does not try again:
it is counted. It goes on until its input ends.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.flooding import frame
from bench.machine import raise_descriptor_limit

AT_A_TIME = 200
LIMIT_S = 90.0
_RESET = struct.pack("ii", 1, 0)
_UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_PING, _PONG = b"\x81\x012", frame(b"3")


class Client:
    """One client.

    Args:
        token: for the payload of its CONNECT.

    Attributes:
        began: when it began to connect.
        took_s: until it had joined; 0 before that.
        refusal: why it has not, or not any more.
    """

    __slots__ = ("_connect", "_has_asked", "_input", "began", "refusal", "sock", "took_s")

    def __init__(self, token: str) -> None:
        self._connect = frame(b'40{"token":"%s"}' % token.encode() if token else b"40")
        self.sock: socket.socket | None = None

    def begin(self, port: int) -> socket.socket:
        self.took_s, self.refusal, self._has_asked, self._input = 0.0, "", False, b""
        self.began = time.monotonic()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        with suppress(BlockingIOError):
            self.sock.connect(("127.0.0.1", port))
        return self.sock

    def reset(self) -> None:
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.sock.close()
            self.sock = None

    @property
    def is_decided(self) -> bool:
        return bool(self.took_s or self.refusal)

    def on_writable(self) -> None:
        """Send the handshake, now that it is connected."""
        assert self.sock is not None
        try:
            self.sock.send(_UPGRADE)
        except OSError as error:
            self.refusal = f"connect: {error.strerror}"

    def on_readable(self) -> None:
        assert self.sock is not None
        try:
            data = self.sock.recv(4096)
        except OSError as error:
            self.refusal = f"lost: {error.strerror}"
            return
        if not data:
            self.refusal = "lost: the server hung up"
        elif self.took_s:
            if _PING in data:
                self.sock.send(_PONG)
        else:
            self._input += data
            self._take_answers()

    def _take_answers(self) -> None:
        assert self.sock is not None
        if not self._has_asked:
            if b"\r\n\r\n" in self._input and b" 101 " not in self._input[:16]:
                self.refusal = self._input.partition(b"\r\n")[0].decode()
            elif b'0{"sid"' in self._input:
                self._has_asked, self._input = True, b""
                self.sock.send(self._connect)
        elif b'40{"sid"' in self._input:
            self.took_s = time.monotonic() - self.began
            self._input = b""
        elif b"44{" in self._input:
            self.refusal = self._input.decode(errors="replace")[:200]


class Clients:
    """All of them.

    Args:
        port: of the server.
        tokens: of each; "" is none.
    """

    def __init__(self, port: int, tokens: list[str]) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._by_number: dict[int, Client] = {}
        self._left = 0  # how many are neither in nor refused
        self.all = [Client(token) for token in tokens]

    def open(self) -> None:
        """Have all join, some at a time."""
        ends = time.monotonic() + LIMIT_S
        waiting = list(self.all)
        while (waiting or self._left) and time.monotonic() < ends:
            while waiting and self._left < AT_A_TIME:
                self._begin(waiting.pop())
            self.serve(0.5)

    def reconnect(self) -> dict[str, float | int | str]:
        lost = sum(bool(client.refusal) for client in self.all)
        reason = next((client.refusal for client in self.all if client.refusal), "")
        for client in self.all:
            client.reset()
        self._by_number.clear()
        began = time.monotonic()
        for client in self.all:
            self._begin(client)
        while self._left and time.monotonic() < began + LIMIT_S:
            self.serve(0.5)
        took_s = time.monotonic() - began
        waits = sorted(client.took_s for client in self.all if client.took_s)
        failed = [client.refusal for client in self.all if client.refusal]
        at = {share: round(1000 * waits[int(len(waits) * share)]) for share in (0.5, 0.99)}
        return {
            "lost_before": lost,
            "seconds": round(took_s, 3),
            "joined": len(waits),
            "refused": len(failed),
            "reason": (failed or [reason])[0],
            "p50_ms": at[0.5],
            "p99_ms": at[0.99],
            "max_ms": round(1000 * waits[-1]),
        }

    def _begin(self, client: Client) -> None:
        sock = client.begin(self._port)
        self._by_number[sock.fileno()] = client
        self._epoll.register(sock, select.EPOLLOUT)
        self._left += 1

    def serve(self, timeout_s: float) -> None:
        for number, event in self._epoll.poll(timeout_s):
            client = self._by_number[number]
            was_decided = client.is_decided
            if event & select.EPOLLOUT:
                client.on_writable()
                self._epoll.modify(number, select.EPOLLIN)
            else:
                client.on_readable()
            self._left -= client.is_decided and not was_decided
            if client.refusal:
                self._epoll.unregister(number)
                del self._by_number[number]
                client.reset()


def main(port: str, count: str, tokens: str = "") -> None:
    raise_descriptor_limit()
    os.nice(5)  # who watches the server from the same core comes first
    found = Path(tokens).read_text().split() if tokens else [""] * int(count)
    clients = Clients(int(port), found[: int(count)])
    clients.open()
    if failed := [one.refusal or "no answer" for one in clients.all if not one.took_s]:
        sys.exit(f"reconnecting: {len(failed)} could not join: {failed[0]}")
    print("ready", flush=True)
    while True:
        clients.serve(0.05)
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            print(json.dumps(clients.reconnect()), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
