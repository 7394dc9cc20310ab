"""A short run of tests.fuzz, and that it would find what it looks for."""

import pytest

from tests import fuzz
from trio_socketio.codec import engine_packet
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.net import frames

INPUTS = 15_000


def test_a_short_run_finds_nothing() -> None:
    report = fuzz.run(INPUTS, seed=20_240_229)
    assert report.failures == []
    assert report.inputs == INPUTS
    for name, fed in report.fed.items():
        assert 0.1 * fed < report.accepted[name] < 0.95 * fed, f"{name}: {report}"


def test_the_same_seed_feeds_the_same_inputs() -> None:
    first = fuzz.run(1000, seed=3).accepted
    assert fuzz.run(1000, seed=3).accepted == first
    assert fuzz.run(1000, seed=4).accepted != first


def test_a_decoder_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_packet, "RemoteProtocolError", KeyError)
    report = fuzz.run(500, seed=1)
    assert any("engine packets" in failure for failure in report.failures)


def test_an_exception_at_the_barrier_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ParseFailed", KeyError)
    report = fuzz.run(2000, seed=1)
    assert any("barrier" in failure for failure in report.failures)


def test_a_decoder_that_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_end(_: bytes) -> engine_packet.Packet:
        while True:
            pass

    monkeypatch.setattr(engine_packet, "decode_packet", never_end)
    monkeypatch.setattr(fuzz, "INPUT_S", 0.05)
    report = fuzz.run(20, seed=1)
    assert any("has not ended" in failure for failure in report.failures)


def test_growth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    began = HttpReceiver.connection_lost

    def keep(self: HttpReceiver, reason: str) -> None:
        kept.append([self, {}])
        began(self, reason)

    monkeypatch.setattr(HttpReceiver, "connection_lost", keep)
    report = fuzz.run(6000, seed=1)
    assert report.failures == ["memory grows"]


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--inputs", "300", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("seed 5: 300 inputs in ")
    assert said.endswith("passed\n")
