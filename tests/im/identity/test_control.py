"""Backends that say who clients are, and auth.revoke, over a real control socket."""

import time
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import SECRET, Controlled, controlled, peer, tcp_peer, write_token
from tests.im.identity.identified import ANN, BOB, STATIC
from tests.im.identity.test_gate import OPEN_ROOT, closes, refused
from tests.socketio.serving import until
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import (
    Authentication,
    ControlError,
    ControlToken,
    TokenTable,
    open_control,
)
from trio_socketio.control.options import BackendOptions, ForwardedEvents
from trio_socketio.im.identity.options import IdentityOptions

BACKEND = IdentityOptions(backend=True, deadline_s=0.5)


def chat_server() -> Server:
    server = Server()
    server.of("/chat").on("ping")(lambda _: "pong")
    return server


def handle(event: Any) -> None:
    """No event is forwarded."""


@trio_test
async def test_a_backend_says_who_a_client_is(tmp_path: Path) -> None:
    server, asked = chat_server(), list[Authentication]()

    async def authenticate(client: Authentication) -> Any:
        asked.append(client)
        await trio.lowlevel.checkpoint()
        if client.token == "raises":
            raise RuntimeError("a defect of the backend")
        if client.token == "forbidden":
            raise ControlError(Code.FORBIDDEN, "no")
        return {"seven": 7, "ann": "ann", "banned": {"refused": "banned"}}.get(client.token)

    async with (
        controlled(tmp_path, server, identity=BACKEND) as where,
        open_control(where.address) as control,
    ):
        registered = await control.register(handle, authenticate=authenticate)
        assert registered["authenticates"] is True
        for token, user in (("seven", "7"), ("ann", "ann")):
            async with where.client("/chat", auth={"token": token, "device": "phone"}) as (_, sid):
                assert server.of("/chat").sockets[sid].user == user
                client = asked[-1]
                assert client.namespace == "/chat"
                assert (client.auth, client.socket) == ({"device": "phone"}, sid)
                assert client.address == "127.0.0.1"
                assert token not in repr(client)
        async with open_client(where.port) as client_:
            for token, errcode, message in (
                ("nobody", 3, "the token was refused"),
                ("forbidden", 3, "the token was refused"),
                ("banned", 3, "banned"),
                ("raises", 1, "the token cannot be verified at the moment"),
            ):
                error = await refused(client_, {"token": token})
                assert (error["data"]["errcode"], error["message"]) == (errcode, message)


@pytest.mark.req("IDENT-27")
@trio_test
async def test_without_a_backend_that_authenticates_nobody_enters(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, chat_server(), identity=BACKEND) as where,
        open_client(where.port) as client,
    ):
        assert (await refused(client, {"token": "x"}))["data"]["errcode"] == 1
        async with peer(where) as raw:
            await raw.call("backend.register")  # for events alone
            assert (await refused(client, {"token": "x"}))["data"]["errcode"] == 1
            await raw.call("backend.register", namespaces=["/news"], authenticate=True)
            assert (await refused(client, {"token": "x"}))["data"]["errcode"] == 1
        async with open_control(where.address) as control:
            await control.register(handle, ["chat"], authenticate=lambda client: "ann")
            await client.connect("/chat", {"token": "x"})
            await control.register(handle)  # replaces the other
        assert (await refused(client, {"token": "x"}, "/"))["data"]["errcode"] == 1


@pytest.mark.req("CONTROL-76")
@trio_test
async def test_a_backend_whose_token_is_narrowed_is_not_asked(tmp_path: Path) -> None:
    file = write_token(tmp_path)
    wide, narrow = (
        ControlToken(name="ops", file=file, methods=methods) for methods in (("*",), ("system.*",))
    )
    async with (
        controlled(
            tmp_path, chat_server(), identity=BACKEND, listen=("tcp:127.0.0.1:0",), tokens=(wide,)
        ) as where,
        tcp_peer(where) as raw,
        open_client(where.port) as client,
    ):
        await raw.call("auth", token=SECRET)
        await raw.call("backend.register", authenticate=True)
        where.service.apply(TokenTable([narrow]))
        assert (await refused(client, {"token": "x"}))["data"]["errcode"] == 1
        assert (await raw.call("system.info"))["pid"] == 1  # and no question before it
        where.service.apply(TokenTable([wide]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.connect, "/chat", {"token": "x"})
            asked = await raw.receive()
            assert asked["method"] == "backend.authenticate"
            await raw.send({"jsonrpc": "2.0", "id": asked["id"], "result": {"user": "ann"}})


@pytest.mark.req("CONTROL-97")
@trio_test
async def test_a_token_for_events_alone_does_not_learn_who_clients_are(tmp_path: Path) -> None:
    file = write_token(tmp_path)
    events, both, wide = (
        ControlToken(name="ops", file=file, methods=methods)
        for methods in (
            ("backend.register",),
            ("backend.register", "backend.authenticate"),
            ("backend.*",),
        )
    )
    options: dict[str, Any] = {"identity": BACKEND, "listen": ("tcp:127.0.0.1:0",)}
    async with (
        controlled(tmp_path, chat_server(), tokens=(events,), **options) as where,
        tcp_peer(where) as raw,
        open_client(where.port) as client,
    ):
        await raw.call("auth", token=SECRET)
        error = await raw.fail("backend.register", authenticate=True)
        assert error["code"] == Code.FORBIDDEN
        assert error["message"] == "the token 'ops' may not call backend.authenticate"
        assert not (await raw.call("backend.register"))["authenticates"]
        for enough in (both, wide):
            where.service.apply(TokenTable([enough]))
            assert (await raw.call("backend.register", authenticate=True))["authenticates"]
        where.service.apply(TokenTable([events]))
        assert (await refused(client, {"token": "x"}))["data"]["errcode"] == 1
        assert len(where.service.backends) == 1, "it is still given events"


@pytest.mark.req("CONTROL-95", "CONTROL-96")
@trio_test
async def test_strangers_do_not_use_up_what_a_backend_may_be_given(tmp_path: Path) -> None:
    identity = IdentityOptions(tokens=STATIC, backend=True, deadline_s=0.5)
    backends = BackendOptions(
        forward=(ForwardedEvents(namespace="/chat", events=("e",)),),
        max_in_flight=2,
        max_timeouts=2,
    )
    server = chat_server()
    async with (
        controlled(tmp_path, server, identity=identity, backends=backends) as where,
        peer(where) as raw,
        where.client("/chat", auth={"token": ANN}) as (ann, _),
        trio.open_nursery() as nursery,
    ):
        await raw.call("backend.register", authenticate=True)

        async def come() -> None:
            async with open_client(where.port) as client:
                assert (await refused(client, {"token": "opaque"}))["data"]["errcode"] == 1

        for _ in range(4):
            nursery.start_soon(come)
        questions = [await raw.receive() for _ in range(4)]
        assert {one["method"] for one in questions} == {"backend.authenticate"}
        for ack_id in (1, 2):
            await ann.emit("e", namespace="/chat", ack_id=ack_id)
            event = await raw.receive()
            assert event["method"] == "backend.event"
            await raw.send({"jsonrpc": "2.0", "id": event["id"], "result": "done"})
            assert (await ann.receive())[0] == f'3/chat,{ack_id}["done"]'
            await trio.sleep(0.6 if ack_id == 1 else 0)  # all questions have timed out
        await raw.call("system.info")


@pytest.mark.req("CONTROL-95")
@trio_test
async def test_questions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.control.backend_calls.MAX_QUESTIONS", 2)
    identity = IdentityOptions(backend=True, deadline_s=1.0)
    async with (
        controlled(tmp_path, chat_server(), identity=identity) as where,
        peer(where) as raw,
        open_client(where.port) as first,
        open_client(where.port) as second,
        open_client(where.port) as third,
    ):
        await raw.call("backend.register", authenticate=True)
        for client in (first, second):
            await client.send('0/chat,{"token":"opaque"}')
            await raw.receive()
        began = trio.current_time()
        assert (await refused(third, {"token": "opaque"}))["data"]["errcode"] == 1
        assert trio.current_time() - began < 0.5


@pytest.mark.req("IDENT-26", "IDENT-28")
@trio_test
async def test_a_stuck_backend_delays_nobody_else(tmp_path: Path) -> None:
    identity = IdentityOptions(tokens=STATIC, backend=True, deadline_s=0.5)
    async with controlled(tmp_path, chat_server(), identity=identity) as where, peer(where) as raw:
        await raw.call("backend.register", authenticate=True)  # and answers nothing
        refusals: list[float] = []

        async def come() -> None:
            async with open_client(where.port) as client:
                began = trio.current_time()
                assert (await refused(client, {"token": "opaque"}))["data"]["errcode"] == 1
                refusals.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(come)
            await until(lambda: where.server.statistics().joining == 5)
            began = trio.current_time()
            async with where.client("/chat", auth={"token": ANN}) as (client, _):
                await client.emit("ping", namespace="/chat", ack_id=1)
                assert (await client.receive())[0] == '3/chat,1["pong"]'
            assert trio.current_time() - began < 0.4
        assert len(refusals) == 5
        assert max(refusals) < 1.5


# --- auth.revoke ---------------------------------------------------------------------------------


async def users(where: Controlled) -> list[str]:
    sockets = where.server.of("/chat").sockets.values()
    return sorted(socket.user or "" for socket in sockets)


@pytest.mark.req("IDENT-39", "IDENT-40")
@trio_test
async def test_a_backend_revokes(tmp_path: Path) -> None:
    identity = IdentityOptions(tokens=STATIC)
    async with (
        controlled(tmp_path, chat_server(), identity=identity) as where,
        peer(where) as raw,
        where.client("/chat", auth={"token": ANN}) as (ann, sid),
        where.client("/chat", auth={"token": BOB}),
    ):
        assert await users(where) == ["ann", "bob"]
        shown = await raw.call("sockets.get", socket=sid, namespace="/chat")
        assert shown["user"] == "ann"
        assert (await raw.call("auth.revoke", user="ann"))["done"] == 1
        assert (await ann.receive_event("/chat"))[0] == "logic/error"
        assert await closes(ann)
        assert await users(where) == ["bob"]
        async with open_client(where.port) as again:
            assert (await refused(again, {"token": ANN}))["message"] == "the token was revoked"
        revoked = await raw.call("auth.revoke", user="carl", for_s=5)
        assert revoked["done"] == 0
        assert 4 < revoked["until_s"] - time.time() <= 5


@pytest.mark.req("CONTROL-90")
@trio_test
async def test_what_cannot_be_revoked(tmp_path: Path) -> None:
    identity = IdentityOptions(tokens=STATIC, max_revocations=1)
    async with controlled(tmp_path, identity=identity) as where, peer(where) as raw:
        wrong: list[dict[str, Any]] = [
            {},
            {"user": "ann", "token_id": "t"},
            {"user": ""},
            {"user": "x" * 300},
            {"user": "a", "for_s": 0},
            {"user": True},
            {"user": 7.5},
            {"user": "a\nb"},
            {"user": "\N{SNOWMAN}" * 90},
        ]
        for params in wrong:
            assert (await raw.fail("auth.revoke", **params))["code"] == Code.INVALID_PARAMS
        await raw.call("auth.revoke", user=7)
        assert (await raw.fail("auth.revoke", user="bob"))["code"] == Code.OVERLOADED
    folder = tmp_path / "other"
    folder.mkdir()
    async with controlled(folder) as where, peer(where) as raw:
        assert (await raw.fail("auth.revoke", user="ann"))["code"] == Code.UNAVAILABLE


@trio_test
async def test_a_handler_learns_who_a_client_is(tmp_path: Path) -> None:
    server, seen = chat_server(), list[str | None]()

    def connected(socket: Socket) -> None:
        seen.append(socket.user)

    server.of("/chat").on("connection")(connected)
    identity = IdentityOptions(tokens=STATIC, namespaces=(OPEN_ROOT,))
    async with (
        controlled(tmp_path, server, identity=identity) as where,
        where.client("/chat", auth={"token": ANN}),
        where.client("/"),
    ):
        assert seen == ["ann"]
