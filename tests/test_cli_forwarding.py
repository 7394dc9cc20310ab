"""``serve --internal``: processes that pass requests on, what ends, and what changes meanwhile."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import ServingProcess, serving
from tests.redis_server import RedisServer, running_redis
from tests.test_cli_services import free_port, get
from tests.wire import (
    PATH,
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    SocketIOClient,
    WebSocketClient,
)
from trio_socketio import ServerOptions
from trio_socketio.cli import main
from trio_socketio.cluster.forwarding.credentials import read_credentials
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.configuration.loading import Loaded, Sources
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control import open_control
from trio_socketio.control.tokens import TokenTable
from trio_socketio.descriptors import RESERVE, fit_descriptors
from trio_socketio.errors import OptionError
from trio_socketio.reloading import Held, plan, put_into

SECRET = "0123456789abcdef0123456789abcdef"
EVERYWHERE = ("0.0.0.0", "::", "0:0::0", "all", "0")
UNKNOWN = {"code": 1, "message": "Session ID unknown"}
APP = """
from trio_socketio import Server


def create(options):
    sio = Server(options)

    @sio.on("say")
    def say(socket, word):
        return word

    return sio
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "first").write_text(SECRET)
    (tmp_path / "second").write_text(SECRET[::-1] + "\n")
    (tmp_path / "config.toml").write_text('[cluster]\nsecret_files = ["first"]\n')
    for number, host in enumerate(EVERYWHERE):
        advertised = f"[{host}]:4100" if ":" in host else f"{host}:4100"
        (tmp_path / f"advertise-{number}.toml").write_text(
            f'[cluster]\ninternal_advertise = "{advertised}"\n'
        )
    return tmp_path


@asynccontextmanager
async def node(
    redis: RedisServer, folder: Path, name: str, *more: str
) -> AsyncIterator[tuple[ServingProcess, int]]:
    """A node, and its port."""
    arguments = ["--redis", redis.url, "--node", name, "--internal", "127.0.0.1:0", *more]
    arguments += ["--app", "app.py:create", "--config", "config.toml"]
    async with serving(*arguments, cwd=folder, limit_s=40) as process:
        yield process, await process.wait_port()


async def come(owner: int, through: int) -> SocketIOClient:
    """A client on polling whose session is of one node, and whose requests go to another."""
    engine = await PollingEngine.open(owner)
    for http in (engine.getter, engine.poster):
        http.port = through
    client = SocketIOClient(engine)
    await client.connect()
    return client


async def upgrade(client: SocketIOClient, through: int) -> WebSocketClient:
    sid = client.engine.handshake["sid"]
    await client.engine.aclose()
    websocket = await WebSocketClient.open(through, f"{PATH}?EIO=4&transport=websocket&sid={sid}")
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    return websocket


async def refusal(port: int, sid: str) -> tuple[object, float]:
    """The answer to a poll, and how long it took."""
    http = HttpClient(port)
    began = trio.current_time()
    answer = await http.request("GET", f"{PATH}?EIO=4&transport=polling&sid={sid}")
    took_s = trio.current_time() - began
    await http.aclose()
    assert answer.status == 400
    return answer.json(), took_s


@pytest.mark.req("FWD-44")
@trio_test
async def test_the_secret_is_changed_while_clients_talk(redis: RedisServer, folder: Path) -> None:
    async with node(redis, folder, "a") as (a, port_a), node(redis, folder, "b") as (b, port_b):
        client = await come(port_a, port_b)
        websocket = await upgrade(await come(port_a, port_b), port_b)
        number = 0

        async def talk() -> None:
            nonlocal number
            while True:
                await client.emit("say", number, ack_id=number)
                assert await client.receive() == (f"3{number}[{number}]", [])
                await websocket.send(f'42{number}["say",{number}]')
                assert await websocket.receive() == f"43{number}[{number}]"
                number += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            for files in (["first", "second"], ["second", "first"], ["second"]):
                (folder / "config.toml").write_text(
                    f"[cluster]\nsecret_files = {json.dumps(files)}\n"
                )
                for process in (a, b):
                    process.process.send_signal(signal.SIGHUP)
                    await process.wait_logged("reloaded [cluster] secret_files")
            before = number
            with trio.fail_after(5):
                while number < before + 5:  # noqa: ASYNC110 - what clients do sets no event
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        # New connections go by the new secret alone.
        async with node(redis, folder, "c") as (_, port_c):
            late = await come(port_a, port_c)
            await late.engine.aclose()
        await websocket.aclose()
        await client.engine.aclose()


@pytest.mark.req("FWD-20", "FWD-21", "FWD-22")
@trio_test
async def test_a_node_that_stands_still_and_then_dies(redis: RedisServer, folder: Path) -> None:
    async with (
        node(redis, folder, "a") as (a, port_a),
        node(redis, folder, "b") as (_, port_b),
        node(redis, folder, "c") as (_, port_c),
    ):
        client, other = await come(port_a, port_b), await come(port_c, port_b)
        websocket = await upgrade(await come(port_a, port_b), port_b)
        sid = client.engine.handshake["sid"]
        a.process.send_signal(signal.SIGSTOP)
        body, took_s = await refusal(port_b, sid)
        assert body == UNKNOWN
        assert 1.0 < took_s < 2.0
        body, took_s = await refusal(port_b, sid)
        assert body == UNKNOWN
        assert took_s < 0.5
        a.process.send_signal(signal.SIGCONT)
        with trio.fail_after(3):  # it is heard again, and nothing has been lost
            await websocket.send('421["say","there"]')
            assert await websocket.receive() == '431["there"]'
        await trio.sleep(0.7)
        await client.emit("say", 1, ack_id=1)
        assert await client.receive() == ("31[1]", [])
        a.process.kill()
        with trio.fail_after(2):
            with pytest.raises(ConnectionEnded):
                await websocket.receive()
            body, took_s = await refusal(port_b, sid)
        assert body == UNKNOWN
        assert took_s < 0.5
        await other.emit("say", 2, ack_id=2)  # the clients of others have noticed nothing
        assert await other.receive() == ("32[2]", [])
        for one in (client, other):
            await one.engine.aclose()
        await websocket.aclose()


@pytest.mark.req("FWD-40", "FWD-41", "FWD-43", "FWD-46", "FWD-60")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--internal", "127.0.0.1:0", "--cluster-secret-file", "first"],
            "--internal is for other nodes, which are found over Redis: set --redis, or leave it "
            "out",
        ),
        (
            ["--redis", "redis://h", "--internal", "127.0.0.1:0"],
            "give secret_files, or internal_tls",
        ),
        (
            ["--redis", "redis://h", "--internal", "0.0.0.0:1", "--cluster-secret-file", "first"],
            "name it in internal_advertise, or listen on it in place of 0.0.0.0",
        ),
        (
            ["--redis", "redis://h", "--internal", "all:1", "--cluster-secret-file", "first"],
            "internal_advertise",
        ),
        *(
            (
                [
                    *("--redis", "redis://h", "--internal", "0.0.0.0:1"),
                    *("--cluster-secret-file", "first", "--config", f"advertise-{number}.toml"),
                ],
                f"{host} is no address to connect to: name the one by which the other nodes reach",
            )
            for number, host in enumerate(EVERYWHERE)
        ),
        (["--redis", "redis://h", "--internal", "::0:1"], "--internal: expected HOST:PORT"),
        (["--redis", "redis://h", "--internal", "here"], "--internal: expected HOST:PORT"),
        (
            ["--redis", "redis://h", "--internal", "h:1", "--cluster-secret-file", "none"],
            "--cluster-secret-file: cannot read the secret none",
        ),
        (
            ["--redis", "redis://h", "--internal", "h:1", "--cluster-secret-file", "app.py"] * 2,
            "names a file twice",
        ),
    ],
)
def test_what_cannot_work_ends_the_start(
    arguments: list[str],
    line: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert main(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert SECRET not in said


@pytest.mark.req("FWD-46")
def test_secrets_have_to_be_secrets(tmp_path: Path) -> None:
    for name, content in (("short", "x" * 31), ("one", SECRET), ("two", SECRET + "\n")):
        (tmp_path / name).write_text(content)
    for names, line in (
        (["short"], "must hold at least 32 bytes"),
        (["one", "two"], "two files hold the same secret"),
    ):
        files = tuple(str(tmp_path / name) for name in names)
        options = ClusterOptions(internal="127.0.0.1:0", secret_files=files)
        with pytest.raises(OptionError, match=line):
            read_credentials(options)


@pytest.mark.req("FWD-61")
def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca")
    issued, other = ca.issue_cert("a"), ca.issue_cert("b")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    other.private_key_pem.write_to_path(tmp_path / "other.key")
    (tmp_path / "nothing").write_text("nothing")
    for key, option, line in (
        (None, "internal_tls_cert", "cert holds no private key: name the file that does with inte"),
        ("other.key", "internal_tls_key", "other.key is not the key of "),
        ("nothing", "internal_tls_cert", "cert cannot be used with the key .*nothing: expected a"),
    ):
        options = ClusterOptions(
            internal="127.0.0.1:0",
            internal_tls_cert=tmp_path / "cert",
            internal_tls_key=None if key is None else tmp_path / key,
            internal_tls_ca=tmp_path / "ca",
        )
        with pytest.raises(OptionError, match=line) as caught:
            read_credentials(options)
        assert caught.value.option == option


@pytest.mark.req("FWD-43", "FWD-42")
@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"internal_advertise": "h:1"}, "internal_advertise"),
        ({"internal": "h:1", "internal_advertise": "h:0"}, "internal_advertise"),
        ({"internal": "h:1", "internal_advertise": "h"}, "internal_advertise"),
        ({"internal_tls_cert": Path("x")}, "internal_tls_ca"),
        ({"internal_tls_ca": Path("x")}, "internal_tls_ca"),
        ({"secret_files": ("a", "b", "c", "d")}, "secret_files"),
        ({"secret_files": "abc"}, "secret_files"),
        ({"place": "somewhere"}, "place"),
    ],
)
def test_options_that_contradict_each_other(given: dict[str, object], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        ClusterOptions(**given)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.option == option


@pytest.mark.req("FWD-45")
def test_a_node_that_passes_on_counts_three_descriptors_for_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = (5000, 5000)
    monkeypatch.setattr("trio_socketio.descriptors.resource.getrlimit", lambda _: limits)
    assert fit_descriptors(4000).max_connections == 4000
    assert fit_descriptors(4000, forwards=True).max_connections == (5000 - RESERVE) // 3
    assert fit_descriptors(1600, forwards=True).max_connections == 1600


@pytest.mark.req("FWD-45")
@pytest.mark.parametrize("forwards", [False, True])
def test_a_reload_counts_the_same_descriptors(
    monkeypatch: pytest.MonkeyPatch, forwards: bool
) -> None:
    """A worker passes requests on without an option that says so."""
    limits = (5000, 5000)
    monkeypatch.setattr("trio_socketio.descriptors.resource.getrlimit", lambda _: limits)
    own = ServerOptions(max_connections=4000)
    fitting = fit_descriptors(4000, forwards=forwards).max_connections
    options = replace(own, max_connections=fitting)
    held = Held(put_into(Configuration(), options), options, {}, TokenTable())
    sources = Sources(None, {}, {}, {})
    planned = plan(
        held, Loaded(Configuration(), {}), own, sources, runs_control=False, forwards=forwards
    )
    assert planned.held.options.max_connections == fitting
    assert planned.changed == ()


@pytest.mark.req("FWD-55", "FWD-57", "FWD-59")
@trio_test
async def test_a_node_with_another_secret_is_told_at_the_start(
    redis: RedisServer, folder: Path
) -> None:
    admin = free_port()
    more = ("--admin", f"127.0.0.1:{admin}", "--control", "unix:a.sock")
    async with node(redis, folder, "a", *more) as (a, _):
        (folder / "config.toml").write_text('[cluster]\nsecret_files = ["second"]\n')
        async with node(redis, folder, "b") as (b, _):
            reason = "the node that dials has not proven that it has the secret"
            await a.wait_logged(f"it refuses: {reason}")
            refused = f"refused a connection to the internal address from 127.0.0.1: {reason}"
            if not any(refused in line for line in b.log):  # while it has started
                await b.wait_logged(refused)
            ready = await get(admin, "/readyz")
            assert (ready.status, ready.text) == (
                200,
                "ready\nrequests cannot be passed on to the nodes 'b'; see system.nodes\n",
            )
            metrics = (await get(admin, "/metrics")).text
            assert 'tsio_forwarding_possible{node="b"} 0.0' in metrics
            async with open_control(f"unix:{folder / 'a.sock'}") as control:
                listed: Any = await control.call("system.nodes")
            found = listed["nodes"]
            assert [one["forwarding"] for one in found] == [None, False]
            assert reason in found[1]["forwarding_fault"]
