"""The client that sends one request at a time: which connection it uses, and when a new one."""

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, trio_test

from trio_socketio.errors import PayloadTooLarge, RemoteProtocolError
from trio_socketio.http.client import IDLE_S, HttpConnection


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Servers:
    """Opens connections to servers of which each sends what it was told, request by request."""

    authority = "localhost"

    def __init__(self, nursery: trio.Nursery, *answers: list[bytes]) -> None:
        self.opened = 0
        self._nursery = nursery
        self._answers = list(answers)

    def request_headers(self) -> list[tuple[str, str]]:
        return [("X-Token", "secret")]

    async def open_stream(self) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs, self._answers[self.opened])
        self.opened += 1
        return ours

    async def _serve(self, stream: trio.abc.Stream, answers: list[bytes]) -> None:
        for response in answers:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                data = await stream.receive_some()
                if not data:
                    return
                request += data
            assert b"X-Token: secret\r\n" in request
            await stream.send_all(response)
        await stream.aclose()


@trio_test
async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(nursery, [answer(b"one"), answer(b"two")], [answer(b"three")])
        http = HttpConnection(servers, 100)
        assert [(await http.request("GET", "/")).body for _ in range(2)] == [b"one", b"two"]
        assert servers.opened == 1
        await http.aclose()
        assert (await http.request("GET", "/")).body == b"three"
        assert servers.opened == 2
        await http.aclose()


@trio_test
async def test_a_connection_that_was_idle_is_not_used_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(nursery, [answer(b"one")] * 2, [answer(b"two")])
        http = HttpConnection(servers, 100)
        assert (await http.request("GET", "/")).body == b"one"
        await trio.sleep(IDLE_S + 0.1)
        assert (await http.request("GET", "/")).body == b"two"
        await http.aclose()


@pytest.mark.parametrize(
    ("response", "raised"),
    [
        (answer(b"x" * 101), PayloadTooLarge),
        (answer(b"x" * 101).replace(b"200 OK", b"418 Teapot"), PayloadTooLarge),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", RemoteProtocolError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", RemoteProtocolError),
    ],
)
@trio_test
async def test_a_response_that_was_not_read_to_its_end_is_not_taken_for_the_next(
    response: bytes, raised: type[Exception]
) -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(nursery, [response], [answer(b"mine")])
        http = HttpConnection(servers, 100)
        with pytest.raises(raised):
            await http.request("GET", "/")
        assert (await http.request("GET", "/")).body == b"mine"
        await http.aclose()


@trio_test
async def test_a_request_that_was_cancelled_leaves_nothing_to_the_next(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
        servers = Servers(nursery, [half, b"more to come"], [answer(b"mine")])
        http = HttpConnection(servers, 100)
        with trio.move_on_after(1) as scope:
            await http.request("GET", "/")
        assert scope.cancelled_caught
        assert (await http.request("GET", "/")).body == b"mine"
        await http.aclose()
