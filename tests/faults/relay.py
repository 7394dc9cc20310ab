"""A TCP relay in front of a server, which a test can cut."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio


class Relay:
    """Passes bytes on between clients and a server on this machine, until it is cut.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._connections: set[trio.CancelScope] = set()

    def cut(self) -> int:
        """End all connections at once; return how many there were. New ones are accepted."""
        for scope in self._connections:
            scope.cancel()
        return len(self._connections)

    async def serve(self, listener: trio.SocketListener) -> None:
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                async with (
                    client,
                    await trio.open_tcp_stream("127.0.0.1", self._target) as server,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._pass_on, client, server, scope)
                    nursery.start_soon(self._pass_on, server, client, scope)
            except OSError:
                pass  # the server is away, so the client is hung up on
            finally:
                self._connections.discard(scope)

    async def _pass_on(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def open_relay(target: int) -> AsyncIterator[Relay]:
    """Relay to a port of this machine while the block runs."""
    relay = Relay(target)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(relay.serve, listener))
        await trio.lowlevel.checkpoint()
        while not relay.port:
            await trio.lowlevel.checkpoint()
        yield relay
        nursery.cancel_scope.cancel()
