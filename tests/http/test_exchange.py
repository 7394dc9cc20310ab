"""What is kept of a request, how turns end, and requests that end without their answer."""

import gc
import logging
import weakref

import h11
import pytest
from tests.http.test_http import GET, answer, bodies
from tests.net.harness import HANDSHAKE_S, KEEP_ALIVE_S, HttpEnd, open_net, settle
from trio.testing import MockClock, trio_test

from trio_socketio.http.exchange import READ_AHEAD_BYTES, STEPS_PER_TURN, HttpReceiver
from trio_socketio.http.request import Request
from trio_socketio.net.connection import DRAIN_S
from trio_socketio.protocol.connection import HELD, OFF, ON, OPEN, PAUSED

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
MALFORMED = b"1\r\nzXX"  # a chunk that does not end in CRLF

REQUESTS = {
    "whole": [GET % b""],
    "torn": [b"GET /", b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    "with a body": [POST],
    "with a torn body": [POST[:-1], POST[-1:]],
    "in chunks": [CHUNKED + CHUNKS[:4], CHUNKS[4:]],
    "many": [GET % b"" * STEPS_PER_TURN],
}


def take(request: Request) -> None:
    """Asks for the body, and answers with it."""
    request.read_body(10, lambda body: request.respond(200, [], body or b""))


class Attached:
    """Something that is kept with a request."""


class Notes:
    """Notes what was attached to requests, and whether it is still in memory."""

    def __init__(self) -> None:
        self._attached: list[weakref.ref[Attached]] = []

    def attach(self, request: Request) -> None:
        request.attached = Attached()
        self._attached.append(weakref.ref(request.attached))

    def check_freed(self, http: HttpEnd) -> None:
        """Check that the requests are freed with the last reference of the test to them."""
        gc.disable()
        try:
            assert len(self._attached) == len(http.requests) > 0
            http.requests.clear()
            assert [one() for one in self._attached if one() is not None] == []
        finally:
            gc.enable()


class TestRest:
    @pytest.mark.parametrize("name", REQUESTS)
    @trio_test
    async def test_it_is_at_rest_between_requests(self, name: str, mock_clock: MockClock) -> None:
        async with open_net() as net:
            http = net.http(take)
            assert http.receiver.is_at_rest
            for _ in range(2):
                *pieces, last = REQUESTS[name]
                for piece in pieces:
                    await http.peer.send(piece)
                    assert not http.receiver.is_at_rest
                await http.peer.send(last)
                assert http.receiver.is_at_rest
                mock_clock.jump(KEEP_ALIVE_S * 0.9)  # which is longer than a head may take
                await settle()
                assert http.connection.life is OPEN
            mock_clock.jump(KEEP_ALIVE_S * 0.2)
            await settle()
            assert http.connection.closed
            assert not http.receiver.is_at_rest

    @trio_test
    async def test_it_is_at_rest_after_a_request_whose_body_nobody_asked_for(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            for piece in REQUESTS["torn"]:
                await http.peer.send(piece)
            assert http.targets == ["/"]
            assert http.receiver.is_at_rest

    @pytest.mark.parametrize("name", REQUESTS)
    @trio_test
    async def test_it_is_not_at_rest_while_a_request_is_pending(
        self, name: str, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.read_body(10, lambda _: None))
            for piece in REQUESTS[name]:
                await http.peer.send(piece)
            mock_clock.jump(KEEP_ALIVE_S * 2)  # there is no deadline for the answer
            await settle()
            assert http.connection.life is OPEN
            assert not http.receiver.is_at_rest
            answer(http.requests[0])
            await settle()
            assert http.receiver.is_at_rest is (name != "many")

    @pytest.mark.req("RUN-44")
    @pytest.mark.parametrize("name", REQUESTS)
    @trio_test
    async def test_nothing_of_a_request_is_kept_at_rest(self, name: str) -> None:
        notes = Notes()

        def take_and_note(request: Request) -> None:
            notes.attach(request)
            take(request)

        async with open_net() as net:
            http = net.http(take_and_note)
            for piece in REQUESTS[name]:
                await http.peer.send(piece)
            notes.check_freed(http)

    @pytest.mark.req("RUN-44")
    @pytest.mark.parametrize("pieces", [[UPGRADE], [UPGRADE[:10], UPGRADE[10:]]])
    @trio_test
    async def test_nothing_of_a_request_is_kept_after_a_switch(
        self, pieces: list[bytes], mock_clock: MockClock
    ) -> None:
        notes = Notes()

        def switch(request: Request) -> None:
            notes.attach(request)
            request.switch_protocols([])

        async with open_net() as net:
            http = net.http(switch)
            for piece in pieces:
                await http.peer.send(piece)
            notes.check_freed(http)
            mock_clock.jump(KEEP_ALIVE_S * 2)  # the other protocol has deadlines of its own
            await settle()
            assert not http.connection.closed

    @pytest.mark.req("RUN-44")
    @trio_test
    async def test_the_error_of_a_head_that_cannot_be_read_is_not_kept(self) -> None:
        async with open_net() as net:
            http = net.http()
            gc.collect()
            gc.disable()
            try:
                await http.peer.send(b"GET\r\n\r\n")
                assert http.peer.read_nowait().startswith(b"HTTP/1.1 400 ")
                assert not [one for one in gc.get_objects() if isinstance(one, h11.ProtocolError)]
            finally:
                gc.enable()


class TestTurns:
    @trio_test
    async def test_a_turn_hands_over_some_requests(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            readings = []
            for turn in range(1, 4):
                http.receiver.receive_data(GET % b"" * 100 if turn == 1 else b"")
                assert len(http.requests) == turn * 16
                readings.append(http.connection.reading)
            await settle()
            assert len(http.requests) == 100
            # More is read only when what was read is used up, however fast the peer sends.
            assert [*readings, http.connection.reading] == [HELD, HELD, HELD, ON]

    @trio_test
    async def test_nothing_is_handed_over_of_a_connection_that_was_closed(self) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.connection.abort())
            await http.peer.send(GET % b"" * 2)
            assert len(http.requests) == 1
            answer(http.requests[0])
            assert http.connection.reading is OFF
            assert http.connection.next_deadline() == float("inf")
            assert http.peer.read_nowait() == b""
            assert net.poller.failures == 0

    @pytest.mark.req("HTTP-29")
    @pytest.mark.parametrize("name", ["whole", "torn", "in chunks"])
    @trio_test
    async def test_reading_pauses_when_more_than_64_kib_are_held(self, name: str) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.read_body(10, lambda _: None))
            for piece in REQUESTS[name]:
                await http.peer.send(piece)
            held = (GET % b"next").ljust(65536, b"x")
            http.receiver.receive_data(held)
            readings = [http.connection.reading]
            http.receiver.receive_data(b"x")
            readings.append(http.connection.reading)
            assert readings == [ON, PAUSED]
            assert len(held) == READ_AHEAD_BYTES
            answer(http.requests[0])
            await settle()
            assert http.targets[-1] == "/next"

    @trio_test
    async def test_a_receiver_that_comes_after_a_torn_request_may_pause_at_once(self) -> None:
        def switch(request: Request) -> None:
            request.switch_protocols([])
            request.connection.hold_reading()

        async with open_net() as net:
            http = net.http(switch)
            for piece in (UPGRADE[:10], UPGRADE[10:]):
                await http.peer.send(piece)
            assert http.connection.reading is not ON


def read_and_note(request: Request, notes: Notes) -> None:
    notes.attach(request)
    request.read_body(10, lambda _: request.release())


async def refuse_body(http: HttpEnd) -> None:
    await http.peer.send(b"b\r\n12345678901\r\n")


async def break_framing(http: HttpEnd) -> None:
    await http.peer.send(MALFORMED)


async def hang_up(http: HttpEnd) -> None:
    http.peer.close()
    await settle()


ENDS = {"413": refuse_body, "400": break_framing, "gone": hang_up}


class TestEnds:
    @pytest.mark.parametrize("name", ENDS)
    @trio_test
    async def test_a_request_that_has_ended_can_be_used_in_vain(self, name: str) -> None:
        async with open_net() as net:
            read: list[bytes | None] = []
            aborts: list[int] = []
            http = net.http()
            await http.peer.send(CHUNKED)
            (request,) = http.requests

            def use(_: bytes | None) -> None:
                read.append(_)
                assert request.answered
                answer(request)
                request.pass_on(b"HTTP/1.1 200 OK\r\n\r\n", is_last=True)
                request.release()
                request.read_body(10, use)
                assert request.take_over() == (http.connection, http.receiver.take_over()[1])

            def on_abort() -> None:
                aborts.append(1)
                use(None)

            request.on_abort = on_abort
            request.read_body(10, use)
            await settle()
            await ENDS[name](http)
            assert read == [None]
            assert len(aborts) == (name != "413")
            assert not http.receiver.is_at_rest
            assert net.poller.failures == 0
            if name != "gone":
                received = http.peer.read_nowait()
                assert received.startswith(b"HTTP/1.1 %b " % name.encode())
                assert received.count(b"HTTP/1.1 ") == 1

    @pytest.mark.req("RUN-44")
    @pytest.mark.parametrize("name", ENDS)
    @trio_test
    async def test_nothing_of_a_request_that_has_ended_is_kept(self, name: str) -> None:
        async with open_net() as net:
            notes = Notes()
            http = net.http(lambda request: read_and_note(request, notes))
            await http.peer.send(CHUNKED)
            await ENDS[name](http)
            notes.check_freed(http)

    @pytest.mark.req("HTTP-19")
    @trio_test
    async def test_a_connection_that_is_taken_over_too_late_is_closed(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(CHUNKED)
            await http.peer.send(b"not a size\r\n")
            assert http.peer.read_nowait().startswith(b"HTTP/1.1 400 ")
            http.requests[0].take_over()
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert http.connection.closed

    @trio_test
    async def test_what_is_not_the_current_request_is_not_answered(self) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(GET % b"1" + GET % b"2")
            answer(http.requests[0])
            await settle()
            assert bodies(http.peer.read_nowait()) == [b"/1"]
            http.receiver.respond(http.requests[0], 200, (), b"")
            http.receiver.pass_on(http.requests[0], b"x", is_last=True, closes=True)
            assert await http.peer.read() == b""
            answer(http.requests[1])
            assert bodies(await http.peer.read()) == [b"/2"]

    @trio_test
    async def test_what_follows_an_answer_that_closes_is_not_looked_at(self) -> None:
        def refuse(request: Request) -> None:
            request.read_body(10, lambda _: None)
            request.respond(403)

        async with open_net() as net:
            http = net.http(refuse)
            await http.peer.send(CHUNKED + MALFORMED)
            received = http.peer.read_nowait()
            assert received.startswith(b"HTTP/1.1 403 ")
            assert received.count(b"HTTP/1.1 ") == 1
            assert http.peer.eof

    @pytest.mark.req("HTTP-18")
    @trio_test
    async def test_a_body_too_long_that_is_asked_for_late_is_413(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            read: list[bytes | None] = []
            http = net.http()
            await http.peer.send(POST[:-3].replace(b"Host", b"Expect: 100-continue\r\nHost"))
            http.requests[0].read_body(2, read.append)
            received = await http.peer.read()
            assert received.startswith(b"HTTP/1.1 413 ")
            assert received.count(b"HTTP/1.1 ") == 1
            assert http.peer.eof
            assert read == [None]
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert http.connection.closed

    @pytest.mark.req("HTTP-28")
    @pytest.mark.parametrize("head", [POST[:-3], CHUNKED])
    @trio_test
    async def test_a_body_of_which_nothing_comes_is_waited_for_as_long_as_a_head(
        self, head: bytes, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            http = net.http(take)
            await http.peer.send(head)
            mock_clock.jump(HANDSHAKE_S * 0.9)
            await settle()
            assert not http.connection.closed
            mock_clock.jump(HANDSHAKE_S * 0.2)
            await settle()
            assert http.connection.closed

    @pytest.mark.req("HTTP-25")
    @trio_test
    async def test_a_head_that_cannot_be_read_has_not_the_origin_of_the_one_before(self) -> None:
        origins: list[str | None] = []
        async with open_net() as net:
            connection, _, peer = net.pair()

            def cors(origin: str | None) -> list[tuple[bytes, bytes]]:
                origins.append(origin)
                return []

            receiver = HttpReceiver(connection, take, HANDSHAKE_S, KEEP_ALIVE_S, cors)
            connection.set_receiver(receiver)
            net.poller.register(connection)
            await peer.send(GET.replace(b"Host", b"Origin: http://a\r\nHost") % b"")
            await peer.send(b"GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP/1.1 400 " in peer.read_nowait()
            assert origins == [None]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", ": 505, HTTP/1.1 is spoken here"),
        (CHUNKED + MALFORMED, ": 400, "),
        (POST.replace(b": 3", b": 11"), ": its body is too large"),
    ],
)
@trio_test
async def test_what_is_refused_is_logged(
    data: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_socketio.http.exchange")
    async with open_net() as net:
        await net.http(take).peer.send(data)
        (record,) = caplog.records
        assert said in record.getMessage()
