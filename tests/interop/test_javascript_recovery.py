"""The official client with state recovery, and with the MessagePack parser."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import assert_clean
from tests.interop.server_process import INTEROP_APP, ServerProcess
from tests.interop.test_javascript_client import RUN_S, TRANSPORTS, client_command

HERE = Path(__file__).parent
RECOVERY_APP = "tests/apps/recovery_app.py:create"
PARSERS = ("json", "msgpack")
RECOVERY = (
    "recovery_again_and_again",
    "recovery_after_a_volatile_event",
    "recovery_of_a_forged_session",
    "recovery_after_leaving",
)
MSGPACK = (
    "msgpack_values",
    "unicode",
    "binary",
    "binary_from_server",
    "binary_mixed",
    "large_binary",
    "ack_many_at_once",
    "ack_from_client_binary",
    "ack_from_server_late",
    "namespaces_two_at_once",
    "namespaces_leave_one",
    "namespaces_unknown",
    "auth",
    "auth_none",
    "refused",
    "rooms_everybody",
    "rooms_except_sender",
    "disconnect_by_server",
    "order_of_a_burst",
    "order_of_a_burst_from_server",
    "dynamic_namespaces",
    "gathered_acks",
    "event_middleware",
)


@contextmanager
def serving(app: str, *arguments: str) -> Iterator[ServerProcess]:
    with ServerProcess(app, arguments=arguments) as server:
        yield server
        assert_clean(server)


def reports(server: ServerProcess, scenarios: str, transport: str, parser: str) -> dict[str, Any]:
    """What is wrong, by scenario: None where all is well."""
    command = [*client_command(server.url, scenarios, transport, "4.8"), parser]
    done = subprocess.run(command, cwd=HERE, capture_output=True, timeout=RUN_S, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    return {line["scenario"]: line["error"] for line in lines}


@pytest.mark.req("RECOVER-01")
@pytest.mark.req("RECOVER-02")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("parser", PARSERS)
def test_the_client_recovers(parser: str, transport: str) -> None:
    with serving(RECOVERY_APP, "--state-recovery", "--parser", parser) as server:
        found = reports(server, ",".join(RECOVERY), transport, parser)
    assert found == dict.fromkeys(RECOVERY)


@pytest.mark.req("MSGPACK-04")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_client_speaks_messagepack(transport: str) -> None:
    with serving(INTEROP_APP, "--parser", "msgpack") as server:
        found = reports(server, ",".join(MSGPACK), transport, "msgpack")
    assert found == dict.fromkeys(MSGPACK)
