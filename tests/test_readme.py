"""Every program and command of the README does what the text beside it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import run_cli
from tests.cli_process import serving as serving_process
from tests.control.serving import controlled
from tests.im.identity.tokens import public_pem
from tests.interop.server_process import free_port
from tests.socketio.serving import serving, until
from trio_socketio import ConnectRefused, JoiningState, Step, open_client
from trio_socketio.control import BackendOptions, ForwardedEvents

README: Final = Path(__file__).resolve().parents[1] / "README.md"
MODULES: Final = Path(__file__).with_name("interop") / "node_modules"
MAKEFILE: Final = README.with_name("Makefile")
LIMIT_S: Final = 15

BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
DRIVEN: Final = {
    ("js", "talk.mjs"),
    ("html", "<title>talk"),  # by tests/browser
    ("python", "chat.py"),
    ("python", "prices.py"),
    ("python", "take_seat"),
    ("python", "both.py"),
    ("python", "talk.py"),
    ("python", "backend.py"),
    ("python", "handler.py"),
}
"""The programs that a test below runs, by language and a part that only one of them has."""


def program(language: str, part: str) -> str:
    """The program of the README that has this part in it."""
    (found,) = [code for kind, code in BLOCKS if kind == language and part in code]
    return found


def commands() -> list[str]:
    """The command lines of the README, without their comments."""
    lines = [line for kind, code in BLOCKS if not kind for line in code.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def saved(folder: Path, name: str, code: str, port: int) -> Path:
    """Save a program that uses another port than 3000."""
    path = folder / name
    path.write_text(code.replace("3000", str(port)), encoding="utf-8")
    return path


def test_every_program_is_run() -> None:
    programs = [block for block in BLOCKS if block[0] not in ("", "toml", "ini", "json")]
    assert len(programs) == len(DRIVEN)
    for language, part in DRIVEN:
        assert program(language, part)


def serve_commands() -> list[str]:
    return [line for line in commands() if line.startswith("trio-socketio serve")]


@pytest.mark.parametrize("line", serve_commands())
@trio_test
async def test_a_command_serves(line: str, tmp_path: Path) -> None:
    saved(tmp_path, "chat.py", program("python", "chat.py"), 3000)
    assert run_cli("init", cwd=tmp_path).returncode == 0
    arguments = line.replace("--port 3000", "").split()[2:]
    if "--help" in arguments:
        assert "--cors-origin" in run_cli("serve", *arguments).stdout
        return
    async with serving_process(*arguments, cwd=tmp_path) as server:
        assert await server.wait_port()
        assert await server.end() == 0


def test_the_commands_of_the_configuration(tmp_path: Path) -> None:
    lines = [line.split() for line in commands() if line.startswith("trio-socketio")]
    others = [line[1:] for line in lines if line[1] not in ("serve", "connect", "ctl")]
    assert [line[0] for line in others] == ["init", "check-config", "size"]
    for line in others:
        done = run_cli(*line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@trio_test
async def test_the_commands_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"unix:{tmp_path / 'run' / 'control.sock'}"
    monkeypatch.setenv("TRIO_SOCKETIO_CONTROL", address)
    async with serving_process("--control", address) as server:
        await server.wait_port()
        lines = [shlex.split(line) for line in commands() if line.startswith("trio-socketio ctl")]
        assert len(lines) == 8
        for line in lines:
            done = run_cli(*line[1:])
            assert (done.returncode, done.stderr) == (0, ""), line
            assert done.stdout


def test_the_file_of_options_can_be_used(tmp_path: Path) -> None:
    text = "".join(code for kind, code in BLOCKS if kind == "toml")
    (tmp_path / "chat.toml").write_text(text, encoding="utf-8")
    (tmp_path / "shop.token").write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    (tmp_path / "issuer.pem").write_bytes(public_pem("RS256"))
    (tmp_path / "webhook.key").write_text("fedcba9876543210fedcba9876543210", encoding="utf-8")
    saved(tmp_path, "chat.py", program("python", "chat.py"), 3000)
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
    text = "\n".join(program("toml", part) for part in parts)
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


def test_make_has_the_commands() -> None:
    targets = re.findall(r"^([\w-]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    made = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert made[:2] == ["serve", "test"]
    assert set(made) <= set(targets)


# --- programs


async def read_lines(process: trio.Process, count: int) -> list[str]:
    """Read lines of a process's output."""
    assert process.stdout is not None
    data = b""
    while data.count(b"\n") < count:
        more = await process.stdout.receive_some()
        assert more, data
        data += more
    return data.decode().splitlines()


@pytest.mark.parametrize(
    ("language", "name", "runs"),
    [("js", "talk.mjs", "node"), ("python", "talk.py", sys.executable)],
)
@trio_test
async def test_a_client_talks_to_the_lobby(
    language: str, name: str, runs: str, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(MODULES)
    async with serving_process() as server:
        port = await server.wait_port()
        path = saved(tmp_path, name, program(language, name), port)
        async with open_client(f"http://127.0.0.1:{port}") as other:
            heard: list[tuple[Any, ...]] = []
            other.on("message")(lambda *arguments: heard.append(arguments))
            assert await other.emit_with_ack("join", "tea") == 1
            process = await trio.lowlevel.open_process(
                [runs, str(path)], stdout=subprocess.PIPE, env={"PYTHONUNBUFFERED": "1"}
            )
            try:
                (line,) = await read_lines(process, 1)
                assert line.endswith("2 in the room")
                await until(lambda: len(heard) == 1)
                assert heard[0][::2] == ("tea", "hello, everyone")
                await other.emit_with_ack("message", "tea", "and to you")
                (line,) = await read_lines(process, 1)
                assert line.endswith("in tea: and to you")
            finally:
                process.kill()
                await process.wait()


@trio_test
async def test_the_chat_lets_in_who_knows_the_secret(tmp_path: Path) -> None:
    saved(tmp_path, "chat.py", program("python", "chat.py"), 3000)
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
    saved(tmp_path, "prices.py", program("python", "prices.py"), 3000)
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
    path = saved(tmp_path, "both.py", program("python", "both.py"), port)
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
    exec(program("python", "take_seat"), names)
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
    """Run a program of the README with another address; what it has defined."""
    names: dict[str, Any] = {}
    exec(program("python", part).replace("unix:/run/chat/control.sock", address), names)
    return names
