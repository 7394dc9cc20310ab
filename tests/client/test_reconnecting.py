"""Connections that are lost: what is kept, what is told, when the client comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from tests.client.fake_server import FakeServer, FakeWebSocket, options
from tests.client.serving import QUICK, create_server, wait_transport
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import (
    AckTimeout,
    BufferFull,
    Client,
    ConnectFailed,
    ConnectRefused,
    SessionClosed,
    open_client,
)


class Hooks:
    """What a client tells its program, with the times."""

    def __init__(self, client: Client) -> None:
        self.told: list[tuple[float, str, str]] = []
        client.on("connect")(lambda: self._add("connect", "recovered" * client.recovered))
        client.on("disconnect")(lambda reason: self._add("disconnect", reason))
        client.on("connect_error")(lambda error: self._add("connect_error", str(error)))

    def _add(self, name: str, what: str) -> None:
        self.told.append((trio.current_time(), name, what))

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.told]


@asynccontextmanager
async def joined(
    fake: FakeServer, pid: str | None = None, **settings: Any
) -> AsyncIterator[tuple[Client, FakeWebSocket, Hooks]]:
    """A client that is in, the server's end, and what the program was told."""
    settings.setdefault("options", options())
    ends: list[FakeWebSocket] = []

    async def accept() -> None:
        end = await fake.accept_websocket()
        ends.append(end)
        await end.join(pid=pid)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        async with fake.client(**settings) as client:
            hooks = Hooks(client)
            await wait_all_tasks_blocked()
            yield client, ends[0], hooks
            nursery.cancel_scope.cancel()


@pytest.mark.req("CLI-20")
@trio_test
async def test_comes_back_after_the_server_restarts(transports: tuple[str, ...]) -> None:
    first, second = create_server(), create_server()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            ((_, port),) = await nursery.start(partial(first.serve, port=0))
            async with open_client(
                f"http://127.0.0.1:{port}", transports=transports, options=QUICK
            ) as client:
                hooks = Hooks(client)
                events = client.events()
                await wait_transport(client, transports[-1])
                await client.emit_with_ack("echo", "before")
                assert (await events.receive()).arguments == ["before"]
                before = client.id
                first.stop()
                await until(lambda: not client.connected)
                client.emit("echo", "while away", b"1")
                await until(lambda: first.statistics().connections == 0)
                await nursery.start(partial(second.serve, port=port))
                assert (await events.receive()).arguments == ["while away", b"1"]
                assert client.connected
                assert client.id != before
                assert await client.emit_with_ack("echo", "after") == "after"
            second.stop()
    assert hooks.names[:2] == ["connect", "disconnect"]
    assert hooks.names[-1] == "connect"
    assert set(hooks.names[2:-1]) <= {"connect_error"}


@pytest.mark.req("CLI-20", "CLI-21")
@trio_test
async def test_delays_double_up_to_the_bound(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake) as (client, end, hooks):
        fake.down = True
        await end.drop()
        await trio.sleep(20)
        assert [round(at, 3) for at in fake.attempts] == [0, 1, 3, 7, 12, 17]
        assert hooks.names == ["connect", "disconnect"] + 5 * ["connect_error"]
        assert "nobody is there" in hooks.told[-1][2]
        fake.down = False
        await (await fake.accept_websocket()).join("again")
        await client.connect()
        assert client.id == "again"
        await wait_all_tasks_blocked()
        assert hooks.names[-1] == "connect"


@pytest.mark.req("CLI-21")
@trio_test
async def test_delays_are_spread(autojump_clock: MockClock) -> None:
    delays = set()
    for _ in range(10):
        fake = FakeServer()
        async with joined(fake, options=options(reconnect_jitter=0.5)) as (_, end, _):
            fake.down = True
            await end.drop()
            lost = trio.current_time()
            await trio.sleep(1.6)
            delays.add(fake.attempts[1] - lost)
    assert len(delays) == 10
    assert all(0.5 <= delay <= 1.5 for delay in delays)


@trio_test
async def test_gives_up_after_the_attempts_it_was_given(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake, options=options(reconnect_attempts=3)) as (client, end, hooks):
        fake.down = True
        events = client.events()
        await end.drop()
        await wait_all_tasks_blocked()
        client.emit("lost with it")
        assert "nobody is there" in await client.wait_closed()
        assert [event async for event in events] == []
        assert len(fake.attempts) == 4
        with pytest.raises(SessionClosed):
            client.emit("too late")
        with pytest.raises(SessionClosed):
            await client.emit_with_ack("too late")
        with pytest.raises(ConnectFailed):
            await client.connect()
        assert hooks.names.count("disconnect") == 1


@trio_test
async def test_reconnection_off(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake, options=options(reconnect=False)) as (client, end, hooks):
        await end.drop()
        assert await client.wait_closed() == "transport close"
        await trio.sleep(100)
        assert len(fake.attempts) == 1
        assert hooks.names == ["connect", "disconnect"]


@pytest.mark.req("CLI-22")
@trio_test
async def test_what_is_emitted_meanwhile_is_kept_in_order_and_bounded(
    autojump_clock: MockClock,
) -> None:
    fake = FakeServer()
    async with joined(fake, options=options(output_bound_bytes=1000)) as (client, end, _):
        await end.drop()
        await wait_all_tasks_blocked()
        client.emit("one", b"\1")
        client.emit("two")
        client.volatile.emit("dropped")
        assert client.packets_dropped == 1
        with pytest.raises(BufferFull):
            client.emit("three", "x" * 1000)
        again = await fake.accept_websocket()
        await again.join()
        assert await again.receive() == '451-["one",{"_placeholder":true,"num":0}]'
        assert await again.receive() == b"\1"
        assert await again.receive() == '42["two"]'
        client.emit("three")
        assert await again.receive() == '42["three"]'


@pytest.mark.req("CLI-23")
@trio_test
async def test_acks_of_what_was_sent_fail_and_of_what_waits_do_not(
    autojump_clock: MockClock,
) -> None:
    fake = FakeServer()
    async with joined(fake) as (client, end, _):
        got: list[Any] = []

        async def ask(name: str) -> None:
            try:
                got.append(await client.emit_with_ack(name, timeout_s=60))
            except (SessionClosed, AckTimeout) as error:
                got.append(type(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "sent")
            assert await end.receive() == '420["sent"]'
            await end.drop()
            await wait_all_tasks_blocked()
            assert got == [SessionClosed]
            nursery.start_soon(ask, "waits")
            again = await fake.accept_websocket()
            await again.join()
            assert await again.receive() == '421["waits"]'
            await again.send('430["late"]')  # to what the lost connection was asked
            await again.send('431["yes"]')
        assert got == [SessionClosed, "yes"]


@pytest.mark.req("CLI-23")
@trio_test
async def test_what_nobody_waits_for_any_more_is_not_sent(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake) as (client, end, _):
        await end.drop()
        await wait_all_tasks_blocked()
        with pytest.raises(AckTimeout):
            await client.emit_with_ack("withdrawn", timeout_s=0.5)
        client.emit("kept")
        again = await fake.accept_websocket()
        await again.join()
        assert await again.receive() == '42["kept"]'


@pytest.mark.req("CLI-23")
@trio_test
async def test_an_answer_never_goes_to_another_session(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake) as (client, end, _):
        go = trio.Event()

        @client.on("question")
        async def question() -> str:
            await go.wait()
            return "answer"

        await end.send('427["question"]')
        await wait_all_tasks_blocked()
        await end.drop()
        again = await fake.accept_websocket()
        await again.join()
        await wait_all_tasks_blocked()
        go.set()
        await wait_all_tasks_blocked()
        client.emit("next")
        assert await again.receive() == '42["next"]'
        assert client.packets_dropped == 1


@pytest.mark.req("CLI-24")
@trio_test
async def test_auth_is_asked_each_time_and_a_refusal_is_final(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    count = 0

    async def auth(namespace: str) -> dict[str, Any]:
        nonlocal count
        count += 1
        await trio.sleep(1)
        return {"namespace": namespace, "count": count}

    async with joined(fake, auth=auth) as (client, end, hooks):
        await end.drop()
        again = await fake.accept_websocket()
        assert await again.join() == {"namespace": "/", "count": 2}
        await again.drop()
        third = await fake.accept_websocket()
        await third.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        await third.receive()
        await third.send('44{"message":"expired","data":1}')
        assert await client.wait_closed() == "refused: expired"
        await wait_all_tasks_blocked()
        assert hooks.told[-1][1:] == ("connect_error", "expired")
        assert await third.receive() == "closed"
        await trio.sleep(100)
        assert len(fake.attempts) == 3


@trio_test
async def test_auth_that_fails_later_is_a_failed_attempt(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    fails = False

    def auth(_: str) -> dict[str, Any]:
        if fails:
            raise ZeroDivisionError("no token")
        return {}

    async with joined(fake, auth=auth) as (client, end, hooks):
        fails = True
        await end.drop()
        again = await fake.accept_websocket()
        await again.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        assert await again.receive() == "closed"
        await wait_all_tasks_blocked()
        assert hooks.told[-1][1:] == ("connect_error", "no token")
        fails = False
        await (await fake.accept_websocket()).join()
        await client.connect()


class TestRecovery:
    @pytest.mark.req("CLI-30", "CLI-31", "CLI-32")
    @trio_test
    async def test_restored_then_not(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, pid="p1", auth={"t": 1}) as (client, end, hooks):
            seen: list[Any] = []
            client.on("news")(lambda text: seen.append(text))  # no parameter for the offset
            client.on("any")(lambda *arguments: seen.append(arguments))
            await end.send('42["news","one","o1"]')
            await end.send('42["any","o2"]')
            await end.send('429["news","asks for an answer"]')
            assert await end.receive() == "439[]"
            await end.drop()
            again = await fake.accept_websocket()
            assert await again.join(pid="p1") == {"t": 1, "pid": "p1", "offset": "o2"}
            await again.send('42["news","missed","o3"]')
            await wait_all_tasks_blocked()
            assert hooks.told[-1][1:] == ("connect", "recovered")
            assert seen == ["one", ("o2",), "asks for an answer", "missed"]
            await again.drop()
            third = await fake.accept_websocket()
            assert await third.join(pid="p2") == {"t": 1, "pid": "p1", "offset": "o3"}
            await wait_all_tasks_blocked()
            assert hooks.told[-1][1:] == ("connect", "")
            await third.drop()
            assert await (await fake.accept_websocket()).join() == {"t": 1, "pid": "p2"}

    @pytest.mark.req("CLI-31")
    @trio_test
    async def test_whoever_left_comes_as_somebody_new(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, pid="p1") as (client, end, _):
            client.disconnect()
            assert await end.receive() == "41"
            assert await end.receive() == "closed"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.connect)
                assert await (await fake.accept_websocket()).join() is None


@trio_test
async def test_the_first_refusal_of_a_connection_that_was_lost(
    autojump_clock: MockClock,
) -> None:
    fake = FakeServer()

    async def serve() -> None:
        end = await fake.accept_websocket()
        await end.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        await end.receive()
        await end.drop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectFailed, match=r"lost at once: transport close; .*parser"):
            async with fake.client():
                raise AssertionError("never")


@trio_test
async def test_connecting_is_bounded_in_time(autojump_clock: MockClock) -> None:
    fake = FakeServer()
    with pytest.raises(ConnectFailed, match="no answer within 3 s"):  # to the handshake
        async with fake.client(options=options(connect_timeout_s=3)):
            raise AssertionError("never")
    assert trio.current_time() == 3
    await fake.accept()

    async def serve() -> None:
        end = await fake.accept_websocket()
        await end.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        while await end.receive() != "closed":
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectFailed, match="did not answer a CONNECT within 3 s"):
            async with fake.client(options=options(connect_timeout_s=3)):
                raise AssertionError("never")


@trio_test
async def test_refusals_are_what_they_say(autojump_clock: MockClock) -> None:
    for sent, message, data in (
        ('44{"message":"no","data":{"code":7}}', "no", {"code": 7}),
        ('44{"message":"no"}', "no", None),
        ("44{}", "", None),
        ('44"old style"', "old style", None),
    ):
        fake = FakeServer()

        async def serve(fake: FakeServer, sent: str) -> None:
            end = await fake.accept_websocket()
            await end.send('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
            await end.receive()
            await end.send(sent)
            assert await end.receive() == "closed"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, fake, sent)
            with pytest.raises(ConnectRefused) as caught:
                async with fake.client():
                    raise AssertionError("never")
        assert (caught.value.message, caught.value.data) == (message, data)
