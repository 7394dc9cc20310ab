"""The services of the program beside the server itself: control, the admin port, and systemd."""

import os
import socket
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_socketio.control.places import open_endpoints
from trio_socketio.control.service import ControlService
from trio_socketio.control.system import Reloaded, State, SystemInfo
from trio_socketio.control.tokens import TokenTable
from trio_socketio.http.refused_callers import RefusedCallers
from trio_socketio.ops.admin import AdminPort, admin_endpoints
from trio_socketio.ops.drain import drain
from trio_socketio.ops.health import Health, check_server
from trio_socketio.runtime.endpoints import Endpoint, InheritedEndpoint, RenewableEndpoint
from trio_socketio.socketio.measures import count_traffic

if TYPE_CHECKING:
    from trio_socketio.configuration.tables import Configuration
    from trio_socketio.ops.log import Log
    from trio_socketio.ops.systemd import Inherited, Systemd
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server

_STATES: Final[dict[str, State]] = {"serving": "serving", "stopping": "draining"}


class Reloads(Protocol):
    """Loads the configuration again; see standalone.Program."""

    async def reload(self) -> Any:
        """Return the changes, and those that need a restart, as lines that begin with a name."""


class ProgramSystem:
    """The program as the methods system.* see it.

    Args:
        server: the server.
        program: the program around it.
        version: of the program.
    """

    def __init__(self, server: "Server", program: Reloads, version: str) -> None:
        self._server = server
        self._program = program
        self._version = version
        self._node = f"{socket.gethostname()}:{os.getpid()}"
        self._started_at_s = time.time()

    def info(self) -> SystemInfo:
        return SystemInfo(
            version=self._version,
            node=self._node,
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            state=_STATES.get(self._server.state, "starting"),
        )

    async def statistics(self) -> dict[str, Any]:
        traffic = await count_traffic(self._server)
        return {**asdict(self._server.statistics()), "traffic": traffic}

    async def reload(self) -> Reloaded:
        done = await self._program.reload()
        return Reloaded(
            changed=[line.partition(":")[0] for line in done.changed],
            needs_restart=[line.partition(":")[0] for line in done.needs_restart],
        )

    def drain(self) -> None:
        drain(self._server)


class Services:
    """The services that the configuration asks for. `start` starts them.

    Args:
        server: the server.
        system: the program, as the methods of control see it.
        configuration: the options.
        program_log: the log, whose drops are a metric.
        inherited: sockets that systemd has opened.
        systemd: is notified of the state of the server.

    Attributes:
        endpoints: where they listen, by the table of their options.

    Raises:
        ConfigurationError: a token or a certificate cannot be used.
    """

    def __init__(
        self,
        server: "Server",
        system: ProgramSystem,
        configuration: "Configuration",
        program_log: "Log",
        inherited: "Inherited",
        systemd: "Systemd",
    ) -> None:
        control, admin = configuration.control, configuration.admin
        self._server = server
        self._systemd = systemd
        self._tokens = TokenTable(control.tokens)
        self._refused = RefusedCallers()
        self._control: ControlService | None = None
        control_at: list[Endpoint] = [InheritedEndpoint(one) for one in inherited.control]
        if control.listen or inherited.control or control.tokens:
            self._control = ControlService(server, system, control, self._tokens, self._refused)
            control_at += open_endpoints(control)
        self._admin: AdminPort | None = None
        admin_at = admin_endpoints(admin, inherited.admin)
        self.endpoints = {
            "admin": list(map(RenewableEndpoint, admin_at)),
            "control": list(map(RenewableEndpoint, control_at)),
        }
        if admin_at:
            self._admin = self._open_admin(configuration, system.info().version, program_log)

    def _open_admin(
        self, configuration: "Configuration", version: str, program_log: "Log"
    ) -> AdminPort:
        # These modules need a package that a server without this port does not need.
        from trio_socketio.ops.metrics import Metrics  # its error says how to install that

        health = Health()
        health.add(check_server(self._server))
        metrics = Metrics(
            self._server,
            health,
            version=version,
            log_records_dropped=lambda: program_log.dropped,
            refused=self._refused,
        )
        if self._control is not None:
            from trio_socketio.control.metrics import ControlCollector

            metrics.add(ControlCollector(self._control))
        return AdminPort(
            configuration.admin,
            health,
            metrics,
            check_token=self._knows if configuration.control.tokens else None,
            routes={} if self._control is None else {"/rpc": self._control.receive_rpc},
            refused=self._refused,
        )

    def _knows(self, secret: str) -> bool:
        return self._tokens.find(secret) is not None

    async def start(self, runtime: "Runtime") -> None:
        """Start them. They report "starting" from then on, and end with the runtime.

        Raises:
            ConfigurationError: one cannot listen on its address.
        """
        if self._control is not None:
            run = partial(self._control.run, runtime, self.endpoints["control"])
            await runtime.start_service("control", run)
        if self._admin is not None:
            serve = partial(self._admin.serve, runtime, self.endpoints["admin"])
            await runtime.start_service("admin", serve)
        if self._systemd.is_there:
            await runtime.start_service("watchdog", self._systemd.keep_watchdog)
            await runtime.start_service("systemd", partial(self._systemd.follow, self._server))

    def apply(self, tokens: TokenTable) -> None:
        """Use other tokens from now on."""
        self._tokens = tokens
        if self._control is not None:
            self._control.apply(tokens)
