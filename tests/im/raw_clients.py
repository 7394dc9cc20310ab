"""Raw clients of tests that log users in: WebSocket and long-polling, by bytes, in one thread.

What a server sends to the old client is in the buffers of this machine before what it sends to the
new one, also when these are on different nodes. So a process with one thread can tell, without a
clock, whether two clients were in at once: when a client has been let in, all others of its user
must find in their buffers that they are out. Long-polling finds it there only while a GET waits;
else it has LATE_S.
"""

import json
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

CHAT: Final = "/chat"
LATE_S: Final = 5.0
STUCK_S: Final = 20.0
RESTART: Final = 1012
"""The WebSocket close code "service restart"."""
HUNG_UP: Final = "hung up on for now"
"""Why a client is out if the store has not answered in time, on a machine that is too busy. It is
not answered, so that it comes again by itself (JOIN-39)."""

_UPGRADE: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Crowd:
    """The connections of a process, and what its clients have told.

    Attributes:
        lines: every open connection, by its number, with its client.
        complaints: whatever is wrong.
        entered: the ids of all clients that were let in.
        ends: how many clients are out, by why.
        late: how many learned later than their successors were in that they are out.
        latest_s: by how much, at most.
        doubts: ids of clients that were in at once with one on long-polling, and the ids of those:
            these must be older.
        moved_at: when somebody was let in last, or refused.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.lines: dict[int, tuple[Client, Line]] = {}
        self.complaints: list[str] = []
        self.entered: list[str] = []
        self.ends: dict[str, int] = {}
        self.late = 0
        self.latest_s = 0.0
        self.doubts: set[tuple[str, str]] = set()
        self.moved_at = time.monotonic()

    def complain(self, what: str) -> None:
        self.complaints.append(what)

    def note_entered(self, client: "Client") -> None:
        self.entered.append(client.id)
        self.moved_at = time.monotonic()

    def note_ended(self, client: "Client") -> None:
        self.ends[client.why] = self.ends.get(client.why, 0) + 1
        self.moved_at = time.monotonic()

    def note_late(self, client: "Client", seconds: float) -> None:
        self.late += 1
        self.latest_s = max(self.latest_s, seconds)
        if seconds > LATE_S:
            self.complain(f"{client}: two were in at once for {seconds:.1f} s")

    def read(self, timeout_s: float) -> list["Client"]:
        """Read whatever has come, and return the clients that it has come to."""
        clients: dict[Client, None] = {}
        for number, _ in self.epoll.poll(timeout_s):
            if number in self.lines:
                client, _ = self.lines[number]
                client.read()
                clients[client] = None
        return list(clients)

    def find_inside(self, clients: Sequence["Client"], most: int = 1) -> list["Client"]:
        """Return the clients of a user that are in; complain of one too many."""
        inside = [client for client in clients if client.state == "in"]
        # What is read last may be older than what was read first; so read once more.
        for _ in range(len(clients) + 1):
            if len(inside) <= most:
                break
            for client in clients:
                client.read()
            inside = [client for client in clients if client.state == "in"]
        now = time.monotonic() if len(inside) > most else 0.0
        strict = [client for client in inside if client.transport.is_strict]
        if len(strict) > most:
            self.complain(f"all these are in at once: {strict}")
        for client in inside:
            if client.transport.is_strict:
                continue
            client.outlived_at = client.outlived_at or now if now else 0.0
            # It was let in before the others, and learns late that it is out; or it is the newest.
            # The log tells, but not which of them was read first.
            if now and most == 1:
                self.doubts.update((one.id, client.id) for one in strict)
        return inside

    def end(self, clients: Sequence["Client"]) -> None:
        """Close what is left, once it has been sent that the last clients leave."""
        ends = time.monotonic() + LATE_S
        while any(client.transport.is_sending for client in clients) and time.monotonic() < ends:
            self.read(0.1)
        for client in clients:
            client.drop()

    def tell(self, **more: Any) -> str:
        """Return a line of JSON for the process that has started this one."""
        result = {
            "entered": self.entered,
            "ends": self.ends,
            "late": self.late,
            "latest_s": self.latest_s,
            "doubts": list(self.doubts),
            "complaints": self.complaints[:5] + self.complaints[-5:],
        }
        return json.dumps(result | more) + "\n"


class Line:
    """A connection, and what was read from it."""

    def __init__(self, crowd: Crowd, client: "Client", port: int) -> None:
        self.input = bytearray()
        self._crowd = crowd
        self._sock = socket.create_connection(("127.0.0.1", port), STUCK_S)
        self._sock.setblocking(False)
        self.number = self._sock.fileno()
        self.is_open = True
        crowd.lines[self.number] = (client, self)
        crowd.epoll.register(self.number, select.EPOLLIN)

    def send(self, data: bytes) -> None:
        if not self.is_open:  # the end came with the packets that are being answered
            return
        try:
            assert self._sock.send(data) == len(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close()

    def read(self) -> bool:
        """Read what is there; whether that was anything."""
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self.close()
        self.input += data
        return bool(data)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            del self._crowd.lines[self.number]
            self._crowd.epoll.unregister(self.number)
            self._sock.close()


class WebSocket:
    """Packets on a WebSocket."""

    is_strict = True
    is_sending = False

    def __init__(self, crowd: Crowd, client: "Client", port: int) -> None:
        self._line = Line(crowd, client, port)
        self._has_opened = False
        self._close_code = 0
        self._line.send(_UPGRADE.encode())

    def send(self, packet: str) -> None:
        text = packet.encode()
        assert len(text) < 126
        self._line.send(bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text)

    def read(self) -> list[str]:
        while self._line.is_open and self._line.read():
            pass
        data, packets = self._line.input, []
        if not self._has_opened:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return []
            assert data.startswith(b"HTTP/1.1 101"), bytes(data)
            del data[: end + 4]
            self._has_opened = True
        while len(data) >= 2:
            length, begin = data[1], 2
            if length == 126:
                length, begin = int.from_bytes(data[2:4], "big"), 4
            if len(data) < begin + length:
                break
            is_close = data[0] == 0x88
            body = data[begin : begin + length]
            del data[: begin + length]
            if is_close:
                self._close_code = int.from_bytes(body[:2], "big")
            packets.append("1" if is_close else body.decode())
        return packets

    @property
    def may_come_again(self) -> bool:
        """Whether the server has closed it in the way after which clients connect again."""
        # A server that hangs up before it has sent the answer to the upgrade sends nothing at all.
        return self._close_code == RESTART or not self._has_opened

    @property
    def is_open(self) -> bool:
        return self._line.is_open

    def close(self) -> None:
        self._line.close()


class Polling:
    """Packets on long-polling: one connection for GETs, another one for POSTs."""

    is_strict = False
    may_come_again = True  # whatever the server does to the connection

    def __init__(self, crowd: Crowd, client: "Client", port: int) -> None:
        self._gets, self._posts = Line(crowd, client, port), Line(crowd, client, port)
        self._sid = ""
        self._to_send: list[str] = []
        self._is_posting = False
        self._get()

    def send(self, packet: str) -> None:
        self._to_send.append(packet)
        self._post()

    @property
    def is_sending(self) -> bool:
        return self.is_open and (self._is_posting or bool(self._to_send))

    def read(self) -> list[str]:
        packets: list[str] = []
        for line in (self._posts, self._gets):
            while line.is_open and line.read():
                pass
        while (body := _take_answer(self._posts)) is not None:
            self._is_posting = False
            if body != "ok":
                self.close()
        while (body := _take_answer(self._gets)) is not None:
            packets += body.split("\x1e")
            if not self._sid:
                self._sid = f"&sid={json.loads(packets[0][1:])['sid']}"
            if packets[-1] == "1":
                self.close()
            elif self._gets.is_open:
                self._get()
        self._post()
        return packets

    def _get(self) -> None:
        self._gets.send(self._request("GET", ""))

    def _post(self) -> None:
        if self._sid and self._to_send and not self._is_posting:
            self._is_posting = True
            self._posts.send(self._request("POST", "\x1e".join(self._to_send)))
            self._to_send.clear()

    def _request(self, method: str, body: str) -> bytes:
        head = f"{method} /socket.io/?EIO=4&transport=polling{self._sid} HTTP/1.1\r\n"
        return f"{head}Host: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    @property
    def is_open(self) -> bool:
        return self._gets.is_open and self._posts.is_open

    def close(self) -> None:
        self._gets.close()
        self._posts.close()


def _take_answer(line: Line) -> str | None:
    end = line.input.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = line.input[:end].decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r")[0])
    if len(line.input) < end + 4 + length:
        return None
    body = line.input[end + 4 : end + 4 + length].decode()
    del line.input[: end + 4 + length]
    return body if head.startswith("http/1.1 200") else "1"


class Client:
    """One login.

    Args:
        crowd: it belongs to.
        user: who logs in.
        port: of a server.
        kind: WebSocket or Polling.
        namespace: that it asks for.
        is_held: whether it asks only when `connect` is called.

    Attributes:
        id: of its socket, once it was let in.
        state: coming, in, out.
        why: it is out.
        has_opened: whether the server has opened its session.
    """

    def __init__(
        self,
        crowd: Crowd,
        user: str,
        port: int,
        kind: type[Any],
        *,
        namespace: str = CHAT,
        is_held: bool = False,
    ) -> None:
        self.user = user
        self.port = port
        self.namespace = namespace
        self.id = ""
        self.state = "coming"
        self.why = ""
        self.has_opened = False
        self.outlived_at = 0.0  # since when it has been in beside others; of long-polling alone
        self.was_asked = False  # since it is out
        self._crowd = crowd
        self._told = ""
        self._question = f'42{namespace},7["here"]'
        self._answer = f"43{namespace},7[]"
        self.transport = kind(crowd, self, port)
        if not is_held:
            self.connect()

    def __repr__(self) -> str:
        kind = type(self.transport).__name__
        return f"<{self.user} {self.id} {kind} at {self.port} {self.state} {self.why}>"

    def connect(self) -> None:
        """Ask to be let in."""
        self.transport.send(f"40{self.namespace}," + json.dumps({"user": self.user}))

    def read(self) -> None:
        if self.why == "dropped":
            return
        for packet in self.transport.read():
            self._take(packet)
        if self.transport.is_open or self.state == "out":
            return
        if self.state == "coming" and self.transport.may_come_again:
            self._end(HUNG_UP)
        else:
            self._crowd.complain(f"{self}: the server has closed it")
            self._end("closed")

    def _take(self, packet: str) -> None:
        kind, _, rest = packet.partition(f"{self.namespace},")
        if packet == "2":
            self.transport.send("3")
        elif kind == "40":
            assert self.state == "coming", self
            self.id = json.loads(rest)["sid"]
            self.state = "in"
            self.transport.send(self._question)
            self._crowd.note_entered(self)
        elif kind == "44":
            self._end("refused: " + json.loads(rest)["message"])
        elif kind == "42" and rest.startswith('["session/replaced",'):
            assert self.state == "in" or self.why == "left", self
            self._told = json.loads(rest)[1]["reason"]
        elif kind == "41":
            self._end(f"told {self._told}")
        elif packet == self._answer:
            if self.was_asked:
                self._crowd.complain(f"{self}: it was answered after its successor was in")
        elif packet[0] == "0":
            self.has_opened = True
        elif packet not in ("6", "1"):
            self._crowd.complain(f"{self} got {packet}")

    def _end(self, why: str) -> None:
        if self.state == "out":  # it has left by itself, and others were about to put it out
            return
        self.state, self.why = "out", why
        if self.outlived_at:
            self._crowd.note_late(self, time.monotonic() - self.outlived_at)
        self._crowd.note_ended(self)

    def leave(self) -> None:
        self.transport.send(f"41{self.namespace},")
        self._end("left")

    def drop(self) -> None:
        self.transport.close()
        self._end("dropped")  # if it is not out already

    def ask_in_vain(self) -> None:
        """Send an event, which must not be answered any more."""
        if self.why.startswith("told") and self.transport.is_open and not self.was_asked:
            self.was_asked = True
            self.transport.send(self._question)
