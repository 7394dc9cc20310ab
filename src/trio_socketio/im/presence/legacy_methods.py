"""The method presence.legacy_list of the control socket."""

import msgspec

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import invalid, not_found
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit
from trio_socketio.errors import ControlError, RemoteProtocolError
from trio_socketio.im.presence.legacy import LegacyRecord, LegacyRecords
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor


class LegacyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the on/off records.

    Args:
        records: the oldest first.
        next: the value of after for those that follow, also if there are none yet.
    """

    records: list[LegacyRecord]
    next: str


class LegacyMethods:
    """The methods for business servers of the original contract.

    Args:
        records: None if none are kept.
    """

    def __init__(self, records: LegacyRecords | None) -> None:
        self.records = records

    @rpc("presence.legacy_list")
    def legacy_list(
        self, namespace: str = "/", after: str | None = None, limit: Limit = 100
    ) -> LegacyPage:
        """List the on/off records of the original contract: who has come and gone, in order.

        A restart begins them anew. Exact counts need presence itself; these are for programs that
        read such records already.

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
        name = namespace if namespace.startswith("/") else f"/{namespace}"
        if not self.records.covers(name):  # FEED-06
            raise not_found("namespace", "namespace with seats", name)
        began, kept = self.records.began, self.records.find(name)
        oldest, newest = (1, 0) if kept is None else (kept.oldest, kept.newest)
        behind = oldest - 1
        if after is not None:
            try:
                place = parse_cursor(after)
            except RemoteProtocolError as error:
                raise invalid("after", str(error)) from None
            if place.generation != began or place.sequence > newest:
                raise _unreadable(Code.GENERATION_CHANGED, "belongs to an earlier start")
            if place.sequence < behind:  # HOOK-22
                raise _unreadable(Code.CURSOR_EXPIRED, "is older than the records that are kept")
            behind = place.sequence
        records = [] if kept is None else kept.page(behind, limit)
        return LegacyPage(records=records, next=str(Cursor(began, behind + len(records))))


def _unreadable(code: Code, why: str) -> ControlError:
    advice = "leave after out, which begins with the oldest record that is kept"
    return ControlError(code, f"after {why}: {advice}", {"retryable": False})
