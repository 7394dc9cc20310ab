"""Presence as webhooks: in order, nothing lost silently, whatever the receiver does."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from tests.http.answering import Answers, Asked, Raw, answer, answering
from tests.im.hook_receiver import SECRET, Receiver
from tests.im.test_memory_store import claim, open_store, release
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.presence import MemoryStore, StoreUnavailable
from trio_socketio.im.presence.courier import Courier, prepare_address
from trio_socketio.im.presence.hook_metrics import WebhookCollector
from trio_socketio.im.presence.hook_options import PresenceWebhookOptions
from trio_socketio.im.presence.webhook import PresenceWebhook
from trio_socketio.protocol.presence_claims import Count
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import GenerationChanged

LOGGERS = tuple(f"trio_socketio.im.presence.{name}" for name in ("courier", "report", "webhook"))


def options(folder: Path, address: str, **changes: Any) -> PresenceWebhookOptions:
    path = folder / "secret"
    path.write_text(SECRET + "\n")
    given: dict[str, Any] = {
        "url": address,
        "secret_file": str(path),
        "namespaces": ("/chat",),
        "retry_first_s": 0.02,
        "retry_max_s": 0.05,
        "timeout_s": 2.0,
    }
    return PresenceWebhookOptions(**given | changes)


@asynccontextmanager
async def reporting(
    store: Any, folder: Path, server: Answers, **changes: Any
) -> AsyncIterator[PresenceWebhook]:
    """Report until the block ends; then what is left is taken, or the time is over."""
    hook = PresenceWebhook(store, options(folder, server.url, **changes))
    async with trio.open_nursery() as nursery:
        await nursery.start(hook.run)
        try:
            yield hook
        finally:
            hook.end()


def received(server: Answers) -> Receiver:
    """What a receiver has understood that took every request of the server."""
    receiver = Receiver()
    for asked in server.asked:
        receiver.take(asked)
    return receiver


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - on the other side of a socket
            await trio.sleep(0.005)


def types(receiver: Receiver) -> list[str]:
    return [entry["type"] for entry in receiver.entries]


@pytest.mark.req("HOOK-01", "HOOK-02", "HOOK-05")
@trio_test
async def test_the_log_is_posted_in_order_and_signed(tmp_path: Path) -> None:
    store = await open_store()
    await claim(store, "before", 1, "/chat")
    async with answering("") as server:
        async with reporting(store, tmp_path, server) as hook:
            await until(lambda: bool(server.asked))
            for number in range(2, 40):
                await claim(store, "ann", number, "/chat")
                await claim(store, f"user {number}", 100 + number, "/chat")
                await release(store, f"user {number}", 100 + number, "/chat")
                await trio.lowlevel.checkpoint()
            await release(store, "ann", 39, "/chat")
            await claim(store, "elsewhere", 1, "/other")
        receiver = received(server)
        assert receiver.gaps == ["started"]
        assert receiver.users.keys() == {"before"}
        assert types(receiver)[:4] == ["online", "online", "offline", "moved"]
        assert len(receiver.entries) == 38 * 3 + 1
        assert receiver.repeated == 0
        assert hook.statistics().lag == {"/chat": 0}
        assert hook.statistics().lag_s == 0
        assert hook.statistics().attempts == {"accepted": len(server.asked)}


@pytest.mark.req("HOOK-03")
@trio_test
async def test_one_request_is_in_flight_whatever_happens_meanwhile(tmp_path: Path) -> None:
    store, waiting, most = await open_store(), 0, 0

    async def give(_: Asked) -> bytes:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await trio.sleep(0.01)
        waiting -= 1
        return answer("")

    async with answering("") as server:
        server.answering = give
        async with reporting(store, tmp_path, server, namespaces=("/a", "/b", "/chat")):
            for number in range(30):
                for name in ("/a", "/b", "/chat"):
                    await claim(store, f"user {number}", number, name)
                await trio.sleep(0.002)
    assert most == 1
    assert len(received(server).entries) == 30
    assert len(server.asked) < 60, "what came while a request was in flight is joined"


@pytest.mark.req("HOOK-03")
@pytest.mark.parametrize(
    "bad",
    [
        answer("", 500),
        answer("", 302, "Location: /elsewhere\r\n"),
        answer("", 401),
        answer("", 410),
        answer("", 429),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),  # and closes
        Raw(b"HTTP/1.1 200 OK\r\n"),
        Raw(b"nonsense\r\n\r\n"),
        answer("x" * 70_000),
        Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
@trio_test
async def test_whatever_is_not_2xx_is_tried_again(
    tmp_path: Path, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store, refusals = await open_store(), 4
    good: list[Asked] = []

    async def give(asked: Asked) -> bytes:
        nonlocal refusals
        if asked.json["records"][0]["type"] == "gap":
            return answer("", 204)
        refusals -= 1
        if refusals >= 0:
            server.hangs_up = isinstance(bad, Raw)
            return bad
        server.hangs_up = False
        good.append(asked)
        return answer("", 202)

    async with answering("") as server:
        server.answering = give
        async with reporting(store, tmp_path, server) as hook:
            await until(lambda: bool(server.asked))
            await claim(store, "ann", 1, "/chat")
            await until(lambda: bool(good))
        told = [asked.body for asked in server.asked[1:]]
        assert len(told) >= 4
        assert set(told[:5]) == {told[0]}, "the same at every attempt"
        signatures = [asked.headers["trio-socketio-signature"] for asked in server.asked]
        assert len(set(signatures)) == len(signatures)
        assert received(server).repeated == len(told) - 1
        assert sum(hook.statistics().attempts.values()) == len(server.asked)
    lines = [record for record in caplog.records if record.name in LOGGERS]
    assert [record.levelno for record in lines] == [logging.WARNING, logging.INFO]
    assert "see that the receiver runs" in lines[0].getMessage()
    assert "after 4 failures" in lines[1].getMessage()
    assert SECRET not in caplog.text


@pytest.mark.req("HOOK-03")
@trio_test
async def test_a_receiver_that_is_not_there_or_hangs_is_asked_again(tmp_path: Path) -> None:
    store = await open_store()
    async with answering() as server:
        async with reporting(store, tmp_path, server, timeout_s=0.05) as hook:
            await claim(store, "ann", 1, "/chat")
            await until(lambda: hook.statistics().attempts.get("failed", 0) >= 3)
            server.answers("")
            await until(lambda: "accepted" in hook.statistics().attempts)
        assert received(server).users.keys() == {"ann"}
    hook = PresenceWebhook(store, options(tmp_path, server.url))  # nobody listens any more
    async with trio.open_nursery() as nursery:
        await nursery.start(hook.run)
        await until(lambda: hook.statistics().attempts.get("failed", 0) >= 3)
        nursery.cancel_scope.cancel()


@pytest.mark.req("HOOK-06", "HOOK-07", "HOOK-08")
@trio_test
async def test_an_outage_that_outlasts_the_log_is_told_as_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(max_events=10)
    async with answering("") as server:
        async with reporting(store, tmp_path, server, batch_entries=4) as hook:
            await until(lambda: bool(server.asked))
            server.answers("", 503)
            for number in range(25):
                await claim(store, f"user {number}", number, "/chat")
            await until(lambda: hook.statistics().attempts.get("failed", 0) >= 3)
            assert hook.statistics().lag == {"/chat": 25}
            assert hook.statistics().lag_s > 0
            server.answers("")
            await until(lambda: hook.statistics().lag == {"/chat": 0})
            await claim(store, "after", 99, "/chat")
        receiver = received(server)
        assert receiver.gaps == ["started", "cursor_expired"]
        assert receiver.users.keys() == {f"user {number}" for number in range(25)} | {"after"}
        assert hook.statistics().gaps == {"started": 1, "cursor_expired": 1}
        pages = [asked.json for asked in server.asked if "snapshot" in asked.body.decode()][-7:]
        assert [len(page["records"][-1]["users"]) for page in pages] == [4] * 6 + [1]
        assert [page["cursor"] is None for page in pages] == [True] * 6 + [False]
    told = [line for line in caplog.messages if "has missed entries" in line]
    assert len(told) == 1
    assert "max_events" in told[0]
    assert caplog.text.count("is not reported to") == 1, "once for each outage"


class Changing(MemoryStore):
    """A store whose log begins anew when it is told to."""

    is_other = False

    async def read(self, namespace: str, cursor: Cursor, limit: int) -> Any:
        if self.is_other:
            self.is_other = False
            await trio.lowlevel.checkpoint()
            return GenerationChanged((await self.count(namespace)).cursor)
        return await super().read(namespace, cursor, limit)


@pytest.mark.req("HOOK-07")
@trio_test
async def test_a_new_log_is_told_as_a_gap(tmp_path: Path) -> None:
    store = Changing()
    await store.enroll("a", "a1")
    async with answering("") as server:
        async with reporting(store, tmp_path, server):
            await until(lambda: bool(server.asked))
            store.is_other = True
            await claim(store, "ann", 1, "/chat")
            await claim(store, "bob", 2, "/chat")
            await until(lambda: len(server.asked) == 2)
            await release(store, "bob", 2, "/chat")
        receiver = received(server)
        assert receiver.gaps == ["started", "generation_changed"]
        assert receiver.users.keys() == {"ann"}


@pytest.mark.req("HOOK-04")
@trio_test
async def test_requests_are_bounded_in_entries_and_bytes(tmp_path: Path) -> None:
    store = await open_store()
    users = [f"{number:04}" + "x" * 90 for number in range(60)]
    for number, user in enumerate(users):
        await claim(store, user, number, "/chat")
    async with answering("") as server:
        async with reporting(store, tmp_path, server, batch_bytes=2000, batch_entries=50):
            await until(lambda: bool(server.asked))
            server.answers("", 500)
            for number, user in enumerate(users):
                await release(store, user, number, "/chat")
            await trio.sleep(0.05)
            server.answers("")
        receiver = received(server)
        assert receiver.users == {}
        assert len(receiver.entries) == 60
        assert max(len(asked.body) for asked in server.asked) < 2300
        entries = [asked.json["records"] for asked in server.asked if "gap" not in asked.json]
        assert max(map(len, entries)) <= 50


@pytest.mark.req("HOOK-09")
@trio_test
async def test_what_is_left_is_sent_at_the_end_within_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    async with answering("") as server:
        async with reporting(store, tmp_path, server, retry_first_s=30.0, retry_max_s=30.0) as hook:
            await until(lambda: bool(server.asked))
            server.answers("", 500)
            await claim(store, "ann", 1, "/chat")
            await until(lambda: "failed" in hook.statistics().attempts)
            server.answers("")  # while it waits half a minute for the next attempt
        assert received(server).users.keys() == {"ann"}
        server.hangs()
        began = trio.current_time()
        async with reporting(store, tmp_path, server, stop_s=0.2) as hook:
            await trio.sleep(0.05)
        assert trio.current_time() - began < 2
    assert "has not taken everything within 0.2 s" in caplog.text


@trio_test
async def test_a_store_that_is_away_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.im.presence.insisting.RETRY_S", 0.01)
    store = await open_store()
    inner, failures = store.wait_for_more, 3

    async def fail(namespace: str, cursor: Cursor) -> None:
        nonlocal failures
        await trio.lowlevel.checkpoint()
        if failures:
            failures -= 1
            raise StoreUnavailable("away")
        await inner(namespace, cursor)

    async def fail_to_count(namespace: str) -> Count:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "wait_for_more", fail)
    monkeypatch.setattr(store, "count", fail_to_count)
    async with answering("", 500) as server:
        async with reporting(store, tmp_path, server):
            await until(lambda: len(server.asked) > 1)
            server.answers("")
            await claim(store, "ann", 1, "/chat")
            await until(lambda: not failures)
        assert received(server).users.keys() == {"ann"}


@pytest.mark.req("HOOK-03", "HOOK-08")
@trio_test
async def test_waits_grow_and_are_spread(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_at: list[float] = []
    given = options(tmp_path, "http://127.0.0.1:1/", retry_first_s=1.0, retry_max_s=8.0)

    async def note() -> None:
        asked_at.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    failures = iter(["it answered 500"] * 20 + ["it answered 401"] * 20)

    async def fail(_: bytes) -> str:
        await trio.lowlevel.checkpoint()
        return next(failures)

    courier = Courier(prepare_address(given), given, note, chance=lambda: 1.0)
    monkeypatch.setattr(courier, "_attempt", fail)
    with trio.move_on_after(200):
        await courier.deliver(b"")
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits[:6] == [1, 2, 4, 8, 8, 8]
    told = [line for line in caplog.messages if "is not reported" in line]
    assert ["answered 500" in told[0], "answered 401" in told[1]] == [True, True]
    assert len(told) == 2, "another failure is told, the same one is not"


@trio_test
async def test_metrics_tell_how_far_behind_it_is(tmp_path: Path) -> None:
    store = await open_store()
    async with answering("") as server, reporting(store, tmp_path, server) as hook:
        await until(lambda: "accepted" in hook.statistics().attempts)
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in WebhookCollector(hook).collect()
            for sample in metric.samples
        }
        assert found["tsio_presence_webhook_attempts_total", "accepted"] == 1
        assert found["tsio_presence_webhook_attempts_total", "refused"] == 0
        assert found["tsio_presence_webhook_gaps_total", "started"] == 1
        assert found["tsio_presence_webhook_lag_entries", "/chat"] == 0
        assert found["tsio_presence_webhook_lag_seconds",] == 0
        await wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"url": "http://a.example/"}, "cleartext"),
        ({"secret_file": ""}, "path of a file"),
        ({"namespaces": ()}, "expected a list of names"),
        ({"namespaces": "/chat"}, "expected a list of names"),
        ({"namespaces": ("chat",)}, "expected names of namespaces"),
        ({"namespaces": ("/chat-*",)}, "expected names of namespaces"),
        ({"namespaces": ("/a", "/a")}, "there twice"),
        ({"batch_entries": 0}, "above zero"),
        ({"batch_bytes": 10}, "must be 1024"),
        ({"timeout_s": 61.0}, "must be"),
        ({"stop_s": 5.0}, "must be"),
        ({"retry_first_s": 2.0, "retry_max_s": 1.0}, "more than retry_max_s"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(OptionError, match=fault):
        options(tmp_path, "https://a.example/", **changes)


@pytest.mark.parametrize("content", [None, "short"])
def test_a_secret_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    given = options(tmp_path, "https://a.example/")
    path = tmp_path / "secret"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        prepare_address(given)
    assert str(path) in str(caught.value)
