"""A node's lease, its start and its end, on a server that serves."""

import logging
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.im.held_store import HeldStore
from tests.socketio.joining_world import STILL_S
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import Server, ServerOptions
from trio_socketio.errors import LocalProtocolError
from trio_socketio.im.presence import (
    Entries,
    MemoryStore,
    Presence,
    PresenceStore,
    SeatOptions,
)
from trio_socketio.im.presence.node import Node
from trio_socketio.im.presence.node_life import CLOSE_S
from trio_socketio.protocol.claim_life import Input
from trio_socketio.protocol.presence_claims import Claimed, ClaimRef, ClaimRequest, Fenced
from trio_socketio.protocol.presence_cursor import Cursor

LEASE_S = 9.0


def make(store: PresenceStore, node: str | None = None) -> tuple[Server, Presence]:
    options = ServerOptions(ping_interval_s=STILL_S, ping_timeout_s=STILL_S, stop_grace_s=30)
    server = Server(options)
    presence = Presence(server, store, node=node)
    presence.seat("/chat")
    return server, presence


async def serve(server: Server, task_status: trio.TaskStatus[Any]) -> None:
    await server.serve(port=0, task_status=task_status)


async def claim(store: PresenceStore, boot: str, node: str = "a") -> Any:
    request = ClaimRequest(namespace="/chat", user="ann", id="x", node=node, boot=boot, attempt=1)
    return await store.claim(request)


@pytest.mark.req("PRES-22")
@trio_test
async def test_a_node_renews_its_lease_in_time(mock_clock: MockClock) -> None:
    store = MemoryStore(lease_s=LEASE_S)
    server, presence = make(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        boot = presence._node.boot
        for _ in range(5):
            mock_clock.jump(LEASE_S / 3)
            await wait_all_tasks_blocked()
        assert store._leases.is_alive(boot, trio.current_time())
        server.stop()
    assert not store._leases.is_alive(boot, trio.current_time())


@pytest.mark.req("PRES-23", "PRES-24")
@trio_test
async def test_a_node_that_starts_again_ends_what_it_had_before(mock_clock: MockClock) -> None:
    store = MemoryStore()
    await store.enroll("a", "before")
    await claim(store, "before")
    server, _ = make(store, "a")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        assert (await store.count("/chat")).users == 0
        assert isinstance(await claim(store, "before"), Fenced)
        server.stop()


@trio_test
async def test_nodes_have_different_names_unless_they_are_given() -> None:
    store = MemoryStore()
    first, second = (make(store)[1]._node.name for _ in range(2))
    assert first != second


@pytest.mark.req("PRES-88")
@trio_test
async def test_a_store_may_be_chosen_later(mock_clock: MockClock) -> None:
    server = Server(ServerOptions(ping_interval_s=STILL_S, ping_timeout_s=STILL_S))
    presence = Presence(server)
    presence.seat("/chat")
    store = MemoryStore(lease_s=LEASE_S)
    presence.keep_in(store, node="a")
    assert presence.has_own_store
    (step,) = server.of("/chat")._registry.steps.plan
    joining = SimpleNamespace(socket=SimpleNamespace(user="ann", namespace=server.of("/chat")))
    assert step.function(joining).timeout_s > LEASE_S  # for a client that waits for a lost node
    with pytest.raises(LocalProtocolError, match="has a store already"):
        presence.keep_in(MemoryStore(), node="b")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        assert store._leases.is_alive(presence._node.boot, trio.current_time())
        assert presence._node.name == "a"
        server.stop()


@pytest.mark.req("PRES-95")
def test_a_store_without_some_member_of_the_interface_is_refused() -> None:
    class Older:
        """A store made for a time before stores answered at once."""

        def __getattr__(self, name: str) -> Any:
            if name in ("at_once", "reap"):
                raise AttributeError(name)
            return getattr(MemoryStore(), name)

    older: Any = Older()
    missing = "Older is not a presence store, .* it has no at_once, reap$"
    with pytest.raises(LocalProtocolError, match=missing):
        Presence(Server(), older)
    presence = Presence(Server())
    with pytest.raises(LocalProtocolError, match=missing):
        presence.keep_in(older)
    assert not presence.has_own_store


@trio_test
async def test_a_store_that_is_used_cannot_be_replaced(mock_clock: MockClock) -> None:
    server = Server(ServerOptions(ping_interval_s=STILL_S, ping_timeout_s=STILL_S))
    presence = Presence(server, node="own")
    presence.seat("/chat")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        with pytest.raises(LocalProtocolError, match="has a store already"):
            presence.keep_in(MemoryStore(), node="a")
        server.stop()
    await wait_all_tasks_blocked()
    assert not presence.has_own_store
    assert presence.store is presence.store
    assert presence.has_own_store


@pytest.mark.req("CLUS-03")
@trio_test
async def test_a_server_that_waits_for_its_store_can_be_stopped(
    mock_clock: MockClock, monkeypatch: Any
) -> None:
    store = MemoryStore()

    async def enroll(node: str, boot: str) -> Fenced:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(store, "enroll", enroll)
    server, presence = make(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(server.serve, port=0))
        await wait_all_tasks_blocked()
        assert server.state == "starting"
        server.stop()
    assert server.state == "idle"
    assert presence.statistics().claims == 0


@pytest.mark.req("PRES-52")
@trio_test
async def test_a_store_that_is_away_at_the_end_is_given_up_and_the_log_says_so(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = HeldStore(MemoryStore())
    server, presence = make(store, "a")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        node = presence._node
        socket: Any = _Socket()
        held = node.begin_claim(socket, "ann", SeatOptions())
        store.hold.add("release before")
        node.release(held, "left")
        await wait_all_tasks_blocked()
        server.stop()
        await wait_all_tasks_blocked()
        assert "has not taken" not in caplog.text
        mock_clock.jump(CLOSE_S)
    assert "the store has not taken 1 releases of node a within 5 s" in caplog.text
    assert "the clients of this server are offline" not in caplog.text
    assert "clients of this server are offline later" in caplog.text
    assert presence.statistics().claims == 0


class _Namespace:
    name = "/chat"


class _Socket:
    namespace = _Namespace()
    public_id = "x"
    session = None


@trio_test
async def test_an_outage_is_told_once(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = HeldStore(MemoryStore())
    server, presence = make(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        socket: Any = _Socket()
        store.hold.add("release before")
        presence._node.release(presence._node.begin_claim(socket, "ann", SeatOptions()), "left")
        for _ in range(3):
            await wait_all_tasks_blocked()
            store.let_go(store.held[0], fails=True)
            await wait_all_tasks_blocked()
            mock_clock.jump(1)
        await wait_all_tasks_blocked()
        store.let_all_go()
        await wait_all_tasks_blocked()
        assert presence.statistics().releasing == 0
        server.stop()
    assert caplog.text.count("the store does not answer when it is asked to release claims") == 1
    assert "answers again when it is asked to release claims, after 3 failures" in caplog.text


@pytest.mark.req("PRES-56")
@trio_test
async def test_the_log_says_why_a_client_that_did_not_come_back_was_lost(
    mock_clock: MockClock,
) -> None:
    store = MemoryStore()
    server, presence = make(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        node = presence._node
        socket: Any = _Socket()
        lost = node.begin_claim(socket, "ann", SeatOptions())
        given = await claim(store, node.boot)
        assert isinstance(given, Claimed)
        node.note_claimed(lost, given)
        node.linger(lost, "ping timeout", 5, 60)
        await wait_all_tasks_blocked()
        mock_clock.jump(5)
        await wait_all_tasks_blocked()
        found = await store.read("/chat", given.token, 5)
        assert isinstance(found, Entries)
        assert [entry.reason for entry in found.entries] == ["ping timeout"]
        server.stop()


class _Restarted(MemoryStore):
    """Takes claims anew, and when its answer is there, the boot of the node has just ended."""

    node: Node
    next_boot: str
    released = 0

    async def reassert(self, request: ClaimRequest, token: Cursor) -> Claimed:
        await trio.lowlevel.checkpoint()
        self.node.end_claims(all_of_them=not self.next_boot)
        self.node.boot = self.next_boot
        other = Cursor(token.generation, 7)
        return Claimed(token=Cursor(token.generation, 8), orders=(), awaits=(other,))

    async def release(self, ref: ClaimRef, reason: str) -> Fenced:
        await trio.lowlevel.checkpoint()
        self.released += 1
        return Fenced()


@pytest.mark.req("LEASE-35")
@pytest.mark.parametrize("next_boot", ["", "second"])
@trio_test
async def test_an_answer_to_an_earlier_boot_changes_nothing(next_boot: str) -> None:
    store = _Restarted()
    node = store.node = Node(store, "a")
    node.boot, store.next_boot = "first", next_boot
    socket: Any = _Socket()
    kept = node.begin_claim(socket, "ann", SeatOptions())
    node.note_claimed(kept, Claimed(token=Cursor(1, 1), orders=(), awaits=()))
    kept.leave_step()
    kept.move(Input.ENTERED)
    await node.reassert(kept)
    assert kept.awaits == (), "whom the store named to the earlier boot"
    assert not kept.is_unsure
    assert node.claims.tally.reasserted == 0
    assert not store.released, "it ends with the lease"


def test_nobody_gets_a_seat_while_the_server_does_not_serve() -> None:
    _, presence = make(MemoryStore())
    socket: Any = _Socket()
    with pytest.raises(LocalProtocolError, match="presence does not run"):
        presence._node.begin_claim(socket, "ann", SeatOptions())


@trio_test
async def test_a_server_that_runs_cannot_be_given_presence() -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, server)
        with pytest.raises(LocalProtocolError, match="the server is running"):
            Presence(server)
        server.stop()
