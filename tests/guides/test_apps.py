"""Every program and command of the guide about apps does what the text beside it says."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cli_process import run_cli
from tests.cli_process import serving as serving_process
from tests.guides.guide import SERVE, guide
from tests.guides.programs import read_lines, saved
from tests.interop.server_process import free_port
from tests.socketio.serving import serving, until
from trio.testing import trio_test

from trio_socketio import ConnectRefused, JoiningState, Step, open_client

APPS: Final = guide("apps.md")
LIMIT_S: Final = 15


def test_every_block_is_run() -> None:
    assert [(kind, head.partition("  #")[0].strip()) for kind, head in APPS.heads] == [
        ("python", "# chat.py"),
        ("", "trio-socketio serve --app chat.py --port 3000"),
        ("python", "# prices.py"),
        ("python", "from trio_socketio import ConnectRefused, Joining, JoiningState, Server, Step"),
        ("python", "# both.py"),
        ("python", "# talk.py"),
    ]


@pytest.mark.parametrize("line", APPS.commands(SERVE))
@trio_test
async def test_a_command_serves(line: str, tmp_path: Path) -> None:
    saved(tmp_path, "chat.py", APPS.block("python", "# chat.py"))
    arguments = line.replace("--port 3000", "").split()[2:]
    if "--help" in arguments:
        assert "--cors-origin" in run_cli("serve", *arguments).stdout
        return
    async with serving_process(*arguments, cwd=tmp_path) as server:
        assert await server.wait_port()
        assert await server.end() == 0


@trio_test
async def test_the_chat_lets_in_who_knows_the_secret(tmp_path: Path) -> None:
    saved(tmp_path, "chat.py", APPS.block("python", "# chat.py"))
    async with serving_process("--app", "chat.py", cwd=tmp_path) as server:
        url = f"http://127.0.0.1:{await server.wait_port()}"
        with pytest.raises(ConnectRefused, match="not authorized") as refused:
            async with open_client(url, namespaces="/chat"):
                raise AssertionError
        assert refused.value.data == {"retry": False}
        auth = {"token": "secret"}
        async with (
            open_client(url, namespaces="/chat", auth=auth) as one,
            open_client(url, namespaces="/chat", auth=auth) as other,
        ):
            heard: list[str] = []
            other.of("/chat").on("message")(heard.append)
            assert await one.of("/chat").emit_with_ack("message", "hi") == "ok"
            await until(lambda: heard == ["hi"])


@trio_test
async def test_prices_are_published(tmp_path: Path) -> None:
    saved(tmp_path, "prices.py", APPS.block("python", "# prices.py"))
    async with serving_process("--app", "prices.py", cwd=tmp_path) as server:
        async with open_client(f"http://127.0.0.1:{await server.wait_port()}") as client:
            heard: list[int] = []
            client.on("price")(heard.append)
            await until(lambda: bool(heard))
            assert heard[0] > 100
        assert await server.end() == 0


@trio_test
async def test_one_program_listens_on_tcp_and_unix(tmp_path: Path) -> None:
    port = free_port()
    path = saved(tmp_path, "both.py", APPS.block("python", "# both.py"), port)
    process = await trio.lowlevel.open_process([sys.executable, str(path)], cwd=tmp_path)
    try:
        with trio.fail_after(LIMIT_S):
            await until(lambda: (tmp_path / "sio.sock").exists())
            async with open_client(f"http://127.0.0.1:{port}") as client:
                assert client.connected
            async with await trio.open_unix_socket(str(tmp_path / "sio.sock")) as stream:
                await stream.send_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n")
                await stream.send_all(b"Host: here\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    finally:
        process.kill()
        await process.wait()


@trio_test
async def test_a_seat_is_given_back() -> None:
    names: dict[str, Any] = {}
    exec(APPS.block("python", "take_seat"), names)
    sio = names["sio"]
    free: dict[str, int] = names["free"]
    async with serving(sio) as port:
        url = f"http://127.0.0.1:{port}"
        async with open_client(url, namespaces="/table"):
            assert free == {"/table": 3}
            async with (
                open_client(url, namespaces="/table"),
                open_client(url, namespaces="/table"),
                open_client(url, namespaces="/table"),
            ):
                with pytest.raises(ConnectRefused, match="the table is full"):
                    async with open_client(url, namespaces="/table"):
                        raise AssertionError
                assert free == {"/table": 0}
            await until(lambda: free == {"/table": 3})

        async def refuse(_: Any) -> None:
            assert free == {"/table": 3}  # the step before has taken a seat
            raise ConnectRefused("not today")

        await until(lambda: free == {"/table": 4})
        sio.of("/table").add_steps([Step(JoiningState.SEAT, refuse)])
        with pytest.raises(ConnectRefused, match="not today"):
            async with open_client(url, namespaces="/table"):
                raise AssertionError
        assert free == {"/table": 4}


@trio_test
async def test_the_client_talks_to_the_lobby(tmp_path: Path) -> None:
    async with serving_process() as server:
        port = await server.wait_port()
        path = saved(tmp_path, "talk.py", APPS.block("python", "# talk.py"), port)
        async with open_client(f"http://127.0.0.1:{port}") as other:
            heard: list[tuple[Any, ...]] = []
            other.on("message")(lambda *arguments: heard.append(arguments))
            assert await other.emit_with_ack("join", "tea") == 1
            process = await trio.lowlevel.open_process(
                [sys.executable, str(path)],
                stdout=subprocess.PIPE,
                env={"PYTHONUNBUFFERED": "1"},
            )
            try:
                assert await read_lines(process, 1) == ["2 in the room"]
                await until(lambda: len(heard) == 1)
                assert heard[0][::2] == ("tea", "hello, everyone")
                await other.emit_with_ack("message", "tea", "and to you")
                (line,) = await read_lines(process, 1)
                assert line.endswith("in tea: and to you")
            finally:
                process.kill()
                await process.wait()
