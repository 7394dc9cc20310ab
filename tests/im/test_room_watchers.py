"""Clients of a room are told which users come and go."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.redis_server import RedisServer
from tests.wire import SocketIOClient, open_client
from trio.testing import trio_test

from trio_socketio import (
    AckTimeout,
    Adapter,
    Joining,
    JoiningState,
    Namespace,
    RedisPubSub,
    Server,
    ServerOptions,
    Socket,
    SocketDetails,
    Step,
    Target,
    open_redis,
)
from trio_socketio.adapters.redis_pubsub import RedisAdapter
from trio_socketio.errors import LocalProtocolError, OptionError
from trio_socketio.im.presence.watchers import WINDOW_S, RoomWatchers
from trio_socketio.socketio.open_server import open_server


@asynccontextmanager
async def watching(
    max_users: int = 100, adapter: Callable[[Namespace], Adapter] = Adapter
) -> AsyncIterator[int]:
    server = Server(ServerOptions(), adapter=adapter)
    chat = server.of("/chat")

    def identify(joining: Joining) -> None:
        if "user" in joining.auth:
            joining.identify(joining.auth["user"])

    @chat.on("join")
    def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @chat.on("leave")
    def leave(socket: Socket, room: str) -> None:
        socket.leave(room)

    server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    watchers = RoomWatchers(server)
    watchers.watch("/chat", "t*", max_users=max_users)
    with pytest.raises(LocalProtocolError, match="watched already"):
        watchers.watch("/chat", "*")
    async with open_server(server) as addresses:
        yield addresses[0][1]


class Member:
    def __init__(self, client: SocketIOClient) -> None:
        self.client = client

    async def ask(self, *arguments: Any) -> Any:
        """The answer to an event, and what came before it."""
        await self.client.emit(*arguments, namespace="/chat", ack_id=1)
        seen: list[str] = []
        while True:
            text, _ = await self.client.receive()
            if text.startswith("3/chat,1"):
                return text[len("3/chat,1") :], seen
            seen.append(text)

    async def seen(self) -> list[str]:
        """What was told by the end of the window."""
        await trio.sleep(4 * WINDOW_S)
        told: list[str] = (await self.ask("leave", "nowhere"))[1]
        return [text.partition("[")[2].rstrip("]") for text in told]


@asynccontextmanager
async def member(port: int, user: str | None, *rooms: str) -> AsyncIterator[Member]:
    async with open_client(port) as client:
        await client.connect("/chat", {} if user is None else {"user": user})
        found = Member(client)
        for room in rooms:
            await found.ask("join", room)
        yield found


def told(kind: str, user: str, room: str = "t1") -> str:
    return f'"presence/room",{{"room":"{room}","type":"{kind}","user":"{user}"}}'


@pytest.mark.req("HOOK-30", "HOOK-31")
@trio_test
async def test_users_and_not_sockets_are_told() -> None:
    async with watching() as port, member(port, "ann", "t1", "other", "user:x") as ann:
        assert await ann.seen() == [told("joined", "ann")]
        async with member(port, "bob", "t1", "other") as bob, member(port, None, "t1"):
            assert await ann.seen() == [told("joined", "bob")]
            assert (await bob.ask("presence/list", "t1"))[0] == '[["ann","bob"]]'
            for room in ("t2", "other", 7, "user:ann"):
                assert (await ann.ask("presence/list", room))[0] == "[]"
            async with member(port, "bob", "t1") as again:
                assert await ann.seen() == []
                await bob.ask("leave", "t1")
                assert await ann.seen() == []
                await again.ask("leave", "t1")
                await again.ask("join", "t1")
                assert await ann.seen() == [], "gone and come within the window"
            assert await ann.seen() == [told("left", "bob")]


@asynccontextmanager
async def two_nodes(redis: RedisServer) -> AsyncIterator[tuple[int, int]]:
    """The ports of two nodes."""
    async with (
        open_redis(redis.url) as one,
        open_redis(redis.url) as other,
        watching(adapter=RedisPubSub(one, request_timeout_s=1)) as here,
        watching(adapter=RedisPubSub(other, request_timeout_s=1)) as there,
    ):
        yield here, there


@pytest.mark.req("HOOK-34", "HOOK-35")
@trio_test
async def test_rooms_are_those_of_all_nodes(shared_redis: RedisServer) -> None:
    async with (
        two_nodes(shared_redis) as (here, there),
        member(here, "ann", "t1") as ann,
        member(there, "cy", "t1") as cy,
    ):
        await ann.seen()
        await cy.seen()
        async with member(here, "bob", "t1") as bob:
            for one in (ann, cy):
                assert await one.seen() == [told("joined", "bob")]
            for one in (ann, cy, bob):
                assert (await one.ask("presence/list", "t1"))[0] == '[["ann","bob","cy"]]'
            async with member(there, "bob", "t1"):  # on both nodes
                for one in (ann, cy):
                    assert await one.seen() == [told("joined", "bob")]
                await bob.ask("leave", "t1")
                for one in (ann, cy):
                    assert await one.seen() == [], "it is in the room elsewhere"
                assert (await ann.ask("presence/list", "t1"))[0] == '[["ann","bob","cy"]]'
            for one in (ann, cy):
                assert await one.seen() == [told("left", "bob")]


@pytest.mark.req("HOOK-34")
@trio_test
async def test_a_node_that_does_not_answer_holds_nobody_up(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: RedisAdapter, target: Target) -> list[SocketDetails]:
        found = await Adapter.fetch_sockets(self, target)
        raise AckTimeout("the test says so", [(one.id, one) for one in found])

    async with (
        two_nodes(shared_redis) as (here, there),
        member(here, "ann", "t1") as ann,
        member(there, "cy", "t1"),
    ):
        await ann.seen()
        monkeypatch.setattr(RedisAdapter, "fetch_sockets", fail)
        async with member(here, "bob", "t1"):
            await ann.seen()
        assert await ann.seen() == [told("left", "bob")]


@pytest.mark.req("HOOK-32")
@trio_test
async def test_nobody_is_told_in_a_large_room(caplog: pytest.LogCaptureFixture) -> None:
    async with watching(max_users=1) as port, member(port, "ann", "t1") as ann:
        await ann.seen()
        async with member(port, "bob", "t1"):
            assert await ann.seen() == []
            assert (await ann.ask("presence/list", "t1"))[0] == "[]"
            async with member(port, "cy", "t1"):
                assert await ann.seen() == []
        assert caplog.text.count("has more than 1 users") == 1
        await ann.seen()


def test_a_bound_that_cannot_be_used() -> None:
    with pytest.raises(OptionError, match="max_users"):
        RoomWatchers(Server()).watch("/chat", "*", max_users=0)
