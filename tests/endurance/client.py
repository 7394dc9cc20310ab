"""A client of the namespace of the soak: Socket.IO in JSON or MessagePack, on any transport."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import trio

from tests.endurance.lines import Closed, Line, Polling, Transport, WebSocket
from tests.endurance.lines import Packet as EnginePacket

CHAT: Final = "/chat"
ANSWER_S: Final = 20.0
CONNECT, DISCONNECT, EVENT, ACK, ERROR, BINARY_EVENT, BINARY_ACK = range(7)
_PING_V3_S: Final = 1.0  # often enough for the heartbeat of the servers here


class Packet(NamedTuple):
    """A packet of Socket.IO in the namespace."""

    kind: int
    data: Any
    id: int | None = None


class Refused(Exception):
    """The server did not let the client in."""


class PutOut(Exception):
    """The server has put the client out, and has said why."""


class Vanished(Exception):
    """The server has closed without a word, or has not answered in time."""


class Client:
    """A client, which does one thing at a time.

    Args:
        port: of the server.
        revision: of Engine.IO, 3 or 4.
        is_packed: whether packets are MessagePack.

    Attributes:
        transport: its session.
        id: of its socket.
        pid: by which its session can be recovered.
        offset: of the last event; "" before the first.
        told: why it was put out, as far as it was told.
        got: how many events have come.
    """

    transport: Transport

    def __init__(self, port: int, *, revision: int = 4, is_packed: bool = False) -> None:
        self.port = port
        self.id = ""
        self.pid = ""
        self.offset = ""
        self.told = ""
        self.got = 0
        self._revision = revision
        self.is_packed = is_packed
        self._next_id = 0
        self._pinged_at = trio.current_time()

    async def open(self, way: str) -> None:
        """Open a session: by "websocket", "polling", or "upgrade" from one to the other."""
        line = Line(self.port)
        try:
            await line.open()
            if way == "websocket":
                websocket = WebSocket(line, self.port, self._revision)
                self.transport = websocket
                await websocket.open()
                return
            polling = Polling(line, self.port, self._revision)
            self.transport = polling
            await polling.open()
            if way == "upgrade":
                self.transport = await polling.upgrade()
        except BaseException:
            line.close()
            raise

    async def join(self, auth: dict[str, Any]) -> None:
        """Join the namespace.

        Raises:
            Refused: the server does not let it in.
        """
        if self._revision == 3:
            # The main namespace is joined without asking; then it says who it is.
            await self.transport.send(f"40{CHAT}")
            await self._wait(lambda packet: packet.kind == CONNECT)
            await self.send(EVENT, ["auth", auth])
            answer = await self._wait(
                lambda packet: packet.kind == EVENT and packet.data[0] == "auth/reply"
            )
            if answer.data[1]["errcode"]:
                raise Refused(answer.data[1])
            return
        await self.send(CONNECT, auth)
        answer = await self._wait(lambda packet: packet.kind in (CONNECT, ERROR))
        if answer.kind == ERROR:
            raise Refused(answer.data)
        self.id, self.pid = answer.data["sid"], answer.data.get("pid", "")

    async def ask(self, *event: Any) -> Any:
        """Emit an event, and return the arguments of its acknowledgement."""
        return await self.wait_ack(await self.emit(*event))

    async def emit(self, *event: Any) -> int:
        """Emit an event that asks for an acknowledgement; return the number of that."""
        self._next_id += 1
        await self.send(EVENT, list(event), self._next_id)
        return self._next_id

    async def emit_all(self, events: Sequence[tuple[Any, ...]]) -> list[int]:
        """Emit events at once that ask for acknowledgements; return the numbers of those."""
        packets: list[EnginePacket] = []
        numbers = []
        for event in events:
            self._next_id += 1
            numbers.append(self._next_id)
            packets += self._encode(EVENT, list(event), self._next_id)
        await self._send(*packets)
        return numbers

    async def wait_ack(self, number: int) -> Any:
        answer = await self._wait(lambda packet: packet.kind == ACK and packet.id == number)
        return answer.data

    async def wait_event(self, name: str) -> list[Any]:
        packet = await self._wait(lambda packet: packet.kind == EVENT and packet.data[0] == name)
        return list(packet.data)

    async def stay(self, seconds: float) -> None:
        """Read what comes, and answer it."""
        with trio.move_on_after(seconds):
            await self._wait(lambda _: False, limit_s=seconds + ANSWER_S)

    async def leave(self) -> None:
        """Leave the namespace, and end the session in order."""
        with trio.move_on_after(ANSWER_S) as scope:
            try:
                await self.send(DISCONNECT, None)
                await self.transport.say_goodbye()
            except Closed:  # it was put out just now
                return
        if scope.cancelled_caught:
            raise Vanished("a close was not answered")

    async def send(self, kind: int, data: Any, number: int | None = None) -> None:
        await self._send(*self._encode(kind, data, number))

    async def _send(self, *packets: EnginePacket) -> None:
        try:
            await self.transport.send(*packets)
        except Closed as closed:
            raise self._ended(closed) from closed

    def _encode(self, kind: int, data: Any, number: int | None) -> list[EnginePacket]:
        if self.is_packed:
            packet = {"type": kind, "nsp": CHAT, "data": data}
            return [msgspec.msgpack.encode(packet if number is None else {**packet, "id": number})]
        attachments: list[bytes] = []
        text = json.dumps(data, default=lambda blob: _put_aside(blob, attachments))
        head = f"4{kind}"
        if attachments:
            head = f"4{kind + 3}{len(attachments)}-"
        body = "" if data is None else text
        return [f"{head}{CHAT},{'' if number is None else number}{body}", *attachments]

    async def _wait(self, is_wanted: Callable[[Packet], bool], limit_s: float = ANSWER_S) -> Packet:
        """Read on until a packet comes, and deal with those before it.

        Raises:
            PutOut: the client was put out, and told so.
            Vanished: the server has closed without a word, or the packet does not come.
        """
        with trio.move_on_after(limit_s):
            while True:
                try:
                    packet = await self._receive()
                    if packet is None:
                        continue
                    if packet.kind == EVENT:
                        await self._note(packet)
                    if packet.kind == DISCONNECT:
                        raise PutOut(self.told or "a disconnect alone")
                except Closed as closed:
                    raise self._ended(closed) from closed
                if is_wanted(packet):
                    return packet
        raise Vanished(f"no answer within {limit_s:g} s")

    def _ended(self, closed: Closed) -> Exception:
        return PutOut(self.told) if self.told else Vanished(f"the server has closed: {closed}")

    async def _note(self, packet: Packet) -> None:
        self.got += 1
        name, *arguments = packet.data
        if name == "session/replaced":
            self.told = arguments[0]["reason"]
        if arguments and self.pid and isinstance(arguments[-1], str):
            self.offset = arguments[-1]
        if packet.id is not None:
            await self.transport.send(*self._encode(ACK, [], packet.id))

    async def _receive(self) -> Packet | None:
        """Return the next packet of the namespace; None is any other."""
        now = trio.current_time()
        if self._revision == 3 and now - self._pinged_at > _PING_V3_S:
            self._pinged_at = now
            await self.transport.send("2")
        packet = await self.transport.receive()
        if isinstance(packet, bytes):
            found = msgspec.msgpack.decode(packet)
            if found.get("nsp") != CHAT:
                return None
            return Packet(found["type"], found.get("data"), found.get("id"))
        if packet == "2":
            await self.transport.send("3")
        if packet[0] != "4":
            return None
        return await self._decode(packet)

    async def _decode(self, text: str) -> Packet | None:
        kind, rest, attachments = int(text[1]), text[2:], []
        if kind in (BINARY_EVENT, BINARY_ACK):
            count, _, rest = rest.partition("-")
            attachments = [await self.transport.receive() for _ in range(int(count))]
            kind -= 3
        name, comma, body = rest.partition(",")
        if name != CHAT:
            return None
        digits = len(body) - len(body.lstrip("0123456789")) if kind in (EVENT, ACK) else 0
        number = int(body[:digits]) if digits else None
        data = json.loads(body[digits:]) if comma and body[digits:] else None
        return Packet(kind, _put_back(data, attachments), number)


def _put_aside(blob: Any, attachments: list[bytes]) -> dict[str, Any]:
    assert isinstance(blob, bytes)
    attachments.append(blob)
    return {"_placeholder": True, "num": len(attachments) - 1}


def _put_back(data: Any, attachments: list[Any]) -> Any:
    if isinstance(data, list):
        return [_put_back(one, attachments) for one in data]
    if isinstance(data, dict) and data.get("_placeholder"):
        return attachments[data["num"]]
    return data
