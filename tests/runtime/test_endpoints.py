"""What cannot be a place to listen is refused where a program writes it."""

import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from trio.testing import trio_test

from trio_socketio import (
    ConfigurationError,
    InheritedEndpoint,
    Server,
    TcpEndpoint,
    UnixEndpoint,
)

FOR_CLIENTS = ssl.create_default_context()
PORTS = "port: expected a whole number from 0 to 65535, not "
MODES = "mode: expected a whole number from 0 to 0o7777, not "
NUMBERS = "fileno: expected a whole number from 0 to 2147483647, not "


@pytest.mark.req("RUN-40")
@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        (TcpEndpoint, {"host": 5}, "host: expected text or a sequence of texts, not 5"),
        (TcpEndpoint, {"host": None}, "host: expected text or a sequence of texts, not None"),
        (TcpEndpoint, {"host": b"::1"}, "host: expected text or a sequence of texts, not b'::1'"),
        (TcpEndpoint, {"host": ()}, "host: must name at least one host"),
        (TcpEndpoint, {"host": ("::1", 5)}, "host: a host is a name, an address or 'all', not 5"),
        (TcpEndpoint, {"host": ""}, "host: a host is a name, an address or 'all', not ''"),
        (TcpEndpoint, {"port": "80"}, PORTS + "'80'"),
        (TcpEndpoint, {"port": True}, PORTS + "True"),
        (TcpEndpoint, {"port": -1}, PORTS + "-1"),
        (TcpEndpoint, {"port": 65536}, PORTS + "65536"),
        (TcpEndpoint, {"port": 80.0}, PORTS + "80.0"),
        (TcpEndpoint, {"tls": True}, "tls: expected an ssl.SSLContext or None, not True"),
        (TcpEndpoint, {"tls": FOR_CLIENTS}, "tls: this context is for clients; a server needs"),
        (UnixEndpoint, {"path": 5}, "path: expected a pathlib.Path or text, not 5"),
        (UnixEndpoint, {"path": b"s"}, "path: expected a pathlib.Path or text, not b's'"),
        (UnixEndpoint, {"path": ""}, "path: '' cannot be the path of a file"),
        (UnixEndpoint, {"path": "\0sio"}, r"path: '\x00sio' cannot be the path of a file"),
        (UnixEndpoint, {"path": "s", "mode": "660"}, MODES + "'660'"),
        (UnixEndpoint, {"path": "s", "mode": -1}, MODES + "-1"),
        (UnixEndpoint, {"path": "s", "mode": 0o10000}, MODES + "4096"),
        (UnixEndpoint, {"path": "s", "tls": "a.pem"}, "tls: expected an ssl.SSLContext or None"),
        (UnixEndpoint, {"path": "s", "tls": FOR_CLIENTS}, "tls: this context is for clients"),
        (InheritedEndpoint, {"fileno": -1}, NUMBERS + "-1"),
        (InheritedEndpoint, {"fileno": "3"}, NUMBERS + "'3'"),
        (InheritedEndpoint, {"fileno": False}, NUMBERS + "False"),
        (InheritedEndpoint, {"fileno": 1 << 40}, NUMBERS + str(1 << 40)),
        (InheritedEndpoint, {"fileno": 3, "tls": FOR_CLIENTS}, "tls: this context is for clients"),
    ],
)
def test_what_is_no_endpoint_is_refused(kind: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match="^" + re.escape(says)):
        kind(**given)


@pytest.mark.req("RUN-40")
def test_what_endpoints_accept() -> None:
    for_servers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert TcpEndpoint(["::1", "localhost"], 0, for_servers).port == 0
    assert TcpEndpoint("all", 65535).host == "all"
    assert UnixEndpoint("sio.sock", 0o7777, for_servers).path == Path("sio.sock")
    assert UnixEndpoint(Path("sio.sock"), 0).mode == 0
    assert InheritedEndpoint(0, for_servers).fileno == 0


@pytest.mark.req("RUN-40")
@trio_test
async def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "sio.sock"
    async with UnixEndpoint(str(path)).listen() as (listener,):
        assert listener.family == socket.AF_UNIX
        assert path.is_socket()
    assert not path.exists()


@pytest.mark.req("RUN-40")
@trio_test
async def test_serve_refuses_what_is_no_endpoint() -> None:
    port: Any = "3000"
    with pytest.raises(ConfigurationError, match=r"^port: "):
        await Server().serve(port=port)
    with pytest.raises(ConfigurationError, match=r"^tls: "):
        await Server().serve(port=0, ssl_context=FOR_CLIENTS)
