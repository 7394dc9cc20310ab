"""A server that asks clients who they are, and clients that tell it in every way."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests import wire
from tests.im.identity.tokens import SECRET
from tests.socketio.serving import leave
from tests.wire import PollingEngine, SocketIOClient
from tests.wire_v3 import WebSocketEngineV3

from trio_socketio import Server, ServerOptions, TcpEndpoint
from trio_socketio.im.identity.backend_verifier import AskBackend
from trio_socketio.im.identity.options import IdentityOptions, JwtKey, JwtOptions, StaticToken
from trio_socketio.im.identity.revocations import RevokedId
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.runtime.runtime import Runtime, open_runtime

ANN, BOB = "token-of-ann", "token-of-bob"
STATIC = (StaticToken(user="ann", token=ANN), StaticToken(user="bob", token=BOB))
OK = {"errcode": 0, "errmsg": "ok"}


def jwt_options(folder: Path, **options: Any) -> JwtOptions:
    """Verify what tokens.token() signs by HS256."""
    path = folder / "secret"
    path.write_bytes(SECRET)
    return JwtOptions(keys=(JwtKey(file=str(path), algorithm="HS256"),), **options)


@dataclass
class Identified:
    """A server that serves, and its identity service."""

    server: Server
    service: IdentityService
    runtime: Runtime
    port: int

    @asynccontextmanager
    async def client(self, transport: str = "websocket") -> AsyncIterator[SocketIOClient]:
        """A client that has joined nothing yet."""
        async with wire.open_client(self.port, transport) as client:
            try:
                yield client
            finally:
                if isinstance(client.engine, PollingEngine):
                    await leave(client.engine)

    @asynccontextmanager
    async def old_client(self) -> AsyncIterator[SocketIOClient]:
        """A client 2.x, which is in / unless that asks for identity."""
        client = SocketIOClient(await WebSocketEngineV3.open(self.port))
        try:
            yield client
        finally:
            await client.aclose()

    async def revoke(
        self, user: str | None = None, token_id: str | None = None, for_s: float | None = None
    ) -> int | None:
        """Revoke, and return how many clients were put out; None if there was no room."""
        what = RevokedId(token_id is not None, user or token_id or "")
        result = await self.service.revoking.revoke(what, for_s)
        return None if result is None else result.done

    def results(self) -> dict[tuple[str, str], int]:
        return self.service.statistics().attempts


@asynccontextmanager
async def identified(
    server: Server | None = None,
    *,
    ask_backend: AskBackend | None = None,
    clock: Callable[[], float] = time.time,
    **options: Any,
) -> AsyncIterator[Identified]:
    """Serve while the block runs; without options, ann and bob may enter with static tokens."""
    if server is None:
        server = Server(ServerOptions(allow_eio3=True))
        server.of("/chat")
    options = options or {"tokens": STATIC}
    service = IdentityService(server, IdentityOptions(**options), ask_backend, clock=clock)
    async with open_runtime() as runtime:
        await runtime.start_service("identity", partial(service.run, runtime))
        async with (
            server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as ports,
        ):
            yield Identified(server, service, runtime, ports[0][1])
            assert runtime.poller.failures == 0
            assert server.statistics().handler_failures == 0
