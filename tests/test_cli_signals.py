"""How the program ends, what it logs, and TLS: a server process and its clients."""

import json
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import COMMAND, ServingProcess, run_cli, serving
from tests.wire import (
    PATH,
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    Response,
    SocketIOClient,
    WebSocketClient,
    WebSocketEngine,
    open_client,
)

PROMPT_S = 2.5
APP = """
import logging
import trio
from trio_socketio import Server

log = logging.getLogger("app")

def create(options):
    sio = Server(options)

    @sio.on("short")
    async def short(socket):
        log.info("short begins")
        await trio.sleep(0.4)
        log.info("short is done")

    @sio.on("endless")
    async def endless(socket):
        log.info("endless begins")
        await trio.sleep_forever()

    @sio.on("broken")
    def broken(socket, text):
        raise ValueError(text)

    @sio.on("say")
    def say(socket, text):
        log.debug("debug %s", text)
        log.info("info %s", text)
        log.warning("warning %s", text)
        log.error("error %s", text)

    @sio.on("disconnect")
    async def disconnect(socket, reason):
        await trio.sleep(0)
        log.info("gone: %s", reason)

    return sio
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "pending.py"
    path.write_text(APP)
    return str(path)


async def last_code(client: WebSocketClient) -> int | None:
    """Read a WebSocket to its end; how it was closed."""
    try:
        while True:
            await client.receive()
    except ConnectionEnded as end:
        return end.code


async def end_politely(server: ServingProcess, websocket: WebSocketClient) -> int | None:
    """End the server while its client closes when told to; the close code that it got."""
    codes: list[int | None] = []

    async def leave() -> None:
        codes.append(await last_code(websocket))
        await websocket.aclose()

    with trio.fail_after(PROMPT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            assert await server.end() == 0
    return codes[0]


# -- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(app: str, number: signal.Signals) -> None:
    async def main() -> None:
        async with serving("--app", app) as server:
            port = await server.wait_port()
            engine = await WebSocketEngine.open(port)
            client = SocketIOClient(engine)
            await client.connect()
            polling = await PollingEngine.open(port)
            await SocketIOClient(polling).connect()
            resting = await trio.open_tcp_stream("127.0.0.1", port)
            await polling.getter.send("GET", polling.target)
            await client.emit("say", "all are there", ack_id=1)
            assert await client.receive() == ("31[]", [])
            codes: list[int | None] = []
            polled: list[Response] = []

            async def watch() -> None:
                codes.append(await last_code(engine.websocket))

            async def poll() -> None:
                polled.append(await polling.getter.receive())

            with trio.fail_after(PROMPT_S):
                server.process.send_signal(number)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch)
                    nursery.start_soon(poll)
                assert await server.wait_end() == 0
            assert codes == [1012]
            assert polled[0].text == "1"
            assert await resting.receive_some() == b""
            told = [line.rpartition(": ")[2] for line in server.log]
            assert f"received {number.name}: stopping" in "\n".join(server.log)
            assert told.count("server shutting down") == 2  # what the disconnect handlers got
            assert told[-1] == "stopped"
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", port)
            for stream in (engine.websocket, polling, resting):
                await stream.aclose()

    trio.run(main)


@trio_test
async def test_without_clients_the_end_is_immediate() -> None:
    async with serving() as server:
        await server.wait_url()
        with trio.fail_after(1):
            assert await server.end() == 0


@trio_test
async def test_a_client_that_reads_nothing_does_not_delay_the_end(app: str) -> None:
    async with serving("--app", app) as server:
        port = await server.wait_port()
        engine = await WebSocketEngine.open(port)
        await SocketIOClient(engine).connect()
        with trio.fail_after(PROMPT_S):
            assert await server.end() == 0
        await engine.aclose()


async def begin(server: ServingProcess, event: str) -> WebSocketClient:
    """Have a handler begin; the client that asked for it."""
    engine = await WebSocketEngine.open(await server.wait_port())
    client = SocketIOClient(engine)
    await client.connect()
    await client.emit(event)
    await server.wait_logged(f"{event} begins")
    return engine.websocket


@trio_test
async def test_a_pending_handler_is_given_its_time(app: str) -> None:
    async with serving("--app", app) as server:
        websocket = await begin(server, "short")
        assert await end_politely(server, websocket) == 1012
        told = "\n".join(server.log)
        assert 0 < told.index("received SIGTERM") < told.index("short is done")
        assert told.index("short is done") < told.index("gone: server shutting down")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(app: str, second: signal.Signals) -> None:
    async def main() -> None:
        async with serving("--app", app) as server:
            websocket = await begin(server, "endless")
            server.process.send_signal(signal.SIGTERM)
            await server.wait_logged("received SIGTERM")
            with trio.move_on_after(0.3):
                await server.wait_end()
            assert server.process.returncode is None, "it did not wait for the handler"
            with trio.fail_after(1):
                assert await server.end(second) == 0
            assert any(f"{second.name}: cutting the rest short" in line for line in server.log)
            assert "stopped" in server.log[-1]
            await websocket.aclose()

    trio.run(main)


@trio_test
async def test_a_third_signal_ends_what_a_handler_blocks(tmp_path: Path) -> None:
    path = tmp_path / "blocking.py"
    path.write_text(
        "from trio_socketio import Server\n"
        "sio = Server()\n"
        "@sio.on('block')\n"
        "def block(socket):\n"
        "    print('blocked', file=__import__('sys').stderr, flush=True)\n"
        "    while True: pass\n"
    )
    async with (
        serving("--app", str(path)) as server,
        open_client(await server.wait_port()) as client,
    ):
        await client.connect()
        await client.emit("block")
        await server.wait_logged("blocked")
        for _ in range(3):
            server.process.send_signal(signal.SIGINT)
            await trio.sleep(0.2)  # signals that come together count once
        assert await server.wait_end() == -signal.SIGINT


# -- the log


async def provoke(port: int) -> None:
    async with open_client(port) as client:
        await client.connect()
        await client.emit("broken", "first\nsecond", ack_id=1)
        await client.emit("say", "\x1b[2Jx\ny")
        await client.emit("nothing of interest")
        await client.engine.send("2")  # a ping is the server's to send: it closes
        with pytest.raises(ConnectionEnded):
            await client.receive()


@trio_test
async def test_a_json_log_is_one_object_a_line(app: str) -> None:
    async with serving("--app", app, "--log-format", "json", "--log-level", "debug") as server:
        await provoke(await server.wait_port())
        assert await server.end() == 0
    entries = [json.loads(line) for line in server.log]
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
    (failure,) = [entry for entry in entries if "exception" in entry]
    assert failure["level"] == "error"
    assert "'broken'" in failure["message"]
    assert failure["exception"].endswith("ValueError: first\nsecond")
    said = [entry["message"] for entry in entries if entry["logger"] == "app"]
    assert said[:4] == [f"{level} \x1b[2Jx\ny" for level in ("debug", "info", "warning", "error")]


@trio_test
async def test_a_text_log_shows_no_control_characters(app: str) -> None:
    async with serving("--app", app) as server:
        await provoke(await server.wait_port())
        assert await server.end() == 0
    assert all(line.isprintable() for line in server.log)
    said = [line.partition(" app: ")[2] for line in server.log if " app: " in line]
    assert said[:3] == [rf"{level} \x1b[2Jx\ny" for level in ("info", "warning", "error")]
    assert "    ValueError: first" in server.log
    assert "    second" in server.log


@pytest.mark.parametrize(
    ("level", "told"),
    [("warning", ["warning x", "error x"]), ("error", ["error x"])],
)
def test_what_is_below_the_log_level_is_not_told(
    app: str, tmp_path: Path, level: str, told: list[str]
) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        async with serving("--app", app, "--log-level", level, "--unix", str(path)) as server:
            stream = await _open_when_there(path)
            websocket = await WebSocketClient.open(
                0, f"{PATH}?EIO=4&transport=websocket", stream=stream
            )
            await websocket.receive()
            client = SocketIOClient(WebSocketEngine(websocket, {}))
            await client.connect()
            await client.emit("say", "x")
            await server.wait_logged(told[0])
            await websocket.aclose()
            assert await server.end() == 0
        assert [line.partition(" app: ")[2] for line in server.log] == told

    trio.run(main)


async def _open_when_there(path: Path) -> trio.SocketStream:
    """Nothing is logged that could be waited for."""
    while True:
        try:
            return await trio.open_unix_socket(str(path))
        except OSError:
            await trio.sleep(0.02)


def test_standard_output_stays_empty(app: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--app", app],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        output, _ = process.communicate(timeout=5)
    assert output == b""


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def open_tls(port: int, authority: trustme.CA) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    return trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)


@pytest.mark.parametrize("files", [1, 2])
def test_https_and_wss(tmp_path: Path, authority: trustme.CA, files: int) -> None:
    certificate = authority.issue_cert("localhost")
    chain, key = str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")
    if files == 1:
        certificate.private_key_and_cert_chain_pem.write_to_path(chain)
        arguments = ["--certfile", chain]
    else:
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(chain, append=True)
        certificate.private_key_pem.write_to_path(key)
        arguments = ["--certfile", chain, "--keyfile", key]

    async def main() -> None:
        async with serving(*arguments) as server:
            url = await server.wait_url()
            assert url.startswith("https://127.0.0.1:")
            port = int(url.split(":")[2].partition("/")[0])
            http = HttpClient(port, await open_tls(port, authority))
            answer = await http.request("GET", f"{PATH}?EIO=4&transport=polling")
            assert answer.status == 200
            await http.aclose()
            websocket = await WebSocketClient.open(
                port,
                f"{PATH}?EIO=4&transport=websocket",
                stream=await open_tls(port, authority),
            )
            await websocket.receive()
            client = SocketIOClient(WebSocketEngine(websocket, {}))
            await client.connect()
            await client.emit("list", ack_id=1)
            assert await client.receive() == ("31[{}]", [])
            assert await end_politely(server, websocket) == 1012

    trio.run(main)


def test_a_key_that_needs_a_password_is_refused_without_asking(
    tmp_path: Path, authority: trustme.CA
) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate = authority.issue_cert("localhost")
    private = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    ended = run_cli("serve", "--port", "0", "--certfile", str(chain), "--keyfile", str(key))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        f"trio-socketio: --certfile: cannot use certificate {chain} with key {key}"
    )
