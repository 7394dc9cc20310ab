"""Many users in a process of its own: ``python -m tests.faults.presence.crowd_process``.

It does what lines of JSON on its standard input say, and prints a Note as a line of JSON for
everything that matters to one of its clients. They are raw sockets, in one thread: see
tests.im.raw_clients, which says why that can tell whether two clients were in at once.

A user whose client is lost or turned away comes back after a moment, at one of the ports that are
told to be up, unless it was told that it is replaced or kicked, or shall not come back.
"""

import heapq
import json
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

import msgspec

from tests.faults.presence.history import Note, boottime
from tests.im.raw_clients import Line, Polling, WebSocket

NAMESPACE: Final = "/chat"
AT_A_TIME: Final = 2000
"""How many clients may be on the way in; those that wait for the end of a lease are among them."""
COMES_BACK_S: Final = 0.2
"""How long a user takes to come back, about, and twice as long after each failure."""
COMES_BACK_MAX_S: Final = 2.0
FOR_GOOD: Final = ("told", "session replaced", "kicked", "left", "dropped", "frozen")
"""Begins the reasons why a client is out that its user does not answer by coming back."""
QUESTIONS: Final = {
    "here": f'42{NAMESPACE},7["here"]',
    "later": f'42{NAMESPACE},["later"]',
}


class PatientWebSocket(WebSocket):
    """A node that is about to end may answer anything, or nothing."""

    def read(self) -> list[str]:
        line: Line = self._line
        while line.is_open and line.read():
            pass
        if (
            not self._has_opened
            and line.input
            and not line.input.startswith(b"HTTP/1.1 101"[: len(line.input)])
        ):
            line.close()
            return []
        return super().read()


class Client:
    """One login.

    Attributes:
        state: coming, in, out.
        id: of its socket, once it was let in.
    """

    def __init__(self, crowd: "Crowd", user: "User", port: int, kind: type[Any]) -> None:
        self.user = user
        self.port = port
        self.number = crowd.next_number()
        self.id = ""
        self.state = "coming"
        self.is_frozen = False
        self._crowd = crowd
        self._told = ""
        self.transport: Any = None
        try:
            self.transport = kind(crowd, self, port)
        except OSError:  # nobody listens there
            self._end("refused", "no connection")
            return
        self.transport.send(f"40{NAMESPACE}," + json.dumps({"user": user.name}))

    def send(self, packet: str) -> None:
        self.transport.send(packet)

    def read(self) -> None:
        if self.is_frozen or self.transport is None:
            return
        for packet in self.transport.read():
            self._take(packet)
        if not self.transport.is_open and self.state != "out":
            self._end("refused" if self.state == "coming" else "out", "closed")

    def _take(self, packet: str) -> None:
        kind, _, rest = packet.partition(f"{NAMESPACE},")
        if packet == "2":
            self.transport.send("3")
        elif kind == "40":
            self.id = json.loads(rest)["sid"]
            self.state = "in"
            self._crowd.look_at_others(self)
            self._crowd.note("in", self)
        elif kind == "44":
            self._end("refused", json.loads(rest)["message"])
            self.transport.close()
        elif kind == "41":
            self._end("out", f"told {self._told}")
        elif kind == "42" and rest.startswith('["session/'):
            self._told = json.loads(rest)[1]["reason"]
        elif kind in ("42", "43") and self.port in self._crowd.watched:
            self._crowd.note("got", self, packet)

    def _end(self, do: Any, why: str) -> None:
        if self.state != "out":
            self.state = "out"
            self._crowd.note(do, self, why)
            self._crowd.ended(self, why)

    def leave(self) -> None:
        """Leave the namespace as a client does that says goodbye."""
        self.user.returns = False
        self.transport.send(f"41{NAMESPACE},")
        self._end("out", "left")
        self._crowd.closing.append((time.monotonic() + 1.0, self))

    def drop(self) -> None:
        """Break the connection."""
        self.user.returns = False
        self._end("out", "dropped")
        self.transport.close()

    def freeze(self) -> None:
        """Neither read nor answer any more, like a telephone in a tunnel."""
        self.user.returns = False
        self.is_frozen = True
        self._end("out", "frozen")


class User:
    """A user, with all its clients that are connected."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.returns = True
        self.clients: list[Client] = []
        self.queued = 0  # logins that have yet to begin
        self.failures = 0  # in a row

    def has_newer(self, number: int) -> bool:
        """Whether the user has logged in again since a client of this number."""
        return self.queued > 0 or any(
            client.number > number and client.state != "out" for client in self.clients
        )

    def inside(self) -> list[Client]:
        return [client for client in self.clients if client.state == "in"]


class Crowd:
    """All of them.

    Attributes:
        epoll: of their connections.
        lines: these connections, by number.
        watched: the ports whose packets are noted.
        closing: clients that are out and whose connections end soon.
    """

    def __init__(self, seed: int) -> None:
        self.epoll = select.epoll()
        self.lines: dict[int, tuple[Client, Line]] = {}
        self.watched: set[int] = set()
        self.closing: deque[tuple[float, Client]] = deque()
        self._dice = Random(seed)
        self._users: dict[str, User] = {}
        self._ports: list[int] = []
        self._polling = 0.0
        self._numbers = 0
        self._coming = 0
        self._waiting: deque[tuple[User, int]] = deque()  # logins, and where
        self._returns: list[tuple[float, int, User]] = []
        self._notes: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode
        self._does: dict[str, Callable[[dict[str, Any]], None]] = {
            "enter": self._enter,
            "ports": self._set_ports,
            "stay away": lambda told: self._set_returns(told["users"]),
            "leave": lambda told: self._each(told["users"], Client.leave),
            "drop": lambda told: self._each(told["users"], Client.drop),
            "freeze": lambda told: self._each(told["users"], Client.freeze),
            "hang up": lambda told: self._hang_up(told["users"]),
            "emit": self._emit,
            "watch": self._watch,
        }

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def note(self, do: Any, client: Client, why: str = "") -> None:
        """Have something printed at the end of the turn."""
        told = Note(
            at=boottime(),
            do=do,
            user=client.user.name,
            client=client.number,
            id=client.id,
            port=client.port,
            why=why,
            is_strict=client.transport is None or client.transport.is_strict,
        )
        if do in ("in", "refused"):
            self._coming -= 1
        self._notes.append(self._encode(told) + b"\n")

    def look_at_others(self, newest: Client) -> None:
        """Have others of a user read what was sent to them before this one was let in.

        One that was let in before it may not have read that yet, nor that it is out again.
        """
        for client in tuple(newest.user.clients):
            if client is not newest and client.state != "out":
                client.read()

    def ended(self, client: Client, why: str) -> None:
        """Have its user come back, or not."""
        if client.user.returns and not why.startswith(FOR_GOOD):
            user = client.user
            longest_s = min(COMES_BACK_S * 2**user.failures, COMES_BACK_MAX_S)
            user.failures = user.failures + 1 if client.id == "" else 0
            at = time.monotonic() + longest_s * self._dice.uniform(0.5, 1.0)
            heapq.heappush(self._returns, (at, client.number, client.user))

    # -- what it is told

    def obey(self, line: bytes) -> None:
        told = json.loads(line)
        self._does[told["do"]](told)

    def _enter(self, told: dict[str, Any]) -> None:
        """Log users in, at one port after the other."""
        ports = told["ports"]
        for number, name in enumerate(told["users"]):
            user = self._users.setdefault(name, User(name))
            user.returns = told.get("returns", True)
            self._queue(user, ports[number % len(ports)])

    def _queue(self, user: User, port: int) -> None:
        user.queued += 1
        self._waiting.append((user, port))

    def _set_ports(self, told: dict[str, Any]) -> None:
        self._ports = told["ports"]
        self._polling = told.get("polling", self._polling)

    def _watch(self, told: dict[str, Any]) -> None:
        self.watched = set(told["ports"])

    def _set_returns(self, users: Iterable[str]) -> None:
        for name in users:
            self._users[name].returns = False

    def _each(self, users: Iterable[str], do: Callable[[Client], None]) -> None:
        for name in users:
            for client in self._users[name].inside():
                do(client)

    def _hang_up(self, users: Iterable[str]) -> None:
        """Break the connections of clients that are out."""
        for name in users:
            user = self._users[name]
            for client in [one for one in user.clients if one.state == "out"]:
                if client.transport is not None:
                    client.transport.close()
                user.clients.remove(client)

    def _emit(self, told: dict[str, Any]) -> None:
        packet = QUESTIONS.get(told["event"]) or f"42{NAMESPACE},{told['event']}"
        for name in told["users"]:
            for client in self._users[name].inside():
                client.send(packet)

    # -- running

    def run(self) -> None:
        """Go on until the standard input ends."""
        commands = bytearray()
        self.epoll.register(0, select.EPOLLIN)
        while True:
            for number, _ in self.epoll.poll(self._wait_s()):
                if number == 0:
                    data = os.read(0, 1 << 20)
                    if not data:
                        return
                    commands += data
                elif number in self.lines:
                    client, line = self.lines[number]
                    if client.is_frozen:
                        self.epoll.unregister(number)
                        line.is_open = False  # it is not read any more, and stays connected
                        del self.lines[number]
                    else:
                        client.read()
            *lines, rest = bytes(commands).split(b"\n")
            commands[:] = rest
            for command in lines:
                self.obey(command)
            self._go_on()
            if self._notes:
                sys.stdout.buffer.write(b"".join(self._notes))
                sys.stdout.buffer.flush()
                self._notes.clear()

    def _wait_s(self) -> float:
        if self._waiting and self._coming < AT_A_TIME:
            return 0.0
        ends = [self._returns[0][0]] if self._returns else []
        ends += [self.closing[0][0]] if self.closing else []
        return max(0.0, min(ends) - time.monotonic()) if ends else -1

    def _go_on(self) -> None:
        now = time.monotonic()
        while self._returns and self._returns[0][0] <= now:
            _, number, user = heapq.heappop(self._returns)
            if user.returns and not user.has_newer(number):
                self._queue(user, self._dice.choice(self._ports))
        while self.closing and self.closing[0][0] <= now:
            _, client = self.closing.popleft()
            client.transport.close()
            if client in client.user.clients:
                client.user.clients.remove(client)
        for _ in range(20):  # then read again
            if not self._waiting or self._coming >= AT_A_TIME:
                break
            user, port = self._waiting.popleft()
            user.queued -= 1
            kind = Polling if self._dice.random() < self._polling else PatientWebSocket
            self._coming += 1
            client = Client(self, user, port, kind)
            if client.state != "out":
                user.clients.append(client)


if __name__ == "__main__":
    Crowd(int(sys.argv[1])).run()
