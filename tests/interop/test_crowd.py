"""Two hundred clients at once."""

import pytest
from tests.interop.drivers import drive, node_command
from tests.interop.matrix import TRANSPORTS
from tests.interop.server_process import ServerProcess


@pytest.mark.alone
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_hundred_clients(shared_server: ServerProcess, transport: str) -> None:
    scenarios = ["two_hundred_clients"]
    command = node_command(shared_server.url, scenarios, transport, "socket.io-client")
    failures = drive(command, shared_server).failures(scenarios)
    assert not failures, "\n".join(failures)
