"""A client comes back, and names the session that it has lost."""

import re
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.saved_session import SavedSession

_PID: Final = re.compile(r"[\w-]{20}", re.ASCII).fullmatch


def take_pid(auth: dict[str, Any]) -> tuple[str, str | None] | None:
    """Take the pid and the offset out of a CONNECT: they are a secret of client and server.

    Returns:
        None if they cannot be such.
    """
    pid = auth.get("pid")
    if type(pid) is not str or not _PID(pid):
        return None
    del auth["pid"]
    offset = auth.pop("offset", None)
    if offset is not None and type(offset) is not str:
        return None
    return pid, offset


async def restore_session(
    namespace: "Namespace", pid: str, offset: str | None, timeout_s: float
) -> "SavedSession | None":
    """Ask the adapter for a session.

    It is handed out once, so a client that leaves meanwhile must not cancel this.

    Raises:
        TimeoutError: the adapter did not answer in time.
        Exception: whatever the adapter raises.
    """
    with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout_s):
        return await namespace.adapter.restore_session(pid, offset)
    raise TimeoutError(f"no answer within {timeout_s} s")


async def give_back(namespace: "Namespace", session: "SavedSession", *, is_over: bool) -> None:
    """Take back a session that was handed out, for its client has not joined.

    Args:
        namespace: where the client had it.
        session: that was not gone on with.
        is_over: the client was refused: it cannot go on with it any more, and it is not kept.
    """
    if not is_over:
        await namespace.adapter.persist_session(session)
    elif namespace.server.recovery is not None:
        namespace.server.recovery.give_up(session, namespace)
