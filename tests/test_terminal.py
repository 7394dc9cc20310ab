"""``trio-socketio connect``, as a process and line by line."""

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import trio_test

from tests.cli_process import COMMAND, LIMIT_S, run_cli
from tests.client.serving import create_server
from tests.codec.strategies import json_values
from tests.socketio.serving import serving, until
from trio_socketio import ConnectRefused, Server, Socket
from trio_socketio.cli import main
from trio_socketio.cli.connect import read_line


class Terminal:
    """The process: lines in, lines out."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self.stop_reading = trio.CancelScope()

    async def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all("".join(line + "\n" for line in lines).encode())

    async def end_input(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def read_output(self) -> None:
        assert self.process.stdout is not None
        with self.stop_reading:
            await self.read(self.process.stdout, self.out)
        await self.process.stdout.aclose()

    async def read(self, stream: trio.abc.ReceiveStream, lines: list[str]) -> None:
        rest = ""
        async for data in stream:
            *whole, rest = (rest + bytes(data).decode()).split("\n")
            lines += whole


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                [*COMMAND, "connect", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            it = Terminal(process)
            nursery.start_soon(it.read_output)
            nursery.start_soon(it.read, process.stderr, it.err)
            try:
                yield it
            finally:
                if process.returncode is None:
                    process.kill()


@trio_test
async def test_a_conversation() -> None:
    server = create_server()
    async with serving(server) as port:
        url = f"http://127.0.0.1:{port}"
        async with terminal(url, "--auth", '{"token": "t"}', "--header", "X-A: b") as it:
            await until(lambda: bool(it.err))
            (socket,) = server.of("/").sockets.values()
            assert it.err == [f"trio-socketio: connected as {socket.id}"]
            assert socket.handshake.auth == {"token": "t"}
            assert socket.handshake.headers["x-a"] == "b"
            await it.type('echo "text" {"a": [1, null]}', "", "?echo 7", "no json", '"a b" ')
            await until(lambda: len(it.out) == 3 and len(it.err) == 2)
            assert it.out == ['echo "text" {"a": [1, null]}', "echo 7", "?echo 7"]
            assert "argument 1 is not JSON" in it.err[1]
            socket.emit("two words", b"\0\xff", "\x1b[31m\u00e9")
            socket.emit("#plain")
            await until(lambda: len(it.out) == 5)
            assert it.out[3:] == [
                '"two words" "<2 bytes: 00ff>" "\\u001b[31m\\u00e9"',
                "#plain",
            ]
            await it.type('?echo "at the end"')
            await it.end_input()
            assert await it.process.wait() == 0
            await until(lambda: it.out[-1] == '?echo "at the end"')
            assert len(it.err) == 2
        await until(lambda: server.statistics().sessions == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@trio_test
async def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    server = create_server()
    reasons: list[str] = []

    @server.on("disconnect")
    def gone(_: Socket, reason: str) -> None:
        reasons.append(reason)

    async with (
        serving(server) as port,
        terminal(f"http://127.0.0.1:{port}", "--transports", "websocket") as it,
    ):
        await until(lambda: bool(it.err))
        it.process.send_signal(number)
        assert await it.process.wait() == 0
        await until(lambda: bool(reasons))
        assert reasons == ["client namespace disconnect"]
        assert len(it.err) == 1


@trio_test
async def test_put_out_by_the_server() -> None:
    async with (
        serving(create_server()) as port,
        terminal(f"http://127.0.0.1:{port}", "--transports", "polling") as it,
    ):
        await it.type("put me out", '"put me out" false')
        assert await it.process.wait() == 1
        await until(lambda: len(it.err) >= 3)
        assert it.err[-1] == "trio-socketio: the server ended it: io server disconnect"


@trio_test
async def test_refused_and_unreachable() -> None:
    server = Server()

    @server.use
    def refuse(_: Socket) -> None:
        raise ConnectRefused("no\nentry", {"code": 7})

    async with serving(server) as port:
        result = await trio.to_thread.run_sync(run_cli, "connect", f"http://127.0.0.1:{port}")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == 'trio-socketio: refused: no\\nentry {"code": 7}\n'
    result = await trio.to_thread.run_sync(run_cli, "connect", f"http://127.0.0.1:{port}")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "Connection refused" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "URL"),
        (("http://a", "--auth", "[]"), "not a JSON object"),
        (("http://a", "--auth", "{"), "not a JSON object"),
        (("http://a", "--transports", "smoke"), "polling,websocket"),
        (("http://a", "--header", "x"), "not a header"),
        (("http://a", "--timeout", "-1"), "not a number of seconds"),
    ],
)
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["connect", *arguments])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "is not a URL"),
        (("http://a", "--path", "x"), "absolute"),
        (("http://a", "--namespace", "a,b"), "namespace"),
    ],
)
def test_what_the_client_refuses_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    result = run_cli("connect", *arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


@given(
    st.from_regex(r"[a-z#-]+", fullmatch=True) | st.text(min_size=1).map(json.dumps),
    st.lists(json_values(), max_size=3),
    st.sampled_from([" ", "  ", "\t"]),
)
def test_a_line_is_read_as_it_was_written(name: str, values: list[Any], space: str) -> None:
    line = space.join([name, *map(json.dumps, values)])
    expected = json.loads(name) if name.startswith('"') else name
    assert read_line(line) == (expected, values)


@given(st.text())
def test_any_line_is_read_or_refused(line: str) -> None:
    with suppress(ValueError):
        read_line(line)


@pytest.mark.parametrize("line", ["", "  ", '"', '"a"1', "a [", 'a "b', "a 1 2 x", 'a"b"'])
def test_lines_that_are_wrong(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_line(line)


@trio_test
async def test_whoever_reads_it_may_stop() -> None:
    server = create_server()
    async with (
        serving(server) as port,
        terminal(f"http://127.0.0.1:{port}", "--transports", "websocket") as it,
    ):
        await until(lambda: bool(it.err))
        await it.type("echo 1")
        await until(lambda: it.out == ["echo 1"])
        it.stop_reading.cancel()
        await it.type("echo 2")
        assert await it.process.wait() == 0
        assert len(it.err) == 1
