"""What the clients of the soak do: how they come, what they say, and how they go."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import jwt
import trio

from tests.endurance.client import CHAT, EVENT, Client, PutOut, Refused, Vanished
from tests.endurance.lines import Closed, Line, Polling, WebSocket, frame

EXPIRES_AT: Final = int(time.time()) + 7200  # of all tokens
ROOMS: Final = 100
FLOOD: Final = 150
"""More events than a user may send at once, and fewer than may wait for their handlers."""
FLOODERS: Final = 50
REGULARS: Final = 500
LIFE_S: Final = 90.0
GIVEN_UP_S: Final = 20.0
"""A client that does not answer is closed by then."""
GARBAGE: Final = (
    b"\x00\xff\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET /socket.io/?EIO=4&transport=polling HTTP/9.9\r\n\r\n",
    b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo",
)
NONSENSE: Final = (b"4", b"9", b"42{", b"40/chat,{", b"45", b'451-["x"', b"\xff\xfe", b"2" * 200)


@dataclass
class Seen:
    """What the clients have seen.

    Args:
        done: how often what was done, by its name.
        faults: whatever is wrong.
        acknowledged: the numbers of the events whose handling was acknowledged.
    """

    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)

    def blame(self, fault: str) -> None:
        self.done["faults"] += 1
        if len(self.faults) < 20:
            self.faults.append(fault)


class Life:
    """One client from its coming to its going.

    Args:
        number: of the client.
        ports: of the servers that speak JSON.
        packed_ports: of those that speak MessagePack.
        secret: signs the tokens of the users.
        seen: by all clients.
        dice: what is left to chance.
    """

    def __init__(
        self,
        number: int,
        ports: list[int],
        packed_ports: list[int],
        secret: str,
        seen: Seen,
        dice: Random,
    ) -> None:
        self._number = number
        self._ports = ports
        self._packed_ports = packed_ports
        self._play = dice.choices([one for one, _ in PLAYS], [share for _, share in PLAYS])[0]
        # Most users never come again. A user who floods is refused for a while, which nobody else
        # must notice.
        user = f"u{number}"
        if self._play is Life.floods:
            user = f"flooder{number % FLOODERS}"
        elif dice.random() < 0.2:
            user = f"regular{dice.randrange(REGULARS)}"
        self._token = jwt.encode({"sub": user, "exp": EXPIRES_AT}, secret, "HS256")
        self._seen = seen
        self._dice = dice
        self._events = 0

    async def live(self) -> None:
        name = self._play.__name__
        try:
            with trio.fail_after(LIFE_S):
                await self._play(self)
            self._seen.done[name] += 1
        except PutOut as out:
            self._seen.done[f"put out: {out}"] += 1
        except Exception as error:
            self._seen.blame(f"client {self._number}, {name}: {error!r}")

    # -- how it comes

    async def _come(self) -> Client:
        """Open a session in some way, and join."""
        client = await self._open()
        try:
            await self._join(client)
        except BaseException:
            client.transport.close()
            raise
        return client

    async def _join(self, client: Client) -> None:
        try:
            await client.join({"token": self._token})
        except Refused as refused:
            for reason in "kicked", "session replaced":  # by another client of the user, just now
                if reason in str(refused):
                    raise PutOut(f"{reason} while joining") from refused
            raise
        self._seen.done["entered"] += 1

    async def _open(self) -> Client:
        dice = self._dice
        is_packed = bool(self._packed_ports) and dice.random() < 0.15
        port = dice.choice(self._packed_ports if is_packed else self._ports)
        revision = 3 if not is_packed and dice.random() < 0.2 else 4
        way = dice.choice(("websocket", "websocket", "polling", "upgrade"))
        client = Client(port, revision=revision, is_packed=is_packed)
        await client.open(way)
        self._seen.done[f"{way}, EIO {revision}{', MessagePack' if is_packed else ''}"] += 1
        return client

    # -- what it says

    def _next_event(self) -> int:
        """Return a number that no other event has."""
        self._events += 1
        return self._number * 1000 + self._events

    async def _talk(self, client: Client) -> None:
        """Join rooms, send messages, have a backend handle events with and without binary."""
        dice, room = self._dice, f"r{self._dice.randrange(ROOMS)}"
        (reply,) = await client.ask("join", {"rooms": [{"roomId": room}]})
        self._check(reply, 0)
        for _ in range(dice.randrange(1, 4)):
            await self._work(client)
        (reply,) = await client.ask("chat/rooms", {"roomId": room, "msg": {"meta": "tea"}})
        self._check(reply, 0)
        if dice.random() < 0.3:
            blob = dice.randbytes(dice.choice((3, 300)))
            number = self._next_event()
            (answer,) = await client.ask("work", number, blob)
            assert answer == [number, blob], answer
            self._seen.acknowledged.append(number)
        if dice.random() < 0.1:
            friend = {"userId": f"regular{dice.randrange(REGULARS)}", "msg": {"meta": "hello"}}
            await client.ask("chat/users", friend)  # who may be absent
        if dice.random() < 0.01:
            (reply,) = await client.ask("chat/broadcast", {"msg": {"meta": "to all"}})
        if dice.random() < 0.3:
            await client.stay(dice.uniform(0.0, 2.0))

    async def _work(self, client: Client) -> None:
        number = self._next_event()
        (answer,) = await client.ask("work", number)
        assert answer == [number], answer
        self._seen.acknowledged.append(number)

    def _check(self, reply: Any, code: int) -> None:
        if reply["errcode"] != code:
            raise AssertionError(reply)

    # -- how it goes

    async def leaves(self) -> None:
        client = await self._come()
        try:
            await self._talk(client)
            await client.leave()
        finally:
            client.transport.close()

    async def closes(self) -> None:
        """End the session without leaving the namespace."""
        client = await self._come()
        try:
            await self._talk(client)
            await client.transport.say_goodbye()
        except Closed:
            return  # it was put out just now
        finally:
            client.transport.close()

    async def hangs_up(self) -> None:
        client = await self._come()
        try:
            await self._talk(client)
        finally:
            client.transport.close()

    async def resets(self) -> None:
        client = await self._come()
        try:
            await self._talk(client)
        finally:
            client.transport.reset()

    async def falls_silent(self) -> None:
        """Neither answer nor hang up; the server has to close."""
        client = await self._come()
        try:
            await self._talk(client)
            if isinstance(client.transport, WebSocket):
                await self._wait_given_up(client.transport.line)
        finally:
            client.transport.close()

    async def withholds(self) -> None:
        """Announce an attachment, and send something else, or nothing."""
        client = await self._come()
        line = client.transport.line
        try:
            if not isinstance(client.transport, WebSocket) or client.is_packed:
                await client.transport.send("4not a packet")
            else:
                packet = f'451-{CHAT},["work",{{"_placeholder":true,"num":0}}]'
                await client.transport.send(packet)
                if self._dice.random() < 0.5:
                    await client.transport.send(f'42{CHAT},["work",1]')
                await self._wait_given_up(line)
        finally:
            self._dice.choice((client.transport.close, client.transport.reset))()

    async def is_kicked(self) -> None:
        client = await self._come()
        try:
            await self._talk(client)
            await client.send(EVENT, ["kick me"])
            await client.stay(GIVEN_UP_S)
            raise Vanished("it was not kicked")
        finally:
            client.transport.close()

    async def is_refused(self) -> None:
        client = await self._open()
        strange = jwt.encode({"sub": "nobody", "exp": EXPIRES_AT}, "x" * 40, "HS256")
        try:
            await client.join({"token": self._dice.choice((strange, "", "a.b.c"))})
            raise Vanished("it was let in with a wrong token")
        except (Refused, PutOut):
            self._seen.done["refused"] += 1
            await client.transport.say_goodbye()
        finally:
            client.transport.close()

    async def floods(self) -> None:
        """Send more than a user may; every event is answered, handled or not."""
        client = await self._come()
        try:
            events = [self._next_event() for _ in range(FLOOD)]
            numbers = await client.emit_all([("work", event) for event in events])
            refused = 0
            for event, number in zip(events, numbers, strict=True):
                (answer,) = await client.wait_ack(number)
                if answer == [event]:
                    self._seen.acknowledged.append(event)
                else:
                    assert answer["reason"] == "user_rate", answer
                    refused += 1
            assert refused, "none of so many was refused"
            self._seen.done["events refused"] += refused
            await client.leave()
        finally:
            client.transport.close()

    async def comes_back(self) -> None:
        """Lose the connection, and go on with the same socket."""
        client = Client(self._dice.choice(self._ports))
        await client.open(self._dice.choice(("websocket", "polling", "upgrade")))
        again = Client(client.port)
        try:
            await self._join(client)
            await self._talk(client)
            self._dice.choice((client.transport.close, client.transport.reset))()
            await trio.sleep(self._dice.choice((0.05, 0.05, 3.0)))
            await again.open("websocket")
            auth = {"token": self._token, "pid": client.pid, "offset": client.offset}
            try:
                await again.join(auth)
            except Refused as error:  # another client of the user has the seat
                message = error.args[0]["message"]
                if message not in ("seat taken", "session replaced"):
                    raise
                self._seen.done[message] += 1
                return
            self._seen.done["entered"] += 1
            self._seen.done["recovered" if again.id == client.id else "not recovered"] += 1
            await self._work(again)
            await again.leave()
        finally:
            client.transport.close()
            if hasattr(again, "transport"):
                again.transport.close()

    async def sends_garbage(self) -> None:
        line = Line(self._dice.choice(self._ports))
        try:
            await line.open()
            if self._dice.random() < 0.5:
                await line.send(self._dice.choice(GARBAGE))
            else:
                websocket = WebSocket(line, 0, 4)
                await websocket.open()
                data = self._dice.choice(NONSENSE)
                framed = frame(data, self._dice.choice((1, 2, 3, 8, 9, 11)))
                await line.send(self._dice.choice((data, framed)))
            with trio.move_on_after(2.0):
                await line.wait_closed()
        except Closed:
            return
        finally:
            self._dice.choice((line.close, line.reset))()

    async def abandons_requests(self) -> None:
        """Send a part of a request, or of its body; ask for packets, and do not wait for them."""
        line = Line(self._dice.choice(self._ports))
        try:
            await line.open()
            polling = Polling(line, 0, 4)
            kind = self._dice.randrange(4)
            if kind == 0:
                await line.send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a")
            elif kind == 1:
                await polling.begin(line, "GET")
            else:
                await polling.open()
                method = ("GET", "POST")[kind - 2]
                await polling.begin(line, method, "40" + "x" * 200, sent=0 if kind == 2 else 50)
            await trio.sleep(self._dice.uniform(0.0, 0.3))
        finally:
            self._dice.choice((line.close, line.reset))()

    async def never_joins(self) -> None:
        client = await self._open()
        try:
            if self._dice.random() < 0.5 and isinstance(client.transport, WebSocket):
                await self._wait_given_up(client.transport.line)
        finally:
            client.transport.close()

    async def _wait_given_up(self, line: Line) -> None:
        """Wait until the server has closed a connection on which nothing is answered."""
        with trio.move_on_after(GIVEN_UP_S) as scope:
            await line.wait_closed()
        if scope.cancelled_caught:
            raise Vanished(f"the server has not closed it within {GIVEN_UP_S:g} s")


PLAYS: Final[tuple[tuple[Callable[[Life], Awaitable[None]], int], ...]] = (
    (Life.leaves, 20),
    (Life.closes, 10),
    (Life.hangs_up, 10),
    (Life.resets, 8),
    (Life.falls_silent, 4),
    (Life.withholds, 4),
    (Life.is_kicked, 4),
    (Life.is_refused, 6),
    (Life.floods, 2),
    (Life.comes_back, 8),
    (Life.sends_garbage, 10),
    (Life.abandons_requests, 10),
    (Life.never_joins, 4),
)
