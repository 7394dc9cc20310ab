"""A server with rules, whose clients say who they are, and a clock that the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.socketio.serving import joined, send_batch
from tests.wire import SocketIOClient

from trio_socketio import Namespace, Server, Socket, TcpEndpoint
from trio_socketio.im.rules.grants import Claims
from trio_socketio.im.rules.options import NamespaceRules, Rates, RulesOptions
from trio_socketio.im.rules.service import Rules
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.steps import Step


@dataclass
class Ruled:
    """A server that serves, and its rules. Clients are in /chat."""

    server: Server
    claims: dict[str, Any] = field(default_factory=dict)  # by user
    now: float = 100.0
    port: int = 0

    def __post_init__(self) -> None:
        self.chat: Namespace = self.server.of("/chat")
        self.users: dict[str, User] = {}

    def bearer_of(self, socket: Socket) -> "User | None":
        if socket.user is None:
            return None
        return self.users.setdefault(socket.user, User(self, socket.user))

    @asynccontextmanager
    async def client(self, user: str | None = "ann") -> AsyncIterator[SocketIOClient]:
        async with joined(self.port, "websocket", "/chat", {"user": user}) as (client, _):
            yield client

    def socket(self, user: str = "ann") -> Socket:
        return next(one for one in self.chat.sockets.values() if one.user == user)


_NO_CLAIMS: Final[Claims] = {}


@dataclass
class Token:
    """A token of a client."""

    claims: Claims


class User:
    """The client of a user, which has another token as soon as the user has other claims."""

    def __init__(self, world: Ruled, user: str) -> None:
        self._world = world
        self._user = user
        self._token = Token(_NO_CLAIMS)

    @property
    def identity(self) -> Token:
        claims = self._world.claims.get(self._user, _NO_CLAIMS)
        if claims is not self._token.claims:
            self._token = Token(claims)
        return self._token


def identify(joining: Joining) -> None:
    if joining.auth.get("user"):
        joining.identify(joining.auth["user"])


@asynccontextmanager
async def ruled(
    options: RulesOptions | None = None, server: Server | None = None, **chat: Any
) -> AsyncIterator[tuple[Ruled, Rules]]:
    """Serve while the block runs, with these rules in /chat; "echo" is handled there."""
    server = server or Server()
    server.add_steps([Step(State.AUTHENTICATING, identify)])
    world = Ruled(server)
    world.chat.on("echo")(lambda _, *arguments: arguments)
    if options is None:
        options = RulesOptions(namespaces=(NamespaceRules(name="/chat", **chat),))
    rules = Rules(server, options, world.bearer_of, lambda: world.now)
    async with open_runtime() as runtime:
        await runtime.start_service("rules", partial(rules.run, runtime))
        async with (
            server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as ports,
        ):
            world.port = ports[0][1]
            yield world, rules
            assert runtime.poller.failures == 0
            assert server.statistics().handler_failures == 0


def rated(**rates: Any) -> dict[str, Any]:
    return {"rates": Rates(**rates)}


async def ask(client: SocketIOClient, event: str, *arguments: Any) -> Any:
    """Emit an event that asks for an answer.

    Returns:
        The answer, or what was refused; the client is told that twice, and equally.
    """
    await client.emit(event, *arguments, namespace="/chat", ack_id=7)
    text, _ = await client.receive()
    if text.startswith("2/chat,"):
        told = SocketIOClientEvent(text)
        answer, _ = await client.receive()
        assert answer == f"3/chat,7[{told.payload}]"
        return told.refusal
    assert text.startswith("3/chat,7")
    return text.removeprefix("3/chat,7")


class SocketIOClientEvent:
    """The event logic/error as it came."""

    def __init__(self, text: str) -> None:
        prefix = '2/chat,["logic/error",'
        assert text.startswith(prefix), text
        self.payload = text.removeprefix(prefix).removesuffix("]")
        self.refusal = Refusal(self.payload)


class Refusal(str):
    """What a client was told, as JSON."""


async def flood(client: SocketIOClient, event: str, count: int) -> None:
    """Send an event many times, in one write."""
    await send_batch(client, [f'2/chat,["{event}"]'] * count)
