"""``ctl`` against a server process: what it prints, and how it ends."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import COMMAND, LIMIT_S, ServingProcess, run_cli, serving
from tests.control.serving import describe_whole_api
from tests.wire import HttpClient, open_client
from trio_socketio.cli import main
from trio_socketio.cli.ctl import ADDRESS_VARIABLE

SECRET = "0123456789abcdef"
NOT_HERE = (
    "auth",
    "backend.register",
    "presence.ack",
    "presence.subscribe",
    "presence.unsubscribe",
)
"""The methods that make no sense from a terminal."""


class Ended(NamedTuple):
    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]


Ctl = Callable[..., Ended]


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """Runs ctl in this process, which saves the start of another one."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in (ADDRESS_VARIABLE, "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ended:
        try:
            code = main(["ctl", *arguments])
        except SystemExit as end:
            code = int(str(end.code))
        ended = Ended(code, *capsys.readouterr())
        if code:
            assert ended.out == ""
            (line,) = ended.error.splitlines()
            assert line.startswith("trio-socketio ctl")
        else:
            assert ended.error == ""
        return ended

    return run


@asynccontextmanager
async def controlled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> AsyncIterator[tuple[ServingProcess, int]]:
    """A server, at whose control socket the variable points; its port."""
    address = f"unix:{folder / 'run' / 'control.sock'}"
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    async with serving("--control", address, *arguments) as server:
        yield server, await server.wait_port()


def test_help_lists_every_method(ctl: Ctl) -> None:
    told = ctl("--help")
    text = " ".join(told.out.split())
    for method in describe_whole_api()["methods"]:
        listed = f"{method['name']} {method['summary']}" in text
        assert listed == (method["name"] not in NOT_HERE)
    for part in ("watch", "completion", "--token-file", ADDRESS_VARIABLE, "Exit codes: 0 on"):
        assert part in text
    assert ctl("watch", "--help").out == told.out


@pytest.mark.req("CTL-01")
def test_the_process_tells_its_help() -> None:
    ended = run_cli("ctl", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "sockets.disconnect" in ended.stdout
    assert "  ctl " in run_cli("--help").stdout


@pytest.mark.req("CTL-01")
@pytest.mark.parametrize("name", NOT_HERE)
def test_methods_that_make_no_sense_here_are_refused(name: str, ctl: Ctl) -> None:
    for ended in (ctl(name, "token=x"), ctl(name, "--help")):
        assert ended.code == 2
        assert f"{name} cannot be called here: " in ended.error
        assert ("follow_presence" in ended.error) is name.startswith("presence.")


@pytest.mark.req("CTL-02")
def test_help_of_a_method_needs_no_server(ctl: Ctl) -> None:
    told = ctl("emit_with_ack", "--help").out
    assert "usage: trio-socketio ctl [options] emit_with_ack event=VALUE [args=...]" in told
    assert "number, above 0, at most 3600: how long the clients may take, in seconds" in told
    assert "unanswered" in told
    assert "SocketAnswer: The answer of one client." in told


@trio_test
async def test_clients_are_shown_reached_and_put_out(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch) as (_, port), open_client(port) as client:
        sid = await client.connect()
        assert ["state", "serving"] in ctl("system.info").lines
        head, row, *_ = ctl("sockets.list").lines
        assert (head[0], row[0]) == ("id", sid)
        assert ctl("rooms.join", f"sockets={sid}", "rooms=7", 'rooms=["a"]').lines[0] == [
            "done",
            "1",
        ]
        assert ctl("rooms.list").lines[:3] == [["room", "members"], ["7", "1"], ["a", "1"]]
        sent = ctl("emit", "event=news", "args=tea", 'args={"n":1}', "rooms=7", "rooms=no")
        assert sent.lines == [["reached", "1"], ["missing.rooms", "no"]]
        assert (await client.receive())[0] == '2["news","tea",{"n":1}]'
        assert ctl("sockets.disconnect", f"sockets={sid}").lines[0] == ["done", "1"]
        assert (await client.receive())[0] == "1"


@pytest.mark.req("CTL-09")
@trio_test
async def test_json_is_one_document(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch) as (_, port), open_client(port) as client:
        sid = await client.connect()
        code, out, _ = ctl("sockets.list", "--json")
        assert (code, out.count("\n")) == (0, 1)
        page = json.loads(out)
        assert (page["total"], page["sockets"][0]["id"]) == (1, sid)
        assert json.loads(ctl("--json", "rpc.discover").out) == describe_whole_api()
        assert json.loads(ctl("rpc.discover").out) == describe_whole_api()
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                text, _ = await client.receive()
                ack_id = text[1 : text.index("[")]
                placeholder = '{"_placeholder":true,"num":0}'
                await client.send(f"61-{ack_id}[{placeholder}]", b"\x00\x9b")

            nursery.start_soon(answer)
            arguments = ("emit_with_ack", "event=ask", "all=true", "--json")
            answered = await trio.to_thread.run_sync(lambda: ctl(*arguments))
        (one,) = json.loads(answered.out)["answers"]
        assert one == {"socket": sid, "answer": {"$bytes": "AJs="}}


@pytest.mark.req("CTL-07")
@trio_test
async def test_control_characters_of_clients_do_not_reach_the_terminal(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch) as (_, port), open_client(port) as client:
        sid = await client.connect()
        room = "\x1b]0;owned\x07\x7f\x9b\u202e"
        ctl("rooms.join", f"sockets={sid}", f"rooms={json.dumps([room])}")
        for arguments in (
            ("rooms.list",),
            ("rooms.list", "--json"),
            ("sockets.list",),
            ("sockets.get", f"socket={sid}"),
            ("sockets.get", f"socket={room}"),
            ("rooms.members", f"{room}=1"),
        ):
            ended = ctl(*arguments)
            assert all(part.isprintable() for part in (ended.out + ended.error).split("\n"))
            assert "owned" in ended.out + ended.error


@pytest.mark.req("CTL-06")
@pytest.mark.req("CTL-08")
@trio_test
async def test_an_error_of_the_server_is_one_line(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch):
        code, _, error = ctl("sockets.get", "socket=abc")
        assert code == 1
        assert error == (
            "trio-socketio ctl: error 1003 NOT_FOUND: socket: there is no socket "
            '\'abc\' {"parameter": "socket"}\n'
        )
        assert ctl("sockets.list", "limit=5000").code == 1
        assert ctl("rooms.members").code == 2
        assert "(see trio-socketio ctl rooms.members --help)" in ctl("rooms.members").error


@pytest.mark.req("CTL-08")
@trio_test
async def test_a_default_that_is_not_there_is_told(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(
        '[identity]\ntokens = [{ user = "ann", token = "for-development" }]\n'
        'namespaces = [{ name = "/", methods = [] }]\n'
        '[presence]\nnamespaces = [{ name = "/chat" }]\n'
    )
    async with controlled(tmp_path, monkeypatch, "--config", str(conf)):
        absent = "namespace: there is no namespace with seats '/'"
        told = ctl("presence.count").error
        assert f"{absent}, which is the default; name another with namespace=VALUE {{" in told
        assert f"{absent} {{" in ctl("presence.count", "namespace=/").error
        assert ctl("presence.count", "namespace=/chat").code == 0


@pytest.mark.req("CTL-04")
@pytest.mark.req("CTL-06")
def test_what_cannot_be_used(tmp_path: Path, ctl: Ctl) -> None:
    (tmp_path / "empty").write_text("")
    gone = ("--control", f"unix:{tmp_path / 'gone'}")
    for arguments, told in (
        ((), "expected a METHOD"),
        ((*gone, "socket.list"), "did you mean sockets.list?"),
        ((*gone, "sockets.list", "rom=1"), "did you mean room?"),
        ((*gone, "emit_with_ack", "event=a", "timeout_s=1e400"), "timeout_s: expected number"),
        ((*gone, "system.info", "--jsn"), "did you mean --json?"),
        ((*gone, "system.info", "--timeout", "0"), "'0' is not a number of seconds"),
        ((*gone, "system.info", "--count", "1"), "have an effect with watch only"),
        ((*gone, "watch", "--interval", "-1"), "--interval"),
        ((*gone, "watch", "this"), "watch takes no parameters, such as 'this'"),
        (("completion", "tcsh"), "expected one of bash, zsh, fish"),
        (("completion",), "expected one of bash, zsh, fish"),
        (("--control", "somewhere", "system.info"), "'somewhere' is not an address"),
        (("system.info",), "name one, such as unix:"),
        ((*gone, "--token-file", str(tmp_path / "no"), "system.info"), "No such file"),
        ((*gone, "--token-file", str(tmp_path / "empty"), "system.info"), "expected a secret"),
        ((*gone, "--cafile", str(tmp_path / "no"), "system.info"), "--cafile"),
        (("--control", "tcp:h:1", "--cafile", str(tmp_path / "empty"), "watch"), "--cafile"),
    ):
        ended = ctl(*arguments)
        assert ended.code == 2, ended
        assert told in ended.error
        assert " --help)" in ended.error


@contextmanager
def answering(*lines: bytes, hangs: bool = False) -> Iterator[str]:
    """A server that sends a line for a connection and for each request, and then hangs up.

    If it hangs, it waits for the client to hang up instead.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as requests:
                connection.sendall(lines[0] + b"\n")
                for line in lines[1:]:
                    requests.readline()
                    connection.sendall(line + b"\n")
                requests.read() if hangs else requests.readline()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(LIMIT_S)


HELLO = b'{"jsonrpc":"2.0","method":"hello","params":{"api":"1.0","needs_token":false}}'


@pytest.mark.req("CTL-06")
def test_a_server_that_cannot_be_reached_or_is_lost(tmp_path: Path, ctl: Ctl) -> None:
    ended = ctl("--control", f"unix:{tmp_path / 'gone'}", "system.info")
    assert ended.code == 3
    assert "if it was started with --control" in ended.error
    with answering(b"HTTP/1.1 400 Bad Request") as address:
        assert ctl("--control", address, "system.info").code == 3
    with answering(HELLO) as address:
        ended = ctl("--control", address, "system.info")
    assert (ended.code, "the connection was lost before" in ended.error) == (3, True)
    with answering(HELLO) as address:
        assert ctl("--control", address, "watch").code == 3


@pytest.mark.req("CTL-06")
def test_a_server_that_does_not_answer(ctl: Ctl) -> None:
    with answering(HELLO, hangs=True) as address:
        ended = ctl("--control", address, "--timeout", "0.3", "system.info")
    assert ended.code == 1
    assert "error 1005 TIMEOUT: the server has not answered within 0.3 s" in ended.error
    with answering(HELLO[:9], hangs=True) as address:
        assert ctl("--control", address, "--timeout", "0.3", "system.info").code == 3


def test_the_time_that_a_method_waits_is_added(ctl: Ctl) -> None:
    began = time.monotonic()
    with answering(HELLO, hangs=True) as address:
        arguments = ("emit_with_ack", "event=a", "all=true", "timeout_s=0.7")
        ended = ctl("--control", address, "--timeout", "0.3", *arguments)
    assert ended.code == 1
    assert time.monotonic() - began >= 1


@pytest.mark.req("CTL-14")
def test_the_server_may_have_more(ctl: Ctl) -> None:
    document: dict[str, Any] = describe_whole_api()
    method = {
        "name": "users.kick",
        "summary": "Kick.",
        "params": [{"name": "user", "required": True, "schema": {"type": "string"}}],
        "result": {"name": "result", "schema": {"type": "object"}},
    }
    document["methods"].append(method)
    answers = (
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": document}).encode(),
        b'{"jsonrpc":"2.0","id":2,"result":{"kicked":1}}',
    )
    with answering(HELLO, *answers) as address:
        ended = ctl("--control", address, "users.kick", "user=a")
    assert ended.lines == [["kicked", "1"]]
    with answering(HELLO, answers[0]) as address:
        assert "user is missing" in ctl("--control", address, "users.kick").error
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":4242,"message":"no\\u001b"}}'
    with answering(HELLO, error) as address:
        ended = ctl("--control", address, "system.info")
    assert ended.error == "trio-socketio ctl: error 4242: no\\x1b\n"


@pytest.mark.req("CTL-12")
@pytest.mark.req("CTL-13")
@trio_test
async def test_a_token_over_tls(tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "wrong").write_text(SECRET[::-1])
    conf = tmp_path / "conf.toml"
    conf.write_text(
        f'[control]\nlisten = ["tcp:127.0.0.1:0"]\ncertfile = "{tmp_path}/cert.pem"\n'
        f'tokens = [{{name = "ops", file = "{tmp_path}/secret", methods = ["system.info"]}}]\n'
    )
    async with serving("--config", str(conf)) as server:
        line = await server.wait_logged("the control socket is at")
        address = f"tls:localhost:{line.rpartition(':')[2]}"
        await server.wait_port()  # the control socket answers before that
        at = ("--control", address, "--cafile", str(tmp_path / "ca.pem"))
        token = ("--token-file", str(tmp_path / "secret"))
        monkeypatch.setenv(ADDRESS_VARIABLE, "unix:/nowhere")

        def drive() -> None:
            assert ["state", "serving"] in ctl(*at, *token, "system.info").lines
            for arguments in ((*at,), (*at, "--token-file", str(tmp_path / "wrong"))):
                ended = ctl(*arguments, "system.info")
                assert ended.code == 1
                assert "error 1001 UNAUTHORIZED" in ended.error
                assert "--token-file" in ended.error
                assert SECRET not in ended.error
            ended = ctl(*at, *token, "system.stats")
            assert (ended.code, "1002 FORBIDDEN" in ended.error) == (1, True)
            assert ctl(*at, *token, "watch").code == 1
            ended = ctl("--control", address, *token, "system.info")
            assert (ended.code, "--cafile" in ended.error) == (3, True)

        await trio.to_thread.run_sync(drive)


@pytest.mark.req("CTL-13")
@trio_test
async def test_the_default_address(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    address = f"unix:{tmp_path / 'run' / 'control.sock'}"
    async with serving("--control", address) as server:
        await server.wait_port()
        assert ctl("system.info").code == 0


@pytest.mark.req("CTL-15")
@trio_test
async def test_traffic_is_counted(
    tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch) as (_, port):
        async with open_client(port) as client:
            await client.connect()
            before = json.loads(ctl("system.stats", "--json").out)["traffic"]
            assert (before["sessions_opened"], before["sessions_ended"]) == (1, 0)
            for number in range(10):
                await client.emit("list", ack_id=number)
                await client.receive()
            after = json.loads(ctl("system.stats", "--json").out)["traffic"]
            assert after["packets_in"] == before["packets_in"] + 10
            assert after["packets_out"] == before["packets_out"] + 10
            assert after["bytes_in"] > before["bytes_in"]
            assert after["bytes_out"] > before["bytes_out"]
            assert after["requests_refused"] == 0
        http = HttpClient(port)
        assert (await http.request("GET", "/socket.io/?EIO=9&transport=polling")).status == 400
        await http.aclose()
        stats = ctl("system.stats").lines
        while ["traffic.sessions_ended", "1"] not in stats:
            await trio.sleep(0.01)
            stats = ctl("system.stats").lines
        assert ["traffic.requests_refused", "1"] in stats


# -- watching


@pytest.mark.req("CTL-10")
@trio_test
async def test_watching(tmp_path: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled(tmp_path, monkeypatch) as (server, port):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "ctl", "watch", "--json", "--interval", "0.3"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        watching = ServingProcess(process)
        process.stderr = process.stdout  # read line by line as a log is
        first = json.loads(await watching.wait_logged('"per_second": {}'))
        assert first["numbers"]["connections"] == 0
        assert first["info"]["pid"] == server.process.pid
        async with open_client(port) as client:
            await client.connect()
            sample = json.loads(await watching.wait_logged('"sockets./": 1,'))
            assert sample["numbers"]["connections"] >= 1
            while sample["per_second"]["sockets./"] == 0:  # the server had counted it before
                sample = json.loads(await watching.wait_logged('"sockets./"'))
            assert sample["per_second"]["sockets./"] > 0
            assert sample["per_second"]["traffic.packets_in"] >= 0
            shown = ctl("watch", "--count", "1").out
            assert "sockets./=1" in shown
            assert "traffic.sessions_opened=1" in shown
        assert await watching.end(signal.SIGINT) == 0


@pytest.mark.req("CTL-10")
@trio_test
async def test_watching_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled(tmp_path, monkeypatch):
        ours, theirs = pty.openpty()
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setenv("LINES", "12")
        process = await trio.lowlevel.open_process(
            [*COMMAND, "ctl", "watch", "--interval", "0.2"],
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while shown.count(b"\x1b[H\x1b[J") < 3:
                shown += await trio.to_thread.run_sync(os.read, ours, 65536)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            shown += await trio.to_thread.run_sync(os.read, ours, 65536)
        finally:
            process.kill()
            await process.wait()
            os.close(ours)
        assert shown.endswith(b"\r\n")
        screen = shown.split(b"\x1b[H\x1b[J")[1].decode().split("\r\n")
        assert len(screen) <= 12
        assert "serving" in screen[0]
        assert any(line.split()[:1] == ["connections"] for line in screen)


@trio_test
async def test_a_reader_that_goes_away_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, monkeypatch):
        command = f"{' '.join(COMMAND)} ctl watch --interval 0.1 | head -n 1"
        done = await trio.run_process(
            ["bash", "-o", "pipefail", "-c", command], capture_stdout=True, capture_stderr=True
        )
        assert done.stdout.count(b"\n") == 1
        assert done.stderr == b""


@pytest.mark.req("CTL-06")
def test_a_result_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "ctl", "--help"], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        b"trio-socketio ctl: the result cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [("check-config", "FILE"), ("init", "-")],
)
def test_output_that_cannot_be_written_is_told_by_other_commands_too(
    tmp_path: Path, arguments: tuple[str, str]
) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text("[listen]\nport = 1\n")
    command = [*COMMAND, arguments[0], arguments[1].replace("FILE", str(conf))]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        b"trio-socketio: the output cannot be written: No space left on device\n",
    )
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    piped = subprocess.run(
        ["bash", "-c", script, "bash", *command], capture_output=True, timeout=LIMIT_S, check=False
    )
    assert (piped.returncode, piped.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("ctl", "--help"), 0), (("init", "-"), 0), (("ctl", "watch", "x"), 2)],
)
def test_a_command_may_have_no_standard_output(arguments: tuple[str, ...], code: int) -> None:
    ended = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *COMMAND, *arguments],
        stderr=subprocess.PIPE,
        timeout=LIMIT_S,
        check=False,
        env=os.environ | {ADDRESS_VARIABLE: "unix:/no/such/socket"},
    )
    assert ended.returncode == code
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff"])
def test_a_host_that_cannot_be_a_name_is_told(ctl: Ctl, host: str) -> None:
    told = ctl("--control", f"tcp:{host}:1", "system.info")
    assert told.code == 3
    assert told.error.startswith("trio-socketio ctl: cannot connect to tcp:")


def test_arguments_are_utf_8_whatever_the_locale_is() -> None:
    ended = subprocess.run(
        [*COMMAND, "ctl", "--control", "unix:/no/such/socket", "rooms.list", "namespace=\u00fc"],
        stderr=subprocess.PIPE,
        timeout=LIMIT_S,
        check=False,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert ended.returncode == 3, ended.stderr  # it got as far as connecting
