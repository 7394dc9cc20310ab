"""The client that sends one request at a time: which connection it uses, and when a new one."""

import ssl
from functools import partial

import pytest
import trio
import trio.testing
import trustme
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


@pytest.mark.req("HTTP-65")
@trio_test
async def test_an_answer_to_no_request_is_not_taken_for_the_next() -> None:
    async with trio.open_nursery() as nursery:
        servers = Servers(nursery, [answer(b"one") + answer(b"admin")], [answer(b"two")])
        http = HttpConnection(servers, 100)
        assert (await http.request("GET", "/")).body == b"one"
        assert (await http.request("GET", "/")).body == b"two"
        await http.aclose()


class RealServers:
    """Opens connections of TCP or TLS to a server."""

    authority = "localhost"

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self._port = port
        self._tls = tls

    def request_headers(self) -> list[tuple[str, str]]:
        return []

    async def open_stream(self) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        if self._tls is None:
            return stream
        return trio.SSLStream(stream, self._tls, server_hostname="a.example", https_compatible=True)


@pytest.fixture(params=["TCP", "TLS"])
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """How a client and a server speak TLS, if they do."""
    if request.param == "TCP":
        return None
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(ours)
    authority.issue_cert("a.example").configure_cert(theirs)
    return ours, theirs


@pytest.mark.req("HTTP-65")
@pytest.mark.req("HTTP-66")
@pytest.mark.parametrize("late", [b"", answer(b"admin")], ids=["hung up", "late answer"])
@trio_test
async def test_an_idle_connection_is_used_only_if_it_is_silent(
    late: bytes, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None
) -> None:
    ours, theirs = contexts or (None, None)
    served = 0
    went_on, done = trio.Event(), trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal served
        if theirs is not None:
            stream = trio.SSLStream(stream, theirs, server_side=True, https_compatible=True)
        served += 1
        number = served
        for _ in range(2):
            await stream.receive_some()
            await stream.send_all(answer(b"%d" % number))
        await went_on.wait()
        if late:
            await stream.send_all(late)
        else:
            await stream.aclose()
        done.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        http = HttpConnection(
            RealServers(listeners[0].socket.getsockname()[1], ours), 100, shared=True
        )
        for _ in range(2):
            assert (await http.request("GET", "/")).body == b"1", "it is kept for the next request"
        went_on.set()
        await done.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await http.request("GET", "/")).body == b"2"
        await http.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.req("HTTP-65")
@trio_test
async def test_a_stream_that_is_no_socket_is_asked_by_reading() -> None:
    class Pairs(RealServers):
        async def open_stream(self) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            opened.append(theirs)
            await theirs.send_all(answer(b"%d" % len(opened)))
            return ours

    opened: list[trio.abc.Stream] = []
    http = HttpConnection(Pairs(0, None), 100, shared=True)
    assert (await http.request("GET", "/")).body == b"1"
    await opened[0].send_all(answer(b"admin"))
    assert (await http.request("GET", "/")).body == b"2"
    await http.aclose()
