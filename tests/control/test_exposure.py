"""Who may connect to the control socket, wherever it came from."""

import os
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from tests.control.serving import SECRET, FakeSystem, RawPeer, write_token
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.control.options import ControlOptions, ControlToken
from trio_socketio.control.places import open_endpoints
from trio_socketio.control.service import ControlService
from trio_socketio.control.tokens import TokenTable
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.runtime import open_runtime


@pytest.fixture
def tokens(tmp_path: Path) -> TokenTable:
    return TokenTable([ControlToken(name="a", file=write_token(tmp_path))])


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def everywhere() -> Iterator[socket.socket]:
    """A TCP socket that systemd has opened for other machines."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener


def bind_unix(path: Path | str, mode: int = 0o666) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    if isinstance(path, Path):
        path.chmod(mode)
    listener.listen()
    return listener


async def run(
    listener: socket.socket, tokens: TokenTable | None = None, tls: ssl.SSLContext | None = None
) -> None:
    """Take a socket over for the control service, which ends again."""
    options = ControlOptions()
    service = ControlService(Server(), FakeSystem(), options, tokens)
    endpoints = open_endpoints(options, tls, [os.dup(listener.fileno())])
    async with open_runtime() as runtime:
        await runtime.start_service("control", partial(service.run, runtime, endpoints))


@pytest.mark.req("CONTROL-11", "CONTROL-12", "CONTROL-81")
@trio_test
async def test_tcp_sockets_that_are_handed_over(
    everywhere: socket.socket, tokens: TokenTable, tls: ssl.SSLContext
) -> None:
    with pytest.raises(ConfigurationError, match=r"tcp:0.0.0.0:\d+ needs a token"):
        await run(everywhere, None, tls)
    with pytest.raises(ConfigurationError, match="secrets would pass in the clear"):
        await run(everywhere, tokens)
    await run(everywhere, tokens, tls)
    with socket.create_server(("127.0.0.1", 0)) as local:
        with pytest.raises(ConfigurationError, match="needs a token"):
            await run(local)
        await run(local, tokens)


@pytest.mark.req("CONTROL-81")
@trio_test
async def test_unix_sockets_that_are_handed_over(tmp_path: Path) -> None:
    folder = trio.Path(tmp_path)
    await folder.chmod(0o755)
    with bind_unix(tmp_path / "open") as listener:
        with pytest.raises(ConfigurationError, match="every user may connect to"):
            await run(listener)
        await folder.chmod(0o750)  # others do not get as far as the file
        await run(listener)
        await (folder / "open").unlink()
        with pytest.raises(ConfigurationError, match="cannot look at the control socket"):
            await run(listener)
    await folder.chmod(0o755)
    with bind_unix(tmp_path / "closed", 0o660) as listener:
        await run(listener)
    with (
        bind_unix(f"\0{tmp_path}") as listener,
        pytest.raises(ConfigurationError, match="give it a path"),
    ):
        await run(listener)


@pytest.mark.req("CONTROL-81")
@trio_test
async def test_a_socket_that_is_handed_over_speaks_tls(
    everywhere: socket.socket,
    tmp_path: Path,
    tokens: TokenTable,
    tls: ssl.SSLContext,
    authority: trustme.CA,
) -> None:
    options = ControlOptions()
    service = ControlService(Server(), FakeSystem(), options, tokens)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with bind_unix(tmp_path / "unix", 0o660) as unix:
        fds = [os.dup(one.fileno()) for one in (everywhere, unix)]
        async with open_runtime() as runtime:
            run = partial(service.run, runtime, open_endpoints(options, tls, fds))
            await runtime.start_service("control", run, end=service.end)
            stream = await trio.open_ssl_over_tcp_stream(
                "localhost", everywhere.getsockname()[1], ssl_context=trust
            )
            peer = RawPeer(stream)
            assert (await peer.receive())["params"]["needs_token"]
            assert (await peer.call("auth", token=SECRET))["name"] == "a"
            local = RawPeer(await trio.open_unix_socket(str(tmp_path / "unix")))
            assert not (await local.receive())["params"]["needs_token"]  # and speaks no TLS
            await trio.aclose_forcefully(stream)
            await local.stream.aclose()
