"""A load balancer that knows no sessions: every request goes to the next node.

It speaks HTTP/1.1 on connections that are kept, on either side, and passes on what was upgraded.
It is strict: a message that it does not understand fails the test, since neither a client nor a
node may send one. Of a request that was sent to a node it makes no second attempt.
"""

import re
import select
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

MAX_HEAD_BYTES: Final = 16_384
MAX_BODY_BYTES: Final = 4 << 20
READ_BYTES: Final = 65_536
BACKLOG: Final = 1024  # clients come by the thousand
ANSWER_S: Final = 60.0
"""How long a node may take to answer: longer than it lets a GET wait."""
UNAVAILABLE: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

_END: Final = b"\r\n\r\n"
_CONNECTION: Final = re.compile(rb"\r\nConnection:[^\r]*", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nConnection: *close", re.IGNORECASE)
_UPGRADES: Final = re.compile(rb"\r\nUpgrade: *websocket", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_CHUNKS: Final = re.compile(rb"\r\nTransfer-Encoding:", re.IGNORECASE)
_SID: Final = re.compile(rb"[A-Z]+ [^ ]*[?&]sid=([^& ]+)")
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) ")


class Gone(Exception):
    """The other side has closed, or has broken, the connection."""


class Wire:
    """A connection, and what was read from it and not taken yet.

    Attributes:
        is_gone: whether the other side has closed it.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.is_gone = False
        self._input = bytearray()

    @classmethod
    async def connect(cls, port: int) -> "Wire":
        """Connect to a port of this machine.

        Raises:
            OSError: nobody takes the connection.
        """
        sock = trio.socket.socket()  # open_tcp_stream takes four times as long
        try:
            await sock.connect(("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return cls(trio.SocketStream(sock))

    async def read(self) -> None:
        """Read more.

        Raises:
            Gone: there is no more.
        """
        try:
            data = await self.stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.is_gone = True
            raise Gone
        self._input += data

    async def take_head(self) -> bytes:
        while (at := self._input.find(_END)) < 0:
            assert len(self._input) <= MAX_HEAD_BYTES, bytes(self._input[:200])
            await self.read()
        return self.cut(at + len(_END))

    async def take_body(self, head: bytes, *, needs_length: bool = False) -> bytes:
        """Read as much as the head says."""
        assert not _CHUNKS.search(head), head
        found = _LENGTH.findall(head)
        assert needs_length <= len(found) <= 1, head
        length = int(found[0]) if found else 0
        assert length <= MAX_BODY_BYTES, head
        return await self.take(length)

    async def take(self, count: int) -> bytes:
        """Read so many bytes."""
        while len(self._input) < count:
            await self.read()
        return self.cut(count)

    def cut(self, count: int | None = None) -> bytes:
        """Take bytes that were read; None means all of them."""
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            self.is_gone = True
            raise Gone from None

    async def watch(self, scope: trio.CancelScope) -> None:
        """Cancel a scope when the other side closes; keep what it sends until then."""
        try:
            while len(self._input) <= MAX_HEAD_BYTES:
                await self.read()
        except Gone:
            scope.cancel()

    def is_quiet(self) -> bool:
        """Whether a kept connection is open, and nothing has come that nobody asked for."""
        poll = select.poll()
        poll.register(self.stream.socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def drop(self) -> None:
        self.stream.socket.close()


@dataclass(eq=False)
class Target:
    """A node as the balancer knows it.

    Args:
        port: where it listens.
        is_down: whether it is left out: a test says so in place of a health check.

    Attributes:
        requests: how many it was sent.
        in_flight: the ids of the sessions whose requests it has not answered, or whose WebSockets
            go over it; the id of a session that a request opens is empty.
    """

    port: int
    is_down: bool = False
    requests: int = 0
    in_flight: Counter[str] = field(default_factory=Counter)
    kept: list[Wire] = field(default_factory=list)


class Balancer:
    """Passes each request on to the next node.

    Args:
        ports: of the nodes, by their names.

    Attributes:
        port: where it listens.
        targets: the nodes by their names.
        answers: how many there were of each status; those with 502 are its own.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.port = 0
        self.targets = {name: Target(port) for name, port in ports.items()}
        self.answers: Counter[int] = Counter()
        self._turn = -1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sessions_over(self, name: str) -> set[str]:
        """The ids of the sessions that have a request or a WebSocket on its way over a node."""
        return {*(+self.targets[name].in_flight)} - {""}

    async def serve(self, stream: trio.SocketStream) -> None:
        """Be the server of one connection."""
        client = Wire(stream)
        try:
            while await self._pass_on(client):
                pass
        except Gone:
            pass
        finally:
            client.drop()

    async def _pass_on(self, client: Wire) -> bool:
        """Pass a request on, and its answer back; say whether another one may follow."""
        head = await client.take_head()
        body = await client.take_body(head)
        found = await self._connect()
        if found is None:
            return await self._answer(client, head, UNAVAILABLE)
        target, node = found
        target.requests += 1
        sid = match[1].decode() if (match := _SID.match(head)) else ""
        target.in_flight[sid] += 1
        keeps = False
        try:
            answer = await _ask(client, node, _for_node(head, client) + body)
            if answer.startswith(b"HTTP/1.1 101 "):
                self.answers[101] += 1
                await client.send(answer + node.cut())
                await _join(client, node)
                return False
            keeps = bool(answer) and not _CLOSES.search(answer[: answer.find(_END) + 2])
        finally:
            target.in_flight[sid] -= 1
            if keeps:
                target.kept.append(node)
            else:
                node.drop()
        return await self._answer(client, head, answer or UNAVAILABLE)

    async def _connect(self) -> tuple[Target, Wire] | None:
        """Find the next node that takes a connection; None means that none does."""
        targets = [target for target in self.targets.values() if not target.is_down]
        self._turn += 1  # others take their turns while this one waits
        for at in range(self._turn, self._turn + len(targets)):
            target = targets[at % len(targets)]
            while target.kept:
                node = target.kept.pop()
                if node.is_quiet():
                    return target, node
                node.drop()
            try:
                node = await Wire.connect(target.port)
            except OSError:
                continue  # it was sent nothing, so another node may be asked
            if not target.is_down:
                return target, node
            node.drop()  # it went down meanwhile
        return None

    async def _answer(self, client: Wire, request: bytes, answer: bytes) -> bool:
        head, _, body = answer.partition(_END)
        status = _STATUS.match(head)
        assert status, head
        self.answers[int(status[1])] += 1
        closes = bool(_CLOSES.search(request))
        said = b"\r\nConnection: close" if closes else b""
        await client.send(_CONNECTION.sub(b"", head) + said + _END + body)
        return not closes


def _for_node(head: bytes, client: Wire) -> bytes:
    """The head as a proxy sends it: the connection is its own, and it says who the client is."""
    if not _UPGRADES.search(head):
        head = _CONNECTION.sub(b"", head)
    address = client.stream.socket.getpeername()[0]
    return head[:-2] + f"X-Forwarded-For: {address}\r\n\r\n".encode()


async def _ask(client: Wire, node: Wire, request: bytes) -> bytes:
    """Give a node a request; return its answer, which is empty if there was none.

    Raises:
        Gone: the client has gone meanwhile.
    """
    answer = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.watch, nursery.cancel_scope)
        try:
            with trio.move_on_after(ANSWER_S):
                await node.send(request)
                answer = await _receive(node)
        except Gone:
            pass  # the client is told by a status
        nursery.cancel_scope.cancel()
    if client.is_gone:
        raise Gone
    return answer


async def _receive(node: Wire) -> bytes:
    head = await node.take_head()
    if head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 204 ", b"HTTP/1.1 304 ")):
        return head
    return head + await node.take_body(head, needs_length=True)


async def _join(client: Wire, node: Wire) -> None:
    """Pass bytes on in both directions until either side ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, client, node, nursery.cancel_scope)
        await _copy(node, client, nursery.cancel_scope)


async def _copy(source: Wire, sink: Wire, scope: trio.CancelScope) -> None:
    try:
        while True:
            if data := source.cut():
                await sink.send(data)
            await source.read()
    except Gone:
        scope.cancel()


@asynccontextmanager
async def open_balancer(ports: Mapping[str, int]) -> AsyncIterator[Balancer]:
    """Listen on a free port for as long as the block lasts.

    Args:
        ports: of the nodes, by their names.
    """
    balancer = Balancer(ports)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
    balancer.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as tasks:
        tasks.start_soon(trio.serve_listeners, balancer.serve, listeners)
        try:
            yield balancer
        finally:
            tasks.cancel_scope.cancel()
            for target in balancer.targets.values():
                for node in target.kept:
                    node.drop()
