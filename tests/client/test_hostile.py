"""Servers that are silent, broken or malicious: bounded, a clear error, and never a crash."""

import json
import logging
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.fake_server import HANDSHAKE, FakeHttp, FakeServer, FakeWebSocket, options
from tests.client.test_reconnecting import joined
from tests.properties import examples
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import AckTimeout, BufferFull, Client, ConnectFailed, SessionClosed

BEGINNINGS = [
    ("", "empty"),
    ("hello", "unknown Engine.IO packet type"),
    ("40", "began with MESSAGE"),
    ("2", "began with PING"),
    ("0", "malformed JSON"),
    ("0[]", "not an object"),
    ('0{"sid":""}', "no sid"),
    ('0{"sid":"a","upgrades":"x"}', "not a list"),
    ('0{"sid":"a","upgrades":[],"pingInterval":-1,"pingTimeout":1}', "an integer from 0 to"),
    ('0{"sid":"a","upgrades":[],"pingInterval":1,"pingTimeout":9007199254740992}', r"2\*\*53 - 1"),
    ('0{"sid":"a","upgrades":[],"pingInterval":1e400,"pingTimeout":1}', "out of range"),
    ('0{"sid":"a","upgrades":[],"pingInterval":' + "9" * 400 + ',"pingTimeout":1}', "."),
    ("bAAAA", "."),
]


def transport_of(client: Client) -> Any:
    """What carries the session of a client that is connected."""
    session = client._link.session
    assert session is not None
    return session._carrier.transport


class TestHandshakes:
    @pytest.mark.req("CLI-03", "CLI-40")
    @pytest.mark.parametrize(("sent", "says"), BEGINNINGS)
    @trio_test
    async def test_broken_on_websocket(self, sent: str, says: str) -> None:
        fake = FakeServer()

        async def serve() -> None:
            end = await fake.accept_websocket()
            await end.send(sent)
            await end.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match=says):
                async with fake.client():
                    raise AssertionError("never")

    @pytest.mark.req("CLI-03", "CLI-40")
    @pytest.mark.parametrize(("sent", "says"), BEGINNINGS)
    @trio_test
    async def test_broken_on_polling(self, sent: str, says: str) -> None:
        fake = FakeServer()

        async def serve() -> None:
            http = await fake.accept_http()
            await http.receive()
            await http.answer(sent)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match=says):
                async with fake.client(transports=("polling",)):
                    raise AssertionError("never")

    @pytest.mark.parametrize("transport", ["polling", "websocket"])
    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01 not HTTP at all\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: wrong\r\n\r\n",
            b"",
        ],
    )
    @trio_test
    async def test_no_http(self, transport: str, sent: bytes) -> None:
        fake = FakeServer()

        async def serve() -> None:
            stream = await fake.accept()
            await stream.receive_some(65536)
            if sent:
                await stream.send_all(sent)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match=r"no Engine\.IO server|closed the connection"):
                async with fake.client(transports=(transport,)):
                    raise AssertionError("never")

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b'{"code":4,"message":"Forbidden"}', "the server answered 403: Forbidden$"),
            (b"<html>no</html>", "the server answered 403: <html>no</html>$"),
            (b"", "the server answered 403$"),
            (b"x" * 100_000, "the server answered 403: x{200}$"),
            (b"\xff", "the server answered 403: \ufffd$"),
        ],
    )
    @trio_test
    async def test_refused_by_http(self, body: bytes, says: str) -> None:
        fake = FakeServer()

        async def serve() -> None:
            end = FakeWebSocket(await fake.accept())
            await end.shake_hands(403, body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match=says):
                async with fake.client():
                    raise AssertionError("never")


class TestPackets:
    @pytest.mark.req("CLI-40")
    @pytest.mark.parametrize(
        "sent",
        [
            "",
            "9",
            "0{}",
            "3",
            "5",
            "b4AQ=",
            "4",
            "49",
            "42",
            '42{"not":"a list"}',
            '42["disconnect"]',
            "42[]",
            '4511-["x"]',
            '43{"not":"a list"}',
            '40{"no":"sid"}',
            "42[" * 600,
            b"binary that nothing announced",
        ],
    )
    @trio_test
    async def test_broken_ones_end_the_connection(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, sent: str | bytes
    ) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(reconnect=False)) as (client, end, hooks):
            await end.send(sent)
            assert await client.wait_closed() == "parse error"
            assert await end.receive() == "closed"
            await wait_all_tasks_blocked()
            assert hooks.told[-1][1:] == ("disconnect", "parse error")
        assert [r.levelno for r in caplog.records if "broke the protocol" in r.message] == [
            logging.WARNING
        ]

    @pytest.mark.req("SIO5-59")
    @trio_test
    async def test_acks_that_answer_nothing_are_ignored(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _), trio.open_nursery() as nursery:

            @nursery.start_soon
            async def answer() -> None:
                asked = await end.receive()
                assert asked == '420["question"]'
                for text in ('43["no id"]', "430", "43", '437["nobody"]', '430["here"]'):
                    await end.send(text)

            assert await client.emit_with_ack("question") == "here"

    @pytest.mark.req("CLI-40")
    @trio_test
    async def test_after_a_broken_one_it_comes_back(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _):
            await end.send("what?")
            await (await fake.accept_websocket()).join("again")
            await client.connect()
            assert client.id == "again"

    @pytest.mark.parametrize(
        "frame",
        [
            b"\x83\x01x",  # a reserved opcode
            b"\xc1\x02xx",  # compressed, which was not agreed on
            b"\x81\x01\xff",  # not UTF-8
            b"\x81\x82\0\0\0\0xx",  # masked by a server
            b"\x89\x7f" + bytes(8),  # a long ping
        ],
    )
    @trio_test
    async def test_broken_frames(self, autojump_clock: MockClock, frame: bytes) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(reconnect=False)) as (client, end, _):
            await end.stream.send_all(frame)
            assert await client.wait_closed() == "parse error"

    @pytest.mark.req("CLI-41")
    @pytest.mark.parametrize("kind", ["one frame", "fragments", "attachments"])
    @trio_test
    async def test_too_large(self, autojump_clock: MockClock, kind: str) -> None:
        fake = FakeServer()
        few = options(reconnect=False, max_message_bytes=1000)
        async with joined(fake, options=few) as (client, end, _):
            if kind == "one frame":
                # It is announced as a terabyte; what counts is what has come.
                await end.stream.send_all(b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + b"4" * 1001)
            elif kind == "fragments":
                await end.stream.send_all(b"\x01\x014")
                for _ in range(11):
                    await end.stream.send_all(b"\x00\x64" + b"x" * 100)
            else:
                await end.send('452-["x",{"_placeholder":true,"num":0}]')
                await end.send(bytes(600))
                await end.send(bytes(600))
            assert await client.wait_closed() == "parse error"

    @trio_test
    async def test_empty_fragments_take_no_memory(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _):
            await end.stream.send_all(b"\x01\x00")
            for _ in range(20):
                await end.stream.send_all(b"\x00\x00" * 1000)
            assert transport_of(client)._parts == []
            await end.stream.send_all(b"\x80\x0842" + b'["x"]' + b" ")
            await wait_all_tasks_blocked()
            assert client.connected

    @trio_test
    async def test_what_is_for_nobody_is_ignored(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _):
            for text in (
                '42/other,["x"]',
                "41/other,",
                '43999["late"]',
                "6",
                '40/other,{"sid":"x"}',
            ):
                await end.send(text)
            left = client.of("/left")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.connect)
                assert await end.receive() == "40/left,"
                await end.send('40/left,{"sid":"l"}')
            left.disconnect()
            await end.send('42/left,["crossed"]')
            assert await end.receive() == "41/left,"
            await wait_all_tasks_blocked()
            assert client.connected

    @pytest.mark.req("CLI-16")
    @trio_test
    async def test_events_before_the_connect_are_kept_for_it(
        self, autojump_clock: MockClock
    ) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _):
            seen: list[Any] = []
            other = client.of("/other")
            other.on("connect")(lambda: seen.append("connect"))
            other.on_any(lambda *arguments: seen.append(arguments))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.connect)
                assert await end.receive() == "40/other,"
                await end.send('42/other,["early",1,"o1"]')
                await end.send('451-/other,["early",{"_placeholder":true,"num":0}]')
                await end.send(b"2")
                await wait_all_tasks_blocked()
                assert seen == []
                await end.send('40/other,{"sid":"o","pid":"p"}')
            await end.send('42/other,["later"]')
            await wait_all_tasks_blocked()
            assert seen == ["connect", ("early", 1, "o1"), ("early", b"2"), ("later",)]
            await end.drop()
            again = await fake.accept_websocket()
            await again.join()
            assert await again.receive() == '40/other,{"pid":"p","offset":"o1"}'

    @pytest.mark.req("CLI-16", "CLI-41")
    @trio_test
    async def test_too_much_before_the_connect(self, autojump_clock: MockClock) -> None:
        async def fail_to_connect(client: Client) -> None:
            with pytest.raises(ConnectFailed, match="/other was left"):
                await client.of("/other").connect()

        fake = FakeServer()
        few = options(reconnect=False, max_message_bytes=1000)
        async with joined(fake, options=few) as (client, end, _), trio.open_nursery() as nursery:
            nursery.start_soon(fail_to_connect, client)
            assert await end.receive() == "40/other,"
            for _ in range(3):
                await end.send("42/other," + json.dumps(["x" * 400]))
            assert await client.wait_closed() == "parse error"

    @settings(max_examples=examples(30), deadline=None)
    @given(
        sent=st.lists(
            st.text(max_size=12)
            | st.binary(max_size=12)
            | st.sampled_from(["2", "6", '42["x","y"]', '421["x"]', "41", '451-["x"]', "40"])
            | st.builds(
                "4{}{}{}".format,
                st.integers(0, 6),
                st.sampled_from(["", "/,", "/a,", "1", "1-", "/a,1"]),
                st.sampled_from(["", "[]", '["x"]', '{"sid":"y"}', '{"message":"z"}', "1"]),
            ),
            max_size=8,
        )
    )
    def test_no_sequence_of_messages_crashes_it(self, sent: list[str | bytes]) -> None:
        async def main() -> None:
            fake = FakeServer()
            async with joined(fake, options=options(reconnect=False)) as (client, end, _):
                client.on("x")(lambda *arguments: arguments)
                for message in sent:
                    try:
                        await end.send(message)
                    except trio.BrokenResourceError:
                        break
                await wait_all_tasks_blocked()
                if client.connected:
                    await end.send('429["x","alive"]')
                    while (answer := await end.receive()) != '439["alive"]':
                        assert answer != "closed" or not client.connected
                        if answer == "closed":
                            break

        trio.run(main, clock=MockClock(autojump_threshold=0))

    @settings(max_examples=examples(30), deadline=None)
    @given(sent=st.binary(max_size=40))
    def test_no_bytes_crash_it(self, sent: bytes) -> None:
        async def main() -> None:
            fake = FakeServer()
            async with joined(fake, options=options(reconnect=False)) as (client, end, _):
                await end.stream.send_all(sent)
                await wait_all_tasks_blocked()
                await end.drop()
                assert await client.wait_closed() in ("parse error", "transport close")

        trio.run(main, clock=MockClock(autojump_threshold=0))


class TestSilence:
    @pytest.mark.req("CLI-42")
    @trio_test
    async def test_no_ping_in_time(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(reconnect=False)) as (client, _end, _):
            began = trio.current_time()
            assert await client.wait_closed() == "ping timeout"
            assert trio.current_time() - began == pytest.approx(45)

    @pytest.mark.req("CLI-42")
    @trio_test
    async def test_pings_are_answered_and_keep_it_alive(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(reconnect=False)) as (client, end, _):
            for _ in range(10):
                await trio.sleep(44)
                await end.send("2")
                assert await end.receive() == "3"
            assert client.connected
            await end.stream.send_all(b"\x89\x02hi")  # of WebSocket itself: answered, no heartbeat
            assert bytes(await end.stream.receive_some(1)) == b"\x8a"
            assert await client.wait_closed() == "ping timeout"

    @trio_test
    async def test_time_that_handlers_take_is_not_held_against_the_server(
        self, autojump_clock: MockClock
    ) -> None:
        fake = FakeServer()
        few = options(reconnect=False, handler_queue=2)
        async with joined(fake, options=few) as (client, end, _):
            handled: list[int] = []

            @client.on("slow")
            async def slow(number: int) -> None:
                await trio.sleep(100)
                handled.append(number)

            for number in range(4):
                await end.send(f'42["slow",{number}]')
            await end.send("2")
            assert await end.receive() == "3"
            assert handled
            assert trio.current_time() >= 100  # reading stood still, longer than pings may take
            assert client.connected

    @pytest.mark.req("CLI-43")
    @trio_test
    async def test_a_server_that_takes_nothing(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        bounded = options(reconnect=False, output_bound_bytes=100_000, send_timeout_s=5)
        async with joined(fake, options=bounded) as (client, _end, _):
            stuck = trio.Event()

            async def never(data: bytes) -> None:
                stuck.set()
                await trio.sleep_forever()

            transport_of(client)._stream.send_all = never
            for _ in range(98):
                client.emit("x", "y" * 1000)
            with pytest.raises(BufferFull):
                client.emit("x", "y" * 2000)
            began = trio.current_time()
            assert await client.wait_closed() == "transport error"
            assert trio.current_time() - began == 5
            assert stuck.is_set()

    @trio_test
    async def test_goodbye_is_bounded(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, _, _):
            pass
        assert trio.current_time() == 2  # nobody answered the close
        assert not client.connected

    @trio_test
    async def test_no_answer(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, options=options(reconnect=False)) as (client, end, _):
            with pytest.raises(AckTimeout, match=r"20\.0 s"):
                await client.emit_with_ack("x")
            await end.send('430["late"]')
            await wait_all_tasks_blocked()
            assert client.connected


class TestPolling:
    @trio_test
    async def test_what_the_client_sends(self, autojump_clock: MockClock) -> None:
        """Cookies of the handshake, payloads within maxPayload, a fresh connection after a rest."""
        fake = FakeServer()
        bodies: list[bytes] = []
        posts: list[FakeHttp] = []

        async def serve() -> None:
            getter = await fake.accept_http()
            method, target, _ = await getter.receive()
            assert (method, target) == ("GET", "/socket.io/?EIO=4&transport=polling")
            assert b"cookie" not in getter.headers
            handshake = HANDSHAKE | {"maxPayload": 40}
            cookies = [("Set-Cookie", "node=7; Path=/; HttpOnly"), ("Set-Cookie", "b=c")]
            await getter.answer("0" + json.dumps(handshake), headers=cookies)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_posts)
                answers = ['40{"sid":"s"}', "6"]
                for answer in answers:
                    _, target, _ = await getter.receive()
                    assert target.endswith("&sid=engine-sid")
                    assert getter.headers[b"cookie"] == b"node=7; b=c"
                    await getter.answer(answer)
                await getter.receive()

        async def take_posts() -> None:
            while True:
                poster = await fake.accept_http()
                posts.append(poster)
                try:
                    while True:
                        _, _, body = await poster.receive()
                        bodies.append(body)
                        await poster.answer("ok")
                except EOFError:
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            async with fake.client(transports=("polling",), options=options()) as client:
                assert bodies == [b"40"]
                for _ in range(3):
                    client.emit("x", "1234567890")
                client.emit("y", bytes(20))
                await client.wait_drained()
                event = b'42["x","1234567890"]'
                assert bodies[1:] == [
                    event,  # two would be 41 with what is between them
                    event,
                    event,
                    b'451-["y",{"_placeholder":true,"num":0}]',
                    b"bAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                ]
                assert len(posts) == 1
                await trio.sleep(3)
                client.emit("z")
                await client.wait_drained()
                assert len(posts) == 2
            assert bodies[-2:] == [b"41", b"1"] or bodies[-1] == b"41\x1e1"
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("status", [400, 413, 500])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @trio_test
    async def test_a_session_that_is_gone(
        self, autojump_clock: MockClock, status: int, method: str
    ) -> None:
        fake = FakeServer()

        async def serve() -> None:
            getter, poster = await fake.join_polling()
            if method == "GET":
                await getter.answer("gone", status)
            else:
                await poster.receive()
                await poster.answer("gone", status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            off = options(reconnect=False)
            async with fake.client(transports=("polling",), options=off) as client:
                client.emit("x")
                assert await client.wait_closed() == "transport error"
                with pytest.raises(SessionClosed):
                    client.emit("y")

    @pytest.mark.req("CLI-41")
    @trio_test
    async def test_a_body_that_is_too_large(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()

        async def serve() -> None:
            http = await fake.accept_http()
            await http.receive()
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await http.stream.send_all(head)
            with suppress(trio.BrokenResourceError):  # the client has had enough
                while True:
                    await http.stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match="a body of more than 5000 bytes"):
                async with fake.client(
                    transports=("polling",), options=options(max_message_bytes=5000)
                ):
                    raise AssertionError("never")


class TestUpgrade:
    @pytest.mark.req("CLI-11")
    @pytest.mark.parametrize("how", ["refused", "wrong pong", "dropped", "silent", "garbage"])
    @trio_test
    async def test_one_that_fails_leaves_polling(self, autojump_clock: MockClock, how: str) -> None:
        fake = FakeServer()
        bodies: list[bytes] = []
        failed = trio.Event()

        async def serve() -> None:
            getter = await fake.accept_http()
            await getter.receive()
            await getter.answer("0" + json.dumps(HANDSHAKE | {"upgrades": ["websocket"]}))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept, nursery)
                await getter.receive()
                await getter.answer('40{"sid":"s"}')
                await failed.wait()
                for _ in range(3):
                    await getter.receive()
                    await getter.answer('42["x"]')
                await getter.receive()

        async def accept(nursery: trio.Nursery) -> None:
            while True:
                nursery.start_soon(serve_other, await fake.accept())

        async def serve_other(stream: trio.abc.Stream) -> None:
            data = bytes(await stream.receive_some(65536))
            if data.startswith(b"POST"):
                http = FakeHttp(stream)
                http.http.receive_data(data)
                with suppress(EOFError):
                    while True:
                        bodies.append((await http.receive())[2])
                        await http.answer("ok")
            else:
                await serve_candidate(stream, data)
                failed.set()

        async def serve_candidate(stream: trio.abc.Stream, data: bytes) -> None:
            end = FakeWebSocket(stream)
            await end.shake_hands(502 if how == "refused" else None, read=data)
            if how != "refused":
                assert await end.receive() == "2probe"
            if how == "wrong pong":
                await end.send("3")
            elif how == "garbage":
                await end.send("4x")
            if how == "dropped":
                await end.drop()
            else:
                assert await end.receive() == "closed"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            both = ("polling", "websocket")
            quick = options(connect_timeout_s=10)
            async with fake.client(transports=both, options=quick) as client:
                with client.events() as events:
                    for _ in range(3):
                        assert (await events.receive()).name == "x"
                assert client.transport == "polling"
                client.emit("still here")
                await client.wait_drained()
                assert bodies[-1] == b'42["still here"]'
            nursery.cancel_scope.cancel()

    @pytest.mark.req("CLI-11")
    @trio_test
    async def test_no_get_is_begun_once_the_probe_is_answered(
        self, autojump_clock: MockClock
    ) -> None:
        """It might be answered with a packet while the session moves; the last POST comes home."""
        fake = FakeServer()
        probed, may_answer = trio.Event(), trio.Event()
        moved: list[str | bytes] = []

        async def serve() -> None:
            getter = await fake.accept_http()
            await getter.receive()
            await getter.answer("0" + json.dumps(HANDSHAKE | {"upgrades": ["websocket"]}))
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(serve_other, await fake.accept())
                await getter.receive()
                await getter.answer('40{"sid":"s"}')
                await getter.receive()
                await probed.wait()
                await getter.answer("6")
                with trio.move_on_after(5) as waited, suppress(EOFError):
                    await getter.receive()
                assert waited.cancelled_caught, "a GET was begun"
                assert moved == []
                may_answer.set()

        async def serve_other(stream: trio.abc.Stream) -> None:
            data = bytes(await stream.receive_some(65536))
            if data.startswith(b"POST"):
                http = FakeHttp(stream)
                http.http.receive_data(data)
                assert (await http.receive())[2] == b"40"
                await may_answer.wait()
                await http.answer("ok")
            else:
                end = FakeWebSocket(stream)
                await end.shake_hands(read=data)
                assert await end.receive() == "2probe"
                await end.send("3probe")
                await wait_all_tasks_blocked()
                probed.set()
                moved.append(await end.receive())
                await end.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            async with fake.client(
                transports=("polling", "websocket"), options=options(connect_timeout_s=30)
            ) as client:
                with trio.fail_after(20):
                    while client.transport == "polling":  # noqa: ASYNC110 - there is no event of it
                        await trio.sleep(0.1)
                await wait_all_tasks_blocked()
                assert moved == ["5"]
            nursery.cancel_scope.cancel()
