"""``serve --redis``: how it starts, what it waits for, and several processes as one server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import ServingProcess, run_cli, serving
from tests.interop.server_process import free_port
from tests.redis_server import RedisServer, running_redis
from tests.test_cli_services import get
from tests.wire import open_client
from trio_socketio.cli import main
from trio_socketio.control import open_control

GUIDE = Path(__file__).resolve().parents[1] / "spec" / "guide" / "cluster.md"


async def ready(port: int, part: str = "") -> str:
    """Ask for /readyz until its answer has a part in it; ready if that is empty."""
    while True:
        try:
            answer = await get(port, "/readyz")
        except OSError:  # it does not listen yet
            answer = None
        if answer is not None and (part in answer.text if part else answer.status == 200):
            return answer.text
        await trio.sleep(0.02)


# --- the start


@pytest.mark.req("CLUS-01")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--redis", "http://127.0.0.1:6379"], "--redis: expected redis://"),
        (["--redis", "redis://:secret@127.0.0.1:6379/one"], "--redis: expected redis://"),
        (["--redis", "redis://127.0.0.1", "--node", "a b"], "--node: expected letters"),
    ],
)
def test_what_cannot_be_a_url_or_a_name_ends_the_start(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert line in said
    assert "secret" not in said


@pytest.mark.req("CLUS-01")
def test_what_redis_refuses_for_good_ends_the_start(shared_redis: RedisServer) -> None:
    for url, line in (
        (f"{shared_redis.tcp_url.replace('://', '://nobody:wrong@')}", "password"),
        (f"{shared_redis.tcp_url}/99", "the database 99 cannot be used"),
    ):
        done = run_cli("serve", "--port", "0", "--redis", url)
        assert done.returncode == 2
        assert line in done.stderr.splitlines()[-1]
        assert "wrong@" not in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.req("CLUS-02", "CLUS-04")
@trio_test
async def test_a_node_waits_for_redis_is_ready_with_it_and_not_ready_without(
    tmp_path: Path,
) -> None:
    with running_redis() as server:
        server.stop()
        admin = free_port()
        url = server.tcp_url
        control = tmp_path / "run" / "control.sock"
        where = ("--admin", f"127.0.0.1:{admin}", "--control", f"unix:{control}")
        async with serving("--redis", url, *where, limit_s=30) as node:
            told = await ready(admin, "Redis: cannot connect: Connection refused")
            assert told.startswith("not serving: the server has not started yet")
            async with open_control(f"unix:{control}") as operator:
                info: Any = await operator.call("system.info")
                assert info["state"] == "starting"
            await trio.to_thread.run_sync(server.start)
            port = await node.wait_port()
            await ready(admin)
            async with open_client(port) as client:
                await client.connect()
                server.stop()
                await ready(admin, "Redis:")
                await client.emit("message", "hello")  # the lobby still serves its own
                await trio.to_thread.run_sync(server.start)
                await ready(admin)
            metrics = (await get(admin, "/metrics")).text
            assert "tsio_redis_connected 1.0" in metrics
            assert "tsio_redis_reconnects_total 1.0" in metrics
            assert "tsio_bus_gaps_total" in metrics
            assert "tsio_node_member 1.0" in metrics
            assert await node.end() == 0


@pytest.mark.req("CLUS-18")
@trio_test
async def test_a_node_without_redis_says_once_why_it_is_not_ready(tmp_path: Path) -> None:
    conf, admin = tmp_path / "conf.toml", free_port()
    await trio.Path(conf).write_text(
        '[identity]\ntokens = [{ user = "ann", token = "for-development" }]\n'
        "[presence]\nlease_s = 3\n"
    )
    where = ("--admin", f"127.0.0.1:{admin}", "--config", str(conf))
    with running_redis() as server:
        async with serving("--redis", server.tcp_url, *where, limit_s=30) as node:
            await ready(admin)
            server.stop()
            told = await ready(admin, "cannot connect")
            assert told.strip() == "Redis: cannot connect: Connection refused"
            await node.wait_logged("its lease was not renewed for")
            told = await ready(admin, "cannot connect")
            assert told.strip() == "Redis: cannot connect: Connection refused"
            await trio.to_thread.run_sync(server.start)
            await ready(admin)
            assert await node.end() == 0


@pytest.mark.req("CLUS-03", "CLUS-08")
@trio_test
async def test_a_node_that_waits_for_redis_can_be_stopped(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    conf = tmp_path / "conf.toml"
    await trio.Path(conf).write_text(
        '[identity]\ntokens = [{ user = "ann", token = "for-development" }]\n'
        '[presence]\nstore = "memory"\n'
    )
    async with serving("--redis", url, "--config", str(conf)) as node:
        await node.wait_logged("cannot connect")
        assert any("users are per node" in line for line in node.log)
        assert await node.end() == 0
        assert any("received SIGTERM" in line for line in node.log)


@pytest.mark.req("CLUS-01")
@pytest.mark.parametrize("content", [None, ""])
def test_check_config_reads_the_password(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    password, conf = tmp_path / "password", tmp_path / "conf.toml"
    if content is not None:
        password.write_text(content)
    conf.write_text(f'[redis]\nurl = "redis://127.0.0.1"\npassword_file = "{password}"\n')
    assert main(["check-config", str(conf)]) == 2
    assert "password_file" in capsys.readouterr().err


@pytest.mark.req("CLUS-05")
def test_an_app_with_an_adapter_of_its_own_is_not_served_with_redis(tmp_path: Path) -> None:
    app = tmp_path / "own.py"
    app.write_text(
        "from trio_socketio import Adapter, Server\n"
        "class Own(Adapter): pass\n"
        "sio = Server(adapter=Own)\n"
    )
    done = run_cli("serve", "--port", "0", "--app", str(app), "--redis", "redis://127.0.0.1")
    assert done.returncode == 2
    assert "contradict each other" in done.stderr


# --- several nodes


@asynccontextmanager
async def node(name: str, folder: Path, *arguments: str) -> AsyncIterator[ServingProcess]:
    control = f"unix:{folder / name / 'control.sock'}"
    async with serving("--node", name, "--control", control, *arguments, limit_s=40) as process:
        yield process


def acl_line() -> str:
    """The line of the guide that makes a user of Redis."""
    (line,) = [
        line
        for line in GUIDE.read_text(encoding="utf-8").splitlines()
        if line.startswith("ACL SETUSER")
    ]
    return line


@pytest.mark.req("CLUS-19")
@trio_test
async def test_a_node_with_other_options_than_the_others_is_told(tmp_path: Path) -> None:
    identity = '[identity]\ntokens = [{ user = "ann", token = "for-development" }]\n[presence]\n'
    with running_redis() as server:
        files = {"a": 'outage = "available"\n', "b": 'policy = "reject"\n'}
        for name, options in files.items():
            await trio.Path(tmp_path / f"{name}.toml").write_text(identity + options)
        shared = ("--redis", server.tcp_url, "--config")
        async with node("a", tmp_path, *shared, str(tmp_path / "a.toml")) as a:
            await a.wait_port()
            async with node("b", tmp_path, *shared, str(tmp_path / "b.toml")) as b:
                await b.wait_logged("node a has outage = 'available', and this one, b, 'strict'")
                await b.wait_logged("node a has policy = 'newest', and this one, b, 'reject'")
                await b.wait_port()
                assert await b.end() == 0
            assert not any("the same [presence] options" in line for line in a.log)
            assert await a.end() == 0


@pytest.mark.req("CLUS-06", "CLUS-07")
@trio_test
async def test_two_nodes_are_one_server_for_clients_and_backends(tmp_path: Path) -> None:
    with running_redis() as server:
        server.command(*acl_line().replace("PASSWORD", "secret").split())
        secret = tmp_path / "password"
        await trio.Path(secret).write_text("secret")
        conf = tmp_path / "conf.toml"
        url = server.tcp_url.replace("://", "://trio-socketio@")
        await trio.Path(conf).write_text(f'[redis]\nurl = "{url}"\npassword_file = "{secret}"\n')
        shared = ("--config", str(conf))
        async with node("a", tmp_path, *shared) as one, node("b", tmp_path, *shared) as two:
            ports = [await one.wait_port(), await two.wait_port()]
            async with open_client(ports[0]) as ann, open_client(ports[1]) as bob:
                await ann.connect()
                await bob.connect()
                async with open_control(f"unix:{tmp_path / 'a' / 'control.sock'}") as backend:
                    nodes: Any = await backend.call("system.nodes")
                    assert [one["name"] for one in nodes["nodes"]] == ["a", "b"]
                    reached: Any = await backend.call(
                        "emit", {"all": True, "event": "news", "args": [1]}
                    )
                    assert reached["reached"] == 2
                    assert reached["nodes"] == {"a": 1, "b": 1}
                for client in (ann, bob):
                    with trio.fail_after(5):
                        assert await client.receive_event() == ["news", 1]
            third = await trio.to_thread.run_sync(
                lambda: run_cli("serve", "--port", "0", "--node", "a", *shared)
            )
            assert third.returncode == 2
            assert "the name 'a' belongs to a node on host" in third.stderr
