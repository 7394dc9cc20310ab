"""Acknowledgements, both ways."""

import json
from typing import Any

import pytest
import trio
from tests.socketio.serving import Record, ask, joined, send_batch, serving, the_socket
from tests.wire import SocketIOClient
from trio.testing import MockClock, trio_test

from trio_socketio import AckTimeout, Server, SessionClosed, Socket
from trio_socketio.acks import PendingAck, answer_arguments


async def receive_question(client: SocketIOClient) -> tuple[int, list[Any]]:
    """The next packet, an event that asks for an ack: its id and array."""
    text, _ = await client.receive()
    assert text[0] == "2"
    at = text.index("[")
    return int(text[1:at]), json.loads(text[at:])


async def ask_socket(
    socket: Socket, record: Record, *arguments: Any, timeout_s: float = 5.0
) -> None:
    """Record what emit_with_ack gives or raises."""
    try:
        record.add(await socket.emit_with_ack("question", *arguments, timeout_s=timeout_s))
    except (AckTimeout, SessionClosed) as error:
        record.add(error)


def ping_server() -> Server:
    server = Server()
    server.on("ping")(lambda _: "pong")
    return server


# --- the client asks -----------------------------------------------------------------------------


@pytest.mark.req("SIO5-26")
@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (None, []),
        ("x", ["x"]),
        ((), []),
        ((1, [2]), [1, [2]]),
        ([1, 2], [[1, 2]]),
        (False, [False]),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_return_value_is_the_answer(
    transport: str, kind: str, result: Any, answer: list[Any]
) -> None:
    server = Server()
    if kind == "plain":
        server.on("question")(lambda _: result)
    else:

        @server.on("question")
        async def question(_: Socket) -> Any:
            await trio.lowlevel.checkpoint()
            return result

    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "question") == answer


@pytest.mark.req("SIO5-25")
@trio_test
async def test_event_without_an_id_is_not_answered(transport: str) -> None:
    server = ping_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("ping")
        assert await ask(client, "ping", ack_id=7) == ["pong"]


@pytest.mark.req("SIO5-26")
@trio_test
async def test_each_id_is_answered_once_in_its_namespace_when_its_handler_is_done(
    transport: str,
) -> None:
    server = Server()
    finish = {number: trio.Event() for number in (1, 2)}

    @server.of("/chat").on("wait", concurrent=True)
    async def wait(_: Socket, number: int) -> int:
        await finish[number].wait()
        return number

    async with serving(server) as port, joined(port, transport, "/chat") as (client, _):
        await send_batch(client, ['2/chat,100["wait",1]', '2/chat,200["wait",2]'])
        finish[2].set()
        assert (await client.receive())[0] == "3/chat,200[2]"
        finish[1].set()
        assert (await client.receive())[0] == "3/chat,100[1]"


class Unreadable(dict[str, int]):
    """What a lazy mapping does when its source is gone."""

    def values(self) -> Any:
        raise RuntimeError("gone")


@pytest.mark.req("SIO5-30")
@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_answer_that_fails_while_it_is_read_is_the_handlers_failure(
    transport: str, kind: str
) -> None:
    server = ping_server()
    if kind == "plain":
        server.on("bad")(lambda _: Unreadable(a=1))
    else:

        @server.on("bad")
        async def bad(_: Socket) -> Unreadable:
            return Unreadable(a=1)

    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("bad", ack_id=1)
        assert await ask(client, "ping", ack_id=2) == ["pong"]
        assert server.statistics().handler_failures == 1


@pytest.mark.req("SIO5-30")
@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_failing_handler_gives_no_answer(transport: str, kind: str) -> None:
    server = ping_server()
    server.on("unsendable")(lambda _: object())
    if kind == "plain":

        @server.on("bad")
        def bad(_: Socket) -> None:
            raise ValueError

    else:

        @server.on("bad")
        async def bad_async(_: Socket) -> None:
            raise ValueError

    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("bad", ack_id=1)
        await client.emit("unsendable", ack_id=2)
        assert await ask(client, "ping", ack_id=3) == ["pong"]
        assert server.statistics().handler_failures == 2


@trio_test
async def test_no_answer_after_the_client_left(transport: str) -> None:
    server = ping_server()
    finish = trio.Event()
    ended = Record()

    @server.on("slow")
    async def slow(_: Socket) -> str:
        await finish.wait()
        return "late"

    server.on("disconnect")(lambda _, reason: ended.add(reason))
    server.of("/other").on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.connect("/other")
        await client.emit("slow", ack_id=1)
        await client.send("1")
        finish.set()
        await ended.wait(1)
        assert await ask(client, "ping", namespace="/other") == ["pong"]


# --- the server asks -----------------------------------------------------------------------------


@pytest.mark.req("SIO5-85")
@pytest.mark.parametrize(
    ("answer", "result"), [([], None), ([None], None), (["x"], "x"), ([1, [2]], (1, [2]))]
)
@trio_test
async def test_answer_of_the_client_is_the_result(
    transport: str, answer: list[Any], result: Any
) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, the_socket(server), got, 1)
            ack_id, arguments = await receive_question(client)
            assert arguments == ["question", 1]
            await client.send(f"3{ack_id}{json.dumps(answer)}")
        assert got.entries == [result]


@trio_test
async def test_binary_answer(transport: str) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, the_socket(server), got)
            ack_id, _ = await receive_question(client)
            await client.send(f'61-{ack_id}[{{"_placeholder":true,"num":0}}]', b"\0\1")
        assert got.entries == [b"\0\1"]


@pytest.mark.req("SIO5-29")
@trio_test
async def test_ids_differ_and_answers_may_come_in_any_order(transport: str) -> None:
    server = ping_server()
    got = [Record() for _ in range(5)]
    async with serving(server) as port, joined(port, transport) as (client, _):
        async with trio.open_nursery() as nursery:
            for number, record in enumerate(got):
                nursery.start_soon(ask_socket, the_socket(server), record, number)
            questions = [await receive_question(client) for _ in got]
            assert len({ack_id for ack_id, _ in questions}) == 5
            for ack_id, (_, number) in reversed(questions):
                await client.send(f"3{ack_id}[{number}]")
        assert [record.entries for record in got] == [[number] for number in range(5)]


@pytest.mark.req("SIO5-28")
@trio_test
async def test_late_answer_is_ignored(transport: str) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await ask_socket(the_socket(server), got, timeout_s=0.01)
        assert isinstance(got.entries[0], AckTimeout)
        ack_id, _ = await receive_question(client)
        await client.send(f'3{ack_id}["late"]')
        assert await ask(client, "ping") == ["pong"]
        assert got.entries[1:] == []


@pytest.mark.req("SIO5-28")
@trio_test
async def test_unknown_and_repeated_answers_are_ignored(transport: str) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.send('3999["never asked"]')
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, the_socket(server), got)
            ack_id, _ = await receive_question(client)
            await client.send(f'3{ack_id + 1}["wrong id"]')
            await send_batch(client, [f'3{ack_id}["first"]', f'3{ack_id}["second"]'])
        assert got.entries == ["first"]
        assert await ask(client, "ping") == ["pong"]


@pytest.mark.req("SIO5-59")
@trio_test
async def test_what_cannot_answer_anything_is_ignored(transport: str) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, the_socket(server), got)
            ack_id, _ = await receive_question(client)
            await send_batch(client, ["3", "3[]", f"3{ack_id}", '3["x"]', "39007199254740992[1]"])
            await client.send(f"61-{ack_id}")  # its attachment belongs to it
            await client.engine.send(b"ignored")
            await client.send('61-["x",{"_placeholder":true,"num":0}]')
            await client.engine.send(b"ignored")
            assert await ask(client, "ping") == ["pong"]
            assert got.entries == []
            await client.send(f'3{ack_id}["here"]')
        assert got.entries == ["here"]


@pytest.mark.req("SIO5-84")
@trio_test
async def test_answer_of_another_socket_resolves_nothing(transport: str) -> None:
    server = ping_server()
    server.of("/other").on("ping")(lambda _: "pong")
    got = Record()
    async with (
        serving(server) as port,
        joined(port, transport) as (asked, _),
    ):
        socket = the_socket(server)
        async with joined(port, transport) as (forger, _), trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, socket, got)
            ack_id, _ = await receive_question(asked)
            await forger.send(f'3{ack_id}["forged"]')
            assert await ask(forger, "ping") == ["pong"]
            await asked.connect("/other")
            await asked.send(f'3/other,{ack_id}["forged"]')
            assert await ask(asked, "ping", namespace="/other") == ["pong"]
            await asked.send(f'3{ack_id}["true"]')
        assert got.entries == ["true"]


@pytest.mark.parametrize("end", ["client", "server", "close"])
@trio_test
async def test_waiting_ends_with_the_reason_when_the_client_goes(transport: str, end: str) -> None:
    server = ping_server()
    got = Record()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_socket, socket, got)
            ack_id, _ = await receive_question(client)
            if end == "client":
                await send_batch(client, ["1", f'3{ack_id}["too late"]'])
            elif end == "server":
                socket.disconnect()
            else:
                await client.engine.send("1")
        (error,) = got.entries
        assert isinstance(error, SessionClosed)
        assert (
            error.reason
            == {
                "client": "client namespace disconnect",
                "server": "server namespace disconnect",
                "close": "transport close",
            }[end]
        )
        with pytest.raises(SessionClosed):
            await socket.emit_with_ack("question")


@trio_test
async def test_cancelled_wait_leaves_nothing_behind(transport: str) -> None:
    server = ping_server()
    async with serving(server) as port, joined(port, transport) as (client, _):
        socket = the_socket(server)
        with trio.move_on_after(0.01) as scope:
            await socket.emit_with_ack("question")
        assert scope.cancelled_caught
        ack_id, _ = await receive_question(client)
        await client.send(f"3{ack_id}[]")
        assert await ask(client, "ping") == ["pong"]
        assert socket._acks is not None
        assert not socket._acks._waiting


@trio_test
async def test_answer_in_time_wins(autojump_clock: MockClock) -> None:
    pending = PendingAck()
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            await trio.sleep(9.99)
            pending.receive(["x"])

        nursery.start_soon(answer)
        assert await pending.wait(10) == "x"


@trio_test
async def test_timeout_is_exact(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(AckTimeout, match="10"):
        await PendingAck().wait(10)
    assert trio.current_time() - began == pytest.approx(10)


def test_named_tuples_answer_as_one_value() -> None:
    class Point(tuple[int, int]):
        pass

    assert answer_arguments(Point((1, 2))) == ((1, 2),)
