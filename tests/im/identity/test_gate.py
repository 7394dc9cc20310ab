"""Every way to log in, and every way to be refused."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.im.identity.identified import ANN, BOB, OK, STATIC, Identified, identified, jwt_options
from tests.im.identity.tokens import other_key, token
from tests.socketio.serving import send_batch, until
from tests.wire import ConnectionEnded, SocketIOClient
from trio.testing import trio_test

from trio_socketio import (
    ConfigurationError,
    ConnectRefused,
    Joining,
    JoiningState,
    Server,
    ServerOptions,
    Step,
)
from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.options import IdentityOptions, NamespaceIdentity
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.identity.strangers import MAX_REFUSALS

OPEN_ROOT = NamespaceIdentity(name="/", methods=())


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def refused(client: SocketIOClient, auth: Any, namespace: str = "/chat") -> dict[str, Any]:
    """Ask for a namespace, and be refused."""
    prefix = "" if namespace == "/" else f"{namespace},"
    await client.send(f"0{prefix}{json.dumps(auth)}")
    text, _ = await client.receive()
    assert text.startswith(f"4{prefix}"), text
    error: dict[str, Any] = json.loads(text.removeprefix(f"4{prefix}"))
    assert error["data"]["errmsg"] == error["message"]
    return error


async def closes(client: SocketIOClient) -> bool:
    """Whether the server closes, whatever it sends before."""
    try:
        with trio.fail_after(5):
            while True:
                if await client.engine.receive() == "1":
                    return True
    except (ConnectionEnded, AssertionError):
        return True


# --- by the payload of the CONNECT ---------------------------------------------------------------


@trio_test
async def test_a_token_in_the_payload_of_the_connect(transport: str, tmp_path: Path) -> None:
    async with identified(tokens=STATIC, jwt=jwt_options(tmp_path)) as here:
        for text, method in ((ANN, "static"), (token(), "jwt")):
            async with here.client(transport) as client:
                await client.connect("/chat", {"token": text})
                (socket,) = here.server.of("/chat").sockets.values()
                assert socket.user == "ann"
                identity = here.service.identity_of(socket)
                assert identity is not None
                assert identity.user == "ann"
                assert here.results() == {("static", "accepted"): 1} | (
                    {("jwt", "accepted"): 1} if method == "jwt" else {}
                )
            await until(lambda: here.service.statistics().identified == 0)


@trio_test
async def test_a_plain_verifier_needs_no_task(tmp_path: Path) -> None:
    server, inline = Server(), []
    server.of("/chat").add_steps(
        [Step(JoiningState.SEAT, lambda joining: inline.append(joining._scope))]
    )
    async with identified(server, jwt=jwt_options(tmp_path)) as here, here.client() as client:
        await client.connect("/chat", {"token": token()})
    assert inline == [None]


@pytest.mark.req("IDENT-31")
@pytest.mark.parametrize(
    ("auth", "errcode", "message"),
    [
        ({"token": "unknown-token"}, 3, "the token is not known"),
        ({"token": 7}, 2, "the token is not text"),
        ({"token": {"a": 1}}, 2, "the token is not text"),
        ({"token": ""}, 5, "authentication required"),
        ({"token": "a\nb"}, 2, "the token cannot be read"),
        ({"token": "\ud83d"}, 3, "the token is not known"),
        ({"token": "x" * 8193}, 2, "the token is too large"),
        ({"token": "ß" * 5000}, 2, "the token is too large"),
    ],
)
@trio_test
async def test_a_client_is_refused_with_the_reason(
    transport: str, auth: Any, errcode: int, message: str
) -> None:
    async with identified() as here, here.client(transport) as client:
        error = await refused(client, auth)
        assert (error["message"], error["data"]["errcode"]) == (message, errcode)
        assert here.server.of("/chat").sockets == {}


@pytest.mark.req("IDENT-04")
@trio_test
async def test_a_large_token_is_not_read() -> None:
    asked = []

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        asked.append(question)
        return b'{"user": "ann"}'

    async with (
        identified(backend=True, ask_backend=ask, max_token_bytes=100) as here,
        here.client() as client,
    ):
        assert (await refused(client, {"token": "x" * 101}))["data"]["errcode"] == 2
        assert asked == []
        await client.connect("/chat", {"token": "x" * 100})
        assert len(asked) == 1


@pytest.mark.req("IDENT-03")
@trio_test
async def test_the_first_verifier_that_knows_the_kind_of_a_token_decides(tmp_path: Path) -> None:
    asked = []

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        asked.append(question.token)
        return b'{"refused": "not you"}'

    options: dict[str, Any] = {"tokens": STATIC, "jwt": jwt_options(tmp_path), "backend": True}
    async with identified(ask_backend=ask, **options) as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        await client.connect("/chat", {"token": token()})
        forged = token(key=other_key("HS256"))
        assert (await refused(client, {"token": forged}))["message"].endswith("signature is wrong")
        assert asked == []
        assert (await refused(client, {"token": "opaque"}))["message"] == "not you"
        assert asked == ["opaque"]
        assert here.results() == {
            ("static", "accepted"): 1,
            ("jwt", "accepted"): 1,
            ("jwt", "bad_signature"): 1,
            ("backend", "refused"): 1,
        }


@pytest.mark.req("IDENT-32")
@trio_test
async def test_a_client_that_was_refused_is_hung_up_on(transport: str) -> None:
    async with identified(tokens=STATIC, namespaces=(OPEN_ROOT,), auth_timeout_s=0.2) as here:
        async with here.client(transport) as client:
            await client.connect("/")  # nobody is identified there
            began = trio.current_time()
            await refused(client, {"token": "wrong-token"})
            await refused(client, {"token": "wrong-token"})
            assert await closes(client)
            assert 0.15 < trio.current_time() - began < 3
        async with here.client(transport) as client:
            await client.connect("/")  # it never asks for more
            await trio.sleep(0.5)
            await client.emit("x", ack_id=1)
        assert len(here.service._strangers) == 0


@pytest.mark.req("IDENT-72")
@trio_test
async def test_nothing_is_kept_of_a_refused_client_that_has_left() -> None:
    async with identified(tokens=STATIC, auth_timeout_s=60.0) as here:
        for _ in range(3):
            async with here.client() as client:
                await refused(client, {"token": "wrong-token"})
        await until(lambda: len(here.service._strangers) == 0)


@pytest.mark.req("IDENT-32")
@trio_test
async def test_a_client_that_is_identified_in_time_stays(transport: str) -> None:
    server = Server()
    for name in ("/chat", "/news"):
        server.of(name).on("ping")(lambda _: "pong")
    async with (
        identified(server, tokens=STATIC, auth_timeout_s=0.2) as here,
        here.client(transport) as client,
    ):
        # Both stand in one read, the wrong one first.
        await send_batch(client, ['0/chat,{"token":"wrong-token"}', f'0/news,{{"token":"{ANN}"}}'])
        assert (await client.receive())[0].startswith("4/chat,")
        assert (await client.receive())[0].startswith("0/news,")
        await trio.sleep(0.5)
        await client.emit("ping", namespace="/news", ack_id=1)
        assert (await client.receive())[0] == '3/news,1["pong"]'
        await refused(client, {"token": "wrong-token"})
        await client.connect("/chat", {"token": BOB})  # another user, in another namespace
        await trio.sleep(0.5)
        await client.emit("ping", namespace="/chat", ack_id=1)
        assert (await client.receive())[0] == '3/chat,1["pong"]'


@pytest.mark.req("IDENT-49")
@trio_test
async def test_a_client_that_is_refused_again_and_again_is_hung_up_on(transport: str) -> None:
    async with identified() as here, here.client(transport) as client:
        began = trio.current_time()
        for _ in range(MAX_REFUSALS):
            await refused(client, {"token": "wrong-token"})
        assert await closes(client)
        assert trio.current_time() - began < 4
    async with identified() as here, here.client(transport) as client:
        await client.connect("/", {"token": ANN})
        for _ in range(MAX_REFUSALS + 5):
            await refused(client, {"token": "wrong-token"})
        await client.connect("/chat", {"token": ANN})


@pytest.mark.req("IDENT-32")
@trio_test
async def test_a_client_that_is_just_being_judged_gets_as_long_again() -> None:
    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        await trio.sleep(0.35 if question.token == "slow" else 0)
        return b'{"user": "ann"}' if question.token == "slow" else b'{"refused": "no"}'

    async with (
        identified(backend=True, ask_backend=ask, auth_timeout_s=0.3) as here,
        here.client() as client,
    ):
        await refused(client, {"token": "x"})
        await trio.sleep(0.1)
        await client.connect("/chat", {"token": "slow"})
        await trio.sleep(0.4)
        assert len(here.server.of("/chat").sockets) == 1


# --- by event ------------------------------------------------------------------------------------


@pytest.mark.req("IDENT-29", "IDENT-35")
@trio_test
async def test_a_client_without_a_token_sends_it_as_an_event(transport: str) -> None:
    server = Server()
    server.of("/chat").on("connection")(lambda socket: socket.emit("hello", socket.user))
    server.of("/chat").on("ping")(lambda _: "pong")
    async with identified(server) as here, here.client(transport) as client:
        await client.connect("/chat")
        assert here.service.statistics().identified == 0
        await send_batch(
            client,
            [f'2/chat,5["auth",{{"userId":7,"token":"{ANN}","meta":{{}}}}]', '2/chat,6["ping"]'],
        )
        told = [(await client.receive())[0] for _ in range(4)]
        ok = json.dumps(OK, separators=(",", ":"))
        assert told == [
            f'2/chat,["auth/reply",{ok}]',
            f"3/chat,5[{ok}]",
            '2/chat,["hello","ann"]',
            '3/chat,6["pong"]',
        ]


@pytest.mark.req("IDENT-35")
@trio_test
async def test_a_client_2_x_sends_its_token_as_an_event() -> None:
    async with identified(tokens=STATIC, namespaces=(OPEN_ROOT,)) as here:
        async with here.old_client() as client:
            assert (await client.receive())[0] == "0", "it is in /, where nobody is asked"
            await client.send("0/chat,")
            assert (await client.receive())[0] == "0/chat,"
            await client.emit("auth", {"token": ANN}, namespace="/chat")
            assert await client.receive_event("/chat") == ["auth/reply", OK]
            (socket,) = here.server.of("/chat").sockets.values()
            assert socket.user == "ann"
            await trio.sleep(0.05)
            assert len(here.server.of("/").sockets) == 1
        async with here.old_client() as client:
            assert (await client.receive())[0] == "0"
            await client.send("0/chat,")
            assert (await client.receive())[0] == "0/chat,"
            await client.emit("auth", {"token": "wrong-token"}, namespace="/chat")
            told = {"errcode": 3, "errmsg": "the token is not known"}
            assert await client.receive_event("/chat") == ["auth/reply", told]
            assert await client.receive_event("/chat") == ["logic/error", told]
            assert (await client.receive())[0] == "1/chat,"
            assert await closes(client)


@trio_test
async def test_a_client_2_x_may_have_to_identify_itself_in_the_main_namespace() -> None:
    async with identified() as here, here.old_client() as client:
        assert (await client.receive())[0] == "0"
        assert here.server.of("/").sockets == {}
        await client.emit("auth", {"token": ANN})
        assert await client.receive_event() == ["auth/reply", OK]
        await until(lambda: len(here.server.of("/").sockets) == 1)


@pytest.mark.req("IDENT-30")
@pytest.mark.parametrize(
    ("arguments", "errcode", "message"),
    [
        ([{"token": "unknown-token"}], 3, "the token is not known"),
        ([{"token": "x" * 8193}], 2, "the token is too large"),
        ([{"token": 1}], 2, "the token is not text"),
        ([{}], 5, "authentication required"),
        ([], 2, "expected an object with a token"),
        ([ANN], 2, "expected an object with a token"),
        ([[ANN]], 2, "expected an object with a token"),
        ([None], 2, "expected an object with a token"),
    ],
)
@trio_test
async def test_an_event_that_is_refused(
    transport: str, arguments: list[Any], errcode: int, message: str
) -> None:
    async with identified() as here, here.client(transport) as client:
        await client.connect("/chat")
        await client.emit("auth", *arguments, namespace="/chat", ack_id=3)
        told = {"errcode": errcode, "errmsg": message}
        assert await client.receive_event("/chat") == ["auth/reply", told]
        assert json.loads((await client.receive())[0].removeprefix("3/chat,3")) == [told]
        assert await client.receive_event("/chat") == ["logic/error", told]
        assert (await client.receive())[0] == "1/chat,"
        assert await closes(client)
        await until(lambda: here.server.statistics().joining == 0)


@pytest.mark.req("IDENT-35")
@trio_test
async def test_a_client_that_sends_nothing_is_put_out(transport: str) -> None:
    async with identified(tokens=STATIC, auth_timeout_s=0.2) as here:
        async with here.client(transport) as client:
            await client.connect("/chat")
            began = trio.current_time()
            told = {"errcode": 4, "errmsg": "authentication timed out"}
            assert await client.receive_event("/chat") == ["logic/error", told]
            assert trio.current_time() - began > 0.1
            assert (await client.receive())[0] == "1/chat,"
            assert await closes(client)
        assert here.results() == {("none", "timeout"): 1}


@pytest.mark.req("IDENT-35")
@trio_test
async def test_the_deadline_covers_the_judging_too() -> None:
    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        await trio.sleep(10)
        return b'{"user": "ann"}'

    async with identified(backend=True, ask_backend=ask, auth_timeout_s=0.3) as here:
        async with here.client() as client:
            await client.connect("/chat")
            began = trio.current_time()
            await trio.sleep(0.2)
            await client.emit("auth", {"token": "opaque"}, namespace="/chat")
            told = {"errcode": 4, "errmsg": "authentication timed out"}
            assert await client.receive_event("/chat") == ["auth/reply", told]
            assert await client.receive_event("/chat") == ["logic/error", told]
            assert trio.current_time() - began < 2
        assert here.results() == {("backend", "timeout"): 1}


@pytest.mark.req("IDENT-30", "JOIN-37")
@trio_test
async def test_a_later_step_refuses_without_a_welcome() -> None:
    server = Server()

    def full(joining: Joining) -> None:
        raise ConnectRefused("full")

    server.of("/chat").add_steps([Step(JoiningState.SEAT, full)])
    async with identified(server) as here, here.client() as client:
        await client.connect("/chat")
        await client.emit("auth", {"token": ANN}, namespace="/chat", ack_id=7)
        told = {"errcode": 3, "errmsg": "full"}
        assert await client.receive_event("/chat") == ["auth/reply", told]
        assert (await client.receive())[0] == '3/chat,7[{"errcode":3,"errmsg":"full"}]'
        assert await client.receive_event("/chat") == ["logic/error", told]
        assert await closes(client)
        await until(lambda: here.service.statistics().identified == 0)
        assert here.results() == {("static", "accepted"): 1}


@trio_test
async def test_the_token_may_be_demanded_in_the_connect() -> None:
    async with identified(tokens=STATIC, by_event=False) as here, here.client() as client:
        error = await refused(client, {})
        assert error["data"] == {"errcode": 5, "errmsg": "authentication required"}
        assert here.results() == {("none", "no_token"): 1}


# --- namespaces ----------------------------------------------------------------------------------


@pytest.mark.req("IDENT-34")
@trio_test
async def test_namespaces_ask_each_in_its_own_way(tmp_path: Path) -> None:
    server = Server()
    for name in ("/", "/chat", "/room-1", "/room-vip", "/other"):
        server.of(name)
    server.on("auth")(lambda socket, *_: f"the app's own, for {socket.user}")
    namespaces = (
        OPEN_ROOT,
        NamespaceIdentity(name="/chat", methods=("jwt",)),
        NamespaceIdentity(name="/room-*", methods=()),
        NamespaceIdentity(name="/room-v*", methods=("static",)),
    )
    async with (
        identified(server, tokens=STATIC, jwt=jwt_options(tmp_path), namespaces=namespaces) as here,
        here.client() as client,
    ):
        await client.connect("/")
        await client.emit("auth", {"token": ANN}, ack_id=1)
        assert (await client.receive())[0] == '31["the app\'s own, for None"]'
        await client.connect("/room-1", {"token": "whatever"})
        assert (await refused(client, {"token": ANN}))["data"]["errcode"] == 3
        await client.connect("/chat", {"token": token()})
        assert (await refused(client, {"token": token()}, "/room-vip"))["data"]["errcode"] == 3
        await client.connect("/room-vip", {"token": BOB})
        await client.connect("/other", {"token": ANN})
        users = {name: [one.user for one in space.sockets.values()]
                 for name, space in server.namespaces.items()}  # fmt: skip
        assert users == {"/": [None], "/chat": ["ann"], "/room-1": [None], "/room-vip": ["bob"],
                         "/other": ["ann"]}  # fmt: skip


@pytest.mark.req("IDENT-34")
@trio_test
async def test_namespaces_that_are_made_later_ask_too() -> None:
    server = Server()
    server.of(re.compile(r"/room-\d+"))
    async with identified(server) as here, here.client() as client:
        await refused(client, {"token": "wrong-token"}, "/room-1")
        await client.connect("/room-1", {"token": ANN})
        await client.emit("auth", {"token": ANN}, namespace="/room-1")
        assert await client.receive_event("/room-1") == ["auth/reply", OK]
        assert here.results()["static", "refreshed"] == 1


def test_an_app_that_handles_auth_is_told() -> None:
    server = Server()
    server.of("/chat").on("auth")(lambda *_: None)
    with pytest.raises(ConfigurationError, match="the app handles the event 'auth' in /chat"):
        IdentityService(server, IdentityOptions(tokens=STATIC))
    with pytest.raises(ConfigurationError, match=r"\[control\] listen"):
        IdentityService(Server(), IdentityOptions(backend=True))


@trio_test
async def test_an_app_that_handles_auth_in_namespaces_made_later_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.of(re.compile(r"/room-\d+")).on("auth")(lambda *_: "mine")
    async with identified(server) as here, here.client() as client:
        for name in ("/room-1", "/room-2"):
            await client.connect(name, {"token": ANN})
            await client.emit("auth", namespace=name, ack_id=1)
            assert (await client.receive())[0] == f'3{name},1["mine"]'
    assert caplog.text.count("clients there cannot renew their tokens") == 1


# --- auth again ----------------------------------------------------------------------------------


@pytest.mark.req("IDENT-37")
@trio_test
async def test_the_same_user_refreshes(tmp_path: Path, transport: str) -> None:
    async with identified(jwt=jwt_options(tmp_path)) as here, here.client(transport) as client:
        await client.connect("/chat", {"token": token(jti="a")})
        later = token(jti="b")
        await client.emit("auth", {"token": later}, namespace="/chat", ack_id=8)
        assert await client.receive_event("/chat") == ["auth/reply", OK]
        assert json.loads((await client.receive())[0].removeprefix("3/chat,8")) == [OK]
        (socket,) = here.server.of("/chat").sockets.values()
        identity = here.service.identity_of(socket)
        assert identity is not None
        assert identity.token_id == "b"
        assert await here.revoke(token_id="a") == 0
        assert await here.revoke(token_id="b") == 1


@pytest.mark.req("IDENT-36")
@pytest.mark.parametrize(
    ("payload", "errcode"),
    [({"token": BOB}, 3), ({"token": "wrong-token"}, 3), ({"token": 7}, 2), ({}, 5), ("x", 2)],
)
@trio_test
async def test_another_user_is_refused_and_the_client_stays(payload: Any, errcode: int) -> None:
    server = Server()
    server.of("/chat").on("who")(lambda socket: socket.user)
    async with identified(server) as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        await client.emit("auth", payload, namespace="/chat", ack_id=8)
        event, told = await client.receive_event("/chat")
        assert (event, told["errcode"]) == ("auth/reply", errcode)
        # No logic/error follows, which would say that the client is put out.
        assert json.loads((await client.receive())[0].removeprefix("3/chat,8")) == [told]
        await client.emit("who", namespace="/chat", ack_id=9)
        assert (await client.receive())[0] == '3/chat,9["ann"]'
        assert here.service.statistics().identified == 1


# --- secrets, numbers ----------------------------------------------------------------------------


@pytest.mark.req("IDENT-42")
@trio_test
async def test_attempts_are_counted_by_method_and_result(tmp_path: Path) -> None:
    async with identified(tokens=STATIC, jwt=jwt_options(tmp_path)) as here:
        for number in range(20):
            async with here.client() as client:
                await refused(client, {"token": f"made-up-{number}"})
                await refused(client, {"token": token(kid=f"k{number}", key=other_key("HS256"))})
        assert here.results() == {("none", "unknown_token"): 20, ("jwt", "bad_signature"): 20}


@trio_test
async def test_an_app_may_ask_for_claims(tmp_path: Path) -> None:
    async with (
        identified(jwt=jwt_options(tmp_path, claims=("role",))) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": token(role="admin", secret="x")})
        (socket,) = here.server.of("/chat").sockets.values()
        identity = here.service.identity_of(socket)
        assert identity is not None
        assert identity.claims == {"role": "admin"}


# --- state recovery ------------------------------------------------------------------------------


@pytest.mark.req("JOIN-34")
@pytest.mark.parametrize("by_event", [False, True])
@trio_test
async def test_a_lost_session_is_given_back_to_its_own_user(by_event: bool) -> None:
    server = Server(ServerOptions(state_recovery=True))
    chat = server.of("/chat")
    chat.on("connection")(lambda socket: socket.join("secret room"))

    async def come_back(here: Identified, token: str, lost: dict[str, str]) -> list[str]:
        async with here.client() as client:
            auth = lost if by_event else {"token": token, **lost}
            await client.send(f"0/chat,{json.dumps(auth)}")
            seen = [(await client.receive())[0]]
            if by_event:
                await client.emit("auth", {"token": token}, namespace="/chat")
            with trio.move_on_after(0.3), suppress(ConnectionEnded, AssertionError):
                while True:
                    seen.append((await client.receive())[0])
            return seen

    async with identified(server) as here:
        async with here.client() as client:
            await client.send(f'0/chat,{{"token":"{ANN}"}}')
            told = json.loads((await client.receive())[0].removeprefix("0/chat,"))
            chat.emit("news")
            offset = (await client.receive_event("/chat"))[-1]
            lost = {"pid": told["pid"], "offset": offset}
            await client.engine.aclose()
        await until(lambda: server.statistics().sessions_saved == 1)
        chat.to("secret room").emit("secret")
        seen = await come_back(here, BOB, lost)
        assert not any("secret" in one for one in seen)
        assert any("belongs to another user" in one for one in seen)
        assert here.results()["static", "other_user"] == 1
        assert server.statistics().sessions_expired == 1
        assert (await come_back(here, BOB, lost))[0].startswith("0/chat,")
        assert not any("secret" in one for one in await come_back(here, ANN, lost))


@pytest.mark.req("IDENT-42")
@pytest.mark.parametrize("by", ["connect", "event", "renewal"])
@trio_test
async def test_an_attempt_whose_client_leaves_is_counted(by: str) -> None:
    asked, stop = trio.Event(), trio.Event()

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        asked.set()
        await stop.wait()
        return b'{"user": "bob"}'

    async with identified(tokens=STATIC, backend=True, ask_backend=ask) as here:
        async with here.client() as client:
            if by == "connect":
                await client.send('0/chat,{"token":"opaque"}')
            else:
                await client.connect("/chat", {"token": ANN} if by == "renewal" else None)
                await client.emit("auth", {"token": "opaque"}, namespace="/chat")
            with trio.fail_after(5):
                await asked.wait()
            if by == "renewal":
                assert await here.revoke(user="ann") == 1
        await until(lambda: here.service.statistics().identified == 0)
        stop.set()
        await until(lambda: ("backend", "abandoned") in here.results())
        assert here.results().pop(("static", "accepted"), 0) == (by == "renewal")
        assert sum(here.results().values()) == 1 + (by == "renewal")
        assert here.service._gate._judging == {}


@pytest.mark.req("IDENT-74")
@trio_test
async def test_a_client_that_is_in_and_sends_bad_tokens_is_put_out(tmp_path: Path) -> None:
    async with (
        identified(tokens=STATIC, jwt=jwt_options(tmp_path)) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": ANN})
        told = {"errcode": 3, "errmsg": "the token belongs to another user"}

        async def send(token: str, number: int) -> None:
            for _ in range(number):
                await client.emit("auth", {"token": token}, namespace="/chat")

        async def answered(number: int) -> None:
            for _ in range(number):
                assert await client.receive_event("/chat") == ["auth/reply", told]

        await send(BOB, MAX_REFUSALS - 1)
        await answered(MAX_REFUSALS - 1)
        await send(ANN, 1)
        assert await client.receive_event("/chat") == ["auth/reply", OK]
        await send(BOB, MAX_REFUSALS + 5)
        await answered(MAX_REFUSALS)
        assert await client.receive_event("/chat") == ["logic/error", told]
        assert (await client.receive())[0] == "1/chat,"
        assert await closes(client)
        assert here.results()["static", "other_user"] == 2 * MAX_REFUSALS - 1


@pytest.mark.req("IDENT-74")
@trio_test
async def test_a_token_that_could_not_be_verified_puts_nobody_out() -> None:
    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        raise ControlError(Code.UNAVAILABLE, "nobody is there")

    async with (
        identified(tokens=STATIC, backend=True, ask_backend=ask) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": ANN})
        for _ in range(MAX_REFUSALS + 1):
            await client.emit("auth", {"token": "opaque"}, namespace="/chat")
            event, told = await client.receive_event("/chat")
            assert (event, told["errcode"]) == ("auth/reply", 1)
        assert here.service.statistics().identified == 1
