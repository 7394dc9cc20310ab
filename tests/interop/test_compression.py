"""The official client with what it compresses by itself, where the server agrees to it."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.interop.conftest import assert_clean
from tests.interop.server_process import ServerProcess
from tests.interop.test_javascript_client import HERE, RUN_S, client_command

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
    command = client_command(server.url, scenarios, transport, "4.8")
    done = subprocess.run(command, cwd=HERE, capture_output=True, timeout=RUN_S, check=False)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["scenario"] for report in reports] == scenarios.split(","), done.stderr
    for report in reports:
        assert report["ok"], report["error"]
