"""``serve`` with a control socket and an admin port."""

import socket
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.control.serving import RawPeer
from tests.wire import HttpClient, Response, open_client
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError, TrioSocketIOError

SECRETS = ("0123456789abcdef", "fedcba9876543210")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def get(port: int, path: str) -> Response:
    http = HttpClient(port)
    try:
        return await http.request("GET", path)
    finally:
        await http.aclose()


@pytest.mark.req("CFG-13")
@trio_test
async def test_a_server_is_controlled_watched_reloaded_and_drained(tmp_path: Path) -> None:
    admin, control = free_port(), tmp_path / "run" / "control.sock"
    conf = tmp_path / "conf.toml"
    await trio.Path(conf).write_text('[cors]\norigins = ["https://a.example"]\n')
    arguments = ("--config", str(conf), "--control", f"unix:{control}")
    async with serving(*arguments, "--admin", f"127.0.0.1:{admin}") as server:
        port = await server.wait_port()
        assert (await get(admin, "/readyz")).status == 200
        async with open_client(port) as client, open_control(f"unix:{control}") as backend:
            await client.connect()
            info: Any = await backend.call("system.info")
            assert info["state"] == "serving"
            assert info["pid"] == server.process.pid
            metrics = await get(admin, "/metrics")
            assert 'tsio_sessions{transport="websocket"} 1' in metrics.text
            assert "tsio_control_peers 1.0" in metrics.text
            assert 'tsio_backend_events_total{result="failed"} 0.0' in metrics.text
            assert 'tsio_rpc_calls_total{method="system.info",result="done"} 1.0' in metrics.text
            await trio.Path(conf).write_text('[cors]\norigins = []\n[engine]\npath = "/x"\n')
            reloaded: Any = await backend.call("system.reload")
            assert reloaded == {"changed": ["[cors] origins"], "needs_restart": ["[engine] path"]}
            await trio.Path(conf).write_text("[engin]\n")
            with pytest.raises(ControlError, match="unknown table"):
                await backend.call("system.reload")
            assert "unknown table" in await server.wait_logged("nothing is reloaded")
            await backend.call("system.drain")
        assert await server.wait_end() == 0


@pytest.mark.req("CONTROL-62")
@trio_test
async def test_peers_have_their_answers_before_the_end(tmp_path: Path) -> None:
    control = tmp_path / "run" / "control.sock"
    async with serving("--control", f"unix:{control}") as server:
        await server.wait_port()
        stream = await trio.open_unix_socket(str(control))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow = RawPeer(stream)
        await slow.receive()
        await slow.send(*[slow.request("rpc.discover")] * 20)
        async with open_control(f"unix:{control}") as quick:
            await quick.call("system.info")  # so what came before has been answered
            await quick.call("system.drain")
        for _ in range(20):
            assert "result" in await slow.receive()
        assert await slow.is_closed()
        await stream.aclose()
        assert await server.wait_end() == 0
        ends = [line for line in server.log if "control peer 1 " in line and "has ended" in line]
        assert len(ends) == 1


@pytest.mark.req("CONTROL-62")
@trio_test
async def test_requests_to_rpc_have_their_answers_before_the_end(tmp_path: Path) -> None:
    admin, secret, conf = free_port(), tmp_path / "secret", tmp_path / "conf.toml"
    await trio.Path(secret).write_text(SECRETS[0])
    await trio.Path(conf).write_text(
        f'[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[control]\ntokens = [{{name = "ops", file = "{secret}"}}]\n'
    )
    body = b'{"jsonrpc":"2.0","id":1,"method":"system.stats"}'
    async with serving("--config", str(conf)) as server:
        await server.wait_port()
        stream = await trio.open_tcp_stream("127.0.0.1", admin)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(
            b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + SECRETS[0].encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        server.process.send_signal(SIGTERM)
        answer = b""
        while data := await stream.receive_some():
            answer += data
        assert b'"result"' in answer
        await stream.aclose()
        assert await server.wait_end() == 0


@trio_test
async def test_an_address_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    control = f"unix:{tmp_path}/run/control.sock"
    async with serving("--control", control) as server:
        await server.wait_port()
        async with serving("--control", control) as other:
            assert await other.wait_end() == 2
        (line,) = other.log
        assert line.startswith("trio-socketio: cannot listen on ")
        assert await server.end() == 0


@pytest.mark.req("CFG-12")
@trio_test
async def test_tokens_are_reloaded(tmp_path: Path) -> None:
    port, secret, conf = free_port(), tmp_path / "secret", tmp_path / "conf.toml"
    await trio.Path(secret).write_text(SECRETS[0])
    await trio.Path(conf).write_text(
        f'[control]\nlisten = ["tcp:127.0.0.1:{port}"]\n'
        f'tokens = [{{name = "ops", file = "{secret}"}}]\n'
    )
    address = f"tcp:127.0.0.1:{port}"
    async with serving("--config", str(conf)) as server:
        await server.wait_port()
        async with open_control(address, token=SECRETS[0]) as backend:
            await backend.call("system.info")
        await trio.Path(secret).write_text(SECRETS[1])
        server.process.send_signal(SIGHUP)
        await server.wait_logged("reloaded")
        with pytest.raises(TrioSocketIOError):
            async with open_control(address, token=SECRETS[0]) as backend:
                await backend.call("system.info")
        async with open_control(address, token=SECRETS[1]) as backend:
            await backend.call("system.info")
        assert await server.end() == 0
        assert not [line for line in server.log for one in SECRETS if one in line]
