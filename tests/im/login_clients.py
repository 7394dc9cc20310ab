"""Users who log in again and again, in a process of their own: raw sockets, and packets by bytes.

``python -m tests.im.login_clients PORTS USERS LOGINS SEED`` logs each user in LOGINS times, on
WebSocket and on long-polling, at one of the servers on PORTS (joined by commas). The client before
is still there, or leaves, or breaks its connection, or logs in at the same moment. The result is
one line of JSON.

What a server sends to the old client is in the buffers of this machine before what it sends to the
new one, and this process has one thread. So it can tell, without a clock, whether two clients were
in at once: when a client has been let in, all others of its user must find in their buffers that
they are out. Long-polling finds it there only while a GET waits; else it has LATE_S.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from random import Random
from typing import Any, Final

NAMESPACE: Final = "/chat"
LATE_S: Final = 5.0
STUCK_S: Final = 20.0
AT_A_TIME: Final = 100
KEPT: Final = 2  # how many clients that were put out a user keeps connected
QUESTION: Final = f'42{NAMESPACE},7["here"]'
ANSWER: Final = f"43{NAMESPACE},7[]"

_UPGRADE: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Line:
    """A connection, and what was read from it."""

    def __init__(self, crowd: "Crowd", client: "Client", port: int) -> None:
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

    def __init__(self, crowd: "Crowd", client: "Client", port: int) -> None:
        self._line = Line(crowd, client, port)
        self._has_opened = False
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
            packets.append("1" if data[0] == 0x88 else data[begin : begin + length].decode())
            del data[: begin + length]
        return packets

    @property
    def is_open(self) -> bool:
        return self._line.is_open

    def close(self) -> None:
        self._line.close()


class Polling:
    """Packets on long-polling: one connection for GETs, another one for POSTs."""

    is_strict = False

    def __init__(self, crowd: "Crowd", client: "Client", port: int) -> None:
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

    Attributes:
        id: of its socket, once it was let in.
        state: coming, in, out.
        why: it is out.
    """

    def __init__(self, crowd: "Crowd", user: "User", port: int, kind: type[Any]) -> None:
        self.user = user
        self.port = port
        self.id = ""
        self.state = "coming"
        self.why = ""
        self.entered_at = 0.0
        self.outlived_at = 0.0  # when another one was let in while it did not know that it is out
        self.was_asked = False  # since it is out
        self._crowd = crowd
        self._told = ""
        self.transport = kind(crowd, self, port)
        self.transport.send(f"40{NAMESPACE}," + json.dumps({"user": user.name}))

    def __repr__(self) -> str:
        return f"<{self.user.name} {self.id} at {self.port} {self.state} {self.why}>"

    def read(self) -> None:
        if self.why == "dropped":
            return
        for packet in self.transport.read():
            self._take(packet)
        if not self.transport.is_open and self.state != "out":
            self._crowd.complain(f"{self}: the server has closed it")
            self._end("closed")

    def _take(self, packet: str) -> None:
        if packet == "2":
            self.transport.send("3")
        elif packet.startswith(f"40{NAMESPACE},"):
            assert self.state == "coming", self
            self.id = json.loads(packet.partition(",")[2])["sid"]
            self.state, self.entered_at = "in", time.monotonic()
            self.transport.send(QUESTION)
            self._crowd.note_entered(self)
        elif packet.startswith(f"44{NAMESPACE},"):
            self._end("refused: " + json.loads(packet.partition(",")[2])["message"])
        elif packet.startswith(f'42{NAMESPACE},["session/replaced",'):
            assert self.state == "in" or self.why == "left", self
            self._told = json.loads(packet.partition(",")[2])[1]["reason"]
        elif packet.startswith(f"41{NAMESPACE},"):
            self._end(f"told {self._told}")
        elif packet == ANSWER:
            if self.was_asked:
                self._crowd.complain(f"{self}: it was answered after its successor was in")
        elif packet not in ("6", "1") and packet[0] != "0":
            self._crowd.complain(f"{self} got {packet}")

    def _end(self, why: str) -> None:
        if self.state == "out":  # it has left by itself, and others were about to put it out
            return
        self.state, self.why = "out", why
        if self.outlived_at:
            self._crowd.note_late(self, time.monotonic() - self.outlived_at)
        self._crowd.note_ended(self)

    def leave(self) -> None:
        self.transport.send(f"41{NAMESPACE},")
        self._end("left")

    def drop(self) -> None:
        self.transport.close()
        self._end("dropped")  # if it is not out already

    def ask_in_vain(self) -> None:
        """Send an event, which must not be answered any more."""
        if self.why.startswith("told") and self.transport.is_open and not self.was_asked:
            self.was_asked = True
            self.transport.send(QUESTION)


class User:
    """A user, with all the clients that are connected."""

    def __init__(self, number: int, logins: int) -> None:
        self.name = f"raw{number}"
        self.logins_left = logins
        self.clients: list[Client] = []
        self.is_ready = True


class Crowd:
    """All users."""

    def __init__(self, ports: list[int], users: int, logins: int, seed: int) -> None:
        self.epoll = select.epoll()
        self.lines: dict[int, tuple[Client, Line]] = {}
        self.complaints: list[str] = []
        self.entered: list[str] = []
        self.ends: dict[str, int] = {}
        self.late = 0
        self.latest_s = 0.0
        self._ports = ports
        self._dice = Random(seed)
        self._users = [User(number, logins) for number in range(users)]
        self._ready = deque(self._users)
        self._busy = 0
        self._moved_at = time.monotonic()

    def complain(self, what: str) -> None:
        self.complaints.append(what)

    def note_entered(self, client: Client) -> None:
        self.entered.append(client.id)
        self._moved_at = time.monotonic()

    def note_ended(self, client: Client) -> None:
        self.ends[client.why] = self.ends.get(client.why, 0) + 1

    def note_late(self, client: Client, seconds: float) -> None:
        self.late += 1
        self.latest_s = max(self.latest_s, seconds)
        if seconds > LATE_S:
            self.complain(f"{client}: two were in at once for {seconds:.1f} s")

    def run(self) -> None:
        while self._ready or self._busy:
            while self._ready and self._busy < AT_A_TIME:
                self._log_in(self._ready.popleft())
            concerned: dict[User, None] = {}
            for number, _ in self.epoll.poll(0.5):
                if number in self.lines:
                    client, _ = self.lines[number]
                    client.read()
                    concerned[client.user] = None
            for user in concerned:
                self._look(user)
            if time.monotonic() - self._moved_at > STUCK_S:
                stuck = [user.clients for user in self._users if not user.is_ready]
                self.complain(f"nobody was let in for {STUCK_S} s: {stuck[:5]}")
                return
        self._end()

    def _end(self) -> None:
        """Close what is left, once it has been sent that the last clients leave."""
        clients = [client for user in self._users for client in user.clients]
        ends = time.monotonic() + LATE_S
        while any(client.transport.is_sending for client in clients) and time.monotonic() < ends:
            for number, _ in self.epoll.poll(0.1):
                if number in self.lines:
                    self.lines[number][0].read()
        for client in clients:
            client.drop()

    def _log_in(self, user: User) -> None:
        user.is_ready = False
        self._busy += 1
        chance = self._dice.random()
        old = [client for client in user.clients if client.state == "in"]
        for client in old:
            if chance < 0.10:
                client.leave()
            elif chance < 0.25:
                client.drop()
        count = 2 if chance > 0.85 and user.logins_left > 1 else 1
        for _ in range(count):
            kind = Polling if self._dice.random() < 0.4 else WebSocket
            user.clients.append(Client(self, user, self._dice.choice(self._ports), kind))
        user.logins_left -= count

    def _look(self, user: User) -> None:
        """See whether the logins of a user are decided, and that one client alone is in."""
        inside = [client for client in user.clients if client.state == "in"]
        # What is read last may be older than what was read first; so read once more.
        for _ in range(len(user.clients) + 1):
            if len(inside) < 2:
                break
            for client in user.clients:
                client.read()
            inside = [client for client in user.clients if client.state == "in"]
        newest = max(inside, key=lambda client: client.entered_at, default=None)
        for client in inside:
            if client is not newest and not client.outlived_at:
                client.outlived_at = time.monotonic()
                if client.transport.is_strict and newest is not None:
                    strict = newest.transport.is_strict
                    self.complain(f"{client} was in with {newest} ({strict=})")
        if user.is_ready or any(client.state == "coming" for client in user.clients):
            return
        if len(inside) > 1:
            return  # one of them polls, and will learn that it is out
        if not inside:
            self.complain(f"{user.clients}: none of them is in")
        self._settle(user)

    def _settle(self, user: User) -> None:
        for client in user.clients:
            client.ask_in_vain()
        out = [client for client in user.clients if client.state == "out"]
        for client in out[: max(0, len(out) - KEPT)]:
            client.drop()
            user.clients.remove(client)
        user.is_ready = True
        self._busy -= 1
        if user.logins_left:
            self._ready.append(user)
        else:
            for client in user.clients:
                if client.state == "in":
                    client.leave()


def main() -> None:
    ports = [int(port) for port in sys.argv[1].split(",")]
    users, logins, seed = map(int, sys.argv[2:])
    crowd = Crowd(ports, users, logins, seed)
    crowd.run()
    result = {
        "logins": users * logins,
        "entered": crowd.entered,
        "ends": crowd.ends,
        "late": crowd.late,
        "latest_s": crowd.latest_s,
        "complaints": crowd.complaints[:5] + crowd.complaints[-5:],
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
