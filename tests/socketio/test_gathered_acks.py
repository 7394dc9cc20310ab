"""Broadcasts that ask everybody: one answer of each, partial answers, those who leave."""

import json
from typing import Any

import pytest
import trio
from tests.socketio.in_process import answer, enter, session_of
from tests.socketio.serving import Record, joined, serving
from tests.wire import SocketIOClient
from trio.testing import MockClock, trio_test

from trio_socketio import AckTimeout, Broadcast, LocalProtocolError, Server, Socket
from trio_socketio.socketio.acks import GatheredAcks
from trio_socketio.socketio.socket_life import lose


async def question(client: SocketIOClient, namespace: str = "/") -> int:
    """The next packet asks ["q"]: its id."""
    text, _ = await client.receive()
    prefix = "2" + ("" if namespace == "/" else namespace + ",")
    assert text.startswith(prefix), text
    assert text.endswith('["q"]'), text
    return int(text[len(prefix) : -5])


async def gather(chain: Broadcast, record: Record, timeout_s: float | None = None) -> None:
    try:
        record.add(await chain.emit_with_ack("q", timeout_s=timeout_s))
    except AckTimeout as error:
        record.add(("late", error.responses, str(error)))


@pytest.mark.req("SURF-06", "SURF-07")
@trio_test
async def test_each_client_answers_once(transport: str) -> None:
    server = Server()
    record = Record()
    async with (
        serving(server) as port,
        joined(port, transport) as (first, _),
        joined(port, transport) as (second, second_id),
        joined(port, transport) as (third, third_id),
    ):
        chain = server.except_(third_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather, chain, record)
            number = await question(first)
            assert await question(second) == number
            for client, arguments in ((third, [0]), (first, [1]), (first, [2])):
                await client.send(f"3{number}{json.dumps(arguments)}")
            await second.send(f"3{number}{json.dumps([{'a': 1}, 'more'])}")
        (answers,) = record.entries
        assert sorted(answers, key=str) == [1, {"a": 1}]
        nothing = await server.to("nobody").emit_with_ack("q")
        assert nothing == []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gather, server.to(second_id), record)
            await second.send(f"3{await question(second)}[]")
        assert record.entries[1] == [None]


def sockets_of(server: Server, count: int) -> list[Socket]:
    return [enter(server.of("/")) for _ in range(count)]


def awaited(sockets: list[Socket]) -> list[Any]:
    """How many acks each session is known to wait for."""
    clients: list[Any] = [socket._participant for socket in sockets]
    return [client.acks_awaited for client in clients]


@trio_test
async def test_partial_answers_ride_on_the_timeout(autojump_clock: MockClock) -> None:
    server = Server()
    sockets = sockets_of(server, 3)
    record = Record()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather, server.local, record, 5)
        await trio.testing.wait_all_tasks_blocked()
        assert awaited(sockets) == [1, 1, 1]
        answer(sockets[1], "b")
        answer(sockets[0], "a")
        assert awaited(sockets) == [0, 0, 1]
    assert trio.current_time() - began == 5
    ((_, responses, message),) = record.entries
    assert responses == ["b", "a"]
    assert "1 of 3 clients" in message
    assert awaited(sockets) == [0, 0, 0]
    answer(sockets[2], "too late")
    assert responses == ["b", "a"]


@trio_test
async def test_there_is_a_default_timeout(autojump_clock: MockClock) -> None:
    server = Server()
    sockets_of(server, 1)
    began = trio.current_time()
    with pytest.raises(AckTimeout) as raised:
        await server.emit_with_ack("q")
    assert trio.current_time() - began == 20
    assert raised.value.responses == []


@trio_test
async def test_who_leaves_is_not_waited_for_but_is_missing(autojump_clock: MockClock) -> None:
    server = Server()
    sockets = sockets_of(server, 3)
    record = Record()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather, server.local, record, 60)
        await trio.testing.wait_all_tasks_blocked()
        leave(sockets[0])
        await trio.sleep(1)
        assert record.entries == []
        answer(sockets[1], "b")
        await trio.sleep(1)
        leave(sockets[2])
    assert trio.current_time() - began == 2
    ((_, responses, message),) = record.entries
    assert responses == ["b"]
    assert "2 left" in message
    assert awaited(sockets) == [0, 0, 0]


def leave(socket: Socket) -> None:
    """The session ends, as its participant tells it."""
    lose(socket, "transport close")


@trio_test
async def test_cancelled_question_waits_for_nobody() -> None:
    server = Server()
    sockets = sockets_of(server, 2)
    with trio.move_on_after(0):
        await server.emit_with_ack("q")
    assert awaited(sockets) == [0, 0]
    assert [len(session_of(socket).sent) for socket in sockets] == [1, 1]
    answer(sockets[0], "ignored")


@trio_test
async def test_volatile_question_is_put_to_those_who_can_take_it(
    autojump_clock: MockClock,
) -> None:
    server = Server()
    ready, behind = enter(server.of("/")), enter(server.of("/"), is_writable=False)
    record = Record()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather, server.volatile, record)
        await trio.testing.wait_all_tasks_blocked()
        answer(ready, 1)
    assert record.entries == [[1]]
    assert session_of(behind).sent == []
    assert session_of(behind).dropped == 1


@trio_test
async def test_question_that_cannot_be_sent_asks_nobody() -> None:
    server = Server()
    sockets = sockets_of(server, 2)
    with pytest.raises(LocalProtocolError):
        await server.emit_with_ack("q", object())
    with pytest.raises(LocalProtocolError, match="reserved"):
        await server.emit_with_ack("disconnect")
    assert [session_of(socket).sent for socket in sockets] == [[], []]
    assert awaited(sockets) == [0, 0]


@trio_test
async def test_nodes_that_still_count_their_clients_are_waited_for(
    autojump_clock: MockClock,
) -> None:
    acks = GatheredAcks()
    acks.expect(1)  # a node
    answers: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            answers.append(await acks.wait(9))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        acks.receive(["early"], "one")  # overtook its node's count
        acks.expect(2 - 1)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        acks.receive([])
    assert answers == [[("one", "early"), (None, None)]]


@pytest.mark.parametrize("late", [False, True])
@trio_test
async def test_gathered_acks_say_who_has_answered(autojump_clock: MockClock, late: bool) -> None:
    server = Server()
    sockets = sockets_of(server, 2)
    acks: list[Any] = []

    async def gather() -> None:
        try:
            acks.extend(await server.gather_acks("who", timeout_s=1))
        except AckTimeout as error:
            acks.extend(error.acks)
            acks.append(error.responses)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather)
        await trio.testing.wait_all_tasks_blocked()
        answer(sockets[1], "b")
        if not late:
            answer(sockets[0])
    assert acks == [(sockets[1].id, "b"), ["b"] if late else (sockets[0].id, None)]
