"""The programs and commands of the page about the control socket, and the tables of all pages."""

import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trustme
from tests.cli_process import run_cli
from tests.cli_process import serving as serving_process
from tests.control.serving import controlled
from tests.guides.guide import guide, shown_tables
from tests.guides.programs import saved
from tests.im.identity.tokens import public_pem
from tests.interop.server_process import free_port
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import open_client
from trio_socketio.control import BackendOptions, ForwardedEvents

CONTROL: Final = guide("control.md")
APPS: Final = guide("apps.md")
CONFIGURATION: Final = guide("configuration.md")
SHOWN: Final = shown_tables()


def test_every_block_is_run() -> None:
    assert [kind for kind, _ in CONTROL.blocks] == ["toml", "python", "python", ""]
    assert [kind for kind, _ in guide("identity.md").blocks] == ["toml", "toml"]
    assert [kind for kind, _ in guide("chat.md").blocks] == ["toml"]
    assert [kind for kind, _ in CONFIGURATION.blocks] == ["", "toml"]
    for name in ("deliveries.md", "namespaces.md", "presence_webhook.md", "limits.md"):
        assert guide(name).blocks == []


def table(part: str) -> str:
    """The only block of TOML that has this part in it."""
    (found,) = [code for code in SHOWN if part in code]
    return found


@trio_test
async def test_the_commands_of_the_configuration(tmp_path: Path) -> None:
    lines = [line.split()[1:] for line in CONFIGURATION.commands("trio-socketio")]
    assert [line[0] for line in lines] == ["init", "check-config", "serve"]
    for line in lines[:2]:
        done = run_cli(*line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    async with serving_process(*lines[2][1:], cwd=tmp_path) as server:
        assert await server.wait_port()
        assert await server.end() == 0


@trio_test
async def test_the_commands_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"unix:{tmp_path / 'run' / 'control.sock'}"
    monkeypatch.setenv("TRIO_SOCKETIO_CONTROL", address)
    async with serving_process("--control", address) as server:
        await server.wait_port()
        lines = [shlex.split(line) for line in CONTROL.commands("trio-socketio ctl")]
        assert len(lines) == 8
        for line in lines:
            done = run_cli(*line[1:])
            assert (done.returncode, done.stderr) == (0, ""), line
            assert done.stdout


def test_the_file_of_options_can_be_used(tmp_path: Path) -> None:
    text = "".join(SHOWN)
    (tmp_path / "chat.toml").write_text(text, encoding="utf-8")
    (tmp_path / "shop.token").write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    (tmp_path / "issuer.pem").write_bytes(public_pem("RS256"))
    (tmp_path / "webhook.key").write_text("fedcba9876543210fedcba9876543210", encoding="utf-8")
    saved(tmp_path, "chat.py", APPS.block("python", "# chat.py"))
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    done = run_cli("check-config", "chat.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ping_interval_s = 20" in done.stdout
    assert '"order"' in done.stdout
    assert "0123456789abcdef" not in done.stdout
    with_others = re.sub(r"^# (jwt\.|webhook|tokens)", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "chat.toml").write_text(with_others, encoding="utf-8")
    done = run_cli("check-config", "chat.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("issuer.example", "shop.example/who", "ann"):
        assert part in done.stdout
    assert "for-development" not in done.stdout


@trio_test
async def test_the_tables_of_an_im_server_fit_together(tmp_path: Path) -> None:
    parts = ("[[control.tokens]]", "[identity]", "[presence]\npolicy")
    text = "\n".join(table(part) for part in parts)
    control = f"unix:{tmp_path / 'run' / 'control.sock'}"
    text = text.replace("unix:/run/chat/control.sock", control).replace("7000", str(free_port()))
    (tmp_path / "im.toml").write_text(re.sub("^# (tokens)", r"\1", text, flags=re.MULTILINE))
    (tmp_path / "shop.token").write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    (tmp_path / "issuer.pem").write_bytes(public_pem("RS256"))
    async with serving_process("--config", "im.toml", cwd=tmp_path) as server:
        port = await server.wait_port()
        for namespace in ("/chat", "/devices"):
            auth = {"token": "for-development"}
            async with open_client(
                f"http://127.0.0.1:{port}", namespaces=namespace, auth=auth
            ) as client:
                assert client.connected
        assert await server.end() == 0
    assert "backends talk with the clients in /, /chat, /devices" in "\n".join(server.log)


@trio_test
async def test_the_backends_of_the_control_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = BackendOptions(forward=(ForwardedEvents(),))
    async with controlled(tmp_path, backends=forward) as where, where.client() as (client, _):
        await trio.to_thread.run_sync(run_at, "backend.py", where.address)
        assert "0 clients were reached; not found: {'rooms': ['lobby']}" in capsys.readouterr().out
        names = run_at("handler.py", where.address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["main"])
            await until(lambda: where.service.statistics().backends == 1)
            await client.emit("order", 7, ack_id=1)
            assert (await client.receive())[0] == '31["ok"]'
            assert " in /: [7]" in capsys.readouterr().out
            for peer in tuple(where.service._peers):
                peer.close("for the test")
        assert "has ended: the server has closed the connection" in capsys.readouterr().out


def run_at(part: str, address: str) -> dict[str, Any]:
    """Run a program of the page with another address; what it has defined."""
    names: dict[str, Any] = {}
    exec(CONTROL.block("python", part).replace("unix:/run/chat/control.sock", address), names)
    return names
