"""Clients of a room are told which users come and go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.wire import SocketIOClient, open_client
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Socket, Step
from trio_socketio.errors import LocalProtocolError, OptionError
from trio_socketio.im.presence.watchers import WINDOW_S, RoomWatchers
from trio_socketio.socketio.open_server import open_server


@asynccontextmanager
async def watching(max_users: int = 100) -> AsyncIterator[int]:
    server = Server(ServerOptions())
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
