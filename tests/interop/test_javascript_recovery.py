"""The official client with state recovery, and with the MessagePack parser."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.interop.drivers import drive, node_command
from tests.interop.matrix import TRANSPORTS
from tests.interop.server_process import INTEROP_APP, ServerProcess, assert_clean

RECOVERY_APP = "tests/apps/recovery_app.py:create"
PARSERS = ("json", "msgpack")
RECOVERY = (
    "recovery_again_and_again",
    "recovery_after_a_volatile_event",
    "recovery_of_a_forged_session",
    "recovery_after_leaving",
)
MSGPACK = ("msgpack_values",)  # and the rest of the matrix
CLIENTS = {"json": "socket.io-client", "msgpack": "./msgpack.mjs"}


@contextmanager
def serving(app: str, *arguments: str) -> Iterator[ServerProcess]:
    with ServerProcess(app, arguments=arguments) as server:
        yield server
        assert_clean(server)


def assert_well(
    server: ServerProcess, scenarios: tuple[str, ...], transport: str, parser: str
) -> None:
    command = node_command(server.url, scenarios, transport, CLIENTS[parser])
    failures = drive(command, server).failures(scenarios)
    assert not failures, "\n".join(failures)


@pytest.mark.req("RECOVER-01")
@pytest.mark.req("RECOVER-02")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("parser", PARSERS)
def test_the_client_recovers(parser: str, transport: str) -> None:
    with serving(RECOVERY_APP, "--state-recovery", "--parser", parser) as server:
        assert_well(server, RECOVERY, transport, parser)


@pytest.mark.req("MSGPACK-04")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_client_speaks_messagepack(transport: str) -> None:
    with serving(INTEROP_APP, "--parser", "msgpack") as server:
        assert_well(server, MSGPACK, transport, "msgpack")
