"""Clients 2.x and 4.8 chat with one another, on one node and on two that share a Redis."""

import json
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cli_process import serving
from tests.redis_server import RedisServer
from tests.wire import open_client
from trio.testing import trio_test

SCRIPT: Final = Path(__file__).with_name("chat.mjs")
USERS: Final = ("7", "8", "ann", "bob")
TEXT: Final = '{"text":"hello"}'
AUTH_TIMEOUT_S: Final = 2.0
LIMIT_S: Final = 60.0
OK: Final = {"errcode": 0, "errmsg": "ok"}
ROOMS: Final = [{"roomId": "r1"}]
NOBODY: Final = "chat/users: nobody is connected as {} in /demo"


def write_config(folder: Path) -> Path:
    tokens = ", ".join(f'{{ user = "{user}", token = "token-of-{user}" }}' for user in USERS)
    path = folder / "im.toml"
    path.write_text(
        f"""
[engine]
allow_eio3 = true
[identity]
tokens = [{tokens}]
auth_timeout_s = {AUTH_TIMEOUT_S}
namespaces = [{{ name = "/", methods = [] }}]
[chat]
namespaces = ["/demo"]
""",
        encoding="utf-8",
    )
    return path


@asynccontextmanager
async def nodes(folder: Path, names: Iterable[str], redis: RedisServer) -> AsyncIterator[list[str]]:
    """Serve on nodes of these names; gives their URLs."""
    config = write_config(folder)
    async with AsyncExitStack() as stack:
        urls = []
        for name in names:
            arguments = ["--config", str(config), "--node", name, "--redis", redis.url]
            node = await stack.enter_async_context(serving(*arguments, limit_s=LIMIT_S))
            urls.append(f"http://127.0.0.1:{await node.wait_port()}")
        yield urls


async def chat(urls: list[str], transport: str) -> Any:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    command = [node, str(SCRIPT), ",".join(urls), transport]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def check(found: Any) -> None:
    """What everybody saw, in order."""
    seen, answers = found["seen"], found["answers"]
    reply = {**OK, "rooms": ROOMS}
    assert answers["join"] == answers["leave"] == reply
    assert answers["rooms"] == {**OK, "ids": ["m2"]}
    assert answers["users"] == {**OK, "ids": ["m5"]}
    reason = NOBODY.format("'nobody'") + "; the other messages were sent"
    nobody = {"errcode": 2, "errmsg": reason, "absent": ["nobody"]}
    assert answers["unknown"] == {**nobody, "ids": ["m7"]}
    outside = {"errcode": 2, "errmsg": "chat/rooms: [0]: roomId: you are not in the room 'r1'"}
    assert answers["outside"] == {**outside, "ids": []}

    def message(event: str, number: str, sender: str, **more: Any) -> list[Any]:
        plain = {"ver": "1.0.0", "meta": TEXT, "evt": event, "id": number}
        return [event, {**plain, "from": sender, **more}]

    poll = {"evt": "poll", "meta": {"options": [1, 2]}}
    room = [message("chat/rooms", "m1", "7"), message("chat/rooms", "m2", "ann", **poll)]
    everybody = message("chat/broadcast", "m9", "bob")
    typing = message("signal/room", "s1", "ann", evt="typing", meta=None)
    last = message("chat/rooms", "m10", "7")
    joined = [["join/reply", reply]]
    authenticated = [["auth/reply", OK], *joined]
    for events in seen.values():
        for event in events:
            if event[0].startswith(("chat/", "signal/")):
                assert type(event[1].pop("at")) is int
    other = "nspName: this socket is in /demo, and can send only there; to send in 'other', connect"
    assert seen["7"] == [
        *authenticated, *room, message("chat/users", "m5", "bob"), everybody, typing, last,
        ["logic/error", {"errcode": 2, "errmsg": f"chat/rooms: [0]: {other} to it"}],
        ["logic/error", {"errcode": 2, "errmsg": "chat/rooms: expected an object, not text"}],
    ]  # fmt: skip
    assert seen["8"] == [
        *authenticated, *room, message("chat/users", "m3", "7"), message("chat/users", "m7", "ann"),
        ["logic/error", {"errcode": 2, "errmsg": NOBODY.format("'99'"), "absent": ["99"]}],
        everybody, typing, last,
    ]  # fmt: skip
    assert seen["ann"] == [
        *joined, *room, message("chat/users", "m4", "7"), ["logic/error", nobody], everybody,
        ["logic/error", outside],
    ]  # fmt: skip
    offer = message("signal/user", "s2", "7", evt="offer")
    assert seen["bob"] == [*joined, *room, everybody, typing, offer, last]
    assert found["connected"] == list(USERS)
    for name, secret in found["ids"].items():  # the id of an old client is /demo#sid
        assert secret.startswith("/demo#")
        others = {one: events for one, events in seen.items() if one != name}
        assert secret.partition("#")[2] not in json.dumps([others, answers])


@pytest.mark.req(
    "CHAT-01", "CHAT-03", "CHAT-04", "CHAT-07", "CHAT-10", "CHAT-13", "CHAT-15", "CHAT-16",
    "CHAT-17", "CHAT-18", "CHAT-19", "CHAT-23", "CHAT-26", "CHAT-27",
)  # fmt: skip
@pytest.mark.time_limit(90)
@pytest.mark.parametrize("transport", ["polling", "websocket", "both"])
@pytest.mark.parametrize("names", ["a", "ab"])
@trio_test
async def test_old_and_new_clients_chat(
    names: str, transport: str, tmp_path: Path, shared_redis: RedisServer
) -> None:
    async with nodes(tmp_path, names, shared_redis) as urls:
        check(await chat(urls, transport))


@pytest.mark.req("CHAT-20")
@pytest.mark.time_limit(60)
@trio_test
async def test_the_sender_is_told_that_redis_is_away(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    config = write_config(tmp_path)
    config.write_text(config.read_text(encoding="utf-8") + '[presence]\npolicy = "none"\n')
    arguments = ["--config", str(config), "--redis", redis_server.url]
    async with (
        serving(*arguments, limit_s=LIMIT_S) as node,
        open_client(await node.wait_port()) as client,
    ):
        await client.connect("/demo", {"token": "token-of-ann"})
        await client.emit("join", {"rooms": ROOMS}, namespace="/demo")
        assert (await client.receive_event("/demo"))[0] == "join/reply"
        redis_server.stop()
        await node.wait_logged("Redis")
        event, told = "", {}
        while event != "logic/error":
            await client.emit("chat/rooms", [{"roomId": "r1", "msg": {}}], namespace="/demo")
            assert (await client.receive_event("/demo"))[0] == "chat/rooms"
            with trio.move_on_after(0.2):
                event, told = await client.receive_event("/demo")
        assert told["errcode"] == 1
        assert "Redis cannot be reached" in told["errmsg"]
