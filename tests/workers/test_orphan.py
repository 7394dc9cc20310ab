"""A worker whose parent has gone, while its event loop does not notice, or does not stop."""

import socket
import threading
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
    assert "it has not stopped within 0.5 s: it ends at once" in caplog.text
