"""Follows a presence log as a backend does, and refuses whatever cannot be true."""

from trio_socketio.im.presence.store import PresenceStore
from trio_socketio.protocol.presence_claims import Seat
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import Entries, Entry

PAGE = 3


class Reader:
    """What the log of one namespace says, entry by entry.

    Args:
        store: has the log.
        namespace: the name.
        page: how many entries to read at once.
    """

    def __init__(self, store: PresenceStore, namespace: str, page: int = PAGE) -> None:
        self._store = store
        self._page = page
        self._namespace = namespace
        self.cursor: Cursor | None = None
        self.users: dict[str, dict[str, Entry]] = {}  # the claims of each user, by token
        self.entries: list[Entry] = []
        self._last_token = Cursor(0, 0)

    async def follow(self) -> Cursor:
        """Read up to now, and compare what the log says with the state, at the same cursors."""
        if self.cursor is None:
            at = (await self._store.count(self._namespace)).cursor
            self.cursor = Cursor(at.generation, 0)
        count = await self._store.count(self._namespace)
        await self._read_to(count.cursor)
        assert count.users == len(self.users), "I8"
        snapshot = await self._store.snapshot(self._namespace)
        await self._read_to(snapshot.cursor)
        told = {
            user: [(token, one.id, one.node, one.boot) for token, one in claims.items()]
            for user, claims in self.users.items()
        }
        so = {user: list(map(_tell, seats)) for user, seats in snapshot.users.items()}
        assert told == so, "I2"
        return snapshot.cursor

    async def _read_to(self, target: Cursor) -> None:
        assert self.cursor is not None
        while self.cursor < target:
            found = await self._store.read(self._namespace, self.cursor, self._page)
            assert isinstance(found, Entries), found
            assert 0 < len(found.entries) <= self._page
            assert found.head >= target
            for entry in found.entries:
                if self.cursor == target:
                    break
                self._take(entry)
            else:
                assert found.cursor == self.cursor

    def _take(self, entry: Entry) -> None:
        assert self.cursor is not None
        cursor, token = parse_cursor(entry.cursor), parse_cursor(entry.token)
        assert cursor == (self.cursor.generation, self.cursor.sequence + 1), "dense"
        self.cursor = cursor
        self.entries.append(entry)
        assert entry.namespace == self._namespace
        claims = self.users.get(entry.user, {})
        if entry.type in ("online", "moved", "seat_added"):
            assert token == cursor
            assert token > self._last_token, "I4"
            self._last_token = token
            assert bool(claims) == (entry.type != "online"), "I3"
            assert (entry.prev is not None) == (entry.type == "moved")
            assert (entry.reason is not None) == (entry.type == "moved")
            if entry.prev is not None:
                del claims[entry.prev]
            self.users[entry.user] = claims | {entry.token: entry}
        else:
            ended = claims.pop(entry.token)  # I3: the token of a claim that holds
            assert (ended.id, ended.boot) == (entry.id, entry.boot)
            assert entry.reason
            assert bool(claims) == (entry.type == "seat_removed"), "I3"
            if not claims:
                del self.users[entry.user]


def _tell(seat: Seat) -> tuple[str, str, str, str]:
    return str(seat.token), seat.id, seat.node, seat.boot
