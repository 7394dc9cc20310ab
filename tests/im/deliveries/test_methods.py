"""The methods deliver and deliveries.* over a control socket, with clients on connections."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import Controlled, RawPeer, controlled, peer
from tests.im.deliveries.world import CHAT, make_place
from tests.socketio.serving import until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.codec.json_rpc import Code
from trio_socketio.im.deliveries.metrics import DeliveriesCollector
from trio_socketio.im.deliveries.service import Deliveries


@asynccontextmanager
async def world(
    folder: Path, **options: Any
) -> AsyncIterator[tuple[Controlled, RawPeer, Deliveries]]:
    place = make_place(Server(), **options)
    async with AsyncExitStack() as stack:
        serve = controlled(folder, place.server, deliveries=place.deliveries)
        where = await stack.enter_async_context(serve)
        tasks = await stack.enter_async_context(trio.open_nursery())
        await tasks.start(place.deliveries.run)
        yield where, await stack.enter_async_context(peer(where)), place.deliveries
        tasks.cancel_scope.cancel()


async def acknowledge(client: SocketIOClient, *answer: Any) -> list[Any]:
    """Answer the next event; return it."""
    text, _ = await client.receive()
    found = re.fullmatch(rf"2{CHAT},(\d+)(\[.*)", text)
    assert found is not None, text
    await client.send(f"3{CHAT},{found[1]}{json.dumps(answer)}")
    event: list[Any] = json.loads(found[2])
    return event


@pytest.mark.req("DELIV-09", "DELIV-40", "DELIV-41")
@trio_test
async def test_a_backend_sends_a_message_and_reads_the_report(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as (where, raw, _),
        where.client(CHAT, auth={"user": "ann"}) as (ann, _),
        where.client(CHAT, auth={"user": "7"}) as (carl, _),
    ):
        result = await raw.call(
            "deliver",
            namespace="chat",
            event="news",
            args=[{"id": "m1", "n": 1.50, "raw": {"$bytes": "AAE="}}, 12345678901234567890],
            users=["ann", 7, "bob"],
            sender=8,
        )
        assert result == {
            "id": "m1",
            "targets": 3,
            "confirmed": 0,
            "state": "open",
            "is_new": True,
        }
        text, attachments = await ann.receive()
        assert attachments == [b"\x00\x01"]
        assert text.startswith(f"51-{CHAT},")
        asked = re.match(r"51-/chat,(\d+)", text)
        assert asked is not None
        await ann.send(f"3{CHAT},{asked[1]}[]")
        await carl.receive()
        with trio.fail_after(5):
            while True:
                report = await raw.call("deliveries.get", id="m1", namespace=CHAT)
                if report["confirmed"]:
                    break
                await trio.sleep(0.02)
        assert report["unconfirmed"] == ["7", "bob"]
        ((confirmation),) = report["confirmed"]
        assert confirmation["user"] == "ann"
        assert report["accepted_at_s"] <= confirmation["at_s"] < report["expires_at_s"]
        assert (report["state"], report["sender"], report["ended_at_s"]) == ("open", "8", None)
        assert (report["event"], report["rooms"], report["namespace"]) == ("news", [], CHAT)


@pytest.mark.req("DELIV-42")
@trio_test
async def test_deliveries_are_listed_page_by_page(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as (where, raw, deliveries),
        where.client(CHAT, auth={"user": "ann"}) as (ann, _),
    ):
        for name in ("a", "b", "c", "d"):
            user = "ann" if name in "bc" else "bob"
            await raw.call(
                "deliver", namespace=CHAT, event="news", args=[{"id": name}], users=[user]
            )
        for name in ("b", "c"):
            assert await acknowledge(ann, "whatever") == ["news", {"id": name}]
        await until(lambda: deliveries.statistics().confirmed == 2)

        async def page(**params: Any) -> tuple[list[str], str | None]:
            found = await raw.call("deliveries.list", namespace=CHAT, **params)
            return [one["id"] for one in found["deliveries"]], found["next"]

        assert await page() == (["a", "b", "c", "d"], None)
        assert await page(limit=2) == (["a", "b"], "b")
        assert await page(limit=2, after="b") == (["c", "d"], "d")
        assert await page(limit=2, after="d") == ([], None)
        assert await page(state="confirmed", limit=3) == (["b", "c"], "c")
        assert await page(state="open") == (["a", "d"], None)
        assert await page(state="expired") == ([], None)
        assert (await raw.call("deliveries.list", namespace=CHAT))["deliveries"][1][
            "confirmed"
        ] == 1
        families = {one.name: one for one in DeliveriesCollector(deliveries).collect()}
        assert families["tsio_deliveries_accepted"].samples[0].value == 4
        assert {
            one.labels["result"]: one.value for one in families["tsio_delivery_targets"].samples
        } == {"confirmed": 2, "unconfirmed": 0}


@pytest.mark.req("DELIV-26")
@trio_test
async def test_what_cannot_be_done_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, raw, _):
        order: dict[str, Any] = {"namespace": CHAT, "event": "e", "args": [{}], "users": ["a"]}
        for change, code, reason in (
            ({"args": []}, Code.INVALID_PARAMS, "args: the first argument has to be an object"),
            ({"users": []}, Code.INVALID_PARAMS, "users: expected users, rooms, or both"),
            ({"schedule_s": [3, 2]}, Code.INVALID_PARAMS, "schedule_s: expected ascending times"),
            ({"expires_s": 0}, Code.INVALID_PARAMS, "expires_s: expected a number, above 0"),
            ({"namespace": "/none"}, Code.NOT_FOUND, "there is no namespace '/none'"),
            ({"durable": True}, Code.INVALID_PARAMS, "durable: nothing outlives this program"),
            (
                {"args": [{"text": "x" * 70_000}]},
                Code.TOO_LARGE,
                "but 65536 at most are delivered",
            ),
        ):
            error = await raw.fail("deliver", **{**order, **change})
            assert error["code"] == code
            assert reason in error["message"]
        error = await raw.fail("deliveries.get", id="none", namespace=CHAT)
        assert error["code"] == Code.NOT_FOUND
        assert "there is no delivery 'none'" in error["message"]
        error = await raw.fail("deliveries.list", after="\n")
        assert "the value of next from the previous page" in error["message"]


@trio_test
async def test_a_server_without_deliveries_says_so(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        error = await raw.fail("deliveries.list")
        assert error["code"] == Code.UNAVAILABLE
