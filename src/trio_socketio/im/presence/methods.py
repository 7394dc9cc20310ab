"""The methods presence.* of the control socket: who is online, and what has changed since."""

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import trio
from msgspec import Meta

from trio_socketio.codec.json_rpc import Code
from trio_socketio.codec.names import unfit_character
from trio_socketio.control.caller import BackendPeer, Caller
from trio_socketio.control.failures import invalid, not_found, store_unavailable, unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit
from trio_socketio.errors import ControlError, RemoteProtocolError
from trio_socketio.im.presence.answers import (
    Acked,
    LogPage,
    MissingOnline,
    Online,
    OnlineCount,
    OnlinePage,
    OnlineUser,
    ShownSeat,
    SnapshotPage,
    Subscribed,
    Unsubscribed,
)
from trio_socketio.im.presence.feed import Feed
from trio_socketio.im.presence.feed_errors import unreadable
from trio_socketio.im.presence.log_reader import fit_entries
from trio_socketio.im.presence.service import Presence, presence_of
from trio_socketio.im.presence.store import MAX_USERS_ASKED, PresenceStore, StoreUnavailable
from trio_socketio.im.presence.turns import Turns
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.presence_claims import Page, Seat
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged
from trio_socketio.protocol.subscription_life import State
from trio_socketio.protocol.user_ids import parse_user_id

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

Users = Annotated[tuple[str | int, ...], Meta(max_length=MAX_USERS_ASKED)]
Place = Annotated[str, Meta(max_length=256)]
CursorText = Annotated[str, Meta(max_length=41)]
GroupName = Annotated[str, Meta(min_length=1, max_length=64)]
Credit = Annotated[int, Meta(ge=1, le=10_000)]

_SLICE: Final = 200  # users that are shown without a pause: 0.5 ms
_SPARE_BYTES: Final = 512  # of an answer, for what is around its users
_encode: Final = msgspec.json.Encoder().encode


class PresenceMethods:
    """The methods presence.*.

    Args:
        server: its presence is what they are about, if it has one by the time of a call.
        max_line_bytes: the longest answer.

    Attributes:
        feed: the subscriptions; None as long as there is no presence.
    """

    def __init__(self, server: "Server", max_line_bytes: int = 1 << 20) -> None:
        self._server = server
        self._max_line_bytes = max_line_bytes
        self.feed: Feed | None = None

    def open_feed(self, turns: Turns | None = None) -> Feed | None:
        """Make the feed, if the server has a presence; somebody has to run it.

        Args:
            turns: those of groups; None means that no other node shares them.
        """
        presence = presence_of(self._server)
        if presence is not None and self.feed is None:
            self.feed = Feed(presence.store, self._max_line_bytes, turns=turns)
        return self.feed

    # -- who is online

    @rpc("presence.get")
    async def get(self, users: Users, namespace: Place = "/") -> Online:
        """Show which of some users are online, and their seats.

        Args:
            users: their ids, at most 1,000; an integer stands for its decimal text.
            namespace: the name of the namespace; a leading slash may be left out.
        """
        presence, name = await self._find(namespace)
        ids = list(dict.fromkeys(_user("users", user) for user in users))
        try:
            found = await presence.store.get(name, ids)
        except StoreUnavailable as error:
            raise _away(error) from None
        shown, _ = await self._show(found.users)
        if len(shown) < len(found.users):
            raise ControlError(
                Code.TOO_LARGE,
                f"the seats of these users do not fit into a line of {self._max_line_bytes} bytes: "
                "name fewer users",
                {"retryable": False},
            )
        missing = MissingOnline(users=[user for user in ids if user not in found.users])
        return Online(  # FEED-08
            users=shown,
            missing=missing,
            cursor=str(found.cursor),
            rebuilding=found.is_rebuilding,
        )

    @rpc("presence.count")
    async def count(self, namespace: Place = "/") -> OnlineCount:
        """Count the users that are online, exactly.

        Args:
            namespace: the name of the namespace; a leading slash may be left out.
        """
        presence, name = await self._find(namespace)
        try:
            found = await presence.store.count(name)
        except StoreUnavailable as error:
            raise _away(error) from None
        return OnlineCount(
            users=found.users, cursor=str(found.cursor), rebuilding=found.is_rebuilding
        )

    @rpc("presence.list")
    async def list_online(
        self, namespace: Place = "/", after: str | None = None, limit: Limit = 100
    ) -> OnlinePage:
        """Show the users that are online, page by page. Each page is true at its own cursor.

        Args:
            namespace: the name of the namespace; a leading slash may be left out.
            after: the value of next from the previous page; null for the first page.
            limit: how many users a page may hold. It holds fewer if they do not fit into a line.
        """
        presence, name = await self._find(namespace)
        after = None if after is None else _user("after", after)
        page, shown, following = await self._page(presence, name, after, limit)
        return OnlinePage(
            users=shown, next=following, cursor=str(page.cursor), rebuilding=page.is_rebuilding
        )

    @rpc("presence.snapshot")
    async def snapshot(
        self, namespace: Place = "/", after: str | None = None, limit: Limit = 1000
    ) -> SnapshotPage:
        """Show all users that are online, page by page, so that a subscription can go on from it.

        Users come and go while the pages are read. So a snapshot is its pages, and the log behind
        the cursor of the first page, which every page repeats. The next page is refused if that
        cursor has expired meanwhile: begin again.

        Args:
            namespace: the name of the namespace; a leading slash may be left out.
            after: the value of next from the previous page; null for the first page.
            limit: how many users a page may hold. It holds fewer if they do not fit into a line.
        """
        presence, name = await self._find(namespace)
        begin, user = None, None
        if after is not None:
            text, _, rest = after.partition(":")
            begin, user = _cursor("after", text), _user("after", rest)
        page, shown, following = await self._page(presence, name, user, limit)
        if begin is not None:  # FEED-04
            try:
                found = await presence.store.read(name, begin, 1)
            except StoreUnavailable as error:
                raise _away(error) from None
            if not isinstance(found, Entries):
                raise unreadable(begin, found)
        begin = page.cursor if begin is None else begin
        return SnapshotPage(
            users=shown,
            next=None if following is None else f"{begin}:{following}",
            cursor=str(begin),
            exact_at=str(page.cursor),
            rebuilding=page.is_rebuilding,
        )

    # -- what has changed

    @rpc("presence.log")
    async def read_log(
        self, namespace: Place = "/", cursor: CursorText | None = None, limit: Limit = 100
    ) -> LogPage:
        """Read entries of the log once, for a person who looks; backends subscribe to it.

        Args:
            namespace: the name of the namespace; a leading slash may be left out.
            cursor: the entries behind it are read; null reads the last ones.
            limit: how many entries. They are fewer if they do not fit into a line.
        """
        presence, name = await self._find(namespace)
        given = None if cursor is None else _cursor("cursor", cursor)
        try:
            found, begin = await _read_log(presence.store, name, given, limit)
        except StoreUnavailable as error:
            raise _away(error) from None
        if not isinstance(found, Entries):
            raise unreadable(begin, found)
        shown = fit_entries(found.entries, self._max_line_bytes - _SPARE_BYTES)
        return LogPage(  # PAGE-27
            entries=list(shown),
            cursor=shown[-1].cursor if shown else str(found.cursor),
            head=str(found.head),
        )

    @rpc("presence.subscribe")
    async def subscribe(
        self,
        caller: Caller,
        namespace: Place = "/",
        cursor: CursorText | None = None,
        group: GroupName | None = None,
        credit: Credit = 1000,
    ) -> Subscribed:
        """Have the server send the log of a namespace on this connection, by backend.presence.

        First come the entries behind the cursor, and then new ones, without a gap, until the
        connection ends. Entries may come again after a reconnection, with the same cursors. The
        answer comes before the first entries, unless the call is one of a batch.

        Args:
            caller: makes the call.
            namespace: the name of the namespace; a leading slash may be left out.
            cursor: the last entry that the caller has dealt with, or the cursor of presence.count
                or presence.snapshot; null begins with what happens from now on.
            group: members of a group, on whatever connection to whatever node that shares the
                store, share the work. One is sent entries; when it leaves, or acknowledges nothing
                for 30 s while others wait, the next one begins behind the last acknowledgement.
                That counts, and not cursor, as long as it is known; it is kept for a day after the
                last member has left, of at most 1,000 groups. With a store in memory it is
                forgotten when the server restarts.
            credit: how many entries may be sent that are not acknowledged. A reader that does not
                acknowledge lags, and is told in the end that its cursor has expired.
        """
        feed, peer = self._feed_for(caller, "presence.subscribe")
        _, name = await self._find(namespace)
        begin = None if cursor is None else _cursor("cursor", cursor)
        if group is not None and unfit_character(group):
            raise invalid("group", "expected no control characters")
        one = await feed.subscribe(peer, name, begin, group, credit)
        return Subscribed(
            subscription=one.number,
            cursor=str(one.position),
            active=one.state is State.RUNNING,
        )

    @rpc("presence.ack")
    async def ack(self, caller: Caller, subscription: int, cursor: CursorText) -> Acked:
        """Acknowledge all entries up to a cursor, so that others can be sent.

        Args:
            caller: makes the call.
            subscription: its number.
            cursor: of an entry that was sent. An earlier one than before changes nothing.
        """
        feed, peer = self._feed_for(caller, "presence.ack")
        try:
            one = await feed.acknowledge(peer, subscription, _cursor("cursor", cursor))
        except ValueError as error:
            raise invalid("cursor", str(error)) from None
        except StoreUnavailable as error:
            raise _away(error) from None
        if one is None:
            raise not_found("subscription", "subscription of this connection", str(subscription))
        return Acked(cursor=str(one.position), in_flight=one.window.in_flight)

    @rpc("presence.unsubscribe")
    def unsubscribe(self, caller: Caller, subscription: int) -> Unsubscribed:
        """End a subscription. What was sent and not acknowledged is for the next one of its group.

        Args:
            caller: makes the call.
            subscription: its number.
        """
        feed, peer = self._feed_for(caller, "presence.unsubscribe")
        return Unsubscribed(done=feed.unsubscribe(peer, subscription))

    # -- parts

    async def _find(self, namespace: str) -> tuple[Presence, str]:
        presence = presence_of(self._server)
        if presence is None:
            raise unavailable("this server does not keep who is online: see [presence]")
        name = full_name(namespace)
        try:
            has_seats = await presence.knows(name)
        except StoreUnavailable as error:
            raise _away(error) from None
        if not has_seats:  # FEED-06
            raise not_found("namespace", "namespace with seats", name)
        return presence, name

    def _feed_for(self, caller: Caller, method: str) -> tuple[Feed, BackendPeer]:
        peer = caller.connected()
        if peer is None:  # FEED-29
            raise ControlError(
                Code.INVALID_REQUEST,
                f"{method} needs a connection to the control socket, not HTTP",
            )
        if self.feed is None:
            raise unavailable("this server does not keep who is online: see [presence]")
        return self.feed, peer

    async def _page(
        self, presence: Presence, name: str, after: str | None, limit: int
    ) -> tuple[Page, list[OnlineUser], str | None]:
        """Return a page of the store, as much of it as fits into a line, and what comes next."""
        try:
            page = await presence.store.list_users(name, after, limit)
        except StoreUnavailable as error:
            raise _away(error) from None
        shown, is_cut = await self._show(page.users)
        return page, shown, shown[-1].user if is_cut and shown else page.next

    async def _show(self, users: dict[str, tuple[Seat, ...]]) -> tuple[list[OnlineUser], bool]:
        """Show users, as many as fit into a line; return whether some do not (FEED-03)."""
        shown: list[OnlineUser] = []
        left = self._max_line_bytes - _SPARE_BYTES
        for number, (user, seats) in enumerate(users.items(), 1):
            one = OnlineUser(user=user, seats=list(map(_show_seat, seats)))
            left -= len(_encode(one)) + 1
            if left < 0 and shown:
                return shown, True
            shown.append(one)
            if not number % _SLICE:  # FEED-05
                await trio.lowlevel.checkpoint()
        return shown, False


async def _read_log(
    store: PresenceStore, namespace: str, cursor: Cursor | None, limit: int
) -> tuple[Entries | CursorExpired | GenerationChanged, Cursor]:
    """Read entries behind a cursor, or the last ones; return them, and where they begin."""
    if cursor is not None:
        return await store.read(namespace, cursor, limit), cursor
    head = (await store.count(namespace)).cursor
    begin = Cursor(head.generation, max(0, head.sequence - limit))
    found = await store.read(namespace, begin, limit)
    if isinstance(found, CursorExpired):  # the log is shorter than that
        begin = found.oldest
        found = await store.read(namespace, begin, limit)
    return found, begin


def _show_seat(seat: Seat) -> ShownSeat:
    return ShownSeat(token=str(seat.token), id=seat.id, node=seat.node, boot=seat.boot, at=seat.at)


def _user(parameter: str, value: str | int) -> str:
    try:
        return parse_user_id(value)
    except RemoteProtocolError as error:
        raise invalid(parameter, str(error)) from None


def _cursor(parameter: str, text: str) -> Cursor:
    try:
        return parse_cursor(text)
    except RemoteProtocolError as error:
        raise invalid(parameter, str(error)) from None


def _away(error: StoreUnavailable) -> ControlError:
    return store_unavailable(f"the presence store is not available: {error}")
