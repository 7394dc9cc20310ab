"""The guides for those who come from python-socketio and from Node: what they say of both is true.

The programs before and after do the same for their clients; every expression of the tables is
evaluated on its side; and what behaves differently is seen on both.
"""

import asyncio
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import engineio
import pytest
import trio
from tests.cli_process import serving
from tests.guides.guide import MODULES, Guide, guide
from tests.interop.server_process import free_port
from tests.socketio.in_process import enter
from tests.socketio.serving import until
from tests.wire import HttpClient
from trio.testing import trio_test

import socketio
from trio_socketio import (
    Client,
    ClientOptions,
    ConnectRefused,
    LocalProtocolError,
    Server,
    ServerOptions,
    Session,
    SessionClosed,
    open_client,
)

PYTHON: Final = guide("migrate_from_python_socketio.md")
NODE: Final = guide("migrate_from_node.md")
SIDE_BY_SIDE: Final = """

ended = []


@{sio}.on("nap"{namespace})
async def nap({socket}, seconds):
    await {sleep}(seconds)
    ended.append(seconds)
    return len(ended)
"""
"""A handler that lets one see whether events of a client overtake each other."""

START_S: Final = 20.0


# --- the same app in both


async def play(url: str) -> list[Any]:
    """Have two clients use the app; what they have seen."""
    seen: list[Any] = []
    auth = {"token": "secret", "name": "ann"}
    try:
        async with open_client(url, namespaces="/chat", auth={"token": "wrong", "name": "eve"}):
            raise AssertionError
    except ConnectRefused as error:
        seen.append((str(error), error.data))
    async with open_client(url, namespaces="/chat", auth=auth) as ann:
        ann.on("left")(lambda name: seen.append(("left", name)))
        async with open_client(url, namespaces="/chat", auth=auth | {"name": "bob"}) as bob:
            bob.on("message")(lambda *said: seen.append(said))
            bob.on("question")(lambda question: f"{question}?")
            seen.append(await ann.emit_with_ack("message", "hello", timeout_s=5))
            await until(lambda: len(seen) == 3)
            seen.append(await bob.emit_with_ack("poll", "tea", timeout_s=5))
        await until(lambda: len(seen) == 5)
    return seen


def expected(data: Any) -> list[Any]:
    said = {"ok", ("ann", "hello")}
    return [("not authorized", data), said, 4, ("left", "bob")]


def as_told(seen: list[Any]) -> list[Any]:
    """The answer and the message cross each other; either may be seen first."""
    return [seen[0], set(seen[1:3]), *seen[3:]]


async def naps(url: str) -> dict[float, int]:
    """Emit two events, of which the first takes longer; which one ends first, and which second."""
    answers: dict[float, int] = {}
    auth = {"token": "secret", "name": "ann"}
    async with open_client(url, namespaces="/chat", auth=auth) as client:

        async def ask(seconds: float) -> None:
            answers[seconds] = await client.emit_with_ack("nap", seconds, timeout_s=5)

        async with trio.open_nursery() as tasks:
            tasks.start_soon(ask, 0.3)
            await trio.sleep(0.05)
            tasks.start_soon(ask, 0.0)
    return answers


@asynccontextmanager
async def running(*command: str, folder: Path, port: int) -> AsyncIterator[trio.Process]:
    """Run a program that serves, until the block ends."""
    process = await trio.lowlevel.open_process(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with trio.fail_after(START_S):
            while True:
                assert process.poll() is None, "it has ended"
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    await trio.sleep(0.05)
                    continue
                await stream.aclose()
                break
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def status_of_old_client(port: int) -> int:
    http = HttpClient(port)
    response = await http.request("GET", "/socket.io/?EIO=3&transport=polling")
    await http.aclose()
    return response.status


def with_naps(code: str, **names: str) -> str:
    program, main, rest = code.partition('\n\nif __name__ == "__main__":')
    return program + SIDE_BY_SIDE.format(**names) + main + rest


@pytest.mark.req("GUIDE-04")
@trio_test
async def test_the_app_of_python_socketio_and_ours_do_the_same(tmp_path: Path) -> None:
    port = free_port()
    names = {"sio": "sio", "namespace": ', namespace="/chat"', "socket": "sid"}
    code = with_naps(PYTHON.block("python", "# before.py"), **names, sleep="sio.sleep")
    (tmp_path / "before.py").write_text(code.replace("3000", str(port)))
    names = {"sio": "chat", "namespace": "", "socket": "socket"}
    code = with_naps(PYTHON.block("python", "# after.py"), **names, sleep="trio.sleep")
    (tmp_path / "after.py").write_text(code)
    async with running(sys.executable, "before.py", folder=tmp_path, port=port):
        url = f"http://127.0.0.1:{port}"
        theirs, their_naps = await play(url), await naps(url)
        assert await status_of_old_client(port) == 400
    async with serving("--app", "after.py", "--allow-eio3", cwd=tmp_path) as server:
        port = await server.wait_port()
        url = f"http://127.0.0.1:{port}"
        ours, our_naps = await play(url), await naps(url)
        assert await status_of_old_client(port) == 200
    assert as_told(theirs) == as_told(ours) == expected(None)
    assert (their_naps, our_naps) == ({0.0: 1, 0.3: 2}, {0.3: 1, 0.0: 2})


@pytest.mark.req("GUIDE-04")
@trio_test
async def test_the_app_of_node_and_ours_do_the_same(tmp_path: Path) -> None:
    port, node = free_port(), shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    (tmp_path / "node_modules").symlink_to(MODULES)
    code = NODE.block("js", "// before.mjs")
    (tmp_path / "before.mjs").write_text(code.replace("3000", str(port)))
    (tmp_path / "after.py").write_text(NODE.block("python", "# after.py"))
    async with running(node, "before.mjs", folder=tmp_path, port=port) as process:
        theirs = await play(f"http://127.0.0.1:{port}")
        assert not await survives_a_failure(f"http://127.0.0.1:{port}")
        with trio.fail_after(START_S):
            assert await process.wait() != 0  # nobody has caught it
    async with serving("--app", "after.py", cwd=tmp_path) as server:
        url = await server.wait_url()
        ours = await play(url)
        assert await survives_a_failure(url)
        await server.wait_logged("TypeError")
        assert as_told(await play(url)) == as_told(ours)
        assert await server.end() == 0
    assert as_told(theirs) == as_told(ours) == expected({"retry": False})


async def survives_a_failure(url: str) -> bool:
    """Send an event without its argument, and without asking for an answer, so that it raises."""
    auth = {"token": "secret", "name": "ann"}
    options = ClientOptions(reconnect=False)
    async with open_client(url, namespaces="/chat", auth=auth, options=options) as client:
        client.emit("message")
        try:
            return bool(await client.emit_with_ack("message", "again", timeout_s=5) == "ok")
        except SessionClosed:
            return False


def test_every_block_is_run() -> None:
    heads = [("python", "# before.py"), ("python", "# after.py")]
    assert PYTHON.heads == heads
    assert NODE.heads == [("js", "// before.mjs"), ("python", "# after.py")]


# --- the tables


def rows(page: Guide, head: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    _, _, text = page.text.partition(f"\n{head}\n")
    lines = text.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


async def nothing(*_: Any) -> None: ...


def ignore(*_: Any) -> None: ...


def evaluate_ours(expressions: list[str]) -> None:
    """Evaluate expressions with a server, and a socket of it."""
    sio = Server()
    socket = enter(sio.of("/"))
    names = {
        "re": re, "trio": trio, "sio": sio, "socket": socket, "sid": socket.id, "data": {"a": 1},
    }  # fmt: skip
    for code in sorted(expressions, key=lambda code: "disconnect(" in code or "stop(" in code):
        if code == "socket.session.transport":  # sessions that are not connected have none
            assert "transport" in dir(Session)
            continue
        if code in ("sio.lifespan(function)", "sio.use(function)", "socket.use(function)"):
            root, _, name = code.partition("(")[0].partition(".")
            assert callable(getattr(names[root], name))
            continue
        if " = " in code:
            exec(code, names)
            continue
        function = ignore if "outgoing" in code else nothing
        given = eval(code, {**names, "function": function, "listener": function})
        if inspect.iscoroutine(given):
            given.close()


@pytest.mark.req("GUIDE-05")
def test_the_expressions_of_python_socketio_are_those_of_the_package() -> None:
    table = rows(PYTHON, "| python-socketio | here | |")
    assert len(table) > 18

    async def evaluate() -> None:
        sio = socketio.AsyncServer()
        names = {
            "sio": sio, "sid": "s", "data": 1, "function": nothing,
            "handler": socketio.AsyncNamespace("/chat"),
        }  # fmt: skip
        for left, *_ in table:
            for code in codes(left):
                try:
                    given = eval(code, names)
                except KeyError:  # there is no such client
                    continue
                if asyncio.iscoroutine(given):
                    given.close()

    asyncio.run(evaluate())
    # What other cells name alone is a method as well.
    for name in ("event", "get_session", "session"):
        assert callable(getattr(socketio.AsyncServer, name))


@pytest.mark.req("GUIDE-05")
def test_our_expressions_beside_those_of_python_socketio() -> None:
    table = rows(PYTHON, "| python-socketio | here | |")
    shown = [code for _, ours, told in table for code in codes(ours) + codes(told)]
    evaluate_ours([code for code in shown if re.match(r"(sio|socket|trio)\.", code)])


def test_the_options_of_python_socketio_have_these_names_and_defaults() -> None:
    theirs = {
        name: parameter.default
        for kind in (engineio.base_server.BaseServer, socketio.base_server.BaseServer)
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
    }
    table = rows(PYTHON, "| options of `AsyncServer` | here | |")
    assert len(table) > 5
    for left, right, _ in table:
        for name, value in arguments(left):
            assert theirs[name] == value or name == "serializer", name
        for name, value in arguments(right):
            assert getattr(ServerOptions(**{name: value}), name) == value
            assert getattr(ServerOptions(), name) == value or name == "parser", name


def arguments(cell: str) -> list[tuple[str, Any]]:
    """The keyword arguments that a cell names, with their values."""
    pairs = [code.partition("=") for code in codes(cell)]
    return [(name, eval(value)) for name, _, value in pairs]


def test_the_clients_have_these_methods() -> None:
    for theirs, ours in rows(PYTHON, "| python-socketio | here |"):
        for name in re.findall(r"\bsio\.(\w+)", theirs):
            assert callable(getattr(socketio.AsyncClient, name)), name
        for name in re.findall(r"\bclient\.(\w+)", ours):
            assert callable(getattr(Client, name)), name


def test_what_else_is_said_of_python_socketio() -> None:
    sio = socketio.AsyncServer()
    assert inspect.signature(sio.call).parameters["timeout"].default == 60
    assert sio.async_handlers
    sio.on("event", nothing)
    sio.on("event", nothing)  # in silence
    ours = Server()
    ours.on("event")(nothing)
    with pytest.raises(LocalProtocolError):
        ours.on("event")(nothing)

    async def bound() -> int:
        size: int = sio.eio.create_queue().maxsize
        return size

    assert asyncio.run(bound()) == 0  # without one
    refused = socketio.exceptions.ConnectionRefusedError("no", 1)
    assert refused.error_args == {"message": "no", "data": 1}
    source = Path(socketio.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in source.glob("*.py"))
    assert "recover" not in text.lower()
    assert socketio.AsyncRedisManager("redis://127.0.0.1:1").channel == "socketio"


EVALUATE: Final = """
import { createServer } from "node:http";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";

const expressions = JSON.parse(process.argv[2]);
const server = createServer();
const io = new Server(server);
process.on("unhandledRejection", () => {}); // questions that nobody answers
console.warn = () => {};
io.on("connection", (socket) => {
  for (const code of expressions) {
    const given = new Function("io", "socket", "function_", `return ${code}`)(io, socket, () => {});
    if (given === undefined && !/(Join|disconnectSockets|recovered|join|leave|stop)/.test(code))
      throw new Error(`${code} is undefined`);
  }
  process.exit(0);
});
server.listen(0, "127.0.0.1", () => connect(`http://127.0.0.1:${server.address().port}`));
"""


@pytest.mark.req("GUIDE-05")
def test_the_expressions_of_node_are_those_of_the_package(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "evaluate.mjs").write_text(EVALUATE)
    table = rows(NODE, "| Node | here | |")
    shown = [code.replace("function", "function_") for left, *_ in table for code in codes(left)]
    assert len(shown) > 25
    ends = re.compile(r"isconnect|close\(").search
    ordered = sorted(shown, key=lambda code: ends(code) is not None)
    done = subprocess.run(
        [node, "evaluate.mjs", json.dumps(ordered)],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.req("GUIDE-05")
def test_our_expressions_beside_those_of_node() -> None:
    table = rows(NODE, "| Node | here | |")
    shown = [code for _, ours, _ in table for code in codes(ours)]
    evaluate_ours([code for code in shown if re.match(r"(sio|socket|trio)\.", code)])
