"""A thousand clients in the process of a test: plain HTTP, packets by bytes, every kind of them.

Each joins the main namespace of the bench's app and a room, answers heartbeats, counts what it
hears, and comes back when it has lost its connection, as official clients do.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

import trio
from tests.cluster.balancer import Gone, Wire
from tests.crowd import UPGRADE, need_descriptors

CONNECTING: Final = 64  # at once
FILES: Final = 6  # of each client: two connections of its own, and the balancer's two for each
COMES_BACK_S: Final = (0.05, 0.2)
REQUEST_S: Final = 40.0  # a GET waits for as long as there is nothing to say


class Lost(Exception):
    """The session has ended, or was never opened; it says how."""


@dataclass(frozen=True)
class Kind:
    """What a client speaks.

    Args:
        name: for people.
        revision: of Engine.IO.
        polls: whether it begins with long-polling.
        upgrades: whether it goes on to WebSocket then.
        is_jsonp: whether it polls with scripts and forms.
    """

    name: str
    revision: int = 4
    polls: bool = True
    upgrades: bool = False
    is_jsonp: bool = False


KINDS: Final = (
    Kind("polling"),
    Kind("upgrade", upgrades=True),
    Kind("websocket", polls=False),
    Kind("polling of 2.x", 3),
    Kind("upgrade of 2.x", 3, upgrades=True),
    Kind("websocket of 2.x", 3, polls=False),
    Kind("JSONP", 3, is_jsonp=True),
)


async def connect(port: int) -> Wire:
    """Connect.

    Raises:
        Lost: nobody takes the connection.
    """
    try:
        return await Wire.connect(port)
    except OSError:
        raise Lost("nobody listens") from None


class WebSocket:
    """Packets on a WebSocket, all of them text."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._turn = trio.Lock()

    @classmethod
    async def open(cls, port: int, query: str) -> "WebSocket":
        self = cls(await connect(port))
        try:
            head = f"GET /socket.io/?{query}&transport=websocket HTTP/1.1\r\nHost: test\r\n"
            await self._wire.send(f"{head}{UPGRADE}\r\n".encode())
            answer = await self._wire.take_head()
            if not answer.startswith(b"HTTP/1.1 101 "):
                raise Lost(answer[9:12].decode())
        except BaseException:
            self.drop()
            raise
        return self

    async def send(self, packet: str) -> None:
        text = packet.encode()
        assert len(text) < 126
        async with self._turn:
            await self._wire.send(bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text)

    async def receive(self) -> list[str]:
        head, length = await self._wire.take(2)
        if length >= 126:
            length = int.from_bytes(await self._wire.take(2 if length == 126 else 8), "big")
        payload = await self._wire.take(length)
        if head == 0x88:
            raise Lost(f"close {int.from_bytes(payload[:2], 'big')}")
        assert head == 0x81, head
        return [payload.decode()]

    def drop(self) -> None:
        self._wire.drop()


class Polling:
    """Packets on long-polling: one connection for GETs, and another one for POSTs."""

    def __init__(self, port: int, kind: Kind, query: str) -> None:
        self._port = port
        self._kind = kind
        self._target = f"/socket.io/?{query}&transport=polling" + "&j=0" * kind.is_jsonp
        self._opened: list[str] = []
        self._getting: Wire | None = None
        self._posting: Wire | None = None
        self._turn = trio.Lock()

    async def open(self) -> str:
        """Open a session; return its id."""
        self._getting = await connect(self._port)
        self._opened = await self.receive()
        sid: str = json.loads(self._opened[0][1:])["sid"]
        self._target += f"&sid={sid}"
        return sid

    async def send(self, packet: str) -> None:
        kind, body = "text/plain", packet if self._kind.revision == 4 else pack(packet)
        if self._kind.is_jsonp:
            kind, body = "application/x-www-form-urlencoded", "d=" + quote(body)
        async with self._turn:  # two POSTs at once would be a mistake
            if self._posting is None:
                self._posting = await connect(self._port)
            await self._ask(self._posting, "POST", f"Content-Type: {kind}\r\n", body)
            answer = await self._answer(self._posting)
        assert answer == "ok", answer

    async def receive(self) -> list[str]:
        if opened := self._opened:
            self._opened = []
            return opened
        await self.ask()
        return await self.answer()

    async def ask(self) -> None:
        """Send a GET."""
        assert self._getting is not None
        await self._ask(self._getting, "GET")

    async def answer(self) -> list[str]:
        """Return what the answer to the GET brings."""
        assert self._getting is not None
        body = await self._answer(self._getting)
        if self._kind.is_jsonp:
            body = json.loads(body.removeprefix("___eio[0](").removesuffix(");"))
        return body.split("\x1e") if self._kind.revision == 4 else unpack(body)

    async def _ask(self, wire: Wire, method: str, header: str = "", body: str = "") -> None:
        await wire.send(
            f"{method} {self._target} HTTP/1.1\r\nHost: test\r\n{header}"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    async def _answer(self, wire: Wire) -> str:
        head = await wire.take_head()
        body = (await wire.take_body(head)).decode()
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Lost(f"{head[9:12].decode()} {body}")
        return body

    def drop(self) -> None:
        for wire in (self._getting, self._posting):
            if wire is not None:
                wire.drop()


def pack(packet: str) -> str:
    """The body with one packet that clients 2.x send."""
    return f"{len(packet)}:{packet}"


def unpack(body: str) -> list[str]:
    """The packets of a body for clients 2.x."""
    packets = []
    while body:
        length, _, rest = body.partition(":")
        packets.append(rest[: int(length)])
        body = rest[int(length) :]
    return packets


def quote(text: str) -> str:
    """Write a value as forms do: there is nothing special in it but these."""
    for character in '%+&":[],{}':
        text = text.replace(character, f"%{ord(character):02X}")
    return text.replace(" ", "+")


class Member:
    """One of the crowd.

    Args:
        number: of this client.
        kind: what it speaks.
        room: that it joins.
        port: to which it connects.

    Attributes:
        sid: of its session, once it has joined its room; empty otherwise.
        lost: how often it has lost a session in which it had joined.
        reasons: why it did, and why attempts to connect have failed.
        heard: what it has heard.
    """

    def __init__(self, number: int, kind: Kind, room: str, port: int) -> None:
        self.number = number
        self.kind = kind
        self.sid = ""
        self.lost = 0
        self.reasons: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self._room = room
        self._port = port
        self._transport: Polling | WebSocket | None = None

    async def stay(self, connecting: trio.CapacityLimiter) -> None:
        """Be a client until cancelled."""
        dice = Random(self.number)
        while True:
            try:
                await self._be_connected(connecting)
            except (Gone, Lost) as end:
                self.reasons[str(end) or "the connection has ended"] += 1
            finally:
                self.lost += bool(self.sid)
                self.sid = ""
                if self._transport is not None:
                    self._transport.drop()
                    self._transport = None
            await trio.sleep(dice.uniform(*COMES_BACK_S))

    async def emit(self, *arguments: str) -> None:
        assert self._transport is not None
        await self._transport.send("42" + json.dumps(arguments, separators=(",", ":")))

    async def _be_connected(self, connecting: trio.CapacityLimiter) -> None:
        async with connecting:
            transport, sid = await self._open()
            if self.kind.revision == 4:
                await transport.send("40")
            await self._wait_for("40")
            await transport.send(f'421["join","{self._room}"]')
            await self._wait_for("431")
            if self.kind.upgrades:
                assert isinstance(transport, Polling)
                await self._upgrade(transport, sid)
            self.sid = sid
        while True:
            await self._receive()

    async def _open(self) -> tuple[Polling | WebSocket, str]:
        query = f"EIO={self.kind.revision}"
        if self.kind.polls:
            self._transport = polling = Polling(self._port, self.kind, query)
            return polling, await polling.open()
        self._transport = websocket = await WebSocket.open(self._port, query)
        (opened,) = await websocket.receive()
        return websocket, json.loads(opened[1:])["sid"]

    async def _upgrade(self, polling: Polling, sid: str) -> None:
        """Go on with a WebSocket, which is probed while a GET waits."""
        await polling.ask()
        query = f"EIO={self.kind.revision}&sid={sid}"
        websocket = await WebSocket.open(self._port, query)
        try:
            await websocket.send("2probe")
            assert await websocket.receive() == ["3probe"]
            for packet in await polling.answer():  # a noop, unless there was something to say
                await self._take(packet)
            await websocket.send("5")
        except BaseException:
            websocket.drop()
            raise
        polling.drop()
        self._transport = websocket

    async def _wait_for(self, head: str) -> None:
        """Receive until a packet has come that begins so."""
        while not any(packet.startswith(head) for packet in await self._receive()):
            pass

    async def _receive(self) -> list[str]:
        assert self._transport is not None
        with trio.move_on_after(REQUEST_S) as scope:
            packets = await self._transport.receive()
            for packet in packets:
                await self._take(packet)
        if scope.cancelled_caught:
            raise Lost("it was silent")
        return packets

    async def _take(self, packet: str) -> None:
        assert self._transport is not None
        match packet[:2]:
            case "1" | "41":
                raise Lost(f"closed by {packet}")
            case "2":
                await self._transport.send("3")
            case "42":
                self.heard[json.loads(packet[2:])[1]] += 1


class Crowd:
    """Many members, in rooms of a size.

    Args:
        count: of members; kinds and rooms take turns.
        room_size: how many are in a room.
        port: to which they connect.
    """

    def __init__(self, count: int, room_size: int, port: int) -> None:
        self._rooms = count // room_size
        self._said = 0
        self.members = [
            Member(number, KINDS[number % len(KINDS)], f"room-{number % self._rooms}", port)
            for number in range(count)
        ]

    @property
    def sids(self) -> dict[str, Member]:
        """The members who are there, by the ids of their sessions."""
        return {member.sid: member for member in self.members if member.sid}

    async def run(self) -> None:
        """Have all members stay until cancelled."""
        connecting = trio.CapacityLimiter(CONNECTING)
        async with trio.open_nursery() as nursery:
            for member in self.members:
                nursery.start_soon(member.stay, connecting)

    async def wait(self, is_so: Callable[[], bool], limit_s: float) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: it is not, in time.
        """
        with trio.move_on_after(limit_s):
            while True:
                if is_so():
                    return
                await trio.sleep(0.02)
        there = len(self.sids)
        raise AssertionError(f"{there} of {len(self.members)} are there; {self.reasons()}")

    async def wait_joined(self, limit_s: float) -> None:
        await self.wait(lambda: len(self.sids) == len(self.members), limit_s)

    def reasons(self) -> Counter[str]:
        """Why members have lost sessions, and attempts have failed."""
        return sum((member.reasons for member in self.members), Counter[str]())

    def forget(self) -> None:
        """Forget what was lost until now, and why."""
        for member in self.members:
            member.lost = 0
            member.reasons.clear()

    async def talk(self, limit_s: float) -> None:
        """Have a member of each room say something there, and one say something to everybody.

        Each hears once what concerns it, and nothing else.
        """
        self._said += 1
        everybody = f"to everybody, {self._said}"
        wanted: dict[int, set[str]] = {}
        async with trio.open_nursery() as nursery:
            for room in range(self._rooms):
                members = self.members[room :: self._rooms]
                text = f"to room {room}, {self._said}"
                speaker = members[self._said % len(members)]
                nursery.start_soon(speaker.emit, "room", f"room-{room}", text)
                wanted.update((member.number, {text, everybody}) for member in members)
            nursery.start_soon(self.members[self._said].emit, "bcast", everybody)
        await self.wait(lambda: all(len(member.heard) >= 2 for member in self.members), limit_s)
        await trio.sleep(0.1)  # for what comes twice
        for member in self.members:
            assert member.heard == Counter(wanted[member.number]), member.number
            member.heard.clear()


@asynccontextmanager
async def open_crowd(count: int, room_size: int, port: int) -> AsyncIterator[Crowd]:
    """Have a crowd come, for as long as the block lasts; see Crowd."""
    need_descriptors(FILES * count + 200)
    crowd = Crowd(count, room_size, port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.run)
        yield crowd
        nursery.cancel_scope.cancel()
