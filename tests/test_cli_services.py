"""``serve`` with a control socket and an admin port."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import Any, NamedTuple

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import LIMIT_S, ServingProcess, serving
from tests.control.serving import RawPeer
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
        await server.wait_logged("to take their last bytes")
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
    body = b'{"jsonrpc":"2.0","id":1,"method":"system.reload"}'
    async with serving("--config", str(conf)) as server:
        await server.wait_port()
        await trio.Path(secret).unlink()
        os.mkfifo(secret)  # it is read when something is written to it
        stream = await trio.open_tcp_stream("127.0.0.1", admin)
        await stream.send_all(
            b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + SECRETS[0].encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        async with await trio.open_file(secret, "w") as file:
            server.process.send_signal(SIGTERM)
            await server.wait_logged("ending the services")
            await file.write(SECRETS[1])
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
        assert line.startswith("trio-socketio: --control: cannot listen on ")
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


# -- sockets of systemd


@asynccontextmanager
async def handed_over(listener: socket.socket, conf: Path) -> AsyncIterator[ServingProcess]:
    """Serve with a control socket that is open already."""
    start = (
        "import os, sys\n"
        f"os.dup2({listener.fileno()}, 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='control', LISTEN_PID=str(os.getpid()))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'trio_socketio', 'serve', '--port', '0',"
        f" '--config', {str(conf)!r}])\n"
    )
    with trio.fail_after(LIMIT_S):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", start],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield ServingProcess(process)
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.req("CONTROL-81")
@trio_test
async def test_a_control_socket_of_systemd_speaks_tls(tmp_path: Path) -> None:
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    chain, secret, conf = (tmp_path / name for name in ("chain.pem", "secret", "conf.toml"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(chain))
    await trio.Path(secret).write_text(SECRETS[0])
    token = f'tokens = [{{name = "ops", file = "{secret}"}}]\n'
    with socket.create_server(("0.0.0.0", 0)) as listener:
        await trio.Path(conf).write_text(f'[control]\ncertfile = "{chain}"\n{token}')
        async with handed_over(listener, conf) as server:
            await server.wait_port()
            address = f"tls:127.0.0.1:{listener.getsockname()[1]}"
            async with open_control(address, token=SECRETS[0], ssl_context=trust) as control:
                await control.call("system.info")
            assert await server.end() == 0
        await trio.Path(conf).write_text(f"[control]\n{token}")
        async with handed_over(listener, conf) as server:
            assert await server.wait_end() == 2
            assert server.log[0].startswith("trio-socketio: secrets would pass in the clear to the")


@pytest.mark.req("CONTROL-81")
@trio_test
async def test_a_control_socket_of_systemd_that_everybody_may_open(tmp_path: Path) -> None:
    await trio.Path(tmp_path).chmod(0o755)
    path, conf = tmp_path / "control", tmp_path / "conf.toml"
    await trio.Path(conf).touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        await trio.Path(path).chmod(0o666)  # as systemd does
        async with handed_over(listener, conf) as server:
            assert await server.wait_end() == 2
            assert "SocketMode=0660" in server.log[0]
        await trio.Path(path).chmod(0o660)
        async with handed_over(listener, conf) as server:
            await server.wait_port()
            async with open_control(f"unix:{path}") as control:
                await control.call("system.info")
            assert await server.end() == 0


@pytest.mark.req("OPS-11")
@trio_test
async def test_requests_of_those_who_may_not_ask_are_counted_and_logged(tmp_path: Path) -> None:
    port, secret, conf = free_port(), tmp_path / "secret", tmp_path / "conf.toml"
    await trio.Path(secret).write_text(SECRETS[0])
    await trio.Path(conf).write_text(
        f'[admin]\nlisten = "0.0.0.0:{port}"\nallow_cleartext = true\n'
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
