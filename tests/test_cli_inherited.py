"""Listening sockets that the command line is handed by its parent."""

import socket

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import COMMAND, LIMIT_S, ServingProcess, run_cli
from tests.socketio.serving import open_client


@pytest.mark.req("RUN-06")
@trio_test
async def test_a_descriptor_of_the_parent_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, trio.fail_after(LIMIT_S):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "serve", "--fd", str(listener.fileno()), "--stop-grace", "0"],
            stdin=-3,
            stderr=-1,
            pass_fds=[listener.fileno()],
        )
        try:
            server = ServingProcess(process)
            port = listener.getsockname()[1]
            assert await server.wait_port() == port
            async with open_client(port) as client:
                await client.connect()
            assert await server.end() == 0
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.req("CMD-10")
@pytest.mark.parametrize(("other", "value"), [("--host", "x"), ("--unix", "x"), ("--port", "3000")])
def test_a_descriptor_stands_alone(other: str, value: str) -> None:
    ended = run_cli("serve", "--fd", "3", other, value)
    assert ended.returncode == 2
    says = f"--fd listens on an inherited descriptor: leave out either it or {other}\n"
    assert says in ended.stderr


@pytest.mark.req("CMD-12")
def test_the_descriptor_zero_can_be_given() -> None:
    ended = run_cli("serve", "--fd", "0")  # standard input, which is /dev/null here
    assert ended.returncode == 2
    assert "cannot listen on the inherited descriptor 0: Socket operation on" in ended.stderr


def test_a_descriptor_that_is_not_there() -> None:
    ended = run_cli("serve", "--fd", "77")
    assert ended.returncode == 2
    assert "cannot listen on the inherited descriptor 77: Bad file descriptor" in ended.stderr
