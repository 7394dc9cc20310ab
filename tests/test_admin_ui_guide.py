"""What spec/guide/admin_ui.md shows works: every block is run."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.ops.admin_ui.administrator import open_admin, refusal
from tests.ops.admin_ui.test_page import write
from tests.socketio.serving import serving as serving_server
from tests.test_cli_services import free_port, get
from trio_socketio import Server
from trio_socketio.ops.admin_ui import service

GUIDE = (Path(__file__).resolve().parents[1] / "spec" / "guide" / "admin_ui.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)


def block(kind: str, part: str) -> str:
    """The only block of a kind that has a part in it."""
    (found,) = [text for one, text in BLOCKS if one == kind and part in text]
    return str(found)


def test_all_blocks_are_run() -> None:
    assert [kind for kind, _ in BLOCKS] == ["sh", "toml", "toml", "python"]


@trio_test
async def test_the_first_steps_lead_to_the_page(tmp_path: Path) -> None:
    command = block("sh", "bcrypt").removeprefix("python").strip()
    found = re.fullmatch(r"-c '(.*)'", command)
    assert found is not None
    ended = await trio.run_process(
        [sys.executable, "-c", found[1]], stdin=b"correct horse\n", capture_stdout=True
    )
    password_hash = ended.stdout.decode().strip()
    port, text = free_port(), block("toml", "password_hash")
    write(tmp_path / "node_modules" / "@socket.io" / "admin-ui" / "ui" / "dist")
    conf = tmp_path / "conf.toml"
    conf.write_text(text.replace("$2b$12$...", password_hash).replace("9100", str(port)))
    async with serving("--config", str(conf), cwd=tmp_path) as server:
        where = await server.wait_port()
        assert (await get(port, "/admin-ui/")).status == 200
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        opened = await get(where, "/socket.io/?EIO=4&transport=polling", headers)
        assert opened.status == 200
        async with open_admin(where, {"username": "ops", "password": "correct horse"}) as admin:
            await admin.wait("session")
            await admin.wait("all_sockets")
        assert await refusal(where, {"username": "ops", "password": "x"}) == "invalid credentials"


@trio_test
async def test_tokens_allow_what_the_guide_says(tmp_path: Path) -> None:
    secrets = {"operator": "0123456789abcdef", "support": "fedcba9876543210"}
    for name, secret in secrets.items():
        (tmp_path / f"{name}.token").write_text(secret)
    conf = tmp_path / "conf.toml"
    conf.write_text(block("toml", "operator.token"))
    async with serving("--config", str(conf), cwd=tmp_path) as server:
        port = await server.wait_port()
        async with open_admin(port, {"username": "", "password": secrets["support"]}) as admin:
            (config,) = await admin.wait("config")
        assert config["supportedFeatures"][:2] == ["DISCONNECT", "MDISCONNECT"]
        async with open_admin(port, {"username": "", "password": secrets["operator"]}) as admin:
            (config,) = await admin.wait("config")
        assert "EMIT" in config["supportedFeatures"]


@trio_test
async def test_a_program_has_an_admin_ui_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PERIOD_S", 0.1)
    names: dict[str, Any] = {"__name__": "app"}
    exec(block("python", "AdminUI"), names)
    server = names["sio"]
    assert isinstance(server, Server)
    async with serving_server(server) as port, open_admin(port) as admin:
        (report,) = await admin.wait("server_stats")
        assert report["serverId"] == "my-app"
