"""A server with presence whose users come and go in its store, at the test's word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from tests.control.serving import Controlled, RawPeer, controlled

from trio_socketio import Server
from trio_socketio.im.presence import Cursor, MemoryStore, Presence, PresenceStore, parse_cursor
from trio_socketio.protocol.presence_claims import Claimed, ClaimRef, ClaimRequest, Released

CHAT = "/chat"


class Restartable(MemoryStore):
    """Can lose all that it has, as a store does that is restored from an old copy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._max = options
        self._waits: set[trio.CancelScope] = set()

    def restart(self) -> None:
        fresh = MemoryStore(**self._max)
        fresh._books._generation = self._books._generation + 10
        self._books, self._leases = fresh._books, fresh._leases
        for scope in self._waits:
            scope.cancel()

    async def wait_for_more(self, namespace: str, cursor: Cursor) -> None:
        with trio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await super().wait_for_more(namespace, cursor)
            finally:
                self._waits.discard(scope)


class Crowd:
    """Users that come and go, without clients.

    Attributes:
        online: the token of each user that is online.
    """

    def __init__(self, store: PresenceStore, namespace: str = CHAT) -> None:
        self.store = store
        self.namespace = namespace
        self.online: dict[str, Cursor] = {}
        self._attempts = 0

    async def start(self) -> None:
        await self.store.enroll("a", "a1")

    async def come(self, *users: str) -> None:
        """Users log in; one that is in already moves."""
        for user in users:
            self._attempts += 1
            request = ClaimRequest(
                namespace=self.namespace,
                user=user,
                id=f"{self._attempts:020}",
                node="a",
                boot="a1",
                attempt=self._attempts,
            )
            claimed = await self.store.claim(request)
            assert isinstance(claimed, Claimed)
            for order in claimed.orders:
                await self.store.confirm(order)
            self.online[user] = claimed.token

    async def go(self, *users: str) -> None:
        """Users leave."""
        for user in users:
            ref = ClaimRef(
                namespace=self.namespace,
                user=user,
                boot="a1",
                attempt=0,
                token=self.online.pop(user),
            )
            assert isinstance(await self.store.release(ref, "transport close"), Released)

    async def churn(self, events: int, users: int = 500) -> None:
        """Write so many entries: users come and go in turn."""
        for number in range(events):
            user = f"user {number * 7919 % users}"
            if user in self.online:
                await self.go(user)
            else:
                await self.come(user)

    async def head(self) -> Cursor:
        return (await self.store.count(self.namespace)).cursor


@asynccontextmanager
async def crowded(
    folder: Path, store: PresenceStore | None = None, **options: Any
) -> AsyncIterator[tuple[Controlled, Crowd]]:
    """A server with a control socket and presence in /chat."""
    server = Server()
    presence = Presence(server, MemoryStore() if store is None else store)
    presence.seat(CHAT)
    async with controlled(folder, server, **options) as where:
        crowd = Crowd(presence.store)
        await crowd.start()
        yield where, crowd


class Follower:
    """A raw peer that keeps what it is sent.

    Attributes:
        entries: all entries, as they came.
        notices: all notifications.
    """

    def __init__(self, raw: RawPeer) -> None:
        self.raw = raw
        self.notices: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []

    async def subscribe(self, **params: Any) -> dict[str, Any]:
        params.setdefault("namespace", CHAT)
        subscribed: dict[str, Any] = await self.raw.call("presence.subscribe", **params)
        return subscribed

    async def receive(self) -> dict[str, Any]:
        """The next notification."""
        message = await self.raw.receive()
        assert message["method"] == "backend.presence", message
        notice: dict[str, Any] = message["params"]
        assert set(notice) <= {"subscription", "entries", "cursor", "error"}
        self.notices.append(notice)
        self.entries += notice["entries"]
        if notice["entries"]:
            assert notice["cursor"] == notice["entries"][-1]["cursor"]
        return notice

    async def receive_entries(self, number: int) -> None:
        """Receive until so many entries have come in all."""
        while len(self.entries) < number:
            assert "error" not in await self.receive()
        assert len(self.entries) == number

    async def ack(self, notice: dict[str, Any]) -> None:
        """Acknowledge, without asking for an answer."""
        params = {"subscription": notice["subscription"], "cursor": notice["cursor"]}
        await self.raw.send({"jsonrpc": "2.0", "method": "presence.ack", "params": params})

    async def is_silent(self, seconds: float = 0.1) -> bool:
        try:
            await self.raw.receive(seconds)
        except trio.TooSlowError:
            return True
        return False

    @property
    def sequences(self) -> list[int]:
        return [parse_cursor(entry["cursor"]).sequence for entry in self.entries]


def fold(entries: list[dict[str, Any]], users: dict[str, set[str]]) -> None:
    """Apply entries to the seats of users, as the description of presence.snapshot says."""
    for entry in entries:
        seats = users.setdefault(entry["user"], set())
        if entry["type"] in ("online", "moved", "seat_added"):
            seats.add(entry["token"])
        if entry["type"] == "moved":
            seats.discard(entry["prev"])
        if entry["type"] in ("offline", "seat_removed"):
            seats.discard(entry["token"])
        if not seats:
            del users[entry["user"]]
