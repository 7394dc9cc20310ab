"""Backends that are killed in the middle of 50,000 events miss none, and count exactly."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.im.feed_world import CHAT, Crowd, crowded
from trio.testing import trio_test

from trio_socketio.im.presence import Cursor, parse_cursor

EVENTS: Final = 50_000
USERS: Final = 997
ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 150.0
STARTS: Final = 10
"""How many processes are started at most; on a busy machine the log takes long to be written."""


class Backend:
    """A process that can be killed and started again.

    Args:
        address: of the control socket.
        folder: for its journal, and the state that it may share with others.
        name: of the journal.
        group: the name of its group, if it is in one.
    """

    def __init__(self, address: str, folder: Path, name: str, group: str | None = None) -> None:
        self.journal = folder / f"{name}.journal"
        self._command = [
            *(sys.executable, "-m", "tests.im.presence_backend", address),
            *(str(self.journal), str(folder / "state.json"), *((group,) if group else ())),
        ]
        self._process: trio.Process | None = None
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        self._process = await trio.lowlevel.open_process(
            self._command, cwd=ROOT, stderr=subprocess.DEVNULL
        )

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await self._process.wait()

    def seen(self) -> list[Cursor]:
        """All that it was ever sent, in the order in which that came."""
        if not self.journal.exists():
            return []
        *lines, rest = self.journal.read_text().split("\n")
        assert rest == ""  # a write is done completely or not at all
        return list(map(parse_cursor, lines))

    def count_seen(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0


def store_state(folder: Path, online: int, cursor: Cursor) -> None:
    state = {"online": online, "cursor": str(cursor)}
    (folder / "state.json").write_text(json.dumps(state))


def read_state(folder: Path) -> tuple[int, Cursor]:
    state = json.loads((folder / "state.json").read_text())
    return state["online"], parse_cursor(state["cursor"])


async def churn(crowd: Crowd) -> None:
    """Write EVENTS entries in bursts, in 5 s at least."""
    for _ in range(EVENTS // 500):
        await crowd.churn(500, users=USERS)
        await trio.sleep(0.03)


async def count_up(folder: Path, crowd: Crowd) -> None:
    """Wait until the stored state is that of the whole log."""
    head = await crowd.head()
    with trio.fail_after(LIMIT_S):
        while read_state(folder)[1] != head:  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.02)


async def check(
    folder: Path, crowd: Crowd, begin: Cursor, backends: list[Backend], events: int = EVENTS
) -> None:
    """None was missed, none is there twice once doubles are left out, and the count is right."""
    online, cursor = read_state(folder)
    assert online == len(crowd.online) == (await crowd.store.count(CHAT)).users
    assert cursor == (begin.generation, begin.sequence + events)
    seen = [backend.seen() for backend in backends]
    whole = sorted({one for journal in seen for one in journal})
    first = begin.sequence + 1
    assert [one.sequence for one in whole] == list(range(first, first + events))
    # What comes again was in flight when somebody was killed, and nothing else is.
    doubles = sum(map(len, seen)) - events
    starts = sum(backend.starts for backend in backends)
    assert doubles <= 1000 * (starts - 1)


@pytest.mark.time_limit(180)  # 12 s of CPU, in processes that others may keep waiting
@pytest.mark.req("FEED-51")
@trio_test
async def test_a_backend_that_is_killed_misses_nothing(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with crowded(tmp_path) as (where, crowd):
            await crowd.come("ann", "bob")
            begin = await crowd.head()
            store_state(tmp_path, 2, begin)
            backend = Backend(where.address, tmp_path, "one")
            await backend.start()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(churn, crowd)
                    while backend.starts < STARTS and (await crowd.head()).sequence < EVENTS * 0.9:
                        await trio.sleep(random.uniform(0.6, 1.2))
                        await backend.kill()
                        await backend.start()
                await count_up(tmp_path, crowd)
            finally:
                await backend.kill()
            assert backend.starts >= 4
            await check(tmp_path, crowd, begin, [backend])
            assert where.presence.feed is not None
            assert where.presence.feed.statistics().ended == {}


@pytest.mark.time_limit(180)  # 12 s of CPU, in processes that others may keep waiting
@pytest.mark.req("FEED-51")
@trio_test
async def test_a_group_whose_active_member_is_killed_misses_nothing(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with crowded(tmp_path) as (where, crowd):
            begin = await crowd.head()
            store_state(tmp_path, 0, begin)
            backends = [Backend(where.address, tmp_path, name, "g") for name in ("a", "b", "c")]
            for backend in backends:
                await backend.start()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(churn, crowd)
                    before = [0, 0, 0]
                    while (
                        sum(backend.starts for backend in backends) < STARTS
                        and (await crowd.head()).sequence < EVENTS * 0.9
                    ):
                        await trio.sleep(random.uniform(0.6, 1.2))
                        sizes = [backend.count_seen() for backend in backends]
                        growth = [now - past for now, past in zip(sizes, before, strict=True)]
                        active = backends[growth.index(max(growth))]
                        before = sizes
                        await active.kill()
                        await active.start()
                await count_up(tmp_path, crowd)
            finally:
                for backend in backends:
                    await backend.kill()
            assert sum(backend.starts for backend in backends) >= 6
            assert sum(bool(backend.seen()) for backend in backends) >= 2
            await check(tmp_path, crowd, begin, backends)
