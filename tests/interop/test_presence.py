"""Official clients whose user logs in anew."""

import pytest
from tests.interop.drivers import drive, node_command
from tests.interop.server_process import ServerProcess, assert_clean
from tests.interop.test_joining_again import CLIENTS

APP = "tests/apps/presence_app.py:create"
SCENARIOS = ("session_replaced",)


@pytest.mark.req("PRES-53")
@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
def test_a_client_that_is_replaced_does_not_come_back_by_itself(transport: str) -> None:
    with ServerProcess(APP, arguments=("--allow-eio3",)) as server:
        for client in CLIENTS:
            run = drive(node_command(server.url, SCENARIOS, transport, client), server)
            failures = run.failures(SCENARIOS)
            assert not failures, f"{client}: " + "\n".join(failures)
        assert_clean(server)
