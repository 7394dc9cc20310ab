"""Revocations of tokens that do not say how old they are, and how they are lifted."""

import time
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import controlled, peer
from tests.im.identity.identified import ANN, STATIC, Identified, identified, jwt_options
from tests.im.identity.test_control import chat_server
from tests.im.identity.test_ends import REVOKED
from tests.im.identity.test_gate import closes, refused
from tests.im.identity.test_reload import reload
from tests.im.identity.tokens import token
from tests.socketio.serving import until
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.im.identity.identity import Identity
from trio_socketio.im.identity.options import IdentityOptions, StaticToken
from trio_socketio.im.identity.revocations import Revocations, RevokedId


async def say_ann(namespace: str, question: Any, timeout_s: float) -> bytes:
    return b'{"user": "ann"}'


async def say_when(namespace: str, question: Any, timeout_s: float) -> bytes:
    return b'{"user": "ann", "issued_at_s": %s}' % str(question.token).encode()


async def comes_in(here: Identified, text: str) -> bool:
    """Whether a new client gets in with a token."""
    async with here.client() as client:
        await client.send(f'0/chat,{{"token":"{text}"}}')
        answer = str((await client.receive())[0])
        assert answer.startswith(("0/chat,", "4/chat,"))
        return answer[0] == "0"


@pytest.mark.req("IDENT-76")
@pytest.mark.parametrize("at_revocation", ["in", "refreshed", "left", "joining"])
@trio_test
async def test_a_token_without_a_date_stays_out(at_revocation: str) -> None:
    """However its client is doing when its user is revoked."""
    now = 1_000_000.0
    is_judging, decides = trio.Event(), trio.Event()

    async def ask(namespace: str, question: Any, timeout_s: float) -> bytes:
        if at_revocation == "joining":
            is_judging.set()
            await decides.wait()
        return b'{"user": "ann"}'

    async with (
        identified(backend=True, ask_backend=ask, clock=lambda: now) as here,
        here.client() as client,
    ):
        if at_revocation == "joining":
            await client.send('0/chat,{"token":"opaque"}')
            await is_judging.wait()
        else:
            await client.connect("/chat", {"token": "opaque"})
        if at_revocation == "refreshed":
            await client.emit("auth", {"token": "second"}, namespace="/chat")
            await client.receive_event("/chat")
        if at_revocation == "left":
            await client.send("1/chat,")
            await until(lambda: here.service.statistics().identified == 0)
        now += 1.0
        count = await here.revoke(user="ann")
        assert count == (0 if at_revocation in ("left", "joining") else 1)
        now += 1.0
        decides.set()
        if at_revocation == "joining":
            assert (await client.receive())[0].startswith("4/chat,")
        assert not await comes_in(here, "opaque")
        assert await comes_in(here, "second") is (at_revocation != "refreshed")
        now += 31 * 86_400.0
        assert await comes_in(here, "opaque"), "the revocation is over"


@pytest.mark.req("IDENT-76")
@trio_test
async def test_a_client_cannot_return_to_such_a_token() -> None:
    now = 1_000_000.0
    async with (
        identified(backend=True, ask_backend=say_ann, clock=lambda: now) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": "opaque"})
        await here.revoke(user="ann")
        now += 1.0
        async with here.client() as again:
            await again.connect("/chat", {"token": "another"})
            await again.emit("auth", {"token": "opaque"}, namespace="/chat")
            assert await again.receive_event("/chat") == ["auth/reply", REVOKED]


@pytest.mark.req("IDENT-76")
@trio_test
async def test_a_token_with_a_date_is_told_by_that(tmp_path: Path) -> None:
    now = 1_000_000.0
    async with identified(backend=True, ask_backend=say_when, clock=lambda: now) as here:
        assert await comes_in(here, "999990")
        await here.revoke(user="ann")
        now += 10.0
        assert not await comes_in(here, "999990")
        assert await comes_in(here, "1000009")
        assert here.service._clients._left == {}, "nothing has to be remembered of such tokens"


@trio_test
async def test_few_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.im.identity.clients.MAX_LEFT", 3)
    async with identified(backend=True, ask_backend=say_ann) as here:
        for number in range(5):
            assert await comes_in(here, f"opaque-{number}")
        await until(lambda: here.service.statistics().identified == 0)
        assert len(here.service._clients.undated_tokens("ann")) == 3
        assert here.service._clients.undated_tokens("bob") == set()


@pytest.mark.req("IDENT-41", "IDENT-78")
def test_tokens_without_a_date_take_room() -> None:
    now = 1000.0
    kept = Revocations(60.0, 3, lambda: now)
    assert kept.add(user="ann", undated=["a"]) == 1060.0
    assert kept.add(user="ann", undated=["a", "b"], for_s=1.0) == 1060.0, "the later end holds"
    assert kept.add(token_id="t") is None
    assert kept.add(user="ann", undated=["c"]) is None
    now = 1030.0

    def covers(token_id: str) -> bool:
        return kept.covers(Identity(user="ann", token_id=token_id, issued_at_s=now, is_dated=False))

    assert (covers("a"), covers("b"), covers("c")) == (True, True, False)
    kept.keep_out(Identity(user="ann", token_id="d", is_dated=False))
    kept.keep_out(Identity(user="ann", token_id="e"))
    kept.keep_out(Identity(user="bob", token_id="f", is_dated=False))
    assert (covers("d"), covers("e")) == (True, False)
    assert kept.lift(user="ann")
    assert not kept.lift(user="ann")
    assert not covers("a")
    assert kept.add(token_id="t"), "there is room again"
    assert kept.add(token_id="u")
    assert kept.lift(token_id="t")
    now = 1095.0
    assert not kept.lift(token_id="u"), "it was over"
    assert len(kept) == 0


@pytest.mark.req("IDENT-78")
def test_the_others_end_in_their_order_after_one_is_lifted() -> None:
    now = 1000.0
    kept = Revocations(60.0, 10, lambda: now)
    for seconds in (1, 5, 2, 6, 7, 3):
        assert kept.add(token_id=str(seconds), for_s=float(seconds))
    assert kept.lift(token_id="1")
    now = 1004.0
    assert kept.add(user="ann")
    assert len(kept) == 4, "5, 6, 7 and ann"


@pytest.mark.req("IDENT-77")
@trio_test
async def test_another_static_token_is_accepted() -> None:
    now = 1_000_000.0
    async with identified(tokens=STATIC, clock=lambda: now) as here:
        now += 1.0
        await here.revoke(user="ann")
        await reload(here, tokens=STATIC)
        assert not await comes_in(here, ANN), "a reload that changes nothing does not help"
        tokens = (StaticToken(user="ann", token="another-token"), *STATIC)
        await reload(here, tokens=tokens)
        assert not await comes_in(here, ANN)
        assert await comes_in(here, "another-token")


@pytest.mark.req("IDENT-78")
@trio_test
async def test_a_revocation_is_lifted(tmp_path: Path) -> None:
    identity = IdentityOptions(tokens=STATIC, jwt=jwt_options(tmp_path))
    undated, named = token(without=("iat",)), token(jti="t1")
    async with (
        controlled(tmp_path, chat_server(), identity=identity) as where,
        peer(where) as raw,
    ):
        began = time.time()
        revoked = await raw.call("auth.revoke", user="ann")
        assert revoked["until_s"] - began == pytest.approx(30 * 86_400 + 10, abs=5)
        await raw.call("auth.revoke", token_id="t1")
        async with open_client(where.port) as client:
            for text in (undated, ANN, named):
                assert (await refused(client, {"token": text}))["data"] == REVOKED
            assert await raw.call("auth.unrevoke", user="ann") == {"done": True}
            assert await raw.call("auth.unrevoke", user="ann") == {"done": False}
            assert (await refused(client, {"token": named}))["data"] == REVOKED
            await client.connect("/chat", {"token": undated})
        assert await raw.call("auth.unrevoke", token_id="t1") == {"done": True}
        async with where.client("/chat", auth={"token": named}):
            pass
        for params in ({}, {"user": "ann", "token_id": "t"}, {"user": ""}):
            error = await raw.fail("auth.unrevoke", **params)
            assert error["code"] == Code.INVALID_PARAMS


@pytest.mark.req("IDENT-78")
@trio_test
async def test_what_was_revoked_without_a_date_is_lifted_too() -> None:
    async with (
        identified(backend=True, ask_backend=say_ann) as here,
        here.client() as client,
    ):
        await client.connect("/chat", {"token": "opaque"})
        assert await here.revoke(user="ann") == 1
        assert await closes(client)
        assert not await comes_in(here, "opaque")
        assert (await here.service.revoking.unrevoke(RevokedId(False, "ann"))).done
        assert await comes_in(here, "opaque")
