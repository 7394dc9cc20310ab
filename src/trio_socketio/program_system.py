"""The program as the methods system.* of the control socket see it."""

import os
import socket
import time
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_socketio.cluster.workers.role import Alone, Role
from trio_socketio.control.system import Reloaded, State, SystemInfo
from trio_socketio.ops.drain import drain
from trio_socketio.socketio.measures import summarize

if TYPE_CHECKING:
    from trio_socketio.im.presence import Presence
    from trio_socketio.reloading import Plan
    from trio_socketio.socketio.server import Server

_STATES: Final[dict[str, State]] = {"serving": "serving", "stopping": "draining"}


class Reloads(Protocol):
    """Loads the configuration again; see standalone.Program."""

    async def reload(self) -> "Plan":
        """Return what was done."""


class ProgramSystem:
    """The program as the methods system.* see it.

    Args:
        server: the server.
        program: the program around it.
        version: of the program.
        node: its name among the nodes of a cluster; None means host:pid.
        role: of this process.

    Attributes:
        presence: of the server; None if there is none.
    """

    def __init__(
        self,
        server: "Server",
        program: Reloads,
        version: str,
        node: str | None = None,
        role: Role | None = None,
    ) -> None:
        self._role = role or Alone()
        self._server = server
        self._program = program
        self._version = version
        self._node = self._role.node or node or f"{socket.gethostname()}:{os.getpid()}"
        self._started_at_s = time.time()
        self.presence: Presence | None = None

    def info(self) -> SystemInfo:
        presence = self.presence
        left_s = inf if presence is None else presence.statistics().lease_left_s
        return SystemInfo(
            version=self._version,
            node=self._node,
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            state=_STATES.get(self._server.state, "starting"),
            presence_fault="" if presence is None else presence.fault or presence.trouble,
            lease_left_s=left_s if left_s < inf else None,
            workers=self._role.family.workers,
        )

    async def statistics(self) -> dict[str, Any]:
        return dict(await self._role.add_up(await summarize(self._server)))

    async def reload(self) -> Reloaded:
        planned = await self._program.reload()
        return Reloaded(
            changed=list(dict.fromkeys(change.option for change in planned.changed)),
            needs_restart=[change.option for change in planned.needs_restart],
        )

    def drain(self) -> None:
        drain(self._server)
