"""Watches whether workers answer: one whose app blocks its event loop serves no one."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from trio_socketio.cluster.workers.link import LinkLost
from trio_socketio.codec.worker_messages import Ping
from trio_socketio.protocol.worker_life import LOOK_S, Silence, State, Verdict

if TYPE_CHECKING:
    from trio_socketio.cluster.workers.link import Link
    from trio_socketio.cluster.workers.record import Worker

log = logging.getLogger(__name__)


async def watch(
    workers: Sequence["Worker"],
    tasks: trio.Nursery,
    max_blocked_s: float,
    on_blocked: Callable[[int], None],
) -> None:
    """Ask all workers once a second whether they are running, until cancelled.

    Args:
        workers: those that run and have served are asked, unless they are draining.
        tasks: send the questions, which a worker may not accept at once.
        max_blocked_s: a worker that has not answered for so long is killed; 0 means never.
        on_blocked: called with the index of a worker that no longer answers.
    """
    failed: set[int] = set()
    while True:
        await trio.sleep(LOOK_S)
        for worker in workers:
            try:
                _look(worker, tasks, max_blocked_s, on_blocked)
            except Exception:
                # Keep watching the others, and end no worker because of it.
                if worker.index not in failed:  # a line every second would add nothing
                    failed.add(worker.index)
                    log.exception("%s could not be looked at, and is looked at again", worker)
            else:
                failed.discard(worker.index)


def _look(
    worker: "Worker",
    tasks: trio.Nursery,
    max_blocked_s: float,
    on_blocked: Callable[[int], None],
) -> None:
    child, silence = worker.child, worker.silence
    if child is None or not silence.has_begun:
        return
    # A draining worker stops answering when its event loop has ended, and its interpreter may then
    # wait for threads; that time is bounded (WORK-14). A worker that was blocked before it was told
    # to drain does not drain, and its time runs on until it answers (WORK-68).
    if worker.life.state is State.DRAINING and not silence.is_noticed:
        return
    now = trio.current_time()
    is_stopped = silence.is_noticed and child.is_stopped()
    verdict = silence.look(now, is_stopped=is_stopped)
    if verdict is Verdict.NOTICED:  # WORK-60
        worker.block(now)  # before anything that can fail: its silence counts as noticed
        on_blocked(worker.index)
        if child.is_stopped():
            why = "a signal or a debugger has stopped it, and it is left alone"
        else:
            what_follows = (
                f"after {max_blocked_s:g} s it is killed" if max_blocked_s else "it is left alone"
            )
            why = f"its app seems to block it; {what_follows}"
        log.error("%s has not answered for %.0f s: %s", worker, now - silence.heard_at, why)
    elif verdict is Verdict.TOO_LONG:  # WORK-61
        worker.kill(f"has not answered for {now - silence.heard_at:.0f} s")
    if not silence.is_asked:
        silence.is_asked = True
        tasks.start_soon(_ask, child.link, silence)


async def _ask(link: "Link", silence: Silence) -> None:
    try:
        await link.send(Ping())
    except LinkLost:  # it accepts nothing at the moment, or is ending
        silence.is_asked = False
