"""A node that may not know all that other nodes have revoked lets nobody in."""

import pytest
import trio
from tests.im.identity.identified import ANN, BOB, OK, Identified, identified
from tests.im.identity.test_gate import refused
from tests.socketio.serving import until
from tests.wire import ConnectionEnded
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.im.identity import gate

UNKNOWN = {"errcode": 1, "errmsg": "the token cannot be verified at the moment"}


class Shared:
    """What the gate asks of shared revocations."""

    def __init__(self) -> None:
        self.is_current = False
        self.changed = trio.Event()

    async def wait_current(self) -> None:
        await self.changed.wait()

    def read(self) -> None:
        self.is_current = True
        self.changed.set()


def unaware(here: Identified) -> Shared:
    """Have a node begin to read what was revoked."""
    shared = here.service._gate._shared = Shared()
    return shared


@pytest.mark.req("IDENT-82")
@trio_test
async def test_a_client_waits_until_all_is_known() -> None:
    async with identified() as here, here.client() as client, trio.open_nursery() as nursery:
        shared = unaware(here)
        nursery.start_soon(client.connect, "/chat", {"token": ANN})
        await trio.sleep(0.05)
        assert here.service.statistics().identified == 0
        shared.read()
    assert here.results() == {("static", "accepted"): 1}


@pytest.mark.req("IDENT-82")
@trio_test
async def test_a_client_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "KNOWING_S", 0.1)
    async with identified() as here, here.client() as client:
        unaware(here)
        with pytest.raises(ConnectionEnded, match="1012"):  # official clients try again by then
            await refused(client, {"token": ANN})
    assert here.results() == {("none", "unavailable"): 1}


@pytest.mark.req("JOIN-39")
@trio_test
async def test_a_client_that_was_accepted_first_is_hung_up_on_without_a_word() -> None:
    async with identified() as here, here.client() as client:
        await client.connect("/chat")
        unaware(here)
        await client.emit("auth", {"token": ANN}, namespace="/chat")
        with pytest.raises(ConnectionEnded, match="1012"):  # no logic/error, which says stay away
            await client.receive()
        assert here.results() == {("static", "unavailable"): 1}
        await until(lambda: here.server.statistics().joining == 0)


def two_namespaces() -> Server:
    server = Server()
    server.of("/chat")
    server.of("/other")
    return server


@pytest.mark.req("JOIN-39", "IDENT-82")
@trio_test
async def test_a_client_that_is_in_elsewhere_is_told_and_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "KNOWING_S", 0.1)
    async with identified(two_namespaces()) as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        shared = unaware(here)
        error = await refused(client, {"token": ANN}, "/other")
        assert error["data"] == UNKNOWN
        here.server.of("/chat").emit("news", 1)
        assert await client.receive_event("/chat") == ["news", 1]
        shared.read()
        await client.connect("/other", {"token": ANN})
        assert here.results() == {("static", "accepted"): 2, ("none", "unavailable"): 1}


@pytest.mark.req("JOIN-39", "IDENT-82")
@trio_test
async def test_one_that_was_accepted_and_is_in_elsewhere_is_told_and_stays() -> None:
    async with identified(two_namespaces()) as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        await client.connect("/other")
        shared = unaware(here)
        await client.emit("auth", {"token": ANN}, namespace="/other")
        assert await client.receive_event("/other") == ["auth/reply", UNKNOWN]
        assert await client.receive_event("/other") == ["logic/error", UNKNOWN]
        assert (await client.receive())[0] == "1/other,"
        here.server.of("/chat").emit("news", 1)
        assert await client.receive_event("/chat") == ["news", 1]
        shared.read()
        await client.connect("/other", {"token": ANN})


async def say_ann(namespace: str, question: object, timeout_s: float) -> bytes:
    return b'{"user": "ann"}'


@pytest.mark.req("IDENT-82")
@trio_test
async def test_a_backend_is_asked_once_all_is_known() -> None:
    async with (
        identified(backend=True, ask_backend=say_ann) as here,
        here.client() as client,
        trio.open_nursery() as nursery,
    ):
        shared = unaware(here)
        nursery.start_soon(client.connect, "/chat", {"token": "opaque"})
        await trio.sleep(0.05)
        shared.read()
    assert here.results() == {("backend", "accepted"): 1}


@pytest.mark.req("IDENT-82")
@trio_test
async def test_redis_is_lost_while_a_client_is_judged() -> None:
    decides = trio.Event()

    async def judge(namespace: str, question: object, timeout_s: float) -> bytes:
        await decides.wait()
        return b'{"user": "ann"}'

    async with (
        identified(backend=True, ask_backend=judge) as here,
        here.client() as client,
        trio.open_nursery() as nursery,
    ):

        async def come() -> None:
            with pytest.raises(ConnectionEnded, match="1012"):
                await refused(client, {"token": "opaque"})

        nursery.start_soon(come)
        await trio.sleep(0.05)
        unaware(here)
        decides.set()


@pytest.mark.req("IDENT-82")
@trio_test
async def test_a_client_that_is_in_keeps_its_token_and_stays() -> None:
    async with identified() as here, here.client() as client:
        await client.connect("/chat", {"token": BOB})
        shared = unaware(here)
        for _ in range(12):  # it is not put out for what is not its fault
            await client.emit("auth", {"token": BOB}, namespace="/chat")
            assert await client.receive_event("/chat") == ["auth/reply", UNKNOWN]
        shared.read()
        await client.emit("auth", {"token": BOB}, namespace="/chat")
        assert await client.receive_event("/chat") == ["auth/reply", OK]
