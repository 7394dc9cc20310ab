"""A TCP relay in front of a server, which a test can cut, stop, slow down or starve."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

_CHUNK: Final = 65536


class Relay:
    """Passes bytes on between clients and a server on this machine.

    Args:
        target: the port of the server.
        speaks_resp: whether the server answers in RESP3, so that messages can be held back.

    Attributes:
        port: where it listens.
        target: the port of the server, for connections that are made from now on.
        delay_s: how long bytes take, in each direction.
        is_away: whether it hangs up on everybody who connects.
        starves: whether messages of Redis are held back, while its answers pass.
    """

    def __init__(self, target: int, *, speaks_resp: bool = True) -> None:
        self.port = 0
        self._speaks_resp = speaks_resp
        self.target = target
        self.delay_s = 0.0
        self.is_away = False
        self.starves = False
        self._goes_on = trio.Event()
        self._goes_on.set()
        self._connections: set[trio.CancelScope] = set()

    def cut(self) -> int:
        """End all connections at once; return how many there were. New ones are accepted."""
        for scope in self._connections:
            scope.cancel()
        return len(self._connections)

    def hold(self) -> None:
        """Pass nothing on any more, while connections stay and can be made."""
        self._goes_on = trio.Event()

    def go_on(self) -> None:
        """Pass on again, also what was held."""
        self._goes_on.set()

    async def serve(self, listener: trio.SocketListener) -> None:
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, client: trio.SocketStream) -> None:
        if self.is_away:
            await client.aclose()
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                async with (
                    client,
                    await trio.open_tcp_stream("127.0.0.1", self.target) as server,
                    trio.open_nursery() as nursery,
                ):
                    for source, sink, filters in (
                        (client, server, None),
                        (server, client, Pushes() if self._speaks_resp else None),
                    ):
                        given, taken = trio.open_memory_channel[tuple[float, bytes]](1000)
                        nursery.start_soon(self._take, source, given, filters)
                        nursery.start_soon(self._give, taken, sink, scope)
            except OSError:
                pass  # the server is away, so the client is hung up on
            finally:
                self._connections.discard(scope)

    async def _take(
        self,
        source: trio.SocketStream,
        given: trio.MemorySendChannel[tuple[float, bytes]],
        pushes: "Pushes | None",
    ) -> None:
        async with given:
            try:
                while data := await source.receive_some(_CHUNK):
                    if pushes is not None:
                        data = pushes.take(data, is_held=self.starves)
                    await given.send((trio.current_time() + self.delay_s, data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def _give(
        self,
        taken: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.SocketStream,
        scope: trio.CancelScope,
    ) -> None:
        try:
            async for due, data in taken:
                await trio.sleep_until(due)
                await self._goes_on.wait()
                await sink.send_all(data)
            await self._goes_on.wait()  # of an end, too, nothing is known meanwhile
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


class Pushes:
    """Finds the pushes of RESP3 in what a server sends."""

    def __init__(self) -> None:
        self._input = bytearray()

    def take(self, data: bytes, *, is_held: bool) -> bytes:
        """Return the whole values that have come; without the pushes, if these are held."""
        self._input += data
        passed = bytearray()
        begin = 0
        while (end := _end_of_value(self._input, begin)) is not None:
            if not is_held or self._input[begin] != ord(">"):
                passed += self._input[begin:end]
            begin = end
        del self._input[:begin]
        return bytes(passed)


def _end_of_value(data: bytearray, at: int) -> int | None:
    """Return where the value ends that begins there; None if it is not all there."""
    left = 1  # values that are yet to come
    while left:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        kind, count = bytes(data[at : at + 1]), data[at + 1 : line]
        at, left = line + 2, left - 1
        if kind in (b"$", b"!", b"="):
            at += int(count) + 2 if int(count) >= 0 else 0
            if at > len(data):
                return None
        elif kind in (b"*", b"~", b">"):
            left += max(0, int(count))
        elif kind in (b"%", b"|"):
            left += 2 * int(count)
    return at


@asynccontextmanager
async def open_relay(target: int, *, speaks_resp: bool = True) -> AsyncIterator[Relay]:
    """Relay to a port of this machine while the block runs; see Relay."""
    relay = Relay(target, speaks_resp=speaks_resp)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(relay.serve, listener))
        await trio.lowlevel.checkpoint()
        while not relay.port:
            await trio.lowlevel.checkpoint()
        yield relay
        nursery.cancel_scope.cancel()
