"""How late a short trio sleep ends in our server's process under full load."""

import json
import os
import socket
import threading
import time
from dataclasses import dataclass

from bench.generator import measure
from bench.machine import Cores
from bench.servers import LATENESS, Running, ServerFailedError, run_server

LOADS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "echo, 16 in flight": ("echo", ("--connections", 100, "--in-flight", 16)),
    "broadcast to 5,000, 8 in flight": ("broadcast", ("--connections", 5000, "--in-flight", 8)),
}


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late sleeps ended.

    Args:
        p50_ms: None where an older app has answered, which does not tell it.
    """

    p99_ms: float
    max_ms: float
    sleeps: int
    p50_ms: float | None = None


def measure_lateness(cores: Cores, seconds: float) -> tuple[dict[str, Lateness], list[str]]:
    """By load; and what went wrong."""
    found: dict[str, Lateness] = {}
    faults: list[str] = []
    for title, (workload, options) in LOADS.items():
        try:
            with run_server("trio", cores, handlers=LATENESS) as server:
                found[title] = measure_under_load(server, cores, workload, options, seconds)
        except (ServerFailedError, OSError, ValueError) as error:
            faults.append(f"not measured: lateness under {title}: {error}")
            print(f"bench: {faults[-1]}", flush=True)
            continue
        late = found[title]
        told = f"p99 {late.p99_ms:.1f} ms, max {late.max_ms:.1f} ms of {late.sleeps} sleeps"
        print(f"bench: lateness of sleep(0.01) under {title}: {told}", flush=True)
    return found, faults


def measure_under_load(
    server: Running, cores: Cores, workload: str, options: tuple[str | int, ...], seconds: float
) -> Lateness:
    """Load for a little longer than the sleeps, and sleeps in the midst of it."""
    client = _Client(server.port)
    faults: list[str] = []

    def load() -> None:
        timing = ("--warmup", 2.0, "--seconds", seconds + 1)
        measurements, fault = measure(workload, server, cores, *options, *timing)
        if fault or not measurements:
            faults.append(fault or "no load")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        time.sleep(1.5)  # connecting, and into the warm-up
        p99, worst, count, *p50 = client.ask("lateness", seconds, timeout_s=seconds + 10)
    finally:
        client.close()
        thread.join()
    if faults:
        raise ValueError(faults[0])
    return Lateness(p99, worst, int(count), *p50)


class _Client:
    """One Socket.IO client over WebSocket, as little as asking one question takes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._socket.makefile("rb")
        head = (
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        while self._file.readline() not in (b"\r\n", b""):
            pass
        self._receive("0{")
        self._send("40")
        self._receive("40{")

    def ask(self, event: str, *arguments: float, timeout_s: float) -> list[float]:
        self._socket.settimeout(timeout_s)
        self._send("420" + json.dumps([event, *arguments]))
        answer: list[float] = json.loads(self._receive("430")[3:])
        return answer

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _send(self, text: str) -> None:
        payload, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
        self._socket.sendall(bytes((0x81, 0x80 | len(payload))) + mask + masked)

    def _receive(self, start: str) -> str:
        """The next packet that begins so; others, as broadcasts, are passed over."""
        while True:
            head = self._file.read(2)
            if len(head) < 2:
                raise OSError("the server hung up")
            length = head[1]
            if length == 126:
                length = int.from_bytes(self._file.read(2), "big")
            text = self._file.read(length).decode()
            if text == "2":
                self._send("3")
            elif text.startswith(start):
                return text
