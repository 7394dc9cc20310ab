"""The storm of reconnects, with few clients; `python -m bench.storm` has 15,000."""

import pytest
from bench.machine import BUILD, find_cores
from bench.servers import run_server

from bench import storm

COUNT = 60


def test_all_clients_are_back_after_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "QUIET_S", 0.2)
    monkeypatch.setattr(storm, "SETTLE_S", 0.2)
    BUILD.mkdir(exist_ok=True)
    cores = find_cores()
    options, tokens = storm.options_of(storm.SEATED, COUNT)
    with run_server("trio", cores, options=options, log_name="storm-test") as server:
        found = list(storm.raise_storms(server, cores, COUNT, 2, tokens))
    assert len(found) == 2
    for one in found:
        assert one.faults(COUNT) == []
        assert one.clients["p50_ms"] <= one.clients["p99_ms"] <= one.clients["max_ms"]
        assert one.meanwhile["count"] > 0


def test_clients_that_are_refused_are_told() -> None:
    """One address may have as many unjoined sessions as the option says, and no more."""
    options = ("--max-unjoined-sessions-per-address", "5")
    BUILD.mkdir(exist_ok=True)
    cores = find_cores()
    with (
        run_server("trio", cores, options=options, log_name="storm-test") as server,
        pytest.raises(storm.StormFailedError, match=r"bench\.reconnecting has ended early"),
    ):
        list(storm.raise_storms(server, cores, COUNT, 1, ""))


def test_what_is_missing_is_a_fault() -> None:
    told = {"joined": 9, "refused": 1, "lost_before": 0, "reason": "HTTP/1.1 429 Too Many Requests"}
    one = storm.Storm(told, {}, {}, 0, 0)
    (fault,) = one.faults(10)
    assert fault.startswith("9 of 10 are back, 1 were refused, 0 were lost before: HTTP/1.1 429")
