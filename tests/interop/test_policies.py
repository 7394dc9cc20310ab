"""One server out of a configuration file: every policy, every client, every way to log in."""

import json
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cli_process import ServingProcess
from tests.cli_process import serving as serving_process
from tests.interop.python_clients import TRANSPORTS
from trio.testing import trio_test

import socketio
from trio_socketio import ConnectRefused, open_client
from trio_socketio.control import open_control

SCRIPT: Final = Path(__file__).with_name("policies.mjs")
TOKENS: Final = tuple(f"a-token-of-{number}" for number in range(9))
"""Of as many users, so that as many runs do not disturb one another."""
OK: Final = {"errcode": 0, "errmsg": "ok"}
REPLACED: Final = ["session/replaced", {"reason": "replaced"}]
KICKED: Final = ["session/replaced", {"reason": "kicked"}]
PUT_OUT: Final = ["disconnect", "io server disconnect"]
IN: Final = ["is connected"]
OUT: Final = ["is not connected"]
REFUSALS: Final = {"reject": "already connected", "many": "too many sessions"}
LOGINS: Final = 3
Seen = list[list[Any]]


@asynccontextmanager
async def serving(folder: Path, policy: str) -> AsyncIterator[tuple[ServingProcess, str, str]]:
    """The binary with a configuration; its URL, and the address of its control socket."""
    conf = trio.Path(folder / "conf.toml")
    maximum = "maximum = 2" if policy == "many" else ""
    tokens = ", ".join(f'{{ user = "{token[-1]}", token = "{token}" }}' for token in TOKENS)
    control = f"unix:{folder / 'run' / 'c.sock'}"
    await conf.write_text(
        f"""
        [engine]
        allow_eio3 = true
        [identity]
        tokens = [{tokens}]
        namespaces = [{{ name = "/", methods = [] }}, {{ name = "/chat", methods = ["static"] }}]
        [presence]
        policy = "{policy}"
        {maximum}
        [control]
        listen = ["{control}"]
        """
    )
    async with serving_process("--config", str(conf), limit_s=60) as server:
        port = await server.wait_port()
        yield server, f"http://127.0.0.1:{port}", control
        assert await server.end() == 0
        assert "Traceback" not in "\n".join(server.log)


def expected(policy: str, way: str) -> list[Seen]:
    """What a client sees that logs in as the first, second and third of its user."""
    told: dict[str, Any] = {"errcode": -1, "errmsg": REFUSALS.get(policy)}
    entered: Seen = [["connect"]]
    refused: Seen
    if way == "payload":
        refused = [["connect_error", {"message": told["errmsg"], "data": told}], OUT]
    else:
        entered = [["connect"], ["auth/reply", OK]]
        refused = [["connect"], ["auth/reply", told], ["logic/error", told], PUT_OUT, OUT]
    replaced, stays = [*entered, REPLACED, PUT_OUT, OUT], [*entered, IN]
    return {
        "newest": [replaced, replaced, stays],
        "reject": [stays, refused, refused],
        "many": [stays, stays, refused],
    }[policy]


POLICIES = pytest.mark.parametrize("policy", ["newest", "reject", "many"])


@pytest.mark.req("PRES-62", "PRES-53", "IDENT-30")
@POLICIES
@trio_test
async def test_javascript_clients(policy: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    runs = [
        (client, transport, way)
        for client, ways in (
            ("socket.io-client", ("payload", "event")),
            ("socket.io-client-2", ("event",)),
        )
        for transport in TRANSPORTS
        for way in ways
    ]
    found: dict[tuple[str, str, str], list[Seen]] = {}

    async def run(url: str, token: str, one: tuple[str, str, str]) -> None:
        client, transport, way = one
        command = [node, str(SCRIPT), client, url, "/chat", transport, token, way, str(LOGINS)]
        done = await trio.run_process(command, capture_stdout=True)
        found[one] = json.loads(done.stdout)

    async with serving(tmp_path, policy) as (_, url, _), trio.open_nursery() as nursery:
        for token, one in zip(TOKENS, runs, strict=True):
            nursery.start_soon(run, url, token, one)
    for one in runs:
        assert found[one] == expected(policy, one[2]), one


# -- Python


class PythonClient:
    """A client of python-socketio that tries to log in, and notes what it sees."""

    def __init__(self, url: str, transport: str, way: str, token: str) -> None:
        self.seen: Seen = []
        self._decided = threading.Event()
        self._client = client = socketio.Client(
            reconnection_delay=0.05, reconnection_delay_max=0.05, randomization_factor=0
        )
        for event in ("connect", "connect_error", "auth/reply", "logic/error", "session/replaced"):
            client.on(event, self._note(event), namespace="/chat")
        client.on("disconnect", self._note("disconnect"), namespace="/chat")
        auth = {"token": token} if way == "payload" else None
        try:
            client.connect(url, auth=auth, namespaces=["/chat"], transports=TRANSPORTS[transport])
        except socketio.exceptions.ConnectionError:
            return
        if way == "event":
            client.emit("auth", {"token": token}, namespace="/chat")
            assert self._decided.wait(10)

    def _note(self, event: str) -> Any:
        def note(*args: Any) -> None:
            kept = 0 if event == "disconnect" else 9
            self.seen.append([event, *args[:kept]])
            if event == "auth/reply":
                self._decided.set()

        return note

    def end(self) -> Seen:
        is_in = self._client.connected and "/chat" in self._client.namespaces
        seen = [*self.seen, IN if is_in else OUT]
        self._client.disconnect()
        return seen


def log_in_by_python(url: str, transport: str, way: str, token: str) -> list[Seen]:
    clients = [PythonClient(url, transport, way, token) for _ in range(LOGINS)]
    threading.Event().wait(0.7)  # far longer than they wait before they connect again
    return [client.end() for client in clients]


@pytest.mark.req("PRES-62", "PRES-53", "IDENT-30")
@POLICIES
@trio_test
async def test_python_socketio(policy: str, tmp_path: Path) -> None:
    runs = [(transport, way) for transport in TRANSPORTS for way in ("payload", "event")]
    seen_by: dict[tuple[str, str], list[Seen]] = {}

    async def run(url: str, token: str, one: tuple[str, str]) -> None:
        seen_by[one] = await trio.to_thread.run_sync(log_in_by_python, url, *one, token)

    async with serving(tmp_path, policy) as (_, url, _), trio.open_nursery() as nursery:
        for token, one in zip(TOKENS, runs, strict=False):
            nursery.start_soon(run, url, token, one)
    for one in runs:
        found = seen_by[one]
        told = [
            [["disconnect"] if event == PUT_OUT else event for event in seen]
            for seen in expected(policy, one[1])
        ]
        # It may notice the hang-up before it has handled what was told.
        assert [seen[-1] for seen in found] == [seen[-1] for seen in told], (one, found)
        for seen, wanted in zip(found, told, strict=True):
            assert [event for event in wanted if event not in seen] == [], (one, found)
            assert sum(event[0] == "connect" for event in seen) <= 1, (one, found)


@pytest.mark.req("PRES-62", "PRES-53", "IDENT-30")
@POLICIES
@trio_test
async def test_our_own_client(policy: str, tmp_path: Path) -> None:
    async def run(url: str, transport: str, way: str, token: str) -> None:
        found = await log_in_by_trio(url, transport, way, token)
        assert found == expected(policy, way), (transport, way)

    runs = [(transport, way) for transport in TRANSPORTS for way in ("payload", "event")]
    async with serving(tmp_path, policy) as (_, url, _), trio.open_nursery() as nursery:
        for token, one in zip(TOKENS, runs, strict=False):
            nursery.start_soon(run, url, *one, token)


async def log_in_by_trio(url: str, transport: str, way: str, token: str) -> list[Seen]:
    """Do what policies.mjs does."""
    logins: list[tuple[Seen, Any]] = []
    async with AsyncExitStack() as stack:
        for _ in range(LOGINS):
            seen: Seen = []
            auth = {"token": token} if way == "payload" else {}
            try:
                client = await stack.enter_async_context(
                    open_client(
                        url, namespaces="/chat", auth=auth, transports=TRANSPORTS[transport]
                    )
                )
            except ConnectRefused as error:
                told = {"message": error.message, "data": error.data}
                logins.append(([["connect_error", told]], None))
                continue
            seen.append(["connect"])  # it is in, so its handlers are told of what follows alone
            decided = trio.Event()

            def note(event: str, seen: Seen = seen, decided: trio.Event = decided) -> Any:
                def noted(*args: Any) -> None:
                    kept = 1 if event == "disconnect" else 9
                    seen.append([event, *args[:kept]])
                    if event == "auth/reply":
                        decided.set()

                return noted

            for event in ("disconnect", "auth/reply", "logic/error", "session/replaced"):
                client.on(event)(note(event))
            if way == "event":
                client.emit("auth", {"token": token})
                with trio.fail_after(10):
                    await decided.wait()
            logins.append((seen, client))
        await trio.sleep(0.7)
        return [
            [*seen, IN if client is not None and client.connected else OUT]
            for seen, client in logins
        ]


# -- kicks


@pytest.mark.req("CONTROL-93")
@pytest.mark.parametrize("client", ["socket.io-client", "socket.io-client-2"])
@trio_test
async def test_a_kicked_client_does_not_come_back_by_itself(client: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    seen: list[Seen] = []
    async with serving(tmp_path, "newest") as (_, url, where), open_control(where) as control:

        async def log_in() -> None:
            command = [
                node,
                str(SCRIPT),
                client,
                url,
                "/chat",
                "websocket",
                TOKENS[0],
                "event",
                "1",
            ]
            done = await trio.run_process(command, capture_stdout=True)
            seen.extend(json.loads(done.stdout))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in)
            with trio.fail_after(20):
                while not (await control.call("users.list", {"namespace": "/chat"}))["total"]:
                    await trio.sleep(0.02)
            kicked = await control.call("users.kick", {"namespace": "/chat", "users": [0]})
            assert kicked == {"done": 1, "missing": {}}
    assert seen == [[["connect"], ["auth/reply", OK], KICKED, PUT_OUT, OUT]]
