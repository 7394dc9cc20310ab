"""A client comes back, and wants to go on with the session that it had."""

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trio_socketio.socketio.handlers import Workers
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.peer import Peer

_PID: Final = re.compile(r"[\w-]{20}", re.ASCII).fullmatch


def take_pid(auth: dict[str, Any]) -> tuple[str, str | None] | None:
    """The pid and the offset of a CONNECT, if they can be such.

    They are a secret of client and server: they are taken out of what user code sees.
    """
    pid = auth.get("pid")
    if type(pid) is not str or not _PID(pid):
        return None
    del auth["pid"]
    offset = auth.pop("offset", None)
    if offset is not None and type(offset) is not str:
        return None
    return pid, offset


class Restoration:
    """The adapter is asked for a session; then middleware, if it is to be, for its socket.

    Args:
        namespace: where the client had it.
        peer: the client.
        auth: the payload of its CONNECT.
        pid: what it calls the session.
        offset: of the last packet that it has.
    """

    __slots__ = ("_offset", "_peer", "_pid", "auth", "namespace")

    def __init__(
        self,
        namespace: "Namespace",
        peer: "Peer",
        auth: dict[str, Any],
        pid: str,
        offset: str | None,
    ) -> None:
        self.namespace = namespace
        self.auth = auth
        self._peer = peer
        self._pid = pid
        self._offset = offset

    @property
    def name(self) -> str:
        """Of the namespace."""
        return self.namespace.name

    def begin(self) -> None:
        """Have a worker do it."""
        self.namespace.reserve()
        self.namespace.workers.submit(self)

    async def run(self, workers: "Workers") -> bool:
        """See Job."""
        adapter = self.namespace.adapter
        session = None
        try:
            if self._peer.is_connecting(self):
                session = await workers.call_async(adapter.restore_session, self._pid, self._offset)
        except BaseException as error:
            workers.log_failure(f"recovery in {self.name}", "of a client", error)
        if not self._peer.restored(self, session) and session is not None:
            await workers.call_async(adapter.persist_session, session)
        self.namespace.release()
        return True
