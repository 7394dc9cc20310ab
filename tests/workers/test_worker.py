"""A worker in this process, and its parent, which the test plays."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.socketio.serving import until
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.cluster.workers.link import Link
from trio_socketio.cluster.workers.shares import AWAY, Shares
from trio_socketio.cluster.workers.worker import MAX_CALLS, WorkerRole
from trio_socketio.codec.worker_messages import (
    MAX_LINE_BYTES,
    Answer,
    Call,
    Count,
    Drain,
    End,
    Failed,
    Ping,
    Pong,
    Ready,
    WorkerPlace,
    decode_report,
    encode_place,
)
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.endpoints import InheritedEndpoint
from trio_socketio.runtime.runtime import open_runtime


class FakeProgram:
    """The program around the server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopped: list[str] = []
        self.ended: list[str] = []
        self.fault: Exception | None = None
        self.goes_on = trio.Event()
        self.goes_on.set()

    def stop(self, why: str) -> None:
        self.stopped.append(why)
        self.server.stop()

    def end(self, why: str) -> None:
        self.ended.append(why)

    async def reload(self) -> Any:
        await self.goes_on.wait()
        if self.fault is not None:
            raise self.fault
        return SimpleNamespace(changed=["x"], needs_restart=[])


class Parent:
    """Our end of the link, and what a worker inherits."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.shares = Shares.create(2)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.sock = ours
        self.link = Link(ours, MAX_LINE_BYTES)
        self.lines = self.link.lines()
        place = WorkerPlace(
            index=2,
            count=2,
            node="a-2",
            parent="a",
            link=theirs.detach(),
            shares=os.dup(self.shares.fileno),
            listeners=(os.dup(self.listener.fileno()),),
        )
        for number in (place.link, *place.listeners):  # as they are in a new process
            os.set_inheritable(number, True)
        self.role = WorkerRole(encode_place(place))

    async def receive(self) -> Any:
        with trio.fail_after(5):
            return decode_report(await anext(self.lines))

    async def call(self, name: Any, number: int = 1) -> Answer:
        await self.link.send(Call(number=number, name=name))
        answer = await self.receive()
        while isinstance(answer, Count):
            answer = await self.receive()
        assert isinstance(answer, Answer)
        return answer


@asynccontextmanager
async def working() -> AsyncIterator[tuple[Parent, FakeProgram]]:
    """A worker that serves; it must have stopped at the end of the block."""
    parent, server = Parent(), Server()
    program = FakeProgram(server)
    role = parent.role
    endpoints = [InheritedEndpoint(number) for number in role.listeners]
    with trio.fail_after(20):
        async with (
            role.opened(program, endpoints),
            open_runtime() as runtime,
            trio.open_nursery() as nursery,
        ):

            async def serve(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                await role.serve(server, runtime, endpoints, task_status=task_status)

            await nursery.start(serve)
            assert isinstance(await parent.receive(), Ready)
            yield parent, program
        await parent.lines.aclose()
        parent.link.close()
    for sock in (parent.role._sock, parent.listener):
        sock.close()
    parent.shares.close()


@pytest.mark.req("WORK-33", "WORK-50", "WORK-60")
@trio_test
async def test_it_serves_tells_how_many_connections_it_has_and_drains() -> None:
    async with working() as (parent, program):
        assert parent.role.family == ("a", 0)
        internal = parent.role.find_internal(ClusterOptions(), None)
        assert (internal.host, internal.port, internal.within) == ("127.0.0.1", 0, "a")
        assert internal.credentials.secrets == (parent.shares.secret,)
        assert parent.shares.least() == 0
        async with open_client(parent.port) as client:
            await client.connect()
            assert await parent.receive() == Count(connections=1)
            assert parent.shares.least() == 1
            assert b"sessions" in bytes((await parent.call("statistics")).result)
            await parent.link.send(Ping())
            assert await parent.receive() == Pong()
            await parent.link.send(Drain())
        await until(lambda: bool(program.stopped))
        assert parent.shares.least() == AWAY
    assert program.ended == []


@pytest.mark.req("WORK-15")
@trio_test
async def test_it_stops_when_its_parent_has_gone() -> None:
    async with working() as (parent, program):
        parent.sock.shutdown(socket.SHUT_RDWR)
    assert program.stopped == ["the parent has gone"]


@trio_test
async def test_what_makes_no_sense_is_as_if_the_parent_had_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working() as (parent, program):
        parent.sock.send(b"hello\n")
    assert program.stopped == ["the parent has gone"]
    assert "the parent says what makes no sense" in caplog.text


@pytest.mark.req("WORK-13")
@trio_test
async def test_it_ends_at_once_if_it_is_told() -> None:
    async with working() as (parent, program):
        await parent.link.send(End())
        await until(lambda: bool(program.ended))
        program.stop("test")


class Texts:
    """Metrics."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def add(self, collector: Any) -> None:
        raise AssertionError

    async def encode(self) -> bytes:
        return self.text


@pytest.mark.req("WORK-16", "WORK-23")
@trio_test
async def test_it_does_what_it_is_asked_and_says_why_it_has_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working() as (parent, program):
        assert (await parent.call("metrics")).fault.startswith("there are no metrics")
        metrics = Texts(b"a 1\n")
        assert parent.role.use_metrics(metrics, metrics) is metrics
        assert bytes((await parent.call("metrics")).result) == b'"a 1\\n"'
        metrics.text = b"x" * MAX_LINE_BYTES
        assert (await parent.call("metrics")).fault.endswith("is too long for the parent")
        assert bytes((await parent.call("reload")).result) == b"[1,0]"
        program.fault = ConfigurationError("FILE: is not TOML")
        assert (await parent.call("reload")).fault == "FILE: is not TOML"
        program.fault = TimeoutError("not read within 30 s")
        assert (await parent.call("reload")).fault == "not read within 30 s"
        program.fault = MemoryError()
        assert (await parent.call("reload")).fault == "MemoryError: see the log"
        assert "a call of the parent has failed: reload" in caplog.text
        program.fault, program.goes_on = None, trio.Event()
        for number in range(MAX_CALLS + 1):
            await parent.link.send(Call(number=number, name="reload"))
        refused = await parent.receive()
        assert refused.fault == "too many calls wait for their answers"
        program.goes_on.set()
        for _ in range(MAX_CALLS):
            assert (await parent.receive()).fault == ""
        assert await parent.role.add_up({"a": 1}) == {"a": 1}
        await parent.role.reload()
        program.stop("test")


def test_it_says_why_it_cannot_be_used() -> None:
    parent = Parent()
    parent.role.fail("the reason")
    assert decode_report(parent.sock.recv(1000).strip()) == Failed(reason="the reason")
    for sock in (parent.role._sock, parent.sock, parent.listener):
        sock.close()
    os.close(parent.role.listeners[0])
    parent.shares.close()


@pytest.mark.parametrize(
    "told",
    [
        "",
        "{}",
        '{"index":1,"count":2,"node":"a-1","parent":"a","link":1000000,"shares":4,"listeners":[5]}',
    ],
)
def test_a_process_that_no_parent_has_started_is_no_worker(told: str) -> None:
    with pytest.raises(ConfigurationError, match="not started as a worker"):
        WorkerRole(told)
