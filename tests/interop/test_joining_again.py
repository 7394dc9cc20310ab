"""Official clients that disconnect and connect again before the server has answered."""

import pytest
from tests.interop.drivers import drive, node_command
from tests.interop.server_process import ServerProcess, assert_clean

APP = "tests/apps/joining_app.py:create"
SCENARIOS = ("joining_again",)
CLIENTS = (
    "socket.io-client",
    "socket.io-client-4-0",
    "socket.io-client-3",
    "socket.io-client-2",
    "socket.io-client-1",
)


@pytest.mark.req("SIO5-12", "SIO5-60", "SIO4-13")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_clients_that_change_their_minds_lose_nothing(transport: str) -> None:
    with ServerProcess(APP, arguments=("--allow-eio3",)) as server:
        for client in CLIENTS:
            run = drive(node_command(server.url, SCENARIOS, transport, client), server)
            failures = run.failures(SCENARIOS)
            assert not failures, f"{client}: " + "\n".join(failures)
        assert_clean(server)
