"""Every official client logs in in every way, and is refused in every way."""

import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.im.identity.identified import ANN, BOB, OK, STATIC, Identified, identified, jwt_options
from tests.im.identity.tokens import other_key, token
from tests.interop.python_clients import TRANSPORTS
from trio.testing import trio_test

import socketio
from trio_socketio import ConnectRefused, Server, ServerOptions, Socket, open_client
from trio_socketio.im.identity.options import NamespaceIdentity

SCRIPT: Final = Path(__file__).with_name("identity.mjs")
GONE = "is not connected"
KICKED = ["disconnect", "io server disconnect"]
Seen = list[list[Any]]


def told(errcode: int, message: str) -> dict[str, Any]:
    return {"errcode": errcode, "errmsg": message}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Identified]:
    """A server whose namespace /chat asks for identity, and / does not."""
    server = Server(ServerOptions(allow_eio3=True))

    def connected(socket: Socket) -> None:
        socket.emit("hello", socket.user)

    server.of("/chat").on("connection")(connected)
    server.of("/chat").on("who")(lambda socket: socket.user)
    async with identified(
        server,
        tokens=STATIC,
        jwt=jwt_options(folder, audience=("chat",)),
        namespaces=(NamespaceIdentity(name="/", methods=()),),
        auth_timeout_s=2.0,
        expiry_grace_s=0.0,
    ) as here:
        yield here


def cases(*, by_payload: bool) -> dict[str, Any]:
    """What clients do: the payload of the CONNECT, the events at once, how long to look on."""
    good, expired = token(aud="chat"), token(aud="chat", exp=time.time() - 60)
    short = token(aud="chat", exp=time.time() + 6)
    auth = ["auth", {"userId": 7, "meta": {}, "token": good}]
    found: dict[str, Any] = {
        "event": {"emits": [auth, ["who"]], "ms": 2000},
        "event, wrong": {"emits": [["auth", {"token": "wrong-token"}], ["who"]], "ms": 2000},
        "event, malformed": {"emits": [["auth", "x"]], "ms": 2000},
        "event, too early": {"emits": [["who"], auth], "ms": 2000},
        "nothing": {"ms": 3000},
        "again": {"emits": [auth, auth, ["auth", {"token": BOB}], ["who"]], "ms": 2000},
        "expires": {"emits": [["auth", {"token": short}]], "ms": 9000},
    }
    if by_payload:
        payloads = {
            "static": ANN,
            "jwt": good,
            "expired": expired,
            "forged": token(aud="chat", key=other_key("HS256")),
            "other audience": token(aud="mail"),
            "unsigned": ".".join([*good.split(".")[:2], ""]),
            "number": 7,
        }
        found |= {name: {"auth": {"token": text}, "ms": 2000} for name, text in payloads.items()}
    return found


def check_events(seen: dict[str, Seen]) -> None:
    """What all clients see that send their token as an event."""
    welcome = [["auth/reply", OK], ["ack", "auth", OK], ["hello", "ann"]]
    assert seen["event"] == [["connect"], *welcome, ["ack", "who", "ann"], ["is connected"]]
    wrong, malformed = told(3, "the token is not known"), told(2, "expected an object with a token")
    assert seen["event, wrong"] == [
        ["connect"], ["auth/reply", wrong], ["ack", "auth", wrong], ["logic/error", wrong],
        KICKED, [GONE],
    ]  # fmt: skip
    assert seen["event, malformed"] == [
        ["connect"], ["auth/reply", malformed], ["ack", "auth", malformed],
        ["logic/error", malformed], KICKED, [GONE],
    ]  # fmt: skip
    early = told(5, "not authenticated")
    assert seen["event, too early"] == [
        ["connect"], ["logic/error", early], ["ack", "who", early], *welcome, ["is connected"]
    ]  # fmt: skip
    late = told(4, "authentication timed out")
    assert seen["nothing"] == [["connect"], ["logic/error", late], KICKED, [GONE]]
    other = told(3, "the token belongs to another user")
    assert seen["again"] == [
        ["connect"], *welcome, ["auth/reply", OK], ["ack", "auth", OK], ["auth/reply", other],
        ["ack", "auth", other], ["ack", "who", "ann"], ["is connected"],
    ]  # fmt: skip
    assert seen["expires"] == [
        ["connect"], *welcome, ["logic/error", told(3, "the token has expired")], KICKED, [GONE]
    ]  # fmt: skip


REFUSED: Final = {
    "expired": told(3, "the token has expired"),
    "forged": told(3, "the token's signature is wrong"),
    "other audience": told(3, "the token is for another audience"),
    "unsigned": told(3, "the token's signature is wrong"),
    "number": told(2, "the token is not text"),
}


def check_payloads(seen: dict[str, Seen]) -> None:
    """What clients see that send their token in the payload of the CONNECT."""
    for name in ("static", "jwt"):
        assert seen[name] == [["connect"], ["hello", "ann"], ["is connected"]]
    for name, reason in REFUSED.items():
        error = {"message": reason["errmsg"], "data": reason}
        assert seen[name] == [["connect_error", error], [GONE]], name


@pytest.mark.req("IDENT-29", "IDENT-30", "IDENT-31", "IDENT-35", "IDENT-36", "IDENT-38")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("client", ["socket.io-client", "socket.io-client-2"])
@trio_test
async def test_javascript_clients(client: str, transport: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    by_payload = client == "socket.io-client"
    async with serving(tmp_path) as here:
        url = f"http://127.0.0.1:{here.port}/chat"
        done = await trio.run_process(
            [node, str(SCRIPT), client, url, transport, json.dumps(cases(by_payload=by_payload))],
            capture_stdout=True,
        )
        seen = json.loads(done.stdout)
        check_events(seen)
        if by_payload:
            check_payloads(seen)


@pytest.mark.req("JOIN-38")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("client", ["socket.io-client", "socket.io-client-2"])
@trio_test
async def test_a_client_with_a_socket_elsewhere_does_not_connect_again(
    client: str, transport: str, tmp_path: Path
) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    script = Path(__file__).with_name("two_sockets.mjs")
    async with serving(tmp_path) as here:
        url = f"http://127.0.0.1:{here.port}"
        command = [node, str(script), client, url, transport, "a-wrong-token"]
        done = await trio.run_process(command, capture_stdout=True)
    seen = json.loads(done.stdout)
    out = ["disconnect", "io server disconnect"]
    if client == "socket.io-client":
        refused: Seen = [["closed", "connect_error", 3]]
    else:
        refused = [["closed", "connect"], ["closed", "logic/error", 3], ["closed", *out]]
    assert seen == [["open", "connect"], *refused, ["open", *out]]


# --- Python --------------------------------------------------------------------------------------


def use_python(url: str, transport: str, case: dict[str, Any]) -> Seen:
    """Do with python-socketio what identity.mjs does with a client."""
    seen: Seen = []
    client = socketio.Client(reconnection_delay=0.02, reconnection_delay_max=0.05)
    for event in ("connect", "connect_error", "disconnect", "auth/reply", "logic/error", "hello"):
        client.on(event, lambda *args, event=event: seen.append([event, *args]), namespace="/chat")
    try:
        client.connect(
            url, auth=case.get("auth"), namespaces=["/chat"], transports=TRANSPORTS[transport]
        )
    except socketio.exceptions.ConnectionError:
        seen.append(["refused"])
    else:
        for event, *args in case.get("emits", ()):
            client.emit(
                event,
                args[0] if args else None,
                namespace="/chat",
                callback=lambda *answer, event=event: seen.append(["ack", event, *answer]),
            )
        time.sleep(case["ms"] / 1000)
    seen.append(["is connected" if client.connected and "/chat" in client.namespaces else GONE])
    result = list(seen)
    client.disconnect()
    return result


@pytest.mark.req("IDENT-29", "IDENT-30", "IDENT-31", "IDENT-35", "IDENT-36", "IDENT-38")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_python_socketio(transport: str, tmp_path: Path) -> None:
    seen: dict[str, Seen] = {}
    async with serving(tmp_path) as here:
        url = f"http://127.0.0.1:{here.port}"

        async def run(name: str, case: dict[str, Any]) -> None:
            seen[name] = await trio.to_thread.run_sync(use_python, url, transport, case)

        async with trio.open_nursery() as nursery:
            for name, case in cases(by_payload=True).items():
                nursery.start_soon(run, name, case)
    for name in ("static", "jwt"):
        assert seen[name] == [["connect"], ["hello", "ann"], ["is connected"]]
    for name, reason in REFUSED.items():
        error = {"message": reason["errmsg"], "data": reason}
        assert seen[name] == [["connect_error", error], ["refused"], [GONE]], name
    assert ["hello", "ann"] in seen["event"]
    assert seen["event"][-1] == ["is connected"]
    for name, errcode in (("event, wrong", 3), ("event, malformed", 2), ("nothing", 4)):
        errors = [args["errcode"] for event, args in _pairs(seen[name]) if event == "logic/error"]
        assert errors == [errcode], seen[name]
        assert seen[name][-1] == [GONE]
    assert ["ack", "who", "ann"] in seen["again"]
    assert seen["again"][-1] == ["is connected"]
    assert seen["expires"][-1] == [GONE]


def _pairs(seen: Seen) -> list[tuple[Any, Any]]:
    return [(one[0], one[1]) for one in seen if len(one) == 2]


@pytest.mark.req("IDENT-29", "IDENT-31")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_our_own_client(transport: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        url = f"http://127.0.0.1:{here.port}"
        all_cases = cases(by_payload=True)
        for name in ("static", "jwt"):
            async with open_client(
                url, namespaces="/chat", auth=all_cases[name]["auth"], transports=[transport]
            ) as client:
                assert await client.emit_with_ack("who") == "ann"
        for name, reason in REFUSED.items():
            with pytest.raises(ConnectRefused) as caught:
                async with open_client(
                    url, namespaces="/chat", auth=all_cases[name]["auth"], transports=[transport]
                ):
                    pass
            assert (caught.value.message, caught.value.data) == (reason["errmsg"], reason)
        async with open_client(url, namespaces="/chat", transports=[transport]) as client:
            assert await client.emit_with_ack("auth", {"token": ANN}) == OK
            assert await client.emit_with_ack("who") == "ann"
            assert (await client.emit_with_ack("auth", {"token": BOB}))["errcode"] == 3
        async with open_client(url, namespaces="/chat", transports=[transport]) as client:
            assert (await client.emit_with_ack("auth", {"token": "wrong-token"}))["errcode"] == 3
