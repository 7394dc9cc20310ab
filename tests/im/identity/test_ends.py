"""Tokens that end while their clients are in: by expiry and by revocation."""

import time
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.im.identity.identified import ANN, BOB, OK, STATIC, Identified, identified, jwt_options
from tests.im.identity.test_gate import OPEN_ROOT, closes, refused
from tests.im.identity.tokens import token
from tests.socketio.serving import until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, Step
from trio_socketio.im.identity import clients
from trio_socketio.im.identity.clients import Clients
from trio_socketio.im.identity.identity import Identity
from trio_socketio.im.identity.revocations import Revocations, RevokedId
from trio_socketio.im.identity.strangers import Strangers

EXPIRED = {"errcode": 3, "errmsg": "the token has expired"}
REVOKED = {"errcode": 3, "errmsg": "the token was revoked"}


async def put_out(client: SocketIOClient, told: dict[str, Any], namespace: str = "/chat") -> None:
    with trio.fail_after(5):
        assert await client.receive_event(namespace) == ["logic/error", told]
        assert (await client.receive())[0] == f"1{namespace},"


# --- expiry --------------------------------------------------------------------------------------


@pytest.mark.req("IDENT-38")
@trio_test
async def test_a_client_whose_token_expires_is_put_out(tmp_path: Path) -> None:
    reasons: list[str] = []
    server = Server()
    server.of("/chat").on("disconnect")(lambda _, reason: reasons.append(reason))
    async with (
        identified(
            server,
            jwt=jwt_options(tmp_path, leeway_s=0.0),
            namespaces=(OPEN_ROOT,),
            expiry_grace_s=0.4,
        ) as here,
        here.client() as client,
    ):
        await client.connect("/")
        exp = time.time() + 0.3
        await client.connect("/chat", {"token": token(exp=exp)})
        await put_out(client, EXPIRED)
        assert 0.35 < time.time() - exp < 3
        assert await closes(client), "it is identified nowhere any more"
        assert reasons == ["server namespace disconnect"]
        assert here.service.statistics().put_out == {"expired": 1, "revoked": 0}
        assert here.service.statistics().identified == 0


@pytest.mark.req("IDENT-38")
@trio_test
async def test_the_connection_stays_while_it_is_identified_elsewhere(tmp_path: Path) -> None:
    server = Server()
    server.of("/chat")
    server.of("/news").on("ping")(lambda _: "pong")
    async with (
        identified(server, jwt=jwt_options(tmp_path), tokens=STATIC, expiry_grace_s=0.0) as here,
        here.client() as client,
    ):
        await client.connect("/news", {"token": ANN})
        await client.connect("/chat", {"token": token(exp=time.time() + 0.2)})
        await put_out(client, EXPIRED)
        await client.emit("ping", namespace="/news", ack_id=1)
        assert (await client.receive())[0] == '3/news,1["pong"]'
        assert here.service.statistics().identified == 1


@pytest.mark.req("IDENT-37")
@trio_test
async def test_another_token_puts_the_end_off_or_forward(tmp_path: Path) -> None:
    async with (
        identified(jwt=jwt_options(tmp_path), expiry_grace_s=0.0) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": token(exp=time.time() + 0.3)})
        await client.emit("auth", {"token": token()}, namespace="/chat")
        assert await client.receive_event("/chat") == ["auth/reply", OK]
        await trio.sleep(0.6)
        assert here.service.statistics().identified == 1
        await client.emit("auth", {"token": token(exp=time.time() + 0.2)}, namespace="/chat")
        assert await client.receive_event("/chat") == ["auth/reply", OK]
        await put_out(client, EXPIRED)


@trio_test
async def test_a_clock_that_is_set_back_is_looked_at_again(tmp_path: Path) -> None:
    ahead_s = 0.0
    async with (
        identified(
            jwt=jwt_options(tmp_path), expiry_grace_s=0.0, clock=lambda: time.time() + ahead_s
        ) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": token(exp=time.time() + 0.2)})
        ahead_s = -0.4
        await trio.sleep(0.3)
        assert here.service.statistics().identified == 1
        await put_out(client, EXPIRED)


@trio_test
async def test_a_far_end_is_found_when_it_comes_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "LOOK_S", 0.05)
    ahead_s = 0.0
    async with (
        identified(
            jwt=jwt_options(tmp_path), expiry_grace_s=0.0, clock=lambda: time.time() + ahead_s
        ) as here,
        here.client() as client,
        here.client() as other,
    ):
        await client.connect("/chat", {"token": token(exp=time.time() + 3600)})
        await other.connect("/chat", {"token": token(exp=time.time() + 7200)})
        records = tuple(here.service._clients._by_socket.values())
        await trio.sleep(0.2)
        for record in records:
            assert record.ends_at == inf
            assert record.deadline_entry is None
        ahead_s = 3600.0
        await put_out(client, EXPIRED)
        assert records[1].deadline_entry is None
        assert here.service.statistics().identified == 1


@trio_test
async def test_what_never_expires_is_not_watched() -> None:
    async with identified() as here, here.client() as client:
        await client.connect("/chat", {"token": ANN})
        (socket,) = here.server.of("/chat").sockets.values()
        record = here.service._clients.find(socket)
        assert record is not None
        assert record.ends_at == inf
        assert record.deadline_entry is None


@trio_test
async def test_a_client_that_has_left_is_forgotten(tmp_path: Path) -> None:
    async with identified(jwt=jwt_options(tmp_path)) as here:
        async with here.client() as client:
            await client.connect("/chat", {"token": token(exp=time.time() + clients.LOOK_S)})
            (socket,) = here.server.of("/chat").sockets.values()
            record = here.service._clients.find(socket)
            assert record is not None
            entry = record.deadline_entry
            assert entry.item is record
        await until(lambda: here.service.statistics().identified == 0)
        assert entry.item is None, "the heap of deadlines does not hold it"


@pytest.mark.req("IDENT-38")
@trio_test
async def test_a_token_may_expire_while_its_client_is_still_joining(tmp_path: Path) -> None:
    server, gate = Server(), trio.Event()

    async def wait(joining: Joining) -> None:
        await gate.wait()

    server.of("/chat").add_steps([Step(JoiningState.SEAT, wait)])
    async with (
        identified(server, jwt=jwt_options(tmp_path), expiry_grace_s=0.0) as here,
        here.client() as client,
    ):
        error = await refused(client, {"token": token(exp=time.time() + 0.2)})
        assert error["data"] == EXPIRED
        assert await closes(client)
        assert here.service.statistics().identified == 0


@pytest.mark.req("IDENT-73")
@trio_test
async def test_a_step_that_renames_the_user_hides_nobody(tmp_path: Path) -> None:
    server = Server()
    server.of("/chat").add_steps(
        [Step(JoiningState.SEAT, lambda joining: joining.identify(f"tenant:{joining.socket.user}"))]
    )
    async with (
        identified(server, jwt=jwt_options(tmp_path), tokens=STATIC, expiry_grace_s=0.0) as here,
        here.client() as ann,
        here.client() as bob,
        here.client() as again,
    ):
        await bob.connect("/chat", {"token": BOB})
        (socket,) = server.of("/chat").sockets.values()
        assert socket.user == "tenant:bob"
        identity = here.service.identity_of(socket)
        assert identity is not None
        assert identity.user == "bob"
        await bob.emit("auth", {"token": BOB}, namespace="/chat")
        assert await bob.receive_event("/chat") == ["auth/reply", OK]
        assert await here.revoke(user="bob") == 1
        await put_out(bob, REVOKED)
        await ann.connect("/chat", {"token": token(exp=time.time() + 0.2)})
        await put_out(ann, EXPIRED)
        await again.connect("/chat", {"token": ANN})
    await until(lambda: here.service.statistics().identified == 0)
    assert here.service._clients._by_user == {}


def test_many_clients_of_one_user_leave_at_once() -> None:
    clients = Clients(Revocations(1.0, 1, time.time), Strangers(), 0.0, time.time)
    joinings: list[Any] = [SimpleNamespace(socket=object()) for _ in range(20_000)]
    for joining in joinings:
        clients.add(joining, Identity(user="ann"), None)
    began = time.perf_counter()
    for joining in joinings:
        assert clients.find(joining.socket) is not None
        clients.drop(joining.socket)
    assert time.perf_counter() - began < 1, "each costs the same, however many there are"
    assert len(clients) == 0


# --- revocation ----------------------------------------------------------------------------------

Revoke = Callable[[Identified], Awaitable[int | None]]


@pytest.mark.req("IDENT-39")
@pytest.mark.parametrize("by", ["user", "token"])
@trio_test
async def test_a_revocation_puts_out_the_clients_concerned(tmp_path: Path, by: str) -> None:
    async with (
        identified(jwt=jwt_options(tmp_path), tokens=STATIC) as here,
        here.client() as ann,
        here.client() as again,
        here.client() as bob,
    ):
        await ann.connect("/chat", {"token": token(jti="t1", iat=time.time() - 2)})
        await again.connect("/", {"token": token(jti="t1", iat=time.time() - 2)})
        await bob.connect("/chat", {"token": BOB})
        revoked: dict[str, Any] = {"user": "ann"} if by == "user" else {"token_id": "t1"}
        assert await here.revoke(**revoked) == 2
        await put_out(ann, REVOKED)
        assert await closes(ann)
        assert await closes(again)
        assert here.service.statistics().identified == 1
        assert here.service.statistics().put_out["revoked"] == 2
        assert await here.revoke(user="nobody") == 0


@pytest.mark.req("IDENT-39")
@trio_test
async def test_a_revocation_puts_out_no_newer_token() -> None:
    now = 1_000_000.0

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        return b'{"user": "ann"}'

    async with (
        identified(backend=True, ask_backend=ask, clock=lambda: now) as here,
        here.client() as client,
    ):
        await here.revoke(user="ann")
        now += 60.0
        await client.connect("/chat", {"token": "newer"})
        # This is how a client looks that comes while many others are being put out.
        assert not await here.service._clients.put_out_revoked([RevokedId(False, "ann")])
        assert here.service.statistics().identified == 1


class Leaving:
    """A socket that is not in its namespace any more."""

    connected = False
    _participant = None


@pytest.mark.req("IDENT-39")
@trio_test
async def test_a_client_that_leaves_while_others_are_put_out_is_not_counted() -> None:
    revocations = Revocations(60.0, 1, time.time)
    clients = Clients(revocations, Strangers(), 0.0, time.time)
    refusals: list[Any] = []
    joinings: list[Any] = [
        SimpleNamespace(socket=Leaving(), _refuse=refusals.append) for _ in range(600)
    ]
    added = [clients.add(joining, Identity(user="ann"), None) for joining in joinings]
    revocations.add(user="ann")
    ann = RevokedId(False, "ann")

    async def leave() -> None:
        added[-1].joining = None
        clients.drop(added[-1].socket)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        assert (await clients.put_out_revoked([ann]))[ann] == 599
    assert len(refusals) == 599


@pytest.mark.req("IDENT-40")
@trio_test
async def test_a_revoked_token_does_not_come_back(tmp_path: Path) -> None:
    async with (
        identified(jwt=jwt_options(tmp_path), tokens=STATIC) as here,
        here.client() as client,
    ):
        revoked = token(jti="t1")
        await here.revoke(token_id="t1")
        assert (await refused(client, {"token": revoked}))["data"] == REVOKED
        await client.connect("/chat", {"token": token(jti="t2")})
        await client.emit("auth", {"token": revoked}, namespace="/chat")
        assert await client.receive_event("/chat") == ["auth/reply", REVOKED]
        assert here.results()["jwt", "revoked"] == 2


@pytest.mark.req("IDENT-40")
@trio_test
async def test_a_revoked_user_needs_a_newer_token(tmp_path: Path) -> None:
    ahead_s = 0.0
    async with (
        identified(
            jwt=jwt_options(tmp_path), tokens=STATIC, clock=lambda: time.time() + ahead_s
        ) as here,
        here.client() as client,
    ):
        await here.revoke(user="ann")
        now = int(time.time())
        for old in (token(iat=now - 1), token(without=("iat",)), ANN):
            assert (await refused(client, {"token": old}))["data"] == REVOKED
        ahead_s = 10.0
        await client.connect("/chat", {"token": token(iat=now + 7)})


@pytest.mark.req("IDENT-39")
@pytest.mark.parametrize("stage", ["judging", "middleware", "seat"])
@pytest.mark.parametrize("by_event", [False, True])
@trio_test
async def test_clients_that_are_still_joining_are_reached(stage: str, by_event: bool) -> None:
    server, gate, waiting = Server(), trio.Event(), trio.Event()

    async def wait(_: Any) -> None:
        waiting.set()
        await gate.wait()

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        if stage == "judging":
            await wait(None)
        return b'{"user": "ann", "token_id": "t"}'

    server.of("/chat")
    if stage == "middleware":
        server.of("/chat").use(wait)
    elif stage == "seat":
        server.of("/chat").add_steps([Step(JoiningState.SEAT, wait)])
    async with (
        identified(server, backend=True, ask_backend=ask) as here,
        here.client() as client,
    ):
        if by_event:
            await client.connect("/chat")
            await client.emit("auth", {"token": "opaque"}, namespace="/chat")
        else:
            await client.send('0/chat,{"token":"opaque"}')
        with trio.fail_after(5):
            await waiting.wait()
        count = await here.revoke(user="ann")
        assert count == (0 if stage == "judging" else 1)
        gate.set()
        if by_event:
            assert await client.receive_event("/chat") == ["auth/reply", REVOKED]
            await put_out(client, REVOKED)
            assert await closes(client)
        else:
            assert (await client.receive())[0].startswith("4/chat,")
        await until(lambda: server.statistics().joining == 0)
        assert server.of("/chat").sockets == {}
        assert here.service.statistics().identified == 0


@pytest.mark.req("IDENT-41")
@trio_test
async def test_revocations_are_bounded_and_never_forgotten_early() -> None:
    async with identified(tokens=STATIC, max_revocations=2) as here, here.client() as client:
        await here.revoke(user="ann")
        await here.revoke(token_id="t")
        assert await here.revoke(user="bob") is None
        await refused(client, {"token": ANN})
        await client.connect("/chat", {"token": BOB})
        assert here.service.statistics().revocations == 2


def test_a_revocation_ends() -> None:
    now = 1000.0
    kept = Revocations(60.0, 3, lambda: now)
    ann = Identity(user="ann", token_id="t", issued_at_s=900.0)
    assert not kept.covers(ann)
    kept.add(user="ann")
    kept.add(user="ann", for_s=10.0)  # does not end the longer one
    kept.add(token_id="t", for_s=10.0)
    now = 1059.0
    assert kept.covers(ann)
    assert not kept.covers(Identity(user="ann", issued_at_s=1001.0))
    assert not kept.covers(Identity(user="bob", token_id="t"))
    now = 1060.0
    assert not kept.covers(ann)
    assert kept.add(user="bob")
    assert len(kept) == 1, "the others are over"
    assert kept.add(user="carl", for_s=1.0)
    now = 1062.0
    assert kept.add(user="dora")
    assert len(kept) == 2


@pytest.mark.req("IDENT-41")
def test_what_is_kept_already_needs_no_room() -> None:
    now = 1000.0
    kept = Revocations(60.0, 2, lambda: now)
    assert kept.add(user="ann", token_id="ann")
    assert not kept.add(user="bob")
    assert not kept.add(user="ann", token_id="t"), "one of them is new"
    now = 1030.0
    assert kept.add(user="ann")
    assert kept.covers(Identity(user="ann", issued_at_s=1010.0))
    now = 1060.0
    assert kept.add(user="bob"), "the token is over"
    assert kept.covers(Identity(user="ann", issued_at_s=1010.0)), "it was made again"
    assert not kept.covers(Identity(user="carl", token_id="ann"))
    now = 1091.0
    assert kept.add(user="carl")
    assert not kept.covers(Identity(user="ann"))
    assert len(kept) == 2


@pytest.mark.req("IDENT-41")
def test_a_full_book_is_looked_at_in_slices() -> None:
    now, bound = 1000.0, 5000
    kept = Revocations(60.0, bound, lambda: now)
    for number in range(bound):
        assert kept.add(token_id=str(number))
    assert not kept.add(token_id="x")
    now = 1060.0
    assert kept.add(token_id="x")
    assert bound - 100 < len(kept) < bound, "the others are forgotten later"


@pytest.mark.req("IDENT-63")
def test_the_clock_of_an_issuer_may_be_ahead() -> None:
    kept = Revocations(60.0, 3, lambda: 1000.0)
    kept.add(user="ann")
    for issued_at_s, revoked in ((1003.0, True), (1005.0, True), (1005.5, False)):
        ann = Identity(user="ann", issued_at_s=issued_at_s, leeway_s=5.0)
        assert kept.covers(ann) is revoked
    assert not kept.covers(Identity(user="ann", issued_at_s=1000.5)), "it is our own clock"


@pytest.mark.req("IDENT-63")
@trio_test
async def test_a_client_whose_issuer_is_ahead_is_put_out(tmp_path: Path) -> None:
    async with (
        identified(jwt=jwt_options(tmp_path)) as here,
        here.client() as client,
        here.client() as again,
    ):
        ahead = token(iat=int(time.time()) + 3)
        await client.connect("/chat", {"token": ahead})
        assert await here.revoke(user="ann") == 1
        assert (await refused(again, {"token": ahead}))["data"] == REVOKED


@pytest.mark.req("IDENT-65")
@trio_test
async def test_a_revocation_outlives_the_token(tmp_path: Path) -> None:
    ahead_s = 0.0
    jwt = jwt_options(tmp_path, leeway_s=5.0)
    async with (
        identified(jwt=jwt, max_lifetime_s=100.0, clock=lambda: time.time() + ahead_s) as here,
        here.client() as client,
    ):
        longest = token(jti="t", exp=int(time.time()) + 104)
        await here.revoke(token_id="t")
        for later_s in (0.0, 99.0, 107.0):
            ahead_s = later_s
            assert (await refused(client, {"token": longest}))["data"] == REVOKED


@pytest.mark.req("IDENT-37", "IDENT-40")
@trio_test
async def test_a_revocation_leaves_those_who_are_not_concerned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is newer than the revocation, and a client that has left already."""
    ahead_s = 0.0
    async with (
        identified(jwt=jwt_options(tmp_path), clock=lambda: time.time() + ahead_s) as here,
        here.client() as client,
    ):
        ahead_s = 60.0
        await client.connect("/chat", {"token": token(iat=int(time.time()) + 60)})
        ahead_s = 0.0
        assert await here.revoke(user="ann") == 0
        assert here.service.statistics().identified == 1
        ahead_s = 120.0
        (socket,) = here.server.of("/chat").sockets.values()
        record = here.service._clients.find(socket)
        assert record is not None
        monkeypatch.setattr(here.service._clients, "drop", lambda _: None)
        socket.disconnect()
        assert not record.is_there
        assert await here.revoke(user="ann") == 0
        assert here.service.statistics().put_out["revoked"] == 0


@trio_test
async def test_many_clients_of_a_user_are_put_out_in_slices() -> None:
    server = Server()
    names = [f"/n{number}" for number in range(300)]
    for name in names:
        server.of(name)
    async with identified(server) as here, trio.open_nursery() as nursery:

        async def come(chunk: list[str]) -> None:
            async with here.client() as client:
                for name in chunk:
                    await client.connect(name, {"token": ANN})
                await trio.sleep_forever()

        for start in range(0, 300, 60):
            nursery.start_soon(come, names[start : start + 60])
        await until(lambda: here.service.statistics().identified == 300)
        assert await here.revoke(user="ann") == 300
        assert here.service.statistics().identified == 0
        nursery.cancel_scope.cancel()
