"""When a server serves, and what may be asked of it then."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from tests.socketio.serving import serving
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import LocalProtocolError, Server, ServerOptions, open_runtime, open_server
from trio_socketio.socketio.lifecycle import TRANSITIONS, Input, Lifecycle, State

TIMEOUT_S = 5.0


@pytest.mark.req("RUN-26")
@pytest.mark.parametrize("started", [True, False])
@trio_test
async def test_a_stop_before_serving_is_kept_once(started: bool) -> None:
    server = Server()
    with trio.fail_after(TIMEOUT_S):
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                if started:
                    nursery.start_soon(partial(server.serve, port=0))
                server.stop()
                server.stop()
                if not started:
                    await server.wait_stopping()
                    await server.serve(port=0)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, port=0))
            await wait_all_tasks_blocked(0.01)
            assert nursery.child_tasks, "it serves again"
            server.stop()


@pytest.mark.req("RUN-26")
@trio_test
async def test_a_stop_during_any_pass_of_the_start_is_kept() -> None:
    """As a signal asks for it: between two steps of the tasks."""

    async def stop(server: Server, passes: int) -> None:
        for _ in range(passes):
            await trio.lowlevel.checkpoint()
        server.stop()

    for passes in range(40):
        server = Server()
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop, server, passes)
                await nursery.start(partial(server.serve, port=0))


@pytest.mark.req("RUN-26")
@trio_test
async def test_a_stop_while_a_lifespan_begins_is_kept() -> None:
    server = Server()

    @server.lifespan
    async def lifespan(sio: Server) -> AsyncIterator[None]:
        sio.stop()
        await trio.sleep(0.01)
        yield

    with trio.fail_after(TIMEOUT_S):
        await server.serve(port=0)


@trio_test
async def test_the_end_of_open_server_stops_nothing_else() -> None:
    """It must not leave a stop behind when the server has ended before the block."""
    server = Server()
    async with open_server(server):
        server.stop()
        await wait_all_tasks_blocked(0.05)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, port=0))
        await wait_all_tasks_blocked(0.01)
        assert nursery.child_tasks, "it serves"
        server.stop()


@pytest.mark.req("RUN-27")
@pytest.mark.parametrize("begun", ["before", "while"])
@pytest.mark.parametrize("how", ["open_server", "mounted", "fails", "cancelled"])
@trio_test
async def test_who_waits_for_the_stop_is_woken_at_the_end(begun: str, how: str) -> None:
    server = Server()

    async def serve(waiters: trio.Nursery) -> None:
        if how == "open_server":
            async with open_server(server):
                await wait(waiters, "while")
            return
        with trio.CancelScope() as scope:
            async with open_runtime() as runtime, server.mounted(runtime):
                await wait(waiters, "while")
                if how == "fails":
                    raise ValueError(how)
                if how == "cancelled":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()

    async def wait(waiters: trio.Nursery, when: str) -> None:
        if begun == when:
            waiters.start_soon(server.wait_stopping)
            waiters.start_soon(server.wait_stopping)
            await wait_all_tasks_blocked()

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as waiters:
            await wait(waiters, "before")
            if how == "fails":
                with pytest.raises(ValueError, match=how):
                    await serve(waiters)
            else:
                await serve(waiters)


@trio_test
async def test_a_mounted_server_is_running() -> None:
    server = Server()
    async with open_runtime() as runtime, server.mounted(runtime):
        with pytest.raises(LocalProtocolError, match="running already"):
            await server.serve(port=0)
    async with serving(server), open_runtime() as runtime:
        with pytest.raises(LocalProtocolError, match="running already"):
            async with server.mounted(runtime):
                """Never reached."""


@pytest.mark.req("RUN-28")
@trio_test
async def test_options_cannot_be_set_while_it_serves() -> None:
    server = Server()
    options, groups = server.options, server._host.options
    async with serving(server):
        with pytest.raises(LocalProtocolError, match="before it serves"):
            server.options = ServerOptions(ping_interval_s=1)
        assert server.options is options
        assert server._host.options is groups
    server.options = ServerOptions(ping_interval_s=1)
    assert server._host.options.engine.ping_interval_s == 1


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("received", Input)
def test_the_table_is_whole(state: State, received: Input) -> None:
    """A stop is taken in every state, and serving may end in each that is not idle."""
    is_idle = state in (State.IDLE, State.FORESTALLED)
    expected = {
        Input.BEGIN: is_idle,
        Input.STARTED: state in (State.STARTING, State.STOPPING),
        Input.STOP: True,
        Input.END: not is_idle,
    }
    assert ((state, received) in TRANSITIONS) is expected[received]
    lifecycle = Lifecycle()
    lifecycle.state = state
    assert lifecycle.is_idle is is_idle
