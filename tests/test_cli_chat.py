"""``[chat]`` of the configuration file: what it starts, refuses and warns of, and its metrics."""

from pathlib import Path
from typing import Final

import pytest
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.interop.server_process import free_port
from tests.test_cli_services import get
from tests.wire import open_client

TOKENS: Final = '[identity]\ntokens = [{ user = "ann", token = "token-of-ann" }]\n'


def write(folder: Path, text: str) -> str:
    path = folder / "im.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.req("CHAT-01", "CHAT-25")
@trio_test
async def test_the_program_serves_chat_without_an_app(tmp_path: Path) -> None:
    config = write(tmp_path, f'{TOKENS}[chat]\nnamespaces = ["/demo", "/room-*"]\n')
    admin = free_port()
    async with serving("--config", config, "--admin", f"127.0.0.1:{admin}") as program:
        port = await program.wait_port()
        assert any("clients have chat events in /demo, /room-*" in line for line in program.log)
        for namespace in ("/demo", "/room-7"):
            async with open_client(port) as client:
                await client.connect(namespace, {"token": "token-of-ann"})
                await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace=namespace)
                assert (await client.receive_event(namespace))[1]["errcode"] == 0
                entry = {"roomId": "r1", "msg": {"meta": "hello"}}
                await client.emit("chat/rooms", [entry], namespace=namespace)
                event, message = await client.receive_event(namespace)
                assert (event, message["from"], message["meta"]) == ("chat/rooms", "ann", "hello")
        told = (await get(admin, "/metrics")).text
        assert 'tsio_chat_events_total{event="chat/rooms",result="accepted"} 2.0' in told


@pytest.mark.req("CHAT-29")
@pytest.mark.parametrize(
    ("table", "code", "line"),
    [
        ('namespaces = ["/"]', 2, "[chat] namespaces: / has no chat events"),
        ('namespaces = ["demo"]', 2, "[chat] namespaces: expected names of namespaces"),
        ('confirm = ["/demo"]', 2, "[chat] confirm: '/demo' is not one of namespaces"),
        ("rooms = 3", 2, "[chat] rooms"),
        ('namespaces = ["/demo"]', 0, "clients in /demo are not asked who they are"),
    ],
)
def test_what_is_told_of_the_table(table: str, code: int, line: str, tmp_path: Path) -> None:
    done = run_cli("check-config", write(tmp_path, f"[chat]\n{table}\n"))
    assert done.returncode == code
    assert line in done.stderr
