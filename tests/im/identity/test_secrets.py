"""Tokens reach nobody: a canary is looked for wherever the payload of a CONNECT might be shown."""

import json
import logging
import types
from collections.abc import Iterator
from gc import get_referents
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tests.im.identity.identified import ANN, STATIC, identified, jwt_options
from tests.im.identity.test_gate import refused
from tests.im.identity.tokens import other_key, token
from tests.socketio.linked_nodes import linked_servers
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import Adapter, Joining, Observer, SavedSession, Server, ServerOptions, Socket
from trio_socketio.control.sockets import show
from trio_socketio.im.identity.options import NamespaceIdentity, StaticToken

CANARY = "canary-in-the-mine"


class Nosy(Observer):
    """Writes down whatever it is shown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _look(self, socket: Socket | None) -> None:
        if socket is not None:
            handshake = socket.handshake
            self.seen += [repr(socket), handshake.auth, handshake.url, handshake.query]
            self.seen += [handshake.headers, socket.data]

    def joined(self, socket: Socket) -> None:
        self._look(socket)
        self.seen.append(json.loads(msgspec.json.encode(show(socket))))

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        self._look(socket)

    def refused(self, joining: Joining, error: Any) -> None:
        self._look(joining.socket)
        self.seen += [joining.auth, repr(joining), str(error), error.data]

    def abandoned(self, joining: Joining) -> None:
        self._look(joining.socket)
        self.seen.append(joining.auth)


class Keeping(Adapter):
    """Writes down what is kept of lost clients."""

    kept: list[Any]

    async def persist_session(self, session: SavedSession) -> None:
        self.kept.append(json.loads(msgspec.json.encode(session)))
        await super().persist_session(session)


def reachable_texts(*roots: object) -> Iterator[str | bytes]:
    """All texts that objects hold on to, by whatever way, except through code and classes."""
    skipped = (type, types.ModuleType, types.FunctionType, types.FrameType, types.CodeType)
    ahead, seen = list(roots), set(map(id, roots))
    while ahead:
        for found in get_referents(ahead.pop()):
            if id(found) in seen or isinstance(found, skipped):
                continue
            seen.add(id(found))
            if isinstance(found, (str, bytes)):
                yield found
            else:
                ahead.append(found)


@pytest.mark.req("IDENT-33")
@pytest.mark.parametrize("kind", ["static", "jwt", "backend"])
@trio_test
async def test_no_token_is_shown_or_kept(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_socketio")
    nosy, kept = Nosy(), list[Any]()

    class Kept(Keeping):
        pass

    Kept.kept = kept
    server = Server(ServerOptions(state_recovery=True), adapter=Kept)
    chat = server.of("/chat")
    server.observe(nosy)
    chat.use(lambda socket: nosy._look(socket))
    chat.on("connection")(lambda socket: nosy._look(socket))
    chat.on("disconnect")(lambda socket, _: nosy._look(socket))

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        await trio.lowlevel.checkpoint()
        good = question.token.endswith("good")
        return b'{"user": "ann"}' if good else b'{"refused": "not you"}'

    good = {
        "static": CANARY,
        "jwt": token(secret=CANARY),
        "backend": f"{CANARY}-good",
    }[kind]
    bad = {"static": f"{CANARY}-bad", "backend": f"{CANARY}-bad"}.get(
        kind, token(key=other_key("HS256"))
    )
    options: dict[str, Any] = {"backend": True}
    if kind == "static":
        # Not as text, because the options are not what is looked at here.
        path = tmp_path / "token"
        path.write_text(CANARY)
        options = {"tokens": (StaticToken(user="ann", file=str(path)),)}
    elif kind == "jwt":
        options = {"jwt": jwt_options(tmp_path)}
    secrets = [CANARY, good, bad, good.rpartition(".")[2], bad.rpartition(".")[2]]
    async with identified(server, ask_backend=ask, **options) as here:
        async with here.client() as client, here.client() as other, here.client() as late:
            auth = {"token": good, "device": "phone"}
            await client.connect("/chat", auth)
            await client.emit("auth", {"token": bad}, namespace="/chat")
            assert (await client.receive_event("/chat"))[0] == "auth/reply"
            await client.emit("auth", {"token": good}, namespace="/chat")
            assert (await client.receive_event("/chat"))[0] == "auth/reply"
            await refused(other, {"token": bad})
            await other.connect("/chat")
            await other.emit("auth", {"token": good}, namespace="/chat")
            assert (await other.receive_event("/chat"))[0] == "auth/reply"
            await late.connect("/chat")
            await late.emit("auth", {"token": bad}, namespace="/chat")
            assert (await late.receive_event("/chat"))[0] == "auth/reply"
            nosy.seen += [vars(one) if hasattr(one, "__dict__") else repr(one)
                          for one in await server.of("/chat").fetch_sockets()]  # fmt: skip
            nosy.seen += [here.service.statistics(), server.statistics()]
            nosy.seen.append([one.handshake.auth for one in chat.sockets.values()])
            assert {"device": "phone"} in nosy.seen[-1], "the rest of the payload is the app's"
            held = list(reachable_texts(server, here.service, here.runtime.poller))
            assert len(held) > 500
            for secret in secrets:
                assert [text for text in held if secret.encode() in _as_bytes(text)] == []
        await until(lambda: not chat.sockets)
    assert kept
    shown = "\n".join([repr(nosy.seen), repr(kept), caplog.text])
    assert "/chat" in caplog.text
    for secret in secrets:
        assert secret not in shown


def _as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


@pytest.mark.req("IDENT-33")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_the_predicate_of_a_dynamic_namespace_sees_no_token(is_async: bool) -> None:
    seen: list[dict[str, Any]] = []

    def ask(name: str, auth: dict[str, Any]) -> bool:
        seen.append(dict(auth))
        return True

    async def ask_later(name: str, auth: dict[str, Any]) -> bool:
        return ask(name, auth)

    server = Server()
    server.of(ask_later if is_async else ask)
    options = (NamespaceIdentity(name="/open-*", methods=()),)
    async with (
        identified(server, tokens=STATIC, namespaces=options) as here,
        here.client() as client,
    ):
        await client.connect("/room-1", {"token": ANN, "device": "phone"})
        await client.connect("/open-1", {"token": "what the app makes of it"})
    assert seen == [{"device": "phone"}, {"token": "what the app makes of it"}]


@pytest.mark.req("IDENT-33")
@pytest.mark.parametrize("is_async", [False, True])
@trio_test
async def test_listeners_and_middleware_do_not_see_the_event_auth(is_async: bool) -> None:
    seen: list[Any] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[0] if type(arguments[0]) is list else list(arguments))

    async def note_later(*arguments: Any) -> None:
        note(*arguments)

    def watch(socket: Socket) -> None:
        socket.on_any(note_later if is_async else note)
        socket.use(note_later if is_async else note)

    server = Server()
    chat = server.of("/chat")
    chat.on("connection")(watch)
    chat.on_unhandled(lambda *_: None)
    async with identified(server, tokens=STATIC) as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        await client.emit("auth", {"token": ANN}, namespace="/chat", ack_id=1)
        assert await client.receive_event("/chat") == ["auth/reply", {"errcode": 0, "errmsg": "ok"}]
        assert (await client.receive())[0].startswith("3/chat,1[")
        await client.emit("else", 1, namespace="/chat", ack_id=2)
        assert (await client.receive())[0].startswith("3/chat,2")
    assert seen == [["else", 1], ["else", 1]]


@pytest.mark.req("IDENT-33")
@trio_test
async def test_no_token_travels_to_other_nodes() -> None:
    here, there = linked_servers(2)
    async with identified(there, tokens=STATIC) as node, node.client() as client:
        await client.connect("/", {"token": STATIC[0].token, "device": "phone"})
        (found,) = await here.fetch_sockets()
        assert not hasattr(found.handshake, "auth")
        assert found.id in there.of("/").sockets


def test_a_static_token_is_masked_where_options_are_shown() -> None:
    from trio_socketio.configuration.text import toml_value

    shown = toml_value(list(STATIC))
    assert "ann" in shown
    assert "token-of-ann" not in shown
