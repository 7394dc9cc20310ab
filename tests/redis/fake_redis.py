"""A Redis without I/O, as far as a connection uses one, which can be told to misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import hiredis
import trio

Command = list[bytes]
Reply = int | bytes | str | None
_INCOMPLETE = object()


def encode(reply: Reply) -> bytes:
    """Write a reply as RESP3; a text is an error if it begins with "-", else a status."""
    if reply is None:
        return b"_\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return (reply if reply.startswith("-") else f"+{reply}").encode() + b"\r\n"
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


def push(*parts: Reply) -> bytes:
    return b">%d\r\n" % len(parts) + b"".join(map(encode, parts))


def greeting(server: str = "redis", version: str = "7.0.15", mode: str = "standalone") -> bytes:
    pairs: dict[str, int | str] = {"server": server, "version": version, "proto": 3, "mode": mode}
    return b"%%%d\r\n" % len(pairs) + b"".join(
        encode(part if isinstance(part, int) else part.encode())
        for pair in pairs.items()
        for part in pair
    )


@dataclass
class FakeRedis:
    """What all connections of one server share.

    Args:
        hello: answers HELLO.
        answers: replace what is answered to a command, by its name; bytes go out as they are.
        commands: what has arrived, in order.
    """

    hello: bytes = field(default_factory=greeting)
    answers: dict[bytes, bytes | Callable[[Command], bytes]] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    sessions: list["FakeSession"] = field(default_factory=list)
    starves: bool = False
    """Whether messages are published, but reach nobody."""

    def publish(self, channel: bytes, payload: bytes) -> int:
        if self.starves:
            return 0
        return sum(session.deliver(channel, payload) for session in self.sessions)

    def names(self) -> list[str]:
        return [command[0].decode() for command in self.commands]


class FakeSession:
    """One connection, as the server sees it.

    Attributes:
        output: what it has to send.
        has_output: is set when there is some.
        hangs_up: whether it closes the connection.
    """

    def __init__(self, redis: FakeRedis) -> None:
        self.output = bytearray()
        self.has_output = trio.Event()
        self.hangs_up = False
        self.channels: set[bytes] = set()
        self.patterns: set[bytes] = set()
        self._redis = redis
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        redis.sessions.append(self)

    def cut(self) -> None:
        """Close the connection, after what is in the output."""
        self.hangs_up = True
        self.has_output.set()

    def close(self) -> None:
        if self in self._redis.sessions:
            self._redis.sessions.remove(self)

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not _INCOMPLETE:
            self._redis.commands.append(command)
            self.send(self._carry_out(command))

    def send(self, data: bytes) -> None:
        self.output += data
        self.has_output.set()

    def deliver(self, channel: bytes, payload: bytes) -> int:
        count = 0
        if channel in self.channels:
            self.send(push(b"message", channel, payload))
            count += 1
        for pattern in sorted(self.patterns):
            if fnmatchcase(channel.decode(), pattern.decode()):
                self.send(push(b"pmessage", pattern, channel, payload))
                count += 1
        return count

    def _carry_out(self, command: Command) -> bytes:
        name = command[0].upper()
        override = self._redis.answers.get(name)
        if override is not None:
            return override(command) if callable(override) else override
        known: dict[bytes, Callable[[], bytes]] = {
            b"HELLO": lambda: self._redis.hello,
            b"SELECT": lambda: encode("OK"),
            b"PING": lambda: encode("PONG"),
            b"ECHO": lambda: encode(command[1]),
            b"PUBLISH": lambda: encode(self._redis.publish(command[1], command[2])),
            b"SUBSCRIBE": partial(self._subscribe, command, self.channels.add),
            b"PSUBSCRIBE": partial(self._subscribe, command, self.patterns.add),
            b"UNSUBSCRIBE": partial(self._subscribe, command, self.channels.discard),
            b"PUNSUBSCRIBE": partial(self._subscribe, command, self.patterns.discard),
        }
        carry_out = known.get(name)
        return carry_out() if carry_out else encode(f"-ERR unknown command {name.decode()!r}")

    def _subscribe(self, command: Command, change: Callable[[bytes], None]) -> bytes:
        change(command[1])
        count = len(self.channels) + len(self.patterns)
        return push(command[0].lower(), command[1], count)


@asynccontextmanager
async def serving(redis: FakeRedis, path: Path, *, reads: bool = True) -> AsyncIterator[str]:
    """Serve on a Unix socket, and yield its URL.

    Args:
        redis: what is served.
        path: of the socket.
        reads: False for a server that takes connections and nothing else.
    """

    async def serve(stream: trio.SocketStream) -> None:
        if not reads:
            await trio.sleep_forever()
        session = FakeSession(redis)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, session, stream)
            await _write(session, stream)
            nursery.cancel_scope.cancel()
        session.close()
        await trio.aclose_forcefully(stream)

    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listening)])
            yield f"unix://{path}"
            nursery.cancel_scope.cancel()


async def _read(session: FakeSession, stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            session.feed(bytes(data))
    session.cut()


async def _write(session: FakeSession, stream: trio.SocketStream) -> None:
    while not session.hangs_up:
        await session.has_output.wait()
        session.has_output = trio.Event()
        output = bytes(session.output)
        session.output.clear()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(output)
