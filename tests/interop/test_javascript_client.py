"""The official JavaScript clients against the server: every scenario, client and transport.

One Node process runs all scenarios of a client and a transport (``client.mjs`` says how); each of
them is a test here.
"""

import json
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.interop.server_process import ServerProcess

HERE = Path(__file__).parent
VERSIONS = ("4.8", "4.0")
TRANSPORTS = ("polling", "websocket", "upgrade")
RUN_S = 90.0
LINE_S = 45.0
SCENARIOS = (
    "text",
    "unicode",
    "unicode_together",
    "lone_surrogates",
    "binary",
    "binary_kinds",
    "binary_seen_by_server",
    "binary_from_server",
    "binary_mixed",
    "large_text",
    "large_binary",
    "too_large",
    "ack_from_server",
    "ack_many_at_once",
    "ack_from_client",
    "ack_from_client_binary",
    "ack_from_client_late",
    "ack_from_server_late",
    "ack_never",
    "ack_client_leaves",
    "namespaces_two_at_once",
    "namespaces_leave_one",
    "namespaces_only_another",
    "namespaces_unknown",
    "auth",
    "auth_by_function",
    "auth_none",
    "auth_of_each_namespace",
    "refused",
    "refused_by_async_middleware",
    "rooms_membership",
    "rooms_except_sender",
    "rooms_every_member",
    "rooms_leave",
    "rooms_own",
    "rooms_everybody",
    "disconnect_by_client",
    "disconnect_by_server",
    "disconnect_by_server_with_connection",
    "disconnect_by_engine",
    "disconnect_right_after_emit",
    "disconnect_then_emit_to_room",
    "order_of_a_burst",
    "order_of_a_burst_from_server",
    "order_while_connecting",
    "engine_handshake",
    "engine_broken_packet",
    "dynamic_namespaces",
    "gathered_acks",
    "event_middleware",
    "two_hundred_clients",
)


def client_command(url: str, scenario: str, transport: str, version: str) -> list[str]:
    """Return the command line of ``client.mjs``, or fail the test where it cannot run."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("node is missing: these tests drive the official clients; install Node 18+")
    if not (HERE / "node_modules").is_dir():
        pytest.fail("tests/interop/node_modules is missing: run `npm ci` there, or `make test`")
    return [node, str(HERE / "client.mjs"), url, scenario, transport, version]


@dataclass(frozen=True)
class Run:
    """What one Node process reported.

    Args:
        lines: the report of each scenario, by its name.
        trouble: why there are not more of them; empty if the process ended by itself.
        words: what the process wrote beside its reports.
    """

    lines: dict[str, dict[str, Any]]
    trouble: str
    words: str


@dataclass
class Runs:
    """The runs of all clients and transports, each made when the first test asks for it."""

    server: ServerProcess
    wanted: str = "all"
    made: dict[tuple[str, str], Run] = field(default_factory=dict)

    def get(self, version: str, transport: str) -> Run:
        key = (version, transport)
        if key not in self.made:
            command = client_command(self.server.url, self.wanted, transport, version)
            self.made[key] = self._run(command)
        return self.made[key]

    def _run(self, command: list[str]) -> Run:
        trouble = ""
        try:
            done = subprocess.run(
                command, cwd=HERE, capture_output=True, timeout=RUN_S, check=False
            )
            output, words = done.stdout, done.stderr
            if done.returncode not in {0, 1}:
                trouble = f"the client ended with {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output, words = error.stdout or b"", error.stderr or b""
            trouble = f"the client was stopped after {RUN_S} s"
        lines = [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]
        reports = {line["scenario"]: line for line in lines}
        return Run(reports, trouble, words.decode(errors="replace")[-4_000:])


@pytest.fixture(scope="session")
def runs(shared_server: ServerProcess) -> Runs:
    return Runs(shared_server)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(
    runs: Runs, shared_server: ServerProcess, scenario: str, version: str, transport: str
) -> None:
    run = runs.get(version, transport)
    report = run.lines.get(scenario)
    assert report is not None, f"no report of {scenario}: {run.trouble}\n{run.words}"
    assert report["ok"], report["error"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_scenario_of_the_client_is_a_test(runs: Runs, version: str, transport: str) -> None:
    run = runs.get(version, transport)
    assert not run.trouble, run.words
    assert set(run.lines) == set(SCENARIOS)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_reconnects_after_a_restart_and_after_a_crash(
    own_server: ServerProcess, version: str, transport: str
) -> None:
    command = client_command(own_server.url, "reconnection", transport, version)
    with subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        killer = threading.Timer(LINE_S, client.kill)  # bounds every readline below
        killer.start()
        try:
            assert client.stdout is not None
            for times, crash in ((1, False), (2, True)):
                line = client.stdout.readline()
                assert json.loads(line) == {"step": "connected", "times": times}, line
                own_server.restart(crash=crash)
            line = client.stdout.readline()
            report = json.loads(line)
            assert report["ok"], report["error"]
            assert client.wait(LINE_S) == 0
        finally:
            killer.cancel()
            killer.join()
            client.kill()
