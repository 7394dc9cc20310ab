"""Backends by raw lines: python -m bench.backends answering|misbehaving CONTROL COUNT

"answering" registers COUNT backends, and answers each event with its first argument. "misbehaving"
is one peer that asks for long answers and reads none of them, and one that sends what is not
JSON-RPC as fast as it is answered. Both print "ready", and go on until their input ends.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

GARBAGE = b'\x00\xff{[\n[]\n{"method":\n'
NOISES_IN_FLIGHT = 4
DISCOVER = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n'
LITTLE_BUFFER = 4096
COMES_BACK_S = 1.0


def connect(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(path)
    return peer


class Lines:
    """A connection, and the part of a line that has come."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self._rest = b""

    def receive(self) -> list[bytes]:
        try:
            data = self.peer.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            sys.exit("backends: the server hung up")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def answer(selector: selectors.BaseSelector, path: str, count: int) -> Iterator[None]:
    for _ in range(count):
        backend = Lines(connect(path))
        backend.peer.sendall(b'{"jsonrpc":"2.0","id":0,"method":"backend.register"}\n')
        selector.register(backend.peer, selectors.EVENT_READ, backend)
    registered = 0
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            answers = []
            for line in key.data.receive():
                message = json.loads(line)
                if message.get("method") == "backend.event":
                    result = {"id": message["id"], "result": message["params"]["args"][0]}
                    answers.append(json.dumps({"jsonrpc": "2.0", **result}).encode() + b"\n")
                elif "result" in message:
                    registered += 1
            if answers:
                key.data.peer.sendall(b"".join(answers))
        if registered == count:
            registered = -1
            yield


def misbehave(selector: selectors.BaseSelector, path: str, _: int) -> Iterator[None]:
    noisy = Lines(connect(path))
    noisy.peer.sendall(GARBAGE * NOISES_IN_FLIGHT)
    selector.register(noisy.peer, selectors.EVENT_READ, noisy)
    greedy: socket.socket | None = ask_and_never_read(path)
    comes_back_at = 0.0
    yield
    while True:
        # Once the kernel takes no more, the greedy one is heard of again when it was closed.
        for key, _mask in selector.select(0.05):
            if key.data is None:
                return
            answered = sum(b'"error"' in line for line in key.data.receive())
            noisy.peer.sendall(b"{[\n" * answered)
        if greedy is not None:
            try:
                greedy.send(DISCOVER * 20)
            except BlockingIOError:
                continue
            except OSError:
                greedy.close()
                greedy, comes_back_at = None, time.monotonic() + COMES_BACK_S
        elif time.monotonic() > comes_back_at:
            greedy = ask_and_never_read(path)


def ask_and_never_read(path: str) -> socket.socket:
    peer = connect(path)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE_BUFFER)
    peer.setblocking(False)
    return peer


def main(what: str, path: str, count: str) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        work = answer if what == "answering" else misbehave
        with suppress(KeyboardInterrupt):
            for _ in work(selector, path, int(count)):
                print("ready", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
