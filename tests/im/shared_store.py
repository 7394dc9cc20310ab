"""A store in memory that several servers of a test share, as nodes share a Redis."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from trio_socketio.im.presence import MemoryStore, StoreUnavailable
from trio_socketio.protocol.presence_claims import Absent, Count, Kicked, Page, Present


class SharedStore(MemoryStore):
    """Does what is done here for all servers that have it.

    Attributes:
        is_rebuilding: whether it says that it may lack claims.
        is_away: whether it answers nothing.
        kicks: the users of all kicks.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_rebuilding = False
        self.is_away = False
        self.kicks: list[str] = []

    @property
    def is_shared(self) -> bool:
        return True

    async def kick(self, namespace: str, user: str) -> Kicked | Absent:
        self._answer()
        self.kicks.append(user)
        return await super().kick(namespace, user)

    async def get(self, namespace: str, users: Iterable[str]) -> Present:
        self._answer()
        return replace(await super().get(namespace, users), is_rebuilding=self.is_rebuilding)

    async def count(self, namespace: str) -> Count:
        self._answer()
        return replace(await super().count(namespace), is_rebuilding=self.is_rebuilding)

    async def list_users(self, namespace: str, after: str | None, limit: int) -> Page:
        self._answer()
        found = await super().list_users(namespace, after, limit)
        return replace(found, is_rebuilding=self.is_rebuilding)

    def _answer(self) -> None:
        if self.is_away:
            raise StoreUnavailable("as the test wants it")
