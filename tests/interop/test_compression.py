"""The official client with what it compresses by itself, where the server agrees to it."""

from collections.abc import Iterator

import pytest
from tests.interop.drivers import drive, node_command
from tests.interop.server_process import ServerProcess, assert_clean

PAYLOADS = "text,unicode,binary_kinds,binary_mixed,large_text,large_binary,order_of_a_burst"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(arguments=["--per-message-deflate"]) as server:
        yield server
        assert_clean(server)


@pytest.mark.parametrize(
    ("scenarios", "transport"),
    [
        ("compressed_polling", "polling"),
        ("compressed_websocket", "websocket"),
        (f"compressed_websocket,{PAYLOADS}", "upgrade"),
    ],
)
def test_what_is_compressed_arrives(server: ServerProcess, scenarios: str, transport: str) -> None:
    names = scenarios.split(",")
    command = node_command(server.url, names, transport, "socket.io-client")
    failures = drive(command, server).failures(names)
    assert not failures, "\n".join(failures)


@pytest.fixture(scope="module")
def old_server() -> Iterator[ServerProcess]:
    with ServerProcess(arguments=["--per-message-deflate", "--allow-eio3"]) as server:
        yield server
        assert_clean(server)


@pytest.mark.req("WS-10")
@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
def test_what_is_compressed_arrives_at_clients_2(old_server: ServerProcess, transport: str) -> None:
    names = f"compressed_websocket,{PAYLOADS}".split(",")
    command = node_command(old_server.url, names, transport, "socket.io-client-2")
    failures = drive(command, old_server).failures(names)
    assert not failures, "\n".join(failures)
