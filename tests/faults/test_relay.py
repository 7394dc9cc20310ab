"""The relay that makes networks fail."""

from functools import partial

import pytest
import trio
from trio.testing import trio_test

from tests.faults.relay import Pushes, open_relay

ANSWERS = b"+OK\r\n$5\r\na\r\nbc\r\n%1\r\n+x\r\n*2\r\n:1\r\n$-1\r\n"
PUSH = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n>1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("is_held", [False, True])
def test_pushes_are_told_from_answers(size: int, *, is_held: bool) -> None:
    data = ANSWERS + PUSH + PUSH + ANSWERS + PUSH
    pushes = Pushes()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    passed = b"".join(pushes.take(piece, is_held=is_held) for piece in pieces)
    assert passed == (ANSWERS * 2 if is_held else data)


async def _echo(stream: trio.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(b"+" + data + b"\r\n")


@trio_test
async def test_a_relay_stops_and_goes_on_and_slows_down() -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, _echo, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        target = listener.socket.getsockname()[1]
        async with open_relay(target) as relay:
            stream = await trio.open_tcp_stream("127.0.0.1", relay.port)
            await stream.send_all(b"a")
            assert await stream.receive_some() == b"+a\r\n"
            relay.hold()
            await stream.send_all(b"b")
            with trio.move_on_after(0.1) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
            relay.go_on()
            assert await stream.receive_some() == b"+b\r\n"
            relay.delay_s = 0.05
            began = trio.current_time()
            await stream.send_all(b"c")
            assert await stream.receive_some() == b"+c\r\n"
            assert trio.current_time() - began >= 0.1
            relay.is_away = True
            relay.cut()
            assert await stream.receive_some() == b""
            other = await trio.open_tcp_stream("127.0.0.1", relay.port)
            assert await other.receive_some() == b""
            await other.aclose()
            await stream.aclose()
        nursery.cancel_scope.cancel()
