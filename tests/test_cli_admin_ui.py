"""``serve`` with [admin_ui]: the namespace, the pages, and what else the program does with them."""

import json
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.ops.admin_ui.administrator import PASSWORD_HASH, open_admin, refusal
from tests.ops.admin_ui.test_page import write
from tests.test_cli_services import free_port, get
from tests.wire import ConnectionEnded, open_client

SECRET = "0123456789abcdef"
CONFIG = """
[admin]
listen = "127.0.0.1:{admin}"
[admin_ui]
auth = "token"
tokens = ["operator"]
folder = "{folder}/ui"
[control]
listen = ["unix:{folder}/c.sock"]
tokens = [{{ name = "operator", file = "{folder}/secret" }}]
[identity]
tokens = [{{ user = "ann", token = "a-token-for-development" }}]
[presence]
policy = "newest"
[chat]
namespaces = ["/*"]
[[rules.namespaces]]
name = "/*"
events = []
"""


@pytest.mark.req("AUI-12", "AUI-15", "AUI-25")
@trio_test
async def test_the_program_serves_the_admin_ui(tmp_path: Path) -> None:
    admin_port, conf = free_port(), tmp_path / "conf.toml"
    conf.write_text(CONFIG.format(admin=admin_port, folder=tmp_path))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    write(tmp_path / "ui")
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        page = await get(admin_port, "/admin-ui/")
        assert (page.status, page.text) == (200, "<!DOCTYPE html>")
        async with open_client(port) as client, open_admin(port, login()) as admin:
            # Neither identity nor presence asks anything here, and no rule stands before commands.
            ann = await client.connect("/", {"token": "a-token-for-development"})
            await admin.wait_of("room_joined", "/", "user:ann", ann)
            await admin.send("join", "/", "lobby", ann)
            await admin.wait_of("room_joined", "/", "lobby", ann)
            (report,) = await admin.wait("server_stats")
            assert report["serverId"].count(":") == 1  # the name of the node
            metrics = (await get(admin_port, "/metrics")).text
            assert "tsio_admin_ui_admins 1.0" in metrics
            assert 'tsio_admin_ui_commands_total{result="done"} 1.0' in metrics
            made = ctl(tmp_path, "namespaces.create", "namespace=/admin")
            assert "serves /admin already" in made
            secret.write_text(SECRET[::-1])
            server.process.send_signal(SIGHUP)
            await server.wait_logged("reloaded")
            with pytest.raises(ConnectionEnded):
                await admin.wait("nothing")
        assert await refusal(port, login()) == "invalid credentials"
        assert await server.end() == 0


def login() -> dict[str, str]:
    return {"username": "", "password": SECRET}


def ctl(folder: Path, *words: str) -> str:
    ended = run_cli("ctl", "--control", f"unix:{folder}/c.sock", "--json", *words)
    assert ended.returncode == 1
    return ended.stdout + ended.stderr


@pytest.mark.req("AUI-27", "AUI-04", "AUI-15")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"auth": "token", "tokens": ["a"]}, "names 'a', which is not among the tokens"),
        ({"folder": "ui"}, "set [admin_ui] auth"),
        ({"readonly": True}, "readonly has no effect without [admin_ui] auth"),
        ({"auth": "none", "folder": "ui"}, "folder has no effect without [admin] listen"),
        ({"auth": "basic", "username": "ops"}, "is basic, which needs password_hash"),
        ({"auth": "none", "namespace": "/chat"}, "names /chat, which is the namespace of the"),
    ],
)
def test_the_configuration_is_checked(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    conf = tmp_path / "conf.toml"
    conf.write_text("\n".join(["[admin_ui]", *lines, '[chat]\nnamespaces = ["/chat"]']))
    ended = run_cli("check-config", str(conf))
    assert told in ended.stdout + ended.stderr


def test_the_hash_is_not_shown(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(
        f'[admin_ui]\nauth = "basic"\nusername = "ops"\npassword_hash = "{PASSWORD_HASH}"\n'
    )
    ended = run_cli("check-config", str(conf))
    assert ended.returncode == 0
    assert PASSWORD_HASH not in ended.stdout + ended.stderr
    assert "password_hash" in ended.stdout
