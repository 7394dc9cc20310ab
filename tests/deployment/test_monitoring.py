"""What Prometheus makes of the alerts, and of what the dashboard asks."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from tests.balancers.balancing import find
from tests.deployed_files import FILES, alerts, expressions
from tests.test_deploy_guide import blocks

LABELS = {"job": "trio-socketio", "instance": "a:9100"}


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [find("promtool"), *arguments], cwd=cwd, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.req("DEPLOY-11", "DEPLOY-12")
def test_prometheus_understands_the_rules_and_what_the_dashboard_asks(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(FILES["prometheus-rules.yaml"])
    promtool("check", "rules", "rules.yaml", cwd=tmp_path)
    asked = [
        {
            "record": f"asked:{number}",
            "expr": text.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, text in enumerate(expressions())
    ]
    groups = {"groups": [{"name": "asked", "rules": asked}]}
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(groups))
    promtool("check", "rules", "asked.yaml", cwd=tmp_path)


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    every = ",".join(f'{key}="{value}"' for key, value in {**LABELS, **labels}.items())
    return {"series": f"{name}{{{every}}}", "values": values}


# By alert: what has happened after the first minutes, and when it is told.
HAPPENING: dict[str, tuple[list[dict[str, str]], str]] = {
    "SocketIODown": ([series("up", "1+0x4 0+0x30")], "8m"),
    "SocketIONotReady": ([series("tsio_ready", "1+0x4 0+0x30")], "8m"),
    "SocketIORestarts": ([series("process_start_time_seconds", "1+60x30")], "8m"),
    "SocketIODefect": ([series("tsio_defects_total", "0+0x4 1+0x30")], "8m"),
    "SocketIOHandlersFail": ([series("tsio_handler_failures_total", "0+60x30")], "12m"),
    "SocketIOLogDropped": ([series("tsio_log_records_dropped_total", "0+9x30")], "8m"),
    "SocketIOProcessorFull": ([series("process_cpu_seconds_total", "0+58x40")], "20m"),
    "SocketIOTurnsLate": ([series("tsio_turn_late_seconds_total", "0+30x40")], "12m"),
    "SocketIODescriptorsScarce": (
        [series("process_open_fds", "900+0x30"), series("process_max_fds", "1000+0x30")],
        "8m",
    ),
    "SocketIOConnectionsRefused": ([series("tsio_connections_refused_total", "0+9x30")], "8m"),
    "SocketIOSlowClients": ([series("tsio_slow_closed_total", "0+90x40")], "20m"),
    "SocketIOClientsLost": (
        [series("tsio_sessions", "1000+0x15 300+0x20", transport="websocket")],
        "20m",
    ),
    "SocketIORequestsRefused": (
        [series("tsio_requests_refused_total", "0+600x40", reason="foreign origin")],
        "20m",
    ),
    "SocketIOWrongNode": (
        [series("tsio_requests_refused_total", "0+60x40", reason="session of another node")],
        "12m",
    ),
    "SocketIOFewUpgrades": (
        [
            series("tsio_sessions", "900+0x60", transport="polling"),
            series("tsio_sessions", "100+0x60", transport="websocket"),
        ],
        "40m",
    ),
    "SocketIOLoginsRefused": (
        [
            series("tsio_auth_total", "0+60x40", method="jwt", result="refused"),
            series("tsio_auth_total", "0+6x40", method="jwt", result="accepted"),
        ],
        "25m",
    ),
    "SocketIOKeysNotFetched": (
        [series("tsio_jwks_fetches_total", "0+1x40", result="failed")],
        "20m",
    ),
    "SocketIORedisAway": ([series("tsio_redis_connected", "1+0x4 0+0x30")], "8m"),
    "SocketIOMessagesLost": (
        [series("tsio_redis_publications_total", "0+9x30", result="unpublished")],
        "8m",
    ),
    "SocketIONodeMissing": ([series("tsio_nodes", "2+0x4 1+0x30")], "20m"),
    "SocketIORedisSlow": ([series("tsio_node_heartbeat_lag_seconds", "2+0x30")], "8m"),
    "SocketIOPresenceFenced": ([series("tsio_presence_fences_total", "0+0x4 1+0x30")], "8m"),
    "SocketIOPresenceStoreLostData": (
        [series("tsio_presence_generation_changes_total", "0+0x4 1+0x30")],
        "8m",
    ),
    "SocketIOPresenceLate": ([series("tsio_presence_webhook_lag_seconds", "90+0x30")], "8m"),
    "SocketIONamespacesUnusable": ([series("tsio_namespaces_unserved", "1+0x30")], "8m"),
    "SocketIONamespacesOutdated": ([series("tsio_namespaces_current", "0+0x30")], "8m"),
    "SocketIONodeOutOfReach": (
        [
            series("tsio_forwarding_possible", "1+0x4 0+0x30", node="b"),
            series("tsio_forwarding_possible", "1+0x40", node="c"),
        ],
        "8m",
    ),
    "SocketIONotPassedOn": (
        [
            series("tsio_forwarding_refused_total", "0+60x30", reason="gone"),
            series("tsio_forwarding_refused_total", "0+60x30", reason="unknown"),
        ],
        "12m",
    ),
    "SocketIOInternalRefused": (
        [
            series("tsio_forwarding_openings_refused_total", "0+0x4 1+0x30", reason="proof"),
            series("tsio_forwarding_openings_refused_total", "0+9x30", reason="lost"),
        ],
        "8m",
    ),
    "SocketIOWorkerDied": (
        [
            series("tsio_worker_restarts_total", "0+0x4 1+0x30", reason="signal"),
            series("tsio_worker_restarts_total", "0+0x4 1+0x30", reason="asked"),
        ],
        "8m",
    ),
    "SocketIOWorkerMissing": (
        [
            series("tsio_workers", "0+0x2 1 0+0x30", state="waiting"),
            series("tsio_workers", "0+0x2 0 1+0x30", state="starting"),
            series("tsio_workers", "2+0x2 1+0x30", state="serving"),
        ],
        "8m",
    ),
    "SocketIODeliveriesUnconfirmed": (
        [
            series("tsio_delivery_targets_total", "0+60x40", result="unconfirmed"),
            series("tsio_delivery_targets_total", "0+60x40", result="confirmed"),
        ],
        "25m",
    ),
    "SocketIODeliveriesRefused": (
        [series("tsio_deliveries_refused_total", "0+9x30", reason="full")],
        "12m",
    ),
    "SocketIOStateFails": ([series("tsio_state_calls_total", "0+1x30", result="failed")], "8m"),
}
# The same, for further reasons of an alert.
ALSO: list[tuple[str, list[dict[str, str]], str]] = [
    (
        "SocketIOWorkerDied",
        [series("tsio_worker_restarts_total", "0+0x4 1+0x30", reason="blocked")],
        "8m",
    ),
    (
        "SocketIOWorkerMissing",
        [
            series("tsio_workers", "0+0x2 1+0x30", state="blocked"),
            series("tsio_workers", "2+0x2 1+0x30", state="serving"),
        ],
        "8m",
    ),
]
CALM = [
    *(series(name, "1+0x60") for name in ("up", "tsio_ready", "tsio_redis_connected")),
    *(series(name, "0+0x60") for name in ("tsio_namespaces_unserved", "tsio_defects_total")),
    *(series(name, "100+0x60") for name in ("process_start_time_seconds",)),
    series("tsio_namespaces_current", "1+0x60"),
    series("tsio_nodes", "2+0x60"),
    series("process_cpu_seconds_total", "0+30x60"),
    series("process_open_fds", "100+0x60"),
    series("process_max_fds", "1000+0x60"),
    series("tsio_sessions", "900+0x60", transport="websocket"),
    series("tsio_sessions", "100+0x60", transport="polling"),
    series("tsio_requests_refused_total", "0+6x60", reason="unknown sid"),
    series("tsio_auth_total", "0+60x60", method="jwt", result="accepted"),
    series("tsio_redis_publications_total", "0+600x60", result="published"),
    series("tsio_forwarding_possible", "1+0x60", node="b"),
    series("tsio_forwarding_refused_total", "0+60x60", reason="unknown"),
    series("tsio_forwarding_openings_refused_total", "0+60x60", reason="lost"),
    series("tsio_workers", "2+0x60", state="serving"),
    series("tsio_workers", "0+0x60", state="waiting"),
    series("tsio_worker_restarts_total", "0+1x60", reason="asked"),
    series("tsio_node_heartbeat_lag_seconds", "0.001+0x60"),
]


@pytest.mark.req("DEPLOY-12")
def test_each_alert_is_told_when_it_should_be_and_none_otherwise(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(FILES["prometheus-rules.yaml"])
    rules = {rule["alert"]: rule for rule in alerts()}
    assert {*HAPPENING} == {*rules}
    tests: list[dict[str, Any]] = []
    quiet = [{"alertname": name, "eval_time": "45m", "exp_alerts": []} for name in rules]
    tests.append({"interval": "1m", "input_series": CALM, "alert_rule_test": quiet})
    all_ = [(name, *what) for name, what in HAPPENING.items()]
    for name, happening, at in (*all_, *ALSO):
        # That it is told is what is tested; its words are in the file.
        told = {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": at}
        expected = [{"labels": "{}", "value": 1}]
        tests.append(
            {
                "interval": "1m",
                "input_series": happening,
                "promql_expr_test": [{**told, "exp_samples": expected}],
            }
        )
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", "tests.yaml", cwd=tmp_path)


@pytest.mark.parametrize("code", blocks("yaml"))
def test_prometheus_understands_the_configurations_of_the_guide(code: str, tmp_path: Path) -> None:
    for path in ("/etc/prometheus/rules/trio-socketio.yaml", "/etc/prometheus/private-ca.pem"):
        code = code.replace(path, Path(path).name)
    code = code.replace("/etc/prometheus/trio-socketio.token", "token")
    (tmp_path / "trio-socketio.yaml").write_text(FILES["prometheus-rules.yaml"])
    (tmp_path / "token").write_text("0123456789abcdef")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "private-ca.pem"))
    (tmp_path / "prometheus.yml").write_text(code)
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)
