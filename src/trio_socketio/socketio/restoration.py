"""Finds the saved session of a client that comes back, or takes it back if it does not join."""

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.saved_session import SavedSession

_PID: Final = re.compile(r"[\w-]{20}", re.ASCII).fullmatch


class SessionStore(Protocol):
    """Keeps the sessions of lost clients; at run time an Adapter, which has the contracts."""

    async def persist_session(self, session: "SavedSession") -> None:
        """Keep a session."""

    async def restore_session(self, pid: str, offset: str | None) -> "SavedSession | None":
        """Hand out a session that was kept, once; None if it is unknown."""


def take_pid(auth: dict[str, Any]) -> tuple[str, str | None] | None:
    """Take the pid and the offset out of the payload of a CONNECT.

    They are a secret of client and server, so user code does not see them (RECOVER-07).

    Returns:
        The pid and the offset; None if they cannot be a pid and an offset.
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
    """Return the session that a client has lost; None if the client cannot go on with it.

    Args:
        store: the adapter.
        recovery: of the namespace.
        lost: the pid and the offset that the client named; see take_pid.
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
    # Shielded, because a session is handed out once: if a client that leaves cancelled this, the
    # session would be lost on its way.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout_s):
        return await store.restore_session(pid, offset)
    raise TimeoutError(f"no answer within {timeout_s} s")


async def give_back(
    store: SessionStore, recovery: "NamespaceRecovery", session: "SavedSession", *, is_over: bool
) -> None:
    """Take back a session that was handed out to a client that then did not join (RECOVER-08).

    Args:
        store: the adapter that handed it out.
        recovery: of the namespace.
        session: the session.
        is_over: whether the client was refused. It cannot go on with the session then, so the
            session expires rather than being kept.
    """
    if is_over:
        recovery.tell_expired(session)
    else:
        await store.persist_session(session)
