"""The built-in lobby, from a client's point of view."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.wire import SocketIOClient, open_client
from trio_socketio import ServerOptions, lobby, open_server


class Guest:
    """A client in the lobby."""

    def __init__(self, client: SocketIOClient, sid: str) -> None:
        self.client = client
        self.id = sid

    async def ask(self, *event: Any) -> Any:
        """Emit and return the answer; no other event may come before it."""
        await self.client.emit(*event, ack_id=7)
        text, _ = await self.client.receive()
        assert text.startswith("37"), text
        (answer,) = json.loads(text[2:])
        return answer

    async def hears(self) -> list[Any]:
        return await self.client.receive_event()

    async def hears_nothing(self) -> None:
        """What was sent before would arrive before the answer: packets are in order."""
        assert isinstance(await self.ask("list"), dict)


class Lobby:
    """A running lobby and its guests."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port = port
        self._stack = stack

    async def enter(self, transport: str = "websocket") -> Guest:
        client = await self._stack.enter_async_context(open_client(self._port, transport))
        return Guest(client, await client.connect())


@asynccontextmanager
async def open_lobby(**options: Any) -> AsyncIterator[Lobby]:
    with trio.fail_after(10):
        server = lobby.create(ServerOptions(**options))
        async with open_server(server) as addresses, AsyncExitStack() as stack:
            yield Lobby(addresses[0][1], stack)


@trio_test
async def test_joining_answers_how_many_are_there_and_tells_them() -> None:
    async with open_lobby() as place:
        ann, bob = await place.enter(), await place.enter("polling")
        assert await ann.ask("join", "tea") == 1
        assert await bob.ask("join", "tea") == 2
        assert await ann.hears() == ["joined", "tea", bob.id]
        await bob.hears_nothing()


@pytest.mark.req("PRES-06")
@trio_test
async def test_rooms_of_users_and_sockets_are_closed_to_guests() -> None:
    async with open_lobby() as place:
        ann = await place.enter()
        for room in ("user:bob", "user:", "x" * 20, ann.id):
            for event in ("join", "leave", "message"):
                assert "error" in await ann.ask(event, room)


@trio_test
async def test_joining_twice_is_joining_once() -> None:
    async with open_lobby() as place:
        ann, bob = await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        assert await bob.ask("join", "tea") == 2
        assert await bob.ask("join", "tea") == 2
        assert await ann.hears() == ["joined", "tea", bob.id]
        await ann.hears_nothing()


@trio_test
async def test_leaving_answers_how_many_are_left_and_tells_them() -> None:
    async with open_lobby() as place:
        ann, bob = await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        await bob.ask("join", "tea")
        await ann.hears()
        assert await bob.ask("leave", "tea") == 1
        assert await ann.hears() == ["left", "tea", bob.id]
        await bob.hears_nothing()
        assert await ann.ask("leave", "tea") == 0
        assert await ann.ask("list") == {}


@trio_test
async def test_a_message_reaches_the_others_of_its_room_only() -> None:
    async with open_lobby() as place:
        ann, bob, eve = await place.enter(), await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        await bob.ask("join", "tea")
        await eve.ask("join", "coffee")
        await ann.hears()
        assert await ann.ask("message", "tea", "milk?", {"sugar": 2}) is True
        assert await bob.hears() == ["message", "tea", ann.id, "milk?", {"sugar": 2}]
        await ann.hears_nothing()
        await eve.hears_nothing()


@trio_test
async def test_a_message_may_hold_binary() -> None:
    async with open_lobby() as place:
        ann, bob = await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        await bob.ask("join", "tea")
        placeholder = '{"_placeholder":true,"num":0}'
        await bob.client.send(f'51-["message","tea",{placeholder}]', b"\x00\xff")
        assert await ann.hears() == ["joined", "tea", bob.id]
        text, attachments = await ann.client.receive()
        assert json.loads(text[3:]) == ["message", "tea", bob.id, json.loads(placeholder)]
        assert attachments == [b"\x00\xff"]


@trio_test
async def test_the_list_counts_the_rooms_but_not_the_sockets_own() -> None:
    async with open_lobby() as place:
        ann, bob = await place.enter(), await place.enter()
        assert await ann.ask("list") == {}
        await ann.ask("join", "tea")
        await ann.ask("join", "coffee")
        await bob.ask("join", "tea")
        assert await bob.ask("list") == {"tea": 2, "coffee": 1}


@pytest.mark.parametrize("how", ["disconnect packet", "dropped connection"])
def test_a_guest_that_goes_is_told_to_the_rooms(how: str) -> None:
    async def main() -> None:
        async with open_lobby() as place:
            ann, bob = await place.enter(), await place.enter()
            for room in ("tea", "coffee"):
                await ann.ask("join", room)
            await bob.ask("join", "tea")
            await ann.hears()
            await bob.ask("join", "coffee")
            await ann.hears()
            await bob.ask("join", "cellar")  # where nobody is to be told
            if how == "disconnect packet":
                await bob.client.send("1")
            else:
                await bob.client.aclose()
            told = [await ann.hears(), await ann.hears()]
            assert sorted(told) == [["left", "coffee", bob.id], ["left", "tea", bob.id]]
            assert await ann.ask("list") == {"tea": 1, "coffee": 1}

    trio.run(main)


WRONG = [(), ("",), (5,), (None,), ([],), ({"room": "tea"},), ("x" * 101,)]


@pytest.mark.parametrize("event", ["join", "leave", "message"])
def test_wrong_arguments_are_answered_with_what_is_wrong(event: str) -> None:
    async def main() -> None:
        async with open_lobby() as place:
            ann = await place.enter()
            for arguments in WRONG:
                answer = await ann.ask(event, *arguments)
                assert list(answer) == ["error"]
                assert answer["error"].startswith(f"{event} takes ")
            assert await ann.ask("list") == {}

    trio.run(main)


@trio_test
async def test_a_name_of_the_full_length_is_a_room() -> None:
    async with open_lobby() as place:
        ann = await place.enter()
        assert await ann.ask("join", "x" * 100) == 1


@trio_test
async def test_only_who_is_in_a_room_leaves_it_or_speaks_in_it() -> None:
    async with open_lobby() as place:
        ann, eve = await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        assert "error" in await eve.ask("message", "tea", "psst")
        assert "error" in await eve.ask("leave", "tea")
        await ann.hears_nothing()
        assert await ann.ask("list") == {"tea": 1}


@trio_test
async def test_the_id_of_a_socket_is_no_room() -> None:
    async with open_lobby() as place:
        ann, eve = await place.enter(), await place.enter()
        for event in ("join", "message", "leave"):
            for sid in (ann.id, eve.id):
                assert "error" in await eve.ask(event, sid)
        await ann.hears_nothing()


@trio_test
async def test_too_many_rooms_are_refused_and_told_to_nobody() -> None:
    async with open_lobby(max_rooms_per_socket=2) as place:
        ann, eve = await place.enter(), await place.enter()
        await ann.ask("join", "tea")
        await eve.ask("join", "1")
        await eve.ask("join", "2")
        assert "more than 2 rooms" in (await eve.ask("join", "tea"))["error"]
        await ann.hears_nothing()


@trio_test
async def test_without_a_wish_for_an_answer_nothing_is_answered() -> None:
    async with open_lobby() as place:
        ann = await place.enter()
        await ann.client.emit("join", "tea")
        await ann.client.emit("nonsense", 1, 2, 3)
        assert await ann.ask("list") == {"tea": 1}
