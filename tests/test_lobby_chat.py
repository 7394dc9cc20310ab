"""The lobby with its page, from the point of view of clients: names, seats and reports."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import trio_test

from tests.cli_process import serving as serving_process
from tests.ops.operated import ask_admin
from tests.socketio.serving import serving
from tests.test_lobby import Guest
from tests.wire import SocketIOClient, open_client
from trio_socketio import ConnectRefused, Server, ServerOptions
from trio_socketio.codec.names import unfit_character
from trio_socketio.im.presence import Presence, presence_of
from trio_socketio.lobby.chat import MAX_NAME, _chats, create_chat, take_name, tell_dashboard


class Person(Guest):
    """A client with a name, or a guest."""

    def __init__(self, client: SocketIOClient, sid: str) -> None:
        super().__init__(client, sid)
        self.online: set[str] = set()

    async def greet(self) -> Any:
        """Ask who is online; what was reported before is in the answer."""
        await self.client.emit("hello", ack_id=7)
        while not (text := (await self.client.receive())[0]).startswith("37"):
            assert text.startswith('2["presence"'), text
        (answer,) = json.loads(text[2:])
        self.online = set(answer["online"])
        return answer

    async def follow(self, until: set[str]) -> list[str]:
        """Take reports until these are online; return what was told of whom."""
        told = []
        while self.online != until:
            event, report = await self.hears()
            assert event == "presence"
            for entry in report["entries"]:
                told.append(f"{entry['type']} {entry['user']}")
                if entry["type"] == "online":
                    self.online.add(entry["user"])
                elif entry["type"] == "offline":
                    self.online.discard(entry["user"])
            assert report["users"] == len(self.online)
        return told


class House:
    """A running lobby with its page."""

    def __init__(self, server: Server, port: int, stack: AsyncExitStack) -> None:
        self.server = server
        self.port = port
        self._stack = stack

    async def enter(self, name: Any = None, transport: str = "websocket") -> Person:
        client = await self._stack.enter_async_context(open_client(self.port, transport))
        auth = None if name is None else {"name": name}
        return Person(client, await client.connect("/", auth))


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    server = create_chat(ServerOptions())
    async with serving(server) as port, AsyncExitStack() as stack:
        yield House(server, port, stack)


@pytest.mark.req("PAGE-01", "PAGE-02", "PAGE-03")
@trio_test
async def test_the_page_is_at_the_root() -> None:
    async with open_house() as house:
        read = await ask_admin(house.port, "GET", "/")
        assert read.status == 200
        assert '<html data-path="/socket.io/" data-parser="json" lang="en">' in read.text
        assert "default-src 'none'" in read.headers["content-security-policy"]
        assert (await ask_admin(house.port, "HEAD", "/")).body == b""
        assert (await ask_admin(house.port, "POST", "/")).status == 405
        assert (await ask_admin(house.port, "GET", "/other")).status == 404


@pytest.mark.req("PAGE-04", "PAGE-16")
@pytest.mark.time_limit(30)
@trio_test
async def test_the_program_serves_the_page_unless_there_is_an_app() -> None:
    async with serving_process("--admin", "127.0.0.1:0") as program:
        port = await program.wait_port()
        assert any(line.endswith(f"a page at http://127.0.0.1:{port}/") for line in program.log)
        assert (await ask_admin(port, "GET", "/")).status == 200
        async with open_client(port) as client:
            ann = Person(client, await client.connect("/", {"name": "ann"}))
            dashboard = (await ann.greet())["dashboard"]
        assert dashboard.startswith("http://127.0.0.1:")
        admin = int(dashboard.rstrip("/").rpartition(":")[2])
        assert (await ask_admin(admin, "GET", "/livez")).status == 200
        assert await program.end() == 0
    async with serving_process("--app", "trio_socketio.lobby:create") as program:
        assert (await ask_admin(await program.wait_port(), "GET", "/")).status == 404
        assert not any("a page at" in line for line in program.log)
        assert await program.end() == 0


@pytest.mark.req("PAGE-16")
@trio_test
async def test_the_dashboard_is_told() -> None:
    async with open_house() as house:
        ann = await house.enter("ann")
        assert (await ann.greet())["dashboard"] == ""
        tell_dashboard(house.server, "http://127.0.0.1:9100/")
        assert (await ann.greet())["dashboard"] == "http://127.0.0.1:9100/"
    tell_dashboard(Server(), "http://127.0.0.1:9100/")  # which is no lobby


@pytest.mark.req("PAGE-10", "PAGE-11")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
@trio_test
async def test_guests_use_the_lobby_as_before(transport: str) -> None:
    async with open_house() as house:
        guest, other = await house.enter(None, transport), await house.enter()
        assert await guest.ask("join", "tea") == 1
        assert await other.ask("join", "tea") == 2
        assert await guest.hears() == ["joined", "tea", other.id]
        assert await other.ask("message", "tea", "hi") is True
        assert await guest.hears() == ["message", "tea", other.id, "hi"]
        assert "error" in await guest.ask("hello")
        await house.enter("ann")
        await guest.hears_nothing()
        presence = presence_of(house.server)
        assert presence is not None
        assert presence.statistics().claims == 1
        assert await guest.ask("leave", "tea") == 1
        assert await other.hears() == ["left", "tea", guest.id]


@pytest.mark.req("PAGE-11")
@trio_test
async def test_without_guests_a_client_needs_an_identity() -> None:
    server = Server()
    Presence(server).seat("/")
    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        text, _ = await client.receive()
        assert text.startswith("4"), text
        assert "not authenticated" in text


@pytest.mark.req("PAGE-12")
@pytest.mark.parametrize(
    "name",
    ["", " ", " ann", "ann ", "x" * 33, 5, True, [], {}, "a\nb", "a\0", "\u202eann", "\u200b"],
)
@trio_test
async def test_other_names_are_refused(name: Any) -> None:
    async with open_house() as house, open_client(house.port) as client:
        await client.send(f"0{json.dumps({'name': name})}")
        text, _ = await client.receive()
        assert text.startswith("4"), text
        assert json.loads(text[1:])["message"].startswith("a name ")


class FakeJoining:
    """A joining whose client says anything."""

    socket = None

    def __init__(self, auth: dict[str, Any]) -> None:
        self.auth = auth
        self.user: str | None = None

    def identify(self, user: str) -> None:
        self.user = user


@pytest.mark.req("PAGE-12")
@given(st.text(max_size=40))
def test_a_name_is_taken_as_it_is_or_refused(name: str) -> None:
    joining: Any = FakeJoining({"name": name})
    try:
        take_name(joining)
    except ConnectRefused:
        fits = 0 < len(name) <= MAX_NAME and name == name.strip() and not unfit_character(name)
        assert not fits or not any(map(str.isprintable, "".join(name.split())))
    else:
        assert joining.user == name
        assert 0 < len(name) <= MAX_NAME
        assert not unfit_character(name)


@pytest.mark.req("PAGE-13")
@trio_test
async def test_a_second_client_of_one_name_takes_the_seat() -> None:
    async with open_house() as house:
        bob = await house.enter("bob")
        old = await house.enter("ann")
        await bob.greet()
        await bob.follow({"ann", "bob"})
        await house.enter("ann", "polling")
        assert await old.hears() == ["session/replaced", {"reason": "replaced"}]
        assert (await old.client.receive())[0] == "1"
        told: list[str] = []
        while not told:
            _, report = await bob.hears()
            told = [f"{one['type']} {one['reason']}" for one in report["entries"]]
        assert told == ["moved replaced"]
        assert report["users"] == 2


@pytest.mark.req("PAGE-14")
@trio_test
async def test_reports_say_who_is_online() -> None:
    async with open_house() as house:
        ann = await house.enter("ann")
        await ann.greet()
        await ann.follow({"ann"})
        bob = await house.enter("bob")
        await bob.greet()
        assert await ann.follow({"ann", "bob"}) == ["online bob"]
        eve = await house.enter("<b>eve</b>")
        await ann.follow({"ann", "bob", "<b>eve</b>"})
        await bob.client.send("1")
        assert await ann.follow({"ann", "<b>eve</b>"}) == ["offline bob"]
        answer = await eve.ask("hello")
        assert answer["online"] == ["ann", "<b>eve</b>"]
        assert answer["users"] == 2
        assert [one["type"] for one in answer["recent"]] == ["online"] * 3 + ["offline"]
        assert answer["recent"][-1]["reason"] == "client namespace disconnect"
        assert (answer["id"], answer["name"]) == (eve.id, "<b>eve</b>")
        chat = _chats[house.server]()
        assert chat is not None
        assert {one.user for one in chat._listeners} == {"ann", "<b>eve</b>"}  # bob is forgotten


@pytest.mark.req("PAGE-14")
@trio_test
async def test_answers_count_all_and_name_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.lobby.chat.MAX_SHOWN", 1)
    async with open_house() as house:
        ann, bob = await house.enter("ann"), await house.enter("bob")
        await ann.ask("join", "tea")
        assert await bob.ask("join", "tea") == 2
        assert await ann.hears() == ["joined", "tea", bob.id, "bob"]
        found = await ann.ask("who", "tea")
        assert len(found["members"]) == 1
        assert found["total"] == 2
        assert "error" in await ann.ask("who", "coffee")
        assert "error" in await ann.ask("who")
        answer = await ann.ask("hello")
        assert len(answer["online"]) <= 1


@pytest.mark.req("PAGE-15")
@trio_test
async def test_typing_and_arrivals_reach_whom_they_concern() -> None:
    async with open_house() as house:
        ann, bob, eve = await house.enter("ann"), await house.enter("bob"), await house.enter("eve")
        guest = await house.enter()
        await ann.ask("join", "tea")
        await bob.ask("join", "tea")
        await ann.hears()
        found = await bob.ask("who", "tea")
        assert sorted(found["members"], key=str) == sorted(
            [[ann.id, "ann"], [bob.id, "bob"]], key=str
        )
        await bob.client.emit("typing", "tea")
        assert await ann.hears() == ["typing", "tea", bob.id]
        for person in (eve, guest):
            await person.client.emit("typing", "tea")  # a room that they are not in
        for wrong in ((), (5,), (None, "tea"), ("user:ann",), (ann.id,), ("x" * 101,)):
            await bob.client.emit("typing", *wrong)
        await bob.client.emit("got", ann.id, "m1")
        assert await ann.hears() == ["got", "m1", bob.id]
        for sender, message in (("tea", "m"), ("user:ann", "m"), (ann.id, 5), (ann.id, "m" * 65)):
            await bob.client.emit("got", sender, message)
        await bob.client.emit("got")
        await bob.client.emit("got", ann.id)
        await guest.client.emit("got", ann.id, "m2")
        for person in (bob, guest, ann, eve):  # bob first: what he has sent was handled then
            await person.hears_nothing()
