"""Several tasks wait for the same end: of jobs, of connections, of sessions."""

import pytest
import trio
from tests.socketio.serving import check_closed, joined, serving
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Server
from trio_socketio.runtime.jobs import Workers

TIMEOUT_S = 5.0


@pytest.mark.parametrize("ends", ["done", "stopped"])
@trio_test
async def test_all_who_wait_until_no_job_is_left_are_woken(ends: str) -> None:
    workers = Workers()
    go_on = trio.Event()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as jobs:
            for _ in range(2):  # once they were woken, they can wait again
                workers.start(jobs)
                workers.spawn(go_on.wait)
                async with trio.open_nursery() as waiters:
                    for _ in range(3):
                        waiters.start_soon(workers.wait_idle)
                    await wait_all_tasks_blocked()
                    if ends == "done":
                        go_on.set()
                    else:
                        workers.stop()
                go_on = trio.Event()
            jobs.cancel_scope.cancel()


@trio_test
async def test_all_who_wait_until_no_connection_and_no_session_is_left_are_woken() -> None:
    server = Server()
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        running = server._running
        assert running is not None
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as waiters:
                for _ in range(3):
                    waiters.start_soon(running.connections.wait_empty)
                    waiters.start_soon(running.engine.wait_ended)
                await wait_all_tasks_blocked()
                for session in list(running.engine.sessions.values()):
                    session.close("over")
                await check_closed(client)
