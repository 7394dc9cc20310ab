"""The log of the binary: a reader that does not read, or is gone, stops no client."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import COMMAND, LIMIT_S, serving
from tests.socketio.serving import ask
from tests.wire import HttpClient, SocketIOClient, open_client
from trio_socketio.engine.ids import shorten_sid

APP = """
import logging
from trio_socketio import Server

sio = Server()
log = logging.getLogger("app")

@sio.on("shout")
def shout(socket, count):
    for number in range(count):
        log.info("shout %d %s", number, "x" * 100)
    return count

@sio.on("echo")
def echo(socket, *arguments):
    return arguments
"""
COUNT = 20_000  # twice what may wait


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "shouting.py"
    path.write_text(APP)
    return str(path)


class Unread:
    """A server whose standard error is a small pipe that nobody reads, once it serves."""

    def __init__(self, process: trio.Process, reader: int, port: int) -> None:
        self.process = process
        self.reader = reader
        self.port = port

    async def read_rest(self) -> list[str]:
        """Read all that it still writes."""
        return (await trio.to_thread.run_sync(_read_all, self.reader)).decode().splitlines()


def _read_all(reader: int) -> bytes:
    data = b""
    while part := os.read(reader, 1 << 16):
        data += part
    return data


@asynccontextmanager
async def unread(*arguments: str) -> AsyncIterator[Unread]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with trio.fail_after(LIMIT_S):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "serve", "--port", "0", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=writer,
        )
        os.close(writer)
        try:
            told = b""
            while b"serving " not in told:
                told += await trio.to_thread.run_sync(os.read, reader, 4096)
            port = int(told.decode().partition("http://127.0.0.1:")[2].partition("/")[0])
            yield Unread(process, reader, port)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            os.close(reader)


async def shout(client: SocketIOClient) -> None:
    assert await ask(client, "shout", COUNT) == [COUNT]


@pytest.mark.req("LOG-01", "LOG-03")
@trio_test
async def test_a_log_that_nobody_reads_stops_no_client(app: str) -> None:
    async with unread("--app", app) as server, open_client(server.port) as client:
        await client.connect()
        await shout(client)  # 2.5 MB for a pipe of 4 KiB
        began = time.monotonic()
        for number in range(100):
            assert await ask(client, "echo", number) == [number]
            async with open_client(server.port, "polling") as other:
                await other.connect()
        assert time.monotonic() - began < 5
        server.process.send_signal(signal.SIGTERM)
        lines = await server.read_rest()
        assert await server.process.wait() == 0
        shouts = [line for line in lines if " app: shout " in line]
        told = [line for line in lines if "records were dropped" in line]
        dropped = sum(int(line.split()[3].replace(",", "")) for line in told)
        assert len(shouts) + dropped >= COUNT
        assert 9_000 < len(shouts) <= 11_000
        assert lines[-1].endswith("stopped") or "records were dropped" in lines[-1]


@pytest.mark.req("LOG-04")
@trio_test
async def test_a_log_that_nobody_reads_does_not_keep_the_server_from_its_end(app: str) -> None:
    async with unread("--app", app) as server, open_client(server.port) as client:
        await client.connect()
        await shout(client)
        server.process.send_signal(signal.SIGTERM)
        with trio.fail_after(8):
            assert await server.process.wait() == 0


@pytest.mark.req("LOG-02")
@trio_test
async def test_a_server_whose_reader_is_gone_lives_on(app: str) -> None:
    async with unread("--app", app) as server:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, server.reader)  # the pipe has no reader any more
        os.close(null)
        for transport in ("polling", "websocket") * 5:
            async with open_client(server.port, transport) as client:
                await client.connect()
                assert await ask(client, "echo", 1) == [1]
        server.process.send_signal(signal.SIGTERM)
        assert await server.process.wait() == 0


@pytest.mark.req("LOG-02")
@trio_test
async def test_a_server_may_be_started_without_standard_error(app: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = " ".join([*COMMAND, "serve", "--app", app, "--unix", str(path), "2>&-"])
    process = await trio.lowlevel.open_process(["/bin/sh", "-c", f"exec {command}"])
    try:
        with trio.fail_after(LIMIT_S):
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
            for _ in range(5):
                stream = await trio.open_unix_socket(path)
                http = HttpClient(0, stream)
                target = "/socket.io/?EIO=4&transport=polling"
                assert (await http.request("GET", target)).status == 200
                await http.aclose()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.req("LOG-10", "LOG-21")
@pytest.mark.parametrize("style", ["text", "json"])
@trio_test
async def test_what_an_operator_sees(app: str, style: str) -> None:
    async with serving("--app", app, "--log-format", style) as server:
        port = await server.wait_port()
        async with open_client(port) as client:
            await client.connect()
            assert await ask(client, "echo", 1) == [1]
            sid = client.engine.handshake["sid"]
        http = HttpClient(port)
        origin = [("Origin", "https://evil.example")]
        await http.request("GET", "/socket.io/?EIO=4&transport=polling", origin)
        await http.aclose()
        assert await server.end() == 0
    name = shorten_sid(sid)
    entries: list[dict[str, Any]] = [
        json.loads(line) if style == "json" else {"message": line} for line in server.log
    ]

    def find(part: str) -> dict[str, Any]:
        (found,) = [entry for entry in entries if part in entry["message"]]
        return found

    opened, ended = find(f"session {name} opened: "), find(f"session {name} ended: ")
    refused = find("refused a request from 127.0.0.1: ")
    if style == "json":
        assert opened["session"] == ended["session"] == name
        assert (ended["packets_in"], ended["reason"]) == (2, "transport close")
        assert refused["refusal"] == "foreign origins refused"
    assert not [line for line in server.log if sid in line]
