"""Answers of the server that cross with what a hasty program does, and answers that do not come."""

import logging
from typing import Any

import pytest
import trio
from tests.client.fake_server import FakeServer, FakeWebSocket, options
from tests.client.test_reconnecting import joined
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked
from wsproto.events import CloseConnection, TextMessage

from trio_socketio import ClientNamespace, ConnectFailed, ConnectRefused, SessionClosed
from trio_socketio.acks import PendingAck

PING = b"\x89\x00"


async def connect(namespace: ClientNamespace, told: list[Any]) -> None:
    try:
        await namespace.connect()
        told.append("joined")
    except (ConnectFailed, ConnectRefused) as error:
        told.append(str(error))


@pytest.mark.req("CLI-09", "CLI-35")
@trio_test
async def test_being_put_out_while_one_leaves_and_asks_again(autojump_clock: MockClock) -> None:
    """The DISCONNECT belongs to what was left: it answers nothing, and breaks nothing."""
    fake, told = FakeServer(), list[Any]()
    async with joined(fake) as (client, end, _), trio.open_nursery() as nursery:
        other = client.of("/other")
        nursery.start_soon(connect, other, told)
        assert await end.receive() == "40/other,"
        await end.send('40/other,{"sid":"o1"}')
        await wait_all_tasks_blocked()
        other.disconnect()
        nursery.start_soon(connect, other, told)
        assert [await end.receive(), await end.receive()] == ["41/other,", "40/other,"]
        await end.send("41/other,")
        await wait_all_tasks_blocked()
        assert (client.connected, other.connected, told) == (True, False, ["joined"])
        await end.send('40/other,{"sid":"o2"}')
        await wait_all_tasks_blocked()
        assert (other.id, told) == ("o2", ["joined", "joined"])


@pytest.mark.req("CLI-07", "CLI-35")
@trio_test
async def test_an_earlier_connect_is_accepted_and_the_next_refused(
    autojump_clock: MockClock,
) -> None:
    fake, told = FakeServer(), list[Any]()
    async with joined(fake) as (client, end, _), trio.open_nursery() as nursery:
        other = client.of("/other")
        other.on("connect")(lambda: told.append("hook: connect"))
        other.on("connect_error")(lambda error: told.append(f"hook: {error.message}"))
        other.on("disconnect")(lambda reason: told.append(f"hook: {reason}"))
        nursery.start_soon(connect, other, told)
        assert await end.receive() == "40/other,"
        other.disconnect()
        nursery.start_soon(connect, other, told)
        assert [await end.receive(), await end.receive()] == ["41/other,", "40/other,"]
        await end.send('40/other,{"sid":"o1"}')
        await end.send('44/other,{"message":"once only"}')
        await wait_all_tasks_blocked()
        assert told.pop(0) == "/other was left: io client disconnect"
        assert sorted(told) == [
            "hook: connect",
            "hook: once only",
            "hook: refused: once only",
            "joined",
        ]
        assert client.connected
        with pytest.raises(SessionClosed, match="once only"):
            other.emit("x")


@trio_test
async def test_an_answer_that_comes_with_the_end_is_given(autojump_clock: MockClock) -> None:
    """Both are read at once: whoever waits has not run in between."""
    fake = FakeServer()
    async with joined(fake) as (client, end, _), trio.open_nursery() as nursery:
        got: list[Any] = []

        async def ask() -> None:
            got.append(await client.emit_with_ack("x"))

        nursery.start_soon(ask)
        assert await end.receive() == '420["x"]'
        both = end.ws.send(TextMessage('430["yes"]')) + end.ws.send(TextMessage("41"))
        await end.stream.send_all(both)
        await wait_all_tasks_blocked()
        assert got == ["yes"]


@trio_test
async def test_what_waits_is_told_the_first_thing_that_happens() -> None:
    answered, failed = PendingAck(), PendingAck()
    answered.receive([1])
    answered.fail(SessionClosed("too late"))
    assert await answered.wait(1) == 1
    failed.fail(SessionClosed("gone"))
    failed.receive([1])
    for _ in range(3):  # an error is no success when it is asked for again
        with pytest.raises(SessionClosed, match=r"^the session is closed: gone$") as caught:
            await failed.wait(1)
        assert (caught.value.reason, caught.value.socket_id) == ("gone", "")
    assert await answered.wait(1) == 1


@pytest.mark.req("CLI-44")
@trio_test
async def test_a_ping_that_crosses_with_our_close_frame(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeServer()
    async with trio.open_nursery() as nursery:
        async with joined(fake) as (_, end, _):
            end.closed = True  # the test answers the close frame itself

            @nursery.start_soon
            async def serve() -> None:
                while await end.receive() != "closed":
                    pass
                await end.stream.send_all(PING)
                await trio.sleep(0.1)
                await end.close()

            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(0.1)
    assert caplog.records == []


@pytest.mark.req("CLI-44")
@trio_test
async def test_a_ping_that_comes_with_a_close_frame(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeServer()
    async with joined(fake, options=options(reconnect=False)) as (client, end, hooks):
        await end.stream.send_all(PING + end.ws.send(CloseConnection(1000)))
        assert await client.wait_closed() == "transport close"
        end.closed = True
        assert await end.receive() == "closed"
        assert [what for _, _, what in hooks.told] == ["", "transport close"]
    assert caplog.records == []


class TestOneThatIsNotAnswered:
    """Of several namespaces, the server leaves one without an answer."""

    async def reconnect(self, fake: FakeServer) -> FakeWebSocket:
        again = await fake.accept_websocket()
        await again.join("again")
        assert await again.receive() == "40/slow,"
        return again

    @pytest.mark.req("CLI-34")
    @trio_test
    async def test_the_others_stay_once_they_are_connected_again(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake, told = FakeServer(), list[Any]()
        limits = options(connect_timeout_s=3)
        async with joined(fake, options=limits) as (client, end, _), trio.open_nursery() as nursery:
            slow = client.of("/slow")
            slow.on("connect_error")(lambda error: told.append(str(error)))
            nursery.start_soon(connect, slow, told)
            assert await end.receive() == "40/slow,"
            await end.send('40/slow,{"sid":"s"}')
            await wait_all_tasks_blocked()
            assert told.pop() == "joined"
            await end.drop()
            again = await self.reconnect(fake)
            slow.emit("kept")
            await trio.sleep(10)
            assert told == ["the server did not answer a CONNECT within 3 s"]
            assert (client.id, slow.connected, len(fake.attempts)) == ("again", False, 2)
            await again.send('40/slow,{"sid":"late"}')
            assert await again.receive() == '42/slow,["kept"]'
            assert slow.id == "late"
        warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert warnings == [
            "/slow is not joined again yet: the server did not answer a CONNECT within 3 s"
        ]

    @pytest.mark.req("CLI-20")
    @trio_test
    async def test_with_none_connected_the_next_attempt_is_made(
        self, autojump_clock: MockClock
    ) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(connect_timeout_s=3)) as (client, end, hooks):
            await end.drop()
            again = await fake.accept_websocket()
            await again.send('0{"sid":"x","upgrades":[],"pingInterval":90000,"pingTimeout":90000}')
            assert await again.receive() == "40"
            assert await again.receive() == "closed"
            await wait_all_tasks_blocked()
            assert hooks.names[-1] == "connect_error"
            await (await fake.accept_websocket()).join("third")
            await wait_all_tasks_blocked()
            assert client.id == "third"
