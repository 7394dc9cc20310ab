"""Random clients on real sockets against a plain model: who got what, in which order, once."""

import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.properties import examples
from tests.socketio.serving import joined, until
from tests.wire import TIMEOUT_S, PollingEngine, SocketIOClient

from trio_socketio import Server, Socket, open_server

ROOMS = ["red", "green", "blue"]
rooms = st.lists(st.sampled_from(ROOMS), max_size=3, unique=True)
picks = st.integers(0, 10)


def create_server() -> Server:
    """Clients command everything; each command is acknowledged when it is done."""
    server = Server()

    @server.on("join")
    def join(socket: Socket, names: list[str]) -> None:
        socket.join(names)

    @server.on("leave")
    async def leave(socket: Socket, name: str) -> None:
        await trio.lowlevel.checkpoint()
        socket.leave(name)

    @server.on("to all")
    def to_all(_: Socket, to: list[str], without: list[str], number: int) -> None:
        server.to(to).except_(without).emit("news", number)

    @server.on("to others")
    async def to_others(socket: Socket, to: list[str], without: list[str], number: int) -> None:
        await trio.lowlevel.checkpoint()
        socket.to(to).except_(without).emit("news", number)

    @server.on("echo")
    def echo(_: Socket, value: Any) -> Any:
        return value

    @server.on("fence")
    async def fence(_: Socket) -> str:
        return "fence"

    return server


class ServerThread:
    """A trio run of its own, so that each rule can hand it work and wait."""

    def __init__(self) -> None:
        self.server = create_server()
        self.port = 0
        self._ready = threading.Event()
        self._stop = trio.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with open_server(self.server) as addresses:
            self.port = addresses[0][1]
            self._ready.set()
            await self._stop.wait()

    def do(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run function there, within TIMEOUT_S."""

        async def bounded() -> Any:
            with trio.fail_after(TIMEOUT_S):
                return await function(*arguments)

        return trio.from_thread.run(bounded, trio_token=self._token)

    def stop(self) -> None:
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


@dataclass
class Person:
    """A client, and what the model knows of it."""

    client: SocketIOClient
    sid: str
    stack: AsyncExitStack
    rooms: set[str] = field(default_factory=set)
    expected: list[list[Any]] = field(default_factory=list)
    received: list[list[Any]] = field(default_factory=list)
    ack_id: int = 0


class Clients(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.thread = ServerThread()
        self.people: list[Person] = []
        self.number = 0

    # -- the wire

    async def _connect(self, transport: str) -> Person:
        stack = AsyncExitStack()
        client, sid = await stack.enter_async_context(joined(self.thread.port, transport))
        return Person(client, sid, stack)

    async def _command(self, person: Person, *arguments: Any) -> Any:
        """Emit, and read up to the answer; the events before it were sent before it."""
        person.ack_id += 1
        await person.client.emit(*arguments, ack_id=person.ack_id)
        answer = f"3{person.ack_id}["
        while not (text := (await person.client.receive())[0]).startswith(answer):
            assert text[0] == "2", text
            person.received.append(json.loads(text[1:]))
        return json.loads(text[len(answer) - 1 :])

    async def _question(self, person: Person, value: Any) -> Any:
        socket = self.thread.server.of("/").sockets[person.sid]
        answers: list[Any] = []
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                answers.append(await socket.emit_with_ack("question", value))

            nursery.start_soon(wait)
            while (text := (await person.client.receive())[0])[1] == "[":
                person.received.append(json.loads(text[1:]))
            at = text.index("[")
            assert json.loads(text[at:]) == ["question", value]
            await person.client.send(f"3{text[1:at]}{json.dumps([value, 'seen'])}")
        return answers[0]

    async def _drop(self, person: Person) -> None:
        if isinstance(person.client.engine, PollingEngine):
            await person.client.engine.send("1")
        await person.stack.aclose()
        await until(lambda: person.sid not in self.thread.server.of("/").sockets)

    async def _leave_namespace(self, person: Person) -> None:
        await person.client.send("1")
        person.sid = await person.client.connect()

    async def _emit(self, to: list[str], without: list[str], number: int) -> None:
        self.thread.server.to(to).except_(without).emit("news", number)

    # -- the model

    def _deliver(self, to: list[str], without: list[str], number: int) -> None:
        for person in self.people:
            inside = {*person.rooms, person.sid}
            if (not to or inside & set(to)) and not inside & set(without):
                person.expected.append(["news", number])

    def _pick(self, pick: int) -> Person:
        return self.people[pick % len(self.people)]

    def _next(self) -> int:
        self.number += 1
        return self.number

    # -- rules

    @precondition(lambda self: len(self.people) < 5)
    @rule(transport=st.sampled_from(["websocket", "polling"]))
    def connect(self, transport: str) -> None:
        self.people.append(self.thread.do(self._connect, transport))

    @precondition(lambda self: self.people)
    @rule(pick=picks, names=rooms)
    def join(self, pick: int, names: list[str]) -> None:
        person = self._pick(pick)
        assert self.thread.do(self._command, person, "join", names) == []
        person.rooms |= set(names)

    @precondition(lambda self: self.people)
    @rule(pick=picks, name=st.sampled_from(ROOMS))
    def leave(self, pick: int, name: str) -> None:
        person = self._pick(pick)
        assert self.thread.do(self._command, person, "leave", name) == []
        person.rooms.discard(name)

    @precondition(lambda self: self.people)
    @rule(pick=picks, guest=picks)
    def join_the_room_of_another(self, pick: int, guest: int) -> None:
        person, host = self._pick(pick), self._pick(guest)
        assert self.thread.do(self._command, person, "join", [host.sid]) == []
        person.rooms.add(host.sid)

    @precondition(lambda self: self.people)
    @rule(pick=picks, to=rooms, without=rooms, own=st.booleans(), others=st.booleans())
    def broadcast(
        self, pick: int, to: list[str], without: list[str], own: bool, others: bool
    ) -> None:
        person, number = self._pick(pick), self._next()
        to = [*to, person.sid] if own else to
        # As with the reference: who joined the room of the sender is left out with the sender.
        self._deliver(to, [*without, person.sid] if others else without, number)
        name = "to others" if others else "to all"
        assert self.thread.do(self._command, person, name, to, without, number) == []

    @rule(to=rooms, without=rooms)
    def emit_from_outside_a_turn(self, to: list[str], without: list[str]) -> None:
        number = self._next()
        self._deliver(to, without, number)
        self.thread.do(self._emit, to, without, number)

    @precondition(lambda self: self.people)
    @rule(pick=picks, value=st.one_of(st.text(max_size=5), st.lists(st.integers(-9, 9))))
    def client_asks(self, pick: int, value: Any) -> None:
        assert self.thread.do(self._command, self._pick(pick), "echo", value) == [value]

    @precondition(lambda self: self.people)
    @rule(pick=picks, value=st.text(max_size=5))
    def server_asks(self, pick: int, value: str) -> None:
        assert self.thread.do(self._question, self._pick(pick), value) == (value, "seen")

    @precondition(lambda self: self.people)
    @rule(pick=picks)
    def drop(self, pick: int) -> None:
        person = self._pick(pick)
        self.people.remove(person)
        self.thread.do(self._drop, person)

    @precondition(lambda self: self.people)
    @rule(pick=picks)
    def leave_and_come_back(self, pick: int) -> None:
        person = self._pick(pick)
        self._check(person)
        self.thread.do(self._leave_namespace, person)
        person.rooms.clear()

    @precondition(lambda self: self.people)
    @rule(pick=picks)
    def compare(self, pick: int) -> None:
        self._check(self._pick(pick))

    def _check(self, person: Person) -> None:
        assert self.thread.do(self._command, person, "fence") == ["fence"]
        assert person.received == person.expected

    @invariant()
    def server_knows_who_is_where(self) -> None:
        namespace = self.thread.server.of("/")
        sockets = dict(namespace.sockets)
        assert set(sockets) == {person.sid for person in self.people}
        for person in self.people:
            assert sockets[person.sid].rooms == {*person.rooms, person.sid}

    def teardown(self) -> None:
        try:
            for person in self.people:
                self._check(person)
            assert self.thread.server.statistics().defects == 0
            assert self.thread.server.statistics().handler_failures == 0
        finally:
            for person in self.people:
                self.thread.do(self._drop, person)
            self.thread.stop()


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=examples(25), stateful_step_count=30, deadline=None)
