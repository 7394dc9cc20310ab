"""A session that has ended gives its memory back at once: no cycle waits for the collector.

The collector looks at old objects only when their number has grown by a quarter. Until then all
that sessions leave behind would be kept: megabytes, on a server with many clients.
"""

import gc
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
import trio
from tests.endurance.client import CHAT, EVENT, Client, PutOut, Refused, Vanished
from tests.endurance.lines import Closed, Line, Polling, WebSocket
from tests.endurance.ways import GARBAGE
from tests.net.harness import open_net
from tests.socketio.serving import joined, serving, until
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Server, ServerOptions, Socket

TIMES = 3
"""How often each is done: what is left of all of them would be left of every client."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    gc.unfreeze()


def find_garbage() -> dict[str, int]:
    """Return the objects of the package that only the collector frees, by their types."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = Counter(
        type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith("trio_s")
    )
    return {kind: count for kind, count in kinds.items() if count >= TIMES}


@pytest.mark.req("RUN-44")
@pytest.mark.parametrize("suspends", [False, True])
@trio_test
async def test_what_a_handler_returns_is_not_kept(suspends: bool) -> None:
    class Result:
        """Something large, of which nobody has asked for an answer."""

    server = Server()
    kept: list[weakref.ref[Result]] = []

    @server.on("make")
    async def make(_: Socket) -> Result:
        if suspends:
            await trio.lowlevel.checkpoint()
        result = Result()
        kept.append(weakref.ref(result))
        return result

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await client.emit("make")
        await until(lambda: bool(kept) and kept[0]() is None)


def create() -> Server:
    server = Server(ServerOptions(allow_eio3=True, ping_interval_s=0.1, ping_timeout_s=0.2))
    chat = server.of(CHAT)

    @chat.on("auth")
    def auth(socket: Socket, _: object) -> None:
        socket.emit("auth/reply", {"errcode": 0})

    @chat.on("ask")
    async def ask(_: Socket, *arguments: object) -> list[object]:
        await trio.lowlevel.checkpoint()
        return list(arguments)

    @chat.on("out")
    def out(socket: Socket) -> None:
        socket.emit("session/replaced", {"reason": "out"})
        socket.disconnect(close=True)

    return server


async def leave(client: Client) -> None:
    await client.leave()


async def say_goodbye(client: Client) -> None:
    await client.transport.say_goodbye()


async def hang_up(client: Client) -> None:
    client.transport.close()


async def reset(client: Client) -> None:
    client.transport.reset()


async def fall_silent(client: Client) -> None:
    await trio.sleep(0.5)


async def be_put_out(client: Client) -> None:
    await client.send(EVENT, ["out"])
    with pytest.raises((PutOut, Vanished)):
        await client.stay(1)
    with suppress(Closed):  # a client on long-polling fetches the close
        await client.transport.receive()


ENDS = (leave, say_goodbye, hang_up, reset, fall_silent, be_put_out)


@pytest.mark.parametrize("revision", [4, 3])
@pytest.mark.parametrize("way", ["websocket", "polling", "upgrade"])
@pytest.mark.req("RUN-44")
@trio_test
async def test_a_session_leaves_no_garbage(way: str, revision: int) -> None:
    server = create()

    async def live(port: int, end: Callable[[Client], Awaitable[None]]) -> None:
        client = Client(port, revision=revision)
        await client.open(way)
        await client.join({})
        assert await client.ask("ask", b"tea") == [[b"tea"]]
        await end(client)
        client.transport.close()

    async with serving(server) as port:
        async with trio.open_nursery() as nursery:
            for end in ENDS * TIMES:
                nursery.start_soon(live, port, end)
        await until(lambda: not server.statistics().sessions)
        await until(lambda: not server.statistics().connections)
        assert find_garbage() == {}


@pytest.mark.req("RUN-44")
@trio_test
async def test_sessions_that_never_join_leave_no_garbage() -> None:
    server = create()
    async with serving(server) as port:
        for _ in range(TIMES):
            for kind in (Polling, WebSocket):
                line = Line(port)
                await line.open()
                session = kind(line, port, 4)
                await session.open()
                if isinstance(
                    session, Polling
                ):  # a GET that waits, and a probe that is not answered
                    await session.begin(line, "GET")
                    other = Line(port)
                    await other.open()
                    probe = WebSocket(other, port, 4)
                    await probe.shake_hands(session.sid)
                    await probe.send("2probe")
                    await probe.receive()
                    other.reset()
                line.reset()
        await until(lambda: not server.statistics().sessions)
        await until(lambda: not server.statistics().connections)
        assert find_garbage() == {}


@pytest.mark.req("RUN-44")
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [ConnectRefused("not you"), ValueError("a defect")])
@trio_test
async def test_clients_that_may_not_join_leave_no_garbage(error: Exception, is_async: bool) -> None:
    server = create()

    def refuse(_: Socket) -> None:
        raise type(error)(*error.args)

    async def refuse_later(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        refuse(socket)

    server.of(CHAT).use(refuse_later if is_async else refuse)
    async with serving(server) as port:
        for _ in range(TIMES):
            client = Client(port, revision=4)
            await client.open("websocket")
            with pytest.raises((Refused, PutOut, Vanished)):
                await client.join({})
            client.transport.close()
        await until(lambda: not server.statistics().connections)
        assert find_garbage() == {}


@pytest.mark.req("RUN-44")
@trio_test
async def test_requests_that_are_refused_leave_no_garbage() -> None:
    """The exceptions of h11 refer to themselves by the frames of its functions."""
    async with serving(server := create()) as port:
        for request in GARBAGE * TIMES:
            line = Line(port)
            await line.open()
            await line.send(request)
            with trio.move_on_after(0.05):
                await line.wait_closed()
            line.close()
        await until(lambda: not server.statistics().connections)
        assert find_garbage() == {}


@pytest.mark.req("RUN-44")
@trio_test
async def test_a_body_that_is_none_leaves_no_garbage() -> None:
    async with open_net() as net:
        http = net.http(lambda request: request.read_body(1000, lambda _: None))
        await http.peer.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
        )
        assert (await http.peer.read()).startswith(b"HTTP/1.1 400 ")
        find_garbage()
        assert not [one for one in gc.garbage if isinstance(one, Exception)]
