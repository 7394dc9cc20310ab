"""The method presence.legacy_list of the control socket."""

import msgspec

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import invalid, not_found, store_unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit
from trio_socketio.errors import ControlError, RemoteProtocolError
from trio_socketio.im.presence.legacy import LegacyRecord, LegacyRecords, position_behind
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.presence_cursor import parse_cursor


class LegacyPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the on/off records.

    Args:
        records: the oldest first.
        next: the value of after for the records that follow, even if there are none yet. It can be
            given to any node that shares the store.
        rebuilding: true while the store may lack claims that it has lost, so that clients who are
            already online may be recorded as connecting once more.
    """

    records: list[LegacyRecord]
    next: str
    rebuilding: bool = False


class LegacyMethods:
    """The methods for business servers of the original contract.

    Args:
        records: None if none are kept.
    """

    def __init__(self, records: LegacyRecords | None) -> None:
        self.records = records

    @rpc("presence.legacy_list")
    async def legacy_list(
        self, namespace: str = "/", after: str | None = None, limit: Limit = 100
    ) -> LegacyPage:
        """List the on/off records of the original contract: who has come and gone, in order.

        With a store in memory, the records begin again at each restart. They are for programs that
        read such records already; for exact counts, use presence itself.

        Args:
            namespace: the namespace of the clients; a leading slash may be left out.
            after: the next of an earlier page; null begins with the oldest record that is kept.
            limit: the most records to return.
        """
        if self.records is None:
            raise ControlError(
                Code.UNAVAILABLE,
                "no on/off records are kept: set [presence] legacy_records",
                {"retryable": False},  # HOOK-23
            )
        name = full_name(namespace)
        if not self.records.covers(name):  # FEED-06
            raise not_found("namespace", "namespace with seats", name)
        try:
            kept, now = await self.records.open(name)
        except StoreUnavailable as error:
            raise store_unavailable(f"the presence store is not available: {error}") from None
        begin = kept.oldest or position_behind(now.cursor)
        if after is not None:
            try:
                place = parse_cursor(after)
            except RemoteProtocolError as error:
                raise invalid("after", str(error)) from None
            is_known = begin.generation <= place.generation <= now.cursor.generation
            if not is_known or place > position_behind(now.cursor):
                raise _unreadable(Code.GENERATION_CHANGED, "belongs to records that are no more")
            if place < begin:  # HOOK-22
                raise _unreadable(Code.CURSOR_EXPIRED, "is older than the records that are kept")
            begin = place
        records, following = kept.page(begin, limit)
        return LegacyPage(
            records=records,
            next=str(following),
            rebuilding=now.is_rebuilding,  # HOOK-26
        )


def _unreadable(code: Code, why: str) -> ControlError:
    advice = "leave after out, which begins with the oldest record that is kept"
    return ControlError(code, f"after {why}: {advice}", {"retryable": False})
