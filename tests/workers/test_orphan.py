"""A worker whose parent has gone, while its event loop does not notice, or does not stop."""

import io
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_socketio.cluster.workers import orphan
from trio_socketio.cluster.workers.orphan import OrphanWatch

LIMIT_S = 10.0
SHORT_S = 0.05


class Ended:
    """Stands for the end of the process."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self) -> None:
        self.event.set()


def wait_told(caplog: pytest.LogCaptureFixture) -> None:
    """Wait for the line, which another thread writes."""
    end_at = time.monotonic() + LIMIT_S
    while "it ends at once" not in caplog.text and time.monotonic() < end_at:
        time.sleep(0.01)


@contextmanager
def watched(ended: Ended) -> Iterator[tuple[OrphanWatch, socket.socket]]:
    """A watch that runs, and the parent's end of the link."""
    parent, ours = socket.socketpair()
    with ours, parent:
        watch = OrphanWatch(ours, ended)
        watch.start()
        yield watch, parent
        parent.close()
        watch.noticed(0.0)
        assert ended.event.wait(LIMIT_S), "its thread has not ended"


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan, "NOTICE_S", SHORT_S)
    monkeypatch.setattr(orphan, "_WRITE_S", 0.0)


@pytest.mark.req("WORK-65")
def test_a_process_that_does_not_notice_ends(caplog: pytest.LogCaptureFixture) -> None:
    ended = Ended()
    with watched(ended) as (_, parent):
        parent.sendall(b"what the event loop has not read\n")
        assert not ended.event.wait(4 * SHORT_S), "its parent is still there"
        parent.close()
        assert ended.event.wait(LIMIT_S)
    wait_told(caplog)
    assert "its app has kept it from noticing for 0.05 s: it ends at once" in caplog.text


@pytest.mark.req("WORK-66")
def test_a_process_that_notices_has_its_time_to_stop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan, "NOTICE_S", LIMIT_S)
    ended = Ended()
    with watched(ended) as (watch, parent):
        watch.noticed(10 * SHORT_S)
        parent.close()
        assert not ended.event.wait(4 * SHORT_S)
        assert ended.event.wait(LIMIT_S)
    wait_told(caplog)
    assert "it has not stopped within 0.5 s: it ends at once" in caplog.text


@pytest.mark.req("WORK-65")
def test_a_lock_of_the_log_that_the_blocked_code_holds_keeps_no_process_alive() -> None:
    handler = logging.StreamHandler(io.StringIO())
    ended = Ended()
    orphan.log.addHandler(handler)
    handler.acquire()
    try:
        with watched(ended) as (_, parent):
            parent.close()
            assert ended.event.wait(LIMIT_S)
    finally:
        orphan.log.removeHandler(handler)
        handler.release()


class StoppedClock:
    """The clock of a process that a signal stops while it waits.

    Args:
        stops: how long it is stopped in each wait.
    """

    def __init__(self, *stops: float) -> None:
        self.now = 100.0
        self.waited: list[float] = []
        self._stops = list(stops)

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout_s: float) -> bool:
        """Stand for the wait of an event that does not come."""
        self.waited.append(timeout_s)
        self.now += timeout_s + (self._stops.pop(0) if self._stops else 0.0)
        return False


@pytest.mark.req("WORK-65")
@pytest.mark.parametrize("stopped_in", range(11))
def test_the_time_in_which_a_process_was_stopped_does_not_count(
    stopped_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock(*[0.0] * stopped_in, 100.0)
    event = threading.Event()
    monkeypatch.setattr(event, "wait", clock.wait)
    monkeypatch.setattr(orphan, "time", clock)
    assert not orphan._wait_running(event, 5.0)
    assert sum(clock.waited) == (5.5 if stopped_in < 10 else 5.0)


@pytest.mark.req("WORK-65")
def test_a_process_whose_threads_are_always_late_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = StoppedClock(*[20.0] * 100)
    event = threading.Event()
    monkeypatch.setattr(event, "wait", clock.wait)
    monkeypatch.setattr(orphan, "time", clock)
    assert not orphan._wait_running(event, 5.0)
    assert sum(clock.waited) == 10.0
