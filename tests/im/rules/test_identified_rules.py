"""Rules beside the service that finds out who clients are."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from tests.im.identity.identified import ANN, OK, identified, jwt_options
from tests.im.identity.tokens import token
from tests.socketio.serving import send_batch, the_socket, until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Socket
from trio_socketio.im.rules.options import LoginRate, NamespaceRules, RulesOptions
from trio_socketio.im.rules.service import Rules


async def say(client: SocketIOClient) -> list[object]:
    await client.emit("say", namespace="/chat")
    return await client.receive_event("/chat")


@pytest.mark.req("RULE-18", "JOIN-41")
@trio_test
async def test_who_logs_in_too_often_by_an_event_is_told_so_as_well() -> None:
    async with identified() as world:
        logins = LoginRate(count=1, within_s=30, hold_off_s=30)
        rules = Rules(world.server, RulesOptions(logins=logins), world.service.client_of)
        async with world.client() as client:
            await client.connect("/chat", {"token": ANN})
        async with world.client() as client:
            await client.connect("/chat")
            await client.emit("auth", {"token": ANN}, namespace="/chat")
            refusal = {
                "errcode": 2,
                "errmsg": "you have logged in too often. Try again in 30 s",
                "reason": "login_rate",
                "retry_after_s": 30.0,
            }
            assert await client.receive_event("/chat") == ["auth/reply", refusal]
            assert await client.receive_event("/chat") == ["logic/error", refusal]
            assert await client.receive() == ("1/chat,", [])
        async with world.client() as client:  # nobody logs in with a token that is refused
            await client.send('0/chat,{"token":"the token of nobody"}')
            assert (await client.receive())[0].startswith("4/chat,")
        assert rules.statistics().refused["login_rate"] == 1


@pytest.mark.req("RULE-05")
@trio_test
async def test_a_client_may_do_what_its_latest_token_says(tmp_path: Path) -> None:
    async with identified(jwt=jwt_options(tmp_path, claims=("im",))) as world:
        world.server.of("/chat").on("say")(lambda socket: socket.emit("said"))
        ruled = NamespaceRules(name="/chat", events=(), claim="im")
        Rules(world.server, RulesOptions(namespaces=(ruled,)), world.service.client_of)
        async with world.client() as client:
            await client.connect("/chat", {"token": token(sub="ann", im={"events": ["say"]})})
            assert await say(client) == ["said"]
            await client.emit("auth", {"token": token(sub="ann")}, namespace="/chat")
            assert await client.receive_event("/chat") == ["auth/reply", OK]
            name, _ = await say(client)
            assert name == "logic/error"


@pytest.mark.req("RULE-25", "IDENT-94")
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    ("events", "claim", "handled"),
    [(None, ["slow"], []), ((), ["slow", "late"], ["late"])],
    ids=["forbidden", "allowed"],
)
@trio_test
async def test_events_that_wait_when_their_client_leaves_are_judged_by_its_token(
    tmp_path: Path,
    events: tuple[str, ...] | None,
    claim: list[str],
    handled: list[str],
    *,
    waits: bool,
) -> None:
    async with identified(jwt=jwt_options(tmp_path, claims=("im",))) as world:
        done, go = list[str](), trio.Event()
        chat = world.server.of("/chat")

        @chat.on("slow")
        async def slow(_: Socket) -> None:
            await go.wait()

        @chat.on("late")
        async def late(socket: Socket) -> None:
            assert not socket.connected
            done.append("late")

        @chat.on("disconnect")
        async def disconnect(_: Socket, __: str) -> None:
            done.append("disconnect")

        ruled = NamespaceRules(name="/chat", events=events, claim="im")
        Rules(world.server, RulesOptions(namespaces=(ruled,)), world.service.client_of)
        async with world.client() as client:
            im = {"events": claim}
            await client.connect("/chat", {"token": token(sub="ann", im=im)})
            sent = ['2/chat,["slow"]'] if waits else []  # else nothing of the client was judged yet
            await send_batch(client, [*sent, '2/chat,["late"]', "1/chat,"])
            await until(lambda: not chat.sockets)
            go.set()
            await until(lambda: "disconnect" in done)
        assert done == [*handled, "disconnect"]


@pytest.mark.req("IDENT-94")
@pytest.mark.parametrize("stays", [False, True])
@trio_test
async def test_the_token_of_a_client_that_has_left_is_kept_with_its_socket_alone(
    stays: bool,
) -> None:
    """Also if its session goes on, in other namespaces or in none."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(identified())
        async with AsyncExitStack() as leaving:
            client = await leaving.enter_async_context(world.client())
            await client.connect("/chat", {"token": ANN})
            socket = the_socket(world.server, "/chat")
            there = world.service.client_of(socket)
            assert there is not None
            identity = there.identity
            del there
            if stays:
                await client.send("1/chat,")
                stack.push_async_exit(leaving.pop_all())
        await until(lambda: not world.server.of("/chat").sockets)
        left = world.service.client_of(socket)
        assert left is not None
        assert left.identity is identity
        assert world.service.identity_of(socket) is None
        kept = world.service._clients._at_work
        assert len(kept) == 1
        del socket
        await until(lambda: not kept)
