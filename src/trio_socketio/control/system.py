"""The methods that concern the whole program, and the interface that they need of it."""

from typing import Any, Literal, Protocol

import msgspec

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import timed_out
from trio_socketio.control.methods import rpc
from trio_socketio.errors import ConfigurationError, ControlError

State = Literal["starting", "serving", "draining"]


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Identifies the program.

    Args:
        version: of trio-socketio.
        node: names this process among the nodes of a cluster.
        pid: of the process.
        started_at_s: when it was started, seconds since 1970.
        state: starting, serving or draining.
        presence_fault: why no client can get a seat now, or none in some namespaces; empty if they
            can, or need none.
        lease_left_s: for how long the lease of this node in presence counts, unless it is renewed;
            null where leases do not end.
        workers: how many worker processes serve its clients; 0 if it serves them itself.
    """

    version: str
    node: str
    pid: int
    started_at_s: float
    state: State
    presence_fault: str = ""
    lease_left_s: float | None = None
    workers: int = 0


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a reload.

    Args:
        changed: the names of the options whose new values hold now.
        needs_restart: the names of the options whose new values hold only after a restart.
    """

    changed: list[str]
    needs_restart: list[str]


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to system.drain.

    Args:
        state: always draining, because the server stops in stages from now on.
    """

    state: State


class System(Protocol):
    """The program around a server."""

    def info(self) -> SystemInfo:
        """Return what identifies the program."""

    async def statistics(self) -> dict[str, Any]:
        """Return the current numbers of the server, by name, in groups."""

    async def reload(self) -> Reloaded:
        """Read the configuration again and apply it, all or nothing.

        If it is cancelled, nothing has changed.

        Raises:
            ConfigurationError: it cannot be used; nothing has changed.
            TimeoutError: it was not read in time; nothing has changed.
        """

    def drain(self) -> None:
        """Begin to stop in stages, as on SIGTERM. Does nothing if it has begun."""


class SystemMethods:
    """The methods system.*.

    Args:
        system: the program.
    """

    def __init__(self, system: System) -> None:
        self._system = system

    @rpc("system.info")
    def info(self) -> SystemInfo:
        """Identify the program: its version, node, process, start and state."""
        return self._system.info()

    @rpc("system.stats")
    async def statistics(self) -> dict[str, Any]:
        """Show the current numbers of the server, by name."""
        return await self._system.statistics()

    @rpc("system.reload")
    async def reload(self) -> Reloaded:
        """Read the configuration again and apply it, all or nothing."""
        try:
            return await self._system.reload()
        except ConfigurationError as error:
            raise ControlError(Code.INVALID_CONFIGURATION, str(error)) from None
        except TimeoutError as error:
            raise timed_out(str(error)) from None

    @rpc("system.drain")
    def drain(self) -> Draining:
        """Begin to stop in stages; the result comes when the stop has begun."""
        self._system.drain()
        return Draining(state="draining")
