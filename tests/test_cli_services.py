"""``serve`` with a control socket and an admin port."""

import socket
from pathlib import Path
from signal import SIGHUP
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.wire import open_client
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError, TrioSocketIOError

SECRETS = ("0123456789abcdef", "fedcba9876543210")


class Answer(NamedTuple):
    """An answer to a request."""

    status: int
    text: str


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def get(
    port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> Answer:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    sent = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | (headers or {})
    async with stream:
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in sent.items())]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        head, _, body = b"".join([part async for part in stream]).partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), body.decode())


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
            assert "unknown table" in await server.wait_logged("nothing was reloaded")
            await backend.call("system.drain")
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


@pytest.mark.req("OPS-11")
@trio_test
async def test_requests_of_those_who_may_not_ask_are_counted_and_logged(tmp_path: Path) -> None:
    port, secret, conf = free_port(), tmp_path / "secret", tmp_path / "conf.toml"
    await trio.Path(secret).write_text(SECRETS[0])
    await trio.Path(conf).write_text(
        f'[admin]\nlisten = "0.0.0.0:{port}"\n'
        f'[control]\ntokens = [{{name = "ops", file = "{secret}"}}]\n'
    )
    allowed = {"Authorization": f"Bearer {SECRETS[0]}"}
    wrong = {"Authorization": f"Bearer {SECRETS[1]}"}
    async with serving("--config", str(conf)) as server:
        await server.wait_port()
        for method, path, headers, status in (
            ("GET", "/metrics", {}, 401),
            ("GET", "/metrics", wrong, 401),
            ("GET", "/livez", wrong, 401),
            ("POST", "/rpc", {}, 401),
            ("POST", "/rpc", wrong, 401),
            ("POST", "/rpc", allowed | {"Origin": "https://evil.example"}, 403),
            ("GET", "/metrics", allowed | {"Host": "evil.example"}, 403),
            ("POST", "/rpc", allowed | {"Host": "evil.example"}, 403),
        ):
            answer = await get(port, path, headers, method)
            assert (answer.status, path, headers) == (status, path, headers)
        told = (await get(port, "/metrics", allowed)).text.splitlines()
        assert {line for line in told if line.startswith("tsio_admin_requests_refused_total")} == {
            'tsio_admin_requests_refused_total{reason="host"} 2.0',
            'tsio_admin_requests_refused_total{reason="origin"} 1.0',
            'tsio_admin_requests_refused_total{reason="token_missing"} 2.0',
            'tsio_admin_requests_refused_total{reason="token_wrong"} 3.0',
        }
        assert await server.end() == 0
        lines = [line for line in server.log if "refused a request from 127.0.0.1: " in line]
        assert len(lines) == 8
        assert not [line for line in server.log if "evil" in line or SECRETS[1] in line]
