"""The official JavaScript clients 1.x and 2.x, and engine.io-client 3, against the server."""

from collections.abc import Iterator

import pytest
from tests.interop.conftest import assert_clean
from tests.interop.server_process import ServerProcess
from tests.interop.test_javascript_client import TRANSPORTS, Runs

VERSIONS = ("2.5", "1.7")
SCENARIOS = (
    "legacy_ids",
    "legacy_query",
    "legacy_refused",
    "legacy_admitted",
    "legacy_disconnected_by_server",
    "legacy_base64",
    "legacy_mixed_room",
    "legacy_engine",
    "text",
    "unicode",
    "unicode_together",
    "binary",
    "binary_from_server",
    "binary_mixed",
    "ack_from_server",
    "ack_from_client",
    "ack_from_client_binary",
    "rooms_membership",
    "rooms_except_sender",
    "disconnect_by_client",
    "disconnect_by_server_with_connection",
    "disconnect_right_after_emit",
    "order_of_a_burst",
    "order_of_a_burst_from_server",
    "order_while_connecting",
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(arguments=["--allow-eio3"]) as server:
        yield server
        assert_clean(server)


@pytest.fixture(scope="module")
def runs(server: ServerProcess) -> Runs:
    return Runs(server, wanted=",".join(SCENARIOS))


@pytest.mark.req("EIO3-02", "SIO4-01")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(runs: Runs, scenario: str, version: str, transport: str) -> None:
    run = runs.get(version, transport)
    report = run.lines.get(scenario)
    assert report is not None, f"no report of {scenario}: {run.trouble}\n{run.words}"
    assert report["ok"], report["error"]
