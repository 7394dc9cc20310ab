"""Namespaces at run time, in the program: its options, its commands, its restart."""

import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.interop.server_process import free_port
from tests.redis_server import RedisServer
from tests.wire import HttpClient, open_client
from trio_socketio.im.deliveries import sqlite
from trio_socketio.im.namespaces import disk_store
from trio_socketio.storage import opening

CONFIG = """
[state]
folder = "{folder}/state"
[control]
listen = ["unix:{folder}/control.sock"]
[admin]
listen = "127.0.0.1:{port}"
[identity]
tokens = [{{user = "ann", token = "token-of-ann"}}]
namespaces = [{{name = "/", methods = []}}]
"""


def ctl(folder: Path, *words: str) -> tuple[int, Any]:
    ended = run_cli("ctl", "--control", f"unix:{folder}/control.sock", "--json", *words)
    return ended.returncode, json.loads(ended.stdout) if ended.stdout else ended.stderr


@pytest.mark.req("NSP-01", "NSP-02", "NSP-08", "STATE-01", "STATE-12")
@pytest.mark.time_limit(120)
@trio_test
async def test_the_program_keeps_its_namespaces(tmp_path: Path) -> None:
    config, port = tmp_path / "tsio.toml", free_port()
    config.write_text(CONFIG.format(folder=tmp_path, port=port))
    async with serving("--config", str(config), limit_s=60) as server:
        where = await server.wait_port()
        code, made = ctl(tmp_path, "namespaces.create", "namespace=/shop", "max_sockets=5")
        assert (code, made["definition"]["revision"]) == (0, 1)
        code, told = ctl(tmp_path, "namespaces.create", "namespace=/shop")
        assert code == 1
        assert "exists already" in told
        code, changed = ctl(tmp_path, "namespaces.update", "namespace=/shop", "max_sockets=6")
        assert changed["definition"] == {"namespace": "/shop", "max_sockets": 6, "revision": 2}
        async with open_client(where) as client:
            await client.connect("/shop", {"token": "token-of-ann"})
        http = HttpClient(port)
        metrics = (await http.request("GET", "/metrics")).text
        await http.aclose()
        assert "tsio_namespaces_defined 1.0" in metrics
        assert 'tsio_state_calls_total{result="written"}' in metrics
        assert "tsio_state_usable 1.0" in metrics
        other = tmp_path / "other.toml"
        other.write_text(f'[state]\nfolder = "{tmp_path}/state"\n')
        second = run_cli("serve", "--config", str(other), "--port", "0")
        assert second.returncode == 2
        assert "another program keeps its state in" in second.stderr
        assert await server.end(signal.SIGTERM) == 0
    async with serving("--config", str(config), limit_s=60) as server:
        where = await server.wait_port()
        code, listed = ctl(tmp_path, "namespaces.list", "after=/")
        assert [one["definition"] for one in listed["namespaces"]] == [changed["definition"]]
        async with open_client(where) as client:
            await client.connect("/shop", {"token": "token-of-ann"})
            code, gone = ctl(tmp_path, "namespaces.remove", "namespace=/shop", "reason=closed")
            assert gone["done"] == 1
            told = {"errcode": -1, "errmsg": "closed"}
            assert await client.receive_event("/shop") == ["logic/error", told]


@pytest.mark.req("NSP-30")
@trio_test
async def test_a_folder_beside_redis_is_told(tmp_path: Path, shared_redis: RedisServer) -> None:
    """The program had no Redis before, and has kept things in the folder."""
    with closing(opening.open_file(tmp_path, [*disk_store.SCHEMA, *sqlite._SCHEMA])) as opened:
        opened.connection.execute("INSERT INTO namespaces VALUES ('/auction', x'', 1)")
        opened.connection.execute("UPDATE delivery_totals SET going = 2")
    config = tmp_path / "tsio.toml"
    config.write_text(f'[state]\nfolder = "{tmp_path}"\n[redis]\nurl = "{shared_redis.url}"\n')
    async with serving("--config", str(config)) as server:
        assert "[state] folder has no effect" in await server.wait_logged("has no effect")
        assert "has 1 namespaces that were made at run time, and 2 messages that" in (
            await server.wait_logged("has 1 namespaces")
        )


@pytest.mark.req("NSP-02", "NSP-08", "NSP-20")
@pytest.mark.time_limit(120)
@trio_test
async def test_two_programs_share_their_namespaces(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """One of them is killed, and comes back."""

    def node(name: str) -> Any:
        control = f"unix:{tmp_path / name}/control.sock"
        return serving(
            "--redis", redis_server.url, "--node", name, "--control", control, limit_s=90
        )

    async with node("b") as b:
        where = await b.wait_port()
        async with node("a") as a:
            await a.wait_port()
            with trio.fail_after(10):
                while len(ctl(tmp_path / "a", "system.nodes")[1]["nodes"]) < 2:
                    await trio.lowlevel.checkpoint()
            for name in ("/one", "/two"):
                code, made = ctl(tmp_path / "a", "namespaces.create", f"namespace={name}")
                assert (code, made["nodes"]) == (0, {"a": 0, "b": 0})
            async with open_client(where) as client:
                await client.connect("/one")
                await a.end(signal.SIGKILL)
                code, gone = ctl(tmp_path / "b", "namespaces.remove", "namespace=/one")
                assert (code, gone["nodes"]["b"]) == (0, 1)
                told = {"errcode": -1, "errmsg": "namespace removed"}
                assert await client.receive_event("/one") == ["logic/error", told]
        async with node("a") as a:
            await a.wait_port()
            lists = [ctl(tmp_path / name, "namespaces.list", "after=/")[1] for name in "ab"]
            found = [[one["namespace"] for one in each["namespaces"]] for each in lists]
            assert found == [["/two"], ["/two"]]
