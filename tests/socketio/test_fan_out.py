"""Broadcasts that share output, in any order with all else that happens to their receivers."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.properties import examples
from tests.socketio.serving import joined, serving
from tests.wire import ConnectionEnded, SocketIOClient
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Server, Socket
from trio_socketio.net.connection import EARLY_FLUSH_BYTES
from trio_socketio.socketio import rooms as rooms_module

ROOMS = ("red", "blue")
TRANSPORTS = ("websocket",) * 7 + ("polling",)
CLIENTS = len(TRANSPORTS)
DISCONNECT, CLOSED, END = "1", "closed", '2["end"]'
RED: Any = ("broadcast", "red", [])
ALL: Any = ("broadcast", None, [])


FEW = rooms_module._FEW


@pytest.fixture(scope="module", autouse=True)
def _few_clients_share() -> Iterator[None]:
    """Have as few as these share output."""
    assert FEW == 16, "RUN-45 says so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms_module, "_FEW", 4)
        yield


everyone = st.integers(0, CLIENTS - 1)
websockets = st.integers(0, CLIENTS - 2)
# Mostly to one room, because broadcasts share output only with others to the same rooms.
broadcasts = st.tuples(
    st.just("broadcast"),
    st.sampled_from(("red", "red", "red", "red", "blue", None)),
    st.one_of(st.just([]), st.lists(everyone, max_size=2)),
)
others = st.one_of(
    st.tuples(st.just("emit"), everyone),
    st.tuples(st.sampled_from(["join", "leave"]), everyone, st.sampled_from(ROOMS)),
    st.tuples(st.sampled_from(["volatile", "close", "lose", "put out"]), websockets),
    st.tuples(st.just("flush")),
)
rounds = st.tuples(broadcasts, others, st.lists(broadcasts, min_size=1, max_size=2))
scripts = st.lists(rounds, min_size=2, max_size=10).map(
    lambda rounds: [step for first, other, rest in rounds for step in (first, other, *rest)]
)


class Game:
    """Plays steps on sockets, and remembers what each client has to be sent.

    Attributes:
        expected: the numbers of its events, by client.
        marked: the clients whose session has ended in this turn; they are in their rooms still.
        gone: the clients that nothing can reach any more.
        ends: what clients hear last, apart from the end of the test.
        dropped: how many packets have to be counted as dropped.
    """

    def __init__(self, sio: Server, sockets: list[Socket]) -> None:
        self.sio = sio
        self.sockets = sockets
        self.rooms = [set(ROOMS) for _ in sockets]
        self.expected: list[list[int]] = [[] for _ in sockets]
        self.marked: set[int] = set()
        self.gone: set[int] = set()
        self.ends: dict[int, str] = {}
        self.dropped = 0
        self.number = 0

    def broadcast(self, room: str | None, left_out: list[int]) -> None:
        target = self.sio if room is None else self.sio.to(room)
        excluded = [self.sockets[index].id for index in left_out]
        selected = target.except_(excluded).emit("news", self.number)
        receivers = [
            index
            for index in range(CLIENTS)
            if index not in self.gone and index not in left_out
            if room is None or room in self.rooms[index]
        ]
        assert selected == len(receivers)
        for index in receivers:
            if index in self.marked:
                self.dropped += 1
            else:
                self.expected[index].append(self.number)

    async def play(self, name: str, *arguments: Any) -> None:
        self.number += 1
        if name == "broadcast":
            self.broadcast(*arguments)
        elif name == "flush":
            await wait_all_tasks_blocked(0.001)
            self.gone |= self.marked
            self.marked.clear()
        elif arguments[0] not in self.marked | self.gone:
            self.act(name, *arguments)

    def act(self, name: str, index: int, room: str = "") -> None:
        socket = self.sockets[index]
        if name == "join":
            socket.join(room)
            self.rooms[index].add(room)
        elif name == "leave":
            socket.leave(room)
            self.rooms[index].discard(room)
        elif name == "put out":
            socket.disconnect()
            self.ends[index] = DISCONNECT
            self.gone.add(index)
        elif name in ("close", "lose"):
            end = socket.session.close if name == "close" else socket.session.lose
            end("forced close")
            self.ends[index] = CLOSED
            self.marked.add(index)
        else:
            if name == "volatile":
                socket.volatile.emit("news", self.number)
            else:
                socket.emit("news", self.number)
            self.expected[index].append(self.number)


async def read_all(client: SocketIOClient) -> list[str]:
    """Return what a client was sent, the end of the test or of its connection included."""
    texts: list[str] = []
    try:
        while not texts or texts[-1] != END:
            texts.append((await client.receive())[0])
    except ConnectionEnded:
        texts.append(CLOSED)
    return texts


@pytest.mark.req("RUN-45")
@settings(max_examples=examples(80), deadline=None)
@given(scripts)
@example([RED, ("leave", 1, "red"), RED, ("join", 1, "red"), RED])
@example([RED, ("put out", 1), RED])
@example([("leave", 1, "red"), ("leave", 1, "blue"), ALL, ("put out", 1), ALL])
def test_each_client_is_sent_what_it_would_be_without_sharing(script: list[Any]) -> None:
    async def main() -> None:
        sio = Server()
        sockets: list[Socket] = []

        @sio.on("connection")
        def connected(socket: Socket) -> None:
            socket.join(ROOMS)
            sockets.append(socket)

        async with serving(sio) as port, AsyncExitStack() as stack:
            clients = [
                (await stack.enter_async_context(joined(port, transport)))[0]
                for transport in TRANSPORTS
            ]
            before = [socket.session._transport.traffic.packets_out for socket in sockets]
            game = Game(sio, sockets)
            for step in script:
                await game.play(*step)
            # Read before anything is flushed, so that shared output is counted as well.
            for index in set(range(CLIENTS - 1)) - game.gone - game.marked:
                sent = sockets[index].session._transport.traffic.packets_out - before[index]
                assert sent == len(game.expected[index])
            for socket in sockets:
                socket.session.send_text(END.encode())  # also to those without a namespace
            game.dropped += list(game.ends.values()).count(CLOSED)
            for index, client in enumerate(clients):
                texts = await read_all(client)
                wanted = [f'2["news",{number}]' for number in game.expected[index]]
                end = game.ends.get(index)
                assert texts == [
                    *wanted,
                    *([end] if end else []),
                    *([END] if end != CLOSED else []),
                ]
            assert sio.statistics().packets_dropped == game.dropped
            assert not sio.of("/").rooms._fan_outs

    trio.run(main)


@pytest.mark.req("RUN-45")
@trio_test
async def test_the_end_of_one_does_not_end_a_newer_one() -> None:
    sio = Server()
    async with serving(sio) as port, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            await stack.enter_async_context(joined(port, "websocket"))
        rooms = sio.of("/").rooms
        first, *others = rooms.sockets.values()
        for socket in (first, *others):
            socket.join("red")
        sio.to("red").emit("news", 1)
        first.leave("red")
        sio.to("red").emit("news", 2)
        newer = rooms._fan_outs["red",]
        first.emit("news", 3)  # the last one that shared the first broadcast
        sio.to("red").emit("news", 4)
        assert rooms._fan_outs["red",] is newer
        traffic = [socket.session._transport.traffic.packets_out for socket in others]
        assert traffic == [5] * len(others)


@pytest.mark.req("RUN-45")
@trio_test
async def test_more_than_a_few_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "_FEW", FEW)
    sio = Server()
    async with serving(sio) as port, AsyncExitStack() as stack:
        for count in range(1, FEW + 2):
            client, _ = await stack.enter_async_context(joined(port, "websocket"))
            assert [sio.emit("news", 1), sio.emit("news", 2)] == [count, count]
            assert len(sio.of("/").rooms._fan_outs) == (count > FEW)
            for number in (1, 2):
                assert await client.receive_event() == ["news", number]


@pytest.mark.req("RUN-46")
@trio_test
async def test_no_packet_is_kept_if_nobody_shares_it() -> None:
    sio = Server()
    async with serving(sio) as port, AsyncExitStack() as stack:
        clients = [
            (await stack.enter_async_context(joined(port, "polling")))[0] for _ in range(CLIENTS)
        ]
        assert sio.emit("news", 1) == CLIENTS
        assert not sio.of("/").rooms._fan_outs
        for client in clients:
            assert await client.receive_event() == ["news", 1]


@pytest.mark.req("RUN-46")
@trio_test
async def test_a_large_packet_is_sent_early_and_not_shared() -> None:
    sio = Server()
    async with serving(sio) as port, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            await stack.enter_async_context(joined(port, "websocket"))
        sockets = list(sio.of("/").rooms.sockets.values())
        sio.emit("news", "x" * EARLY_FLUSH_BYTES)
        assert [socket.session._transport.traffic.packets_out for socket in sockets] == [
            3
        ] * CLIENTS
        connections = [socket.session._direct for socket in sockets]
        assert all(one is not None and one.unflushed == (0, 0) for one in connections)


@pytest.mark.req("RUN-45")
@trio_test
async def test_who_enters_between_two_broadcasts_is_sent_the_second() -> None:
    sio = Server()
    sio.use(lambda socket: bool(sio.emit("news", 1)) or None)

    @sio.on("connection")
    def connected(_: Socket) -> None:
        sio.emit("news", 2)

    async with serving(sio) as port, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            client, _ = await stack.enter_async_context(joined(port, "websocket"))
            assert await client.receive_event() == ["news", 2]
