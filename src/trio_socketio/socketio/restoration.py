"""A client comes back, and names the session that it has lost."""

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.saved_session import SavedSession

_PID: Final = re.compile(r"[\w-]{20}", re.ASCII).fullmatch


class SessionStore(Protocol):
    """Keeps the sessions of lost clients: an Adapter."""

    async def persist_session(self, session: "SavedSession") -> None:
        """See Adapter."""

    async def restore_session(self, pid: str, offset: str | None) -> "SavedSession | None":
        """See Adapter."""


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
    store: SessionStore,
    recovery: "NamespaceRecovery",
    lost: tuple[str, str | None],
    timeout_s: float,
) -> "SavedSession | None":
    """Find the session that a client has lost; None if it cannot go on with it.

    Args:
        store: the adapter.
        recovery: of the namespace.
        lost: what take_pid gave.
        timeout_s: how long the adapter may take.
    Raises:
        TimeoutError: the adapter did not answer in time.
        Exception: whatever the adapter raises.
    """
    pid, offset = lost
    session = None
    if recovery.is_offset(offset):
        session = await _ask(store, pid, offset, timeout_s)
    if session is None or not recovery.can_go_on(session, offset):
        recovery.shared.refused += 1
        return None
    return session


async def _ask(
    store: SessionStore, pid: str, offset: str | None, timeout_s: float
) -> "SavedSession | None":
    # It is handed out once, so a client that leaves meanwhile must not cancel this.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout_s):
        return await store.restore_session(pid, offset)
    raise TimeoutError(f"no answer within {timeout_s} s")


async def give_back(
    store: SessionStore, recovery: "NamespaceRecovery", session: "SavedSession", *, is_over: bool
) -> None:
    """Take back a session that was handed out, for its client has not joined.

    Args:
        store: that handed it out.
        recovery: of the namespace.
        session: that was not gone on with.
        is_over: the client was refused: it cannot go on with it any more, and it is not kept.
    """
    if is_over:
        recovery.tell_expired(session)
    else:
        await store.persist_session(session)
