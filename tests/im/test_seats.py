"""Clients that take seats, on real servers: who wins, who is told what, and what the log says."""

import gc
import re
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.im.seat_world import AWAY_S, HOOK_S, LINGER_S, SeatWorld, Visitor, identify
from trio.testing import MockClock, trio_test

from trio_socketio import (
    ConfigurationError,
    Joining,
    JoiningState,
    LocalProtocolError,
    Observer,
    Server,
    ServerOptions,
    Socket,
    Step,
)
from trio_socketio.engine.session import Session
from trio_socketio.errors import OptionError
from trio_socketio.im.presence import MemoryStore, Presence, presence_of
from trio_socketio.im.presence.leavers import LEAVES_S
from trio_socketio.protocol.presence_claims import ClaimRef, ClaimRequest

REPLACED = ("event", "session/replaced", {"reason": "replaced"})
KICKED = ("event", "session/replaced", {"reason": "kicked"})
CONNECT, DISCONNECT = ("connect",), ("disconnect",)


def error(message: str) -> tuple[str, str]:
    return ("error", message)


def deafen(world: SeatWorld, monkeypatch: pytest.MonkeyPatch) -> Socket:
    """Have the only client that is there take nothing any more; return its socket."""
    (deaf,) = world.sockets("/newest")
    session = deaf.session
    monkeypatch.setattr(Session, "waiting_bytes", property(lambda one: one is session))
    return deaf


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[SeatWorld]:
    world = SeatWorld(**options)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        try:
            yield world
            await world.settle()
        finally:
            await world.stop()
    assert world.defects.told == []
    for namespace in world.readers:
        assert await world.seats(namespace) == {}, "the servers have left nothing behind"


@pytest.mark.req("PRES-51")
@trio_test
async def test_a_client_is_online_from_its_joining_to_its_leaving(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        ann = await world.come(0, "/newest", "ann")
        assert ann.told == [CONNECT]
        (socket,) = world.sockets("/newest")
        assert await world.seats("/newest") == {"ann": [socket.public_id]}
        assert socket.rooms == {socket.id, "user:ann"}
        await world.leave(ann)
        assert await world.seats("/newest") == {}
        assert world.types("/newest") == ["online", "offline"]
        assert world.reasons("/newest") == [None, "client namespace disconnect"]


@pytest.mark.req("PRES-92")
@trio_test
async def test_a_store_in_this_process_is_not_waited_for(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited, online = [], []

    class Looking(Observer):
        def joined(self, socket: Socket) -> None:
            online.append(socket.user in world.store.inner._books.open("/newest").book.users)

        def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
            self.joined(socket)

    async with running(count=1) as world:
        claim, release = world.store.claim, world.store.release

        async def note_claim(request: ClaimRequest) -> Any:
            waited.append("claim")
            return await claim(request)

        async def note_release(ref: ClaimRef, reason: str) -> Any:
            waited.append("release")
            return await release(ref, reason)

        monkeypatch.setattr(world.store, "claim", note_claim)
        monkeypatch.setattr(world.store, "release", note_release)
        world.servers[0].of("/newest").observe(Looking())
        ann = await world.come(0, "/newest", "ann")
        await world.leave(ann)
        assert (online, waited) == ([True, False], [])
        await world.come(0, "/newest", "ann")
        await world.come(0, "/newest", "ann")  # it puts the other one out
        assert waited == []
        world.store.is_elsewhere = True
        bob = await world.come(0, "/newest", "bob")
        await world.leave(bob)
        assert waited == ["claim", "release"]


@pytest.mark.req("PRES-96")
@pytest.mark.parametrize("ends", ["replaced", "kicked"])
@trio_test
async def test_the_old_client_is_told_before_the_new_one_enters_on_its_node(
    ends: str, mock_clock: MockClock
) -> None:
    told: list[list[tuple[Any, ...]]] = []

    class Looking(Observer):
        def joined(self, socket: Socket) -> None:
            old.wire.read()
            told.append(list(old.told))

    async with running(count=1) as world:
        old = await world.come(0, "/newest", "ann")
        world.servers[0].of("/newest").observe(Looking())
        new = await world.open(0, "/newest", "ann")
        if ends == "kicked":  # the task that puts clients out has not run yet
            await world.store.inner.kick("/newest", "ann")
        world.ask(new)
        await world.settle()
        assert told == [[CONNECT, ("event", "session/replaced", {"reason": ends}), DISCONNECT]]
        assert world.crowds["/newest"] == 1


@pytest.mark.req("PRES-47", "PRES-55", "PRES-96")
@pytest.mark.parametrize("held", ["orders after", "confirm before"])
@pytest.mark.parametrize("server", [0, 1])
@trio_test
async def test_a_kicked_client_is_out_before_a_new_one_enters_on_whatever_node(
    held: str, server: int, mock_clock: MockClock
) -> None:
    async with running() as world:
        old = await world.come(server, "/newest", "ann")
        world.store.hold.add(held)
        await world.store.kick("/newest", "ann")
        await world.settle()
        assert old.is_in is (held == "orders after")
        new = await world.come(0, "/newest", "ann")
        assert world.store.at_once is not None
        assert (await world.seats("/newest")).keys() == {"ann"}, "it has the seat"
        if server == 1:
            assert new.told == [], "but waits for the confirmation of the other node"
        world.store.let_all_go()
        await world.settle()
        assert (old.told, new.told) == ([CONNECT, KICKED, DISCONNECT], [CONNECT])
        assert world.crowds["/newest"] == 1


@pytest.mark.req("PRES-93")
@pytest.mark.parametrize(
    ("namespace", "second", "third"),
    [
        ("/newest", [error("session replaced")], [CONNECT]),
        ("/reject", [error("already connected")], [CONNECT]),
        ("/many", [CONNECT], [CONNECT]),
    ],
)
@trio_test
async def test_logins_of_one_turn_are_made_in_the_order_of_their_connects(
    namespace: str, second: list[Any], third: list[Any], mock_clock: MockClock
) -> None:
    async with running(count=1) as world:
        first = await world.come(0, namespace, "ann")
        others = [await world.open(0, namespace, "ann") for _ in range(2)]
        for one in others:
            one.wire.send(["40"])  # so that no connection is a newcomer, which would come later
        await world.settle()
        world.ask(others[0])
        world.say_goodbye(first)
        world.ask(others[1])
        await world.settle()
        assert [one.told for one in others] == [second, third]
        assert world.crowds[namespace] == (2 if namespace == "/many" else 1)


@pytest.mark.req("PRES-52", "PRES-57", "PRES-94")
@pytest.mark.parametrize("at", ["before", "after"])
@trio_test
async def test_a_store_that_fails_at_once_is_asked_again(at: str, mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        presence = world.presences[0]
        world.store.hold.add(f"claim now {at}")
        assert (await world.come(0, "/newest", "ann")).is_cut_off
        assert await world.seats("/newest") == {}, "what the store may have done is undone"
        world.store.hold = {f"release now {at}", "claim now after"}
        assert (await world.come(0, "/newest", "ann")).is_cut_off
        assert await world.seats("/newest") == {}
        world.store.hold.remove("claim now after")
        ann = await world.come(0, "/newest", "ann")
        await world.leave(ann)
        assert await world.seats("/newest") == {}
        assert presence.statistics().claims == presence.statistics().releasing == 0
        assert world.reasons("/newest")[-1] == "client namespace disconnect"


@pytest.mark.req("PRES-51", "PRES-92")
@trio_test
async def test_nothing_overtakes_a_release_that_waits(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        world.store.hold.add("release before")
        await world.leave(await world.come(0, "/many", "ann"))
        world.store.hold.clear()
        (held,) = world.store.held
        world.store.held.clear()
        assert world.store.at_once is not None
        again = await world.come(0, "/many", "ann")
        assert again.told == [], "its turn comes behind the release"
        assert world.types("/many") == ["online"], "it has not asked yet"
        held.go.set()
        await world.settle()
        assert again.told == [CONNECT]
        assert world.types("/many") == ["online", "offline", "online"]


@pytest.mark.req("PRES-10", "PRES-53")
@pytest.mark.parametrize("server", [0, 1])
@trio_test
async def test_the_newest_client_wins_on_whatever_node(server: int, mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", "ann")
        new = await world.come(server, "/newest", "ann")
        assert old.told == [CONNECT, REPLACED, DISCONNECT]
        assert new.told == [CONNECT]
        (socket,) = world.sockets("/newest")
        assert await world.seats("/newest") == {"ann": [socket.public_id]}
        await world.lose(old)
        assert new.is_in
        assert world.types("/newest") == ["online", "moved"]
        assert world.presences[0].statistics().replaced == 1


@pytest.mark.req("PRES-80")
@trio_test
async def test_the_old_client_is_told_before_another_node_lets_the_new_one_in(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", "ann")
        confirm, told = world.store.confirm, []

        async def look_first(order: Any) -> None:
            old.wire.read()
            told.append(list(old.told))
            await confirm(order)

        monkeypatch.setattr(world.store, "confirm", look_first)
        await world.come(1, "/newest", "ann")
        assert told == [[CONNECT, REPLACED, DISCONNECT]]


@pytest.mark.req("PRES-80")
@trio_test
async def test_the_old_client_is_told_first_also_by_a_node_that_is_late(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    async def send() -> None:
        for _ in range(5):  # the poller sends to others before
            await trio.lowlevel.checkpoint()
        done.append("sent")

    async def be_late(_: Session) -> None:
        nursery.start_soon(send)
        mock_clock.jump(2 * LEAVES_S)  # this turn took so long
        await trio.sleep_forever()

    async with running() as world, trio.open_nursery() as nursery:
        confirm = world.store.confirm

        async def look_first(order: Any) -> None:
            done.append("confirmed")
            await confirm(order)

        monkeypatch.setattr(Session, "wait_drained", be_late)
        monkeypatch.setattr(world.store, "confirm", look_first)
        await world.come(0, "/newest", "ann")
        await world.come(1, "/newest", "ann")
        assert done == ["sent", "confirmed"]


@pytest.mark.req("PRES-80", "PRES-96")
@pytest.mark.parametrize("server", [0, 1])
@trio_test
async def test_an_old_client_that_takes_nothing_delays_the_new_one_only_briefly(
    server: int, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as world:
        await world.come(0, "/newest", "ann")
        monkeypatch.setattr(Session, "waiting_bytes", 1)
        new = await world.come(server, "/newest", "ann")
        assert new.told == []
        mock_clock.jump(LEAVES_S)
        await world.settle()
        assert new.told == [CONNECT]


@pytest.mark.req("PRES-80", "PRES-96")
@pytest.mark.parametrize("server", [0, 1])
@pytest.mark.parametrize("ends", ["replaced", "kicked"])
@trio_test
async def test_so_does_one_that_was_put_out_before(
    ends: str, server: int, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in any more when the new client comes, but has not been told."""
    async with running() as world:
        await world.come(0, "/newest", "ann")
        deaf = deafen(world, monkeypatch)
        if ends == "replaced":
            await world.come(0, "/newest", "ann")
        else:
            await world.store.kick("/newest", "ann")
            await world.settle()
        assert not deaf.connected
        new = await world.come(server, "/newest", "ann")
        assert new.told == []
        mock_clock.jump(LEAVES_S)
        await world.settle()
        assert new.told == [CONNECT]


@pytest.mark.req("PRES-89")
@trio_test
async def test_confirmations_do_not_wait_for_each_other(mock_clock: MockClock) -> None:
    async with running() as world:
        for name in ("ann", "bob", "cy"):
            await world.come(0, "/newest", name)
        world.store.hold.add("confirm before")
        newer = [await world.come(1, "/newest", name) for name in ("ann", "bob", "cy")]
        assert len(world.store.held) == 1, "that of ann; the node looks for more soon"
        mock_clock.jump(0.005)
        await world.settle()
        assert len(world.store.held) == 3
        for held in world.store.held[1:]:
            world.store.let_go(held)
        await world.settle()
        assert [one.is_in for one in newer] == [False, True, True]


@pytest.mark.req("PRES-54", "PRES-89")
@trio_test
async def test_a_kick_does_not_wait_for_an_old_client_that_takes_nothing(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(count=1) as world:
        await world.come(0, "/newest", "ann")
        deafen(world, monkeypatch)
        ann = await world.come(0, "/newest", "ann")
        bob = await world.come(0, "/newest", "bob")
        for name in ("bob", "ann"):
            await world.store.kick("/newest", name)
        mock_clock.jump(0.005)
        await world.settle()
        assert bob.told == [CONNECT, KICKED, DISCONNECT]
        assert ann.told == [error("kicked")]


@pytest.mark.req("PRES-54", "PRES-96")
@pytest.mark.parametrize("in_one_turn", [False, True])
@trio_test
async def test_who_waits_for_an_old_client_and_is_replaced_is_refused_at_once(
    in_one_turn: bool, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both ask in one turn, the claim is over before its task has begun to wait."""
    async with running(count=1) as world:
        await world.come(0, "/newest", "ann")
        deafen(world, monkeypatch)
        second, third = [await world.open(0, "/newest", "ann") for _ in range(2)]
        world.ask(second)
        if not in_one_turn:
            await world.settle()
        world.ask(third)
        await world.settle()
        assert second.told == [error("session replaced")]
        assert third.told == []
        mock_clock.jump(LEAVES_S)
        await world.settle()
        assert third.told == [CONNECT]


@pytest.mark.req("PRES-89")
@trio_test
async def test_a_store_that_takes_no_confirmation_is_asked_for_orders_less_often(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as world:
        await world.come(0, "/newest", "ann")
        world.store.hold.add("confirm before")
        await world.come(1, "/newest", "ann")
        asked = 0
        receive_orders = world.store.receive_orders

        async def count(boot: str) -> object:
            nonlocal asked
            asked += 1
            return await receive_orders(boot)

        monkeypatch.setattr(world.store, "receive_orders", count)
        for milliseconds in range(0, 2000, 5):
            if milliseconds == 1000:
                asked = 0
            mock_clock.jump(0.005)
            await world.settle()
        assert 5 <= asked <= 15


@pytest.mark.req("PRES-80")
@trio_test
async def test_an_old_client_that_takes_nothing_delays_nobody_else(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as world:
        for name in ("ann", "bob", "cy"):
            await world.come(0, "/newest", name)
        stuck = next(one for one in world.sockets("/newest") if one.user == "bob").session
        world.store.hold.add("confirm before")
        newer = [await world.come(1, "/newest", name) for name in ("ann", "bob", "cy")]
        monkeypatch.setattr(Session, "waiting_bytes", property(lambda session: session is stuck))
        world.store.let_all_go()
        await world.settle()
        assert [one.is_in for one in newer] == [True, False, True]
        mock_clock.jump(LEAVES_S)
        await world.settle()
        assert newer[1].is_in


@pytest.mark.req("PRES-81")
@trio_test
async def test_releases_of_different_users_do_not_wait_for_each_other(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        clients = [await world.come(0, "/many", name) for name in ("ann", "ann", "bob", "cy")]
        world.store.hold.add("release before")
        await world.leave(clients[3])
        for client in clients[:3]:
            await world.leave(client)
        world.store.let_go(world.store.held[0])
        await world.settle()
        assert (await world.seats("/many")).keys() == {"ann", "bob"}
        assert len(world.store.held) == 2, "those of ann come one after the other"
        world.store.let_all_go()
        await world.settle()
        assert [entry.user for entry in world.readers["/many"].entries[4:]].count("ann") == 2


@pytest.mark.req("PRES-11")
@trio_test
async def test_the_old_client_may_win(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/reject", "ann")
        new = await world.come(1, "/reject", "ann")
        assert new.told == [error("already connected")]
        assert old.is_in
        await world.lose(old)
        assert (await world.come(1, "/reject", "ann")).is_in
        assert world.types("/reject") == ["online", "offline", "online"]
        assert world.presences[1].statistics().refused == 1


@pytest.mark.req("PRES-12")
@trio_test
async def test_a_user_may_have_several_clients(mock_clock: MockClock) -> None:
    async with running() as world:
        first = await world.come(0, "/many", "ann")
        second = await world.come(1, "/many", "ann")
        third = await world.come(1, "/many", "ann")
        assert (first.is_in, second.is_in) == (True, True)
        assert third.told == [error("too many sessions")]
        await world.leave(first)
        await world.leave(second)
        assert world.types("/many") == ["online", "seat_added", "seat_removed", "offline"]


@trio_test
async def test_namespaces_know_nothing_of_each_other(mock_clock: MockClock) -> None:
    async with running() as world:
        one = await world.come(0, "/newest", "ann")
        other = await world.come(1, "/reject", "ann")
        assert (one.is_in, other.is_in) == (True, True)
        await world.leave(one)
        assert (await world.seats("/reject")).keys() == {"ann"}


@pytest.mark.req("PRES-59")
@pytest.mark.parametrize(
    ("user", "message"),
    [(None, "not authenticated"), ("", "the id of a user cannot be empty")],
)
@trio_test
async def test_who_is_not_identified_gets_no_seat(
    user: Any, message: str, mock_clock: MockClock
) -> None:
    async with running() as world:
        client = await world.come(0, "/newest", user)
        assert client.told == [error(message)]
        assert world.types("/newest") == []


@pytest.mark.req("PRES-04")
@trio_test
async def test_an_integer_is_its_text(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", 7)
        await world.come(0, "/newest", "7")
        assert old.told == [CONNECT, REPLACED, DISCONNECT]


@pytest.mark.req("PRES-20", "PRES-53")
@trio_test
async def test_a_kicked_user_is_put_out_everywhere(mock_clock: MockClock) -> None:
    async with running() as world:
        clients = [await world.come(server, "/many", "ann") for server in (0, 1)]
        bob = await world.come(0, "/many", "bob")
        result = await world.presences[0].kick("ann", "many")
        assert (result.done, result.confirmed) == (2, True)
        await world.settle()
        assert [client.told for client in clients] == [[CONNECT, KICKED, DISCONNECT]] * 2
        assert bob.is_in
        assert world.types("/many")[3:] == ["seat_removed", "offline"]
        assert world.reasons("/many")[3:] == ["kicked", "kicked"]
        assert (await world.presences[0].kick("ann", "/many")).done == 0
        again = await world.come(1, "/many", "ann")
        assert again.is_in
        assert [p.statistics().kicked for p in world.presences] == [1, 1]


@pytest.mark.req("PRES-54")
@pytest.mark.parametrize("held", ["claim after", "wait after"])
@trio_test
async def test_a_kick_reaches_a_client_at_its_seat_step(held: str, mock_clock: MockClock) -> None:
    async with running() as world:
        if held == "wait after":
            await world.come(1, "/newest", "ann")
        world.store.hold.add(held)
        joining = await world.come(0, "/newest", "ann")
        assert joining.told == []
        await world.store.kick("/newest", "ann")
        await world.settle()
        world.store.let_all_go()
        await world.settle()
        assert joining.told == [error("kicked")]
        assert world.sockets("/newest") == []
        assert world.types("/newest")[-1] == "offline"


@pytest.mark.req("PRES-54")
@trio_test
async def test_a_kick_reaches_a_client_behind_its_seat_step(mock_clock: MockClock) -> None:
    async with running() as world:
        joining = await world.come(0, "/newest", "ann", late=True)
        assert joining.told == []
        assert (await world.presences[1].kick("ann", "/newest")).confirmed
        await world.settle()
        assert joining.told == [error("disconnected by the server")]
        await world.act(joining.gate.set)
        assert world.sockets("/newest") == []


@pytest.mark.req("PRES-54")
@trio_test
async def test_a_newer_client_overtakes_one_at_its_seat_step(mock_clock: MockClock) -> None:
    async with running() as world:
        world.store.hold.add("claim after")
        slow = await world.come(0, "/newest", "ann")
        world.store.hold.clear()
        fast = await world.come(1, "/newest", "ann")
        assert fast.is_in
        world.store.let_all_go()
        await world.settle()
        assert slow.told == [error("session replaced")]
        assert len(world.sockets("/newest")) == 1
        assert world.types("/newest") == ["online", "moved"]


@pytest.mark.req("PRES-14", "PRES-55")
@trio_test
async def test_a_strict_takeover_waits_until_the_old_client_is_out(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", "ann")
        world.store.hold.add("orders after")
        new = await world.come(1, "/newest", "ann")
        assert (old.is_in, new.told) == (True, [])
        world.store.let_all_go()
        await world.settle()
        assert (old.is_in, new.is_in) == (False, True)
        assert not world.readers["/newest"].entries[-1].unconfirmed


@pytest.mark.req("PRES-14")
@trio_test
async def test_or_is_refused_in_the_end(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", "ann")
        world.store.hold.add("orders after")
        new = await world.come(1, "/newest", "ann")
        mock_clock.jump(HOOK_S)
        await world.settle()
        assert new.told == [error("Timed out")]
        assert world.types("/newest") == ["online", "moved", "offline"]
        world.store.let_all_go()
        await world.settle()
        assert not old.is_in


@pytest.mark.req("PRES-15", "PRES-55")
@trio_test
async def test_a_fast_takeover_waits_for_a_second(mock_clock: MockClock) -> None:
    async with running(takeover="fast") as world:
        old = await world.come(0, "/newest", "ann")
        world.store.hold.add("orders after")
        new = await world.come(1, "/newest", "ann")
        assert new.told == []
        mock_clock.jump(1)
        await world.settle()
        assert (old.is_in, new.is_in) == (True, True)
        assert world.readers["/newest"].entries[-1].unconfirmed


@pytest.mark.req("PRES-57")
@pytest.mark.parametrize("held", ["claim before", "claim after", "wait after"])
@trio_test
async def test_a_client_that_leaves_at_its_seat_step_leaves_nothing(
    held: str, mock_clock: MockClock
) -> None:
    async with running() as world:
        if held == "wait after":
            await world.come(1, "/newest", "ann")
        world.store.hold.add(held)
        client = await world.come(0, "/newest", "ann")
        await world.lose(client)
        world.store.let_all_go()
        await world.settle()
        assert await world.seats("/newest") == {}
        assert world.types("/newest")[-1] == "offline"
        assert world.reasons("/newest")[-1] == "not joined"
        assert world.presences[0].statistics().claims == 0


@pytest.mark.req("PRES-57")
@trio_test
async def test_a_client_that_is_refused_behind_its_seat_step_leaves_nothing(
    mock_clock: MockClock,
) -> None:
    async with running() as world:
        client = await world.come(0, "/newest", "ann", late=True)
        assert (await world.seats("/newest")).keys() == {"ann"}
        mock_clock.jump(HOOK_S)
        await world.settle()
        assert client.told == [error("Timed out")]
        assert world.types("/newest") == ["online", "offline"]


@pytest.mark.req("PRES-18", "PRES-57")
@pytest.mark.parametrize("held", ["claim before", "claim after"])
@trio_test
async def test_a_claim_whose_answer_was_lost_is_undone(held: str, mock_clock: MockClock) -> None:
    async with running() as world:
        world.store.hold.add(held)
        client = await world.come(0, "/newest", "ann")
        world.store.let_go(world.store.held[0], fails=True)
        await world.settle()
        assert client.is_cut_off
        assert await world.seats("/newest") == {}
        assert world.types("/newest") == ["online", "offline"][: 2 if held == "claim after" else 0]


@pytest.mark.req("PRES-57")
@trio_test
async def test_a_store_that_hangs_refuses_in_time(mock_clock: MockClock) -> None:
    async with running() as world:
        world.store.hold.add("claim after")
        client = await world.come(0, "/newest", "ann")
        mock_clock.jump(3)
        await world.settle()
        assert client.is_cut_off
        assert await world.seats("/newest") == {}


@pytest.mark.req("PRES-21")
@trio_test
async def test_a_node_without_a_lease_gives_no_seats(mock_clock: MockClock) -> None:
    async with running() as world:
        await world.store.retire(world.presences[0]._node.boot)
        client = await world.come(0, "/newest", "ann")
        assert client.is_cut_off
        assert (await world.come(1, "/newest", "ann")).is_in


@trio_test
async def test_a_client_that_joins_while_its_namespace_gets_seats_has_none(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        server, gate = world.servers[0], trio.Event()
        space = server.of("/late")

        async def wait(_: Socket) -> None:
            await gate.wait()

        space.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
        space.use(wait)
        ann = await world.come(0, "/late", "ann")
        world.presences[0].seat("/late")
        await world.act(gate.set)
        assert ann.is_in
        bob = await world.come(0, "/late", "bob")
        assert (await world.seats("/late")).keys() == {"bob"}
        await world.leave(ann)
        await world.leave(bob)
        assert await world.seats("/late") == {}


@pytest.mark.req("PRES-52")
@trio_test
async def test_releases_wait_for_a_store_that_is_away(mock_clock: MockClock) -> None:
    async with running() as world:
        clients = [await world.come(0, "/newest", user) for user in ("ann", "bob", "cyd")]
        world.store.hold.add("release before")
        for client in clients:
            await world.lose(client)
        assert world.presences[0].statistics().releasing == 3
        for _ in range(5):
            world.store.let_go(world.store.held[0], fails=True)
            await world.settle()
            mock_clock.jump(1)
            await world.settle()
        assert len(await world.seats("/newest")) == 3
        world.store.let_all_go()
        await world.settle()
        assert await world.seats("/newest") == {}
        assert world.presences[0].statistics().releasing == 0


@pytest.mark.req("PRES-51")
@trio_test
async def test_a_client_that_has_left_keeps_nobody_out(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/reject", "ann")
        world.store.hold.add("release before")
        await world.leave(old)
        new = await world.come(0, "/reject", "ann")
        assert new.told == []
        world.store.let_all_go()
        await world.settle()
        assert new.is_in
        assert world.types("/reject") == ["online", "offline", "online"]


@pytest.mark.req("PRES-19")
@trio_test
async def test_a_late_release_leaves_the_successor_alone(mock_clock: MockClock) -> None:
    async with running() as world:
        old = await world.come(0, "/newest", "ann")
        world.store.hold.add("release before")
        await world.lose(old)
        new = await world.come(1, "/newest", "ann")
        assert new.is_in
        world.store.let_all_go()
        await world.settle()
        assert new.is_in
        assert (await world.seats("/newest")).keys() == {"ann"}
        assert world.types("/newest") == ["online", "moved"]


@pytest.mark.req("PRES-51")
@trio_test
async def test_a_release_waits_for_no_handler(mock_clock: MockClock) -> None:
    async with running() as world:
        client = await world.come(0, "/newest", "ann", busy=True)
        await world.lose(client)
        assert await world.seats("/newest") == {}


@pytest.mark.req("PRES-11", "PRES-51")
@trio_test
async def test_a_client_that_authenticates_by_an_event_is_told_in_the_same_way(
    mock_clock: MockClock,
) -> None:
    async def wait_for_user(joining: Joining) -> None:
        (user,) = await joining.accept("auth", 5).wait()
        joining.identify(user)

    async with running() as world:
        for server, presence in zip(world.servers, world.presences, strict=True):
            server.of("/event").add_steps([Step(JoiningState.AUTHENTICATING, wait_for_user)])
            presence.seat("/event", policy="reject")
        clients: list[Visitor] = []
        for number in (0, 1):
            client = await world.come(number, "/event", None)
            assert client.told == [CONNECT]
            client.wire.send(['42/event,["auth","ann"]'])
            await world.settle()
            clients.append(client)
        assert (await world.seats("/event")).keys() == {"ann"}
        refusal = ("event", "logic/error", (-1, "already connected"))
        assert clients[1].told == [CONNECT, refusal, DISCONNECT]
        await world.store.kick("/event", "ann")
        await world.settle()
        assert clients[0].told == [CONNECT, KICKED, DISCONNECT]


@trio_test
async def test_the_children_of_a_parent_have_seats_of_their_own(mock_clock: MockClock) -> None:
    async with running(count=1) as world:
        parent = world.servers[0].of(re.compile(r"/room-\d"))
        parent.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
        world.presences[0].seat(parent)
        first = await world.come(0, "/room-1", "ann")
        other = await world.come(0, "/room-2", "ann")
        assert (first.is_in, other.is_in) == (True, True)
        await world.come(0, "/room-1", "ann")
        assert first.told == [CONNECT, REPLACED, DISCONNECT]
        assert other.is_in


@pytest.mark.req("PRES-51")
@trio_test
async def test_a_client_that_asks_again_on_its_connection_has_one_seat(
    mock_clock: MockClock,
) -> None:
    async with running(count=1) as world:
        client = await world.come(0, "/reject", "ann")
        client.wire.send(['40/reject,{"user":"ann","n":0}'])
        await world.settle()
        assert client.told == [CONNECT, CONNECT]
        (socket,) = world.sockets("/reject")
        assert await world.seats("/reject") == {"ann": [socket.id]}
        assert world.types("/reject") == ["online", "offline", "online"]


# -- recovery


@pytest.mark.req("PRES-17", "PRES-56")
@trio_test
async def test_a_lost_client_that_comes_back_in_time_was_never_offline(
    mock_clock: MockClock,
) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        (socket,) = world.sockets("/newest")
        await world.lose(old)
        assert world.sockets("/newest") == []
        assert await world.seats("/newest") == {"ann": [socket.id]}
        assert world.presences[0].statistics().lingering == 1
        mock_clock.jump(LINGER_S - 1)
        back = await world.come(0, "/newest", "ann", back=old)
        assert back.is_in
        assert world.sockets("/newest")[0].id == socket.id
        assert world.types("/newest") == ["online", "moved"]
        assert world.reasons("/newest")[-1] == "recovered"
        assert world.presences[0].statistics().lingering == 0
        mock_clock.jump(LINGER_S)
        await world.settle()
        assert back.is_in
        assert await world.seats("/newest") == {"ann": [socket.id]}


@pytest.mark.req("PRES-56")
@trio_test
async def test_a_lost_client_is_offline_when_its_time_is_over(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        mock_clock.jump(LINGER_S)
        await world.settle()
        assert await world.seats("/newest") == {}
        back = await world.come(0, "/newest", "ann", back=old)
        assert back.is_in
        socket = world.sockets("/newest")[0]
        assert socket.recovered
        assert socket.rooms == {socket.id, "user:ann"}  # JOIN-35
        assert world.types("/newest") == ["online", "offline", "online"]


@pytest.mark.req("PRES-56")
@trio_test
async def test_a_client_that_leaves_by_itself_does_not_linger(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        client = await world.come(0, "/newest", "ann")
        await world.leave(client)
        assert await world.seats("/newest") == {}


@pytest.mark.req("PRES-17")
@pytest.mark.parametrize("linger_s", [0.0, LINGER_S])
@trio_test
async def test_a_lost_client_cannot_take_the_seat_back(
    linger_s: float, mock_clock: MockClock
) -> None:
    async with running(linger_s=linger_s) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        new = await world.come(1, "/newest", "ann")
        assert new.is_in
        back = await world.come(0, "/newest", "ann", back=old)
        assert back.told == [error("seat taken")]
        assert new.is_in
        came_anew = ["online", "moved"] if linger_s else ["online", "offline", "online"]
        assert world.types("/newest") == came_anew


@trio_test
async def test_a_client_without_pid_is_a_new_login(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        new = await world.come(0, "/newest", "ann")
        assert new.is_in
        assert not world.sockets("/newest")[0].recovered
        assert world.reasons("/newest")[-1] == "replaced"
        assert world.presences[0].statistics().lingering == 0


@pytest.mark.req("PRES-58")
@trio_test
async def test_a_lost_client_that_was_kicked_cannot_come_back(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        assert (await world.presences[1].kick("ann", "/newest")).confirmed
        await world.settle()
        mock_clock.jump(LINGER_S + 1)
        await world.settle()
        back = await world.come(0, "/newest", "ann", back=old)
        assert back.told == [error("kicked")]
        assert world.types("/newest") == ["online", "offline"]
        assert (await world.come(0, "/newest", "ann")).is_in
        mock_clock.jump(AWAY_S)
        await world.settle()
        assert world.presences[0].statistics().lingering == 0


@pytest.mark.req("PRES-56", "PRES-57")
@trio_test
async def test_a_client_that_is_lost_again_on_its_way_back_still_has_its_time(
    mock_clock: MockClock,
) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        mock_clock.jump(5)
        back = await world.come(0, "/newest", "ann", back=old, late=True)
        await world.lose(back)
        assert (await world.seats("/newest")).keys() == {"ann"}
        mock_clock.jump(5)
        again = await world.come(0, "/newest", "ann", back=old)
        assert again.is_in
        assert world.types("/newest") == ["online", "moved", "moved"]


@pytest.mark.req("PRES-56")
@trio_test
async def test_but_no_more_than_that(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        old = await world.come(0, "/newest", "ann")
        await world.lose(old)
        mock_clock.jump(5)
        await world.lose(await world.come(0, "/newest", "ann", back=old, late=True))
        mock_clock.jump(LINGER_S - 5)
        await world.settle()
        assert await world.seats("/newest") == {}


# -- the end, and mistakes


@pytest.mark.req("PRES-60")
@trio_test
async def test_a_server_that_stops_leaves_nobody_online(mock_clock: MockClock) -> None:
    async with running(linger_s=LINGER_S) as world:
        ann = await world.come(0, "/newest", "ann")
        await world.come(1, "/newest", "bob")
        await world.lose(ann)
        await world.come(0, "/newest", "cyd")
        world._serving[0].cancel()
        await world.settle()
        assert (await world.seats("/newest")).keys() == {"bob"}
        assert world.reasons("/newest").count("server shutting down") == 2


@trio_test
async def test_a_server_may_serve_again(mock_clock: MockClock) -> None:
    store = MemoryStore()
    server = Server(ServerOptions(stop_grace_s=1))
    presence = Presence(server, store, node="a")
    presence.seat("/chat")
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: server.serve(port=0, task_status=task_status))
            assert presence._node.boot
            server.stop()
        assert not presence._node.boot


@pytest.mark.req("PRES-61")
def test_a_server_has_one_presence() -> None:
    server, other = Server(), Server()
    assert presence_of(server) is None
    presence = Presence(server)
    assert presence_of(server) is presence
    with pytest.raises(LocalProtocolError, match="the server has a presence already"):
        Presence(server)
    assert presence_of(other) is None


def test_presence_does_not_outlive_its_server() -> None:
    server = Server()
    Presence(server)
    gone = weakref.ref(server)
    del server
    gc.collect()
    assert gone() is None


def test_a_namespace_has_seats_once() -> None:
    presence = Presence(Server())
    presence.seat("/chat")
    with pytest.raises(LocalProtocolError, match="/chat has seats already"):
        presence.seat("chat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "oldest"}, "policy: must be newest, reject or many, not 'oldest'"),
        ({"policy": "many", "maximum": 0}, "maximum: must be a whole number above 0, not 0"),
        ({"policy": "many", "maximum": True}, "maximum: must be a whole number"),
        ({"maximum": 2}, "maximum: has no effect with the policy 'newest'"),
        ({"takeover": "slow"}, "takeover: must be strict or fast"),
        ({"linger_s": -1}, "linger_s: must be seconds, 0 or more, not -1"),
        ({"linger_s": float("nan")}, "linger_s: must be seconds"),
        ({"linger_s": True}, "linger_s: must be seconds"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Presence(Server()).seat("/", **options)


@pytest.mark.req("PRES-56")
@trio_test
async def test_a_seat_is_held_no_longer_than_its_client_can_come_back() -> None:
    server = Server(ServerOptions(state_recovery=True, state_recovery_max_disconnection_s=5))
    Presence(server).seat("/chat", linger_s=6)
    with pytest.raises(ConfigurationError, match=r"linger_s of /chat is 6, .* \(5\)"):
        await server.serve(port=0)


@trio_test
async def test_to_linger_needs_recovery(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    Presence(server).seat("/chat", linger_s=6)
    server.stop()
    await server.serve(port=0)
    assert "linger_s of /chat has no effect without state_recovery" in caplog.text
