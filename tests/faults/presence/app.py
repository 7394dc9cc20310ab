"""The app of the nodes: namespaces with seats, and handlers, one of which blocks.

`trio-socketio serve` runs it, and keeps presence in Redis. What clients and handlers do is written
into the file that the environment names, line by line, so that nothing is lost with the process.
"""

import os
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import trio

from tests.faults.presence.history import Act, boottime
from tests.im.barrier_clients import RULES
from trio_socketio import (
    Joining,
    JoiningState,
    Namespace,
    Observer,
    Server,
    ServerOptions,
    Socket,
    Step,
)
from trio_socketio.im.presence import Presence

NAMESPACE: Final = "/chat"
ACTS: Final = "FAULTS_ACTS"
"""The variable of the environment that has the path of the file."""
TICK_S: Final = 0.5
TICKED: Final = "ticked"
"""The room of users named u...0, to which something is sent every TICK_S."""
MOST_S: Final = 60.0


class Recorder:
    """Writes acts into a file, each at once."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def write(self, act: Act) -> None:
        os.write(self._file, self._encode(act) + b"\n")


class Watcher(Observer):
    """Writes down who is in, and whose events are handled."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def joined(self, socket: Socket) -> None:
        self._write("joined", socket)
        user = socket.user or ""
        if user.startswith("u") and user.endswith("0"):
            socket.join(TICKED)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        self._write("left", socket, reason)

    def handled(self, socket: Socket) -> None:
        self._write("handled", socket)

    def _write(self, do: Any, socket: Socket, reason: str = "") -> None:
        act = Act(at=boottime(), do=do, user=socket.user or "", id=socket.public_id, reason=reason)
        self._recorder.write(act)


def create(options: ServerOptions) -> Server:
    """Create the server."""
    server = Server(options)
    watcher = Watcher(Recorder(os.environ[ACTS]))
    presence = Presence(server)
    for name, rule in RULES.items():
        namespace = server.of(name)
        namespace.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
        presence.seat(name, policy=rule.policy, maximum=rule.most)
    chat = server.of(NAMESPACE)
    chat.observe(watcher)
    add_handlers(chat, watcher)
    server.lifespan(tick)
    return server


def identify(joining: Joining) -> None:
    """Take clients at their word."""
    joining.identify(joining.auth["user"])


def add_handlers(chat: Namespace, watcher: Watcher) -> None:
    """Answer some events."""
    chat.on("here")(watcher.handled)

    @chat.on("later")
    async def later(socket: Socket) -> None:
        watcher.handled(socket)
        await trio.sleep(0.05)
        socket.emit("echo")

    @chat.on("block")
    def block(socket: Socket, seconds: float) -> None:
        watcher.handled(socket)
        time.sleep(min(seconds, MOST_S))  # what user code must not do


async def tick(server: Server) -> AsyncIterator[None]:
    """Have something on the way to some clients all the time."""
    target = server.of(NAMESPACE).local.to(TICKED)

    async def go_on() -> None:
        number = 0
        while True:
            await trio.sleep(TICK_S)
            number += 1
            target.emit("tick", number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        yield
        nursery.cancel_scope.cancel()
