"""The Admin UI: the namespace to which the official UI of Socket.IO connects."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trio_socketio.errors import AckTimeout, ConfigurationError
from trio_socketio.ops.admin_ui.channel import Channel
from trio_socketio.ops.admin_ui.commands import Commands
from trio_socketio.ops.admin_ui.credentials import NamedTokens, Tokens, choose_credentials
from trio_socketio.ops.admin_ui.entrance import Entrance
from trio_socketio.ops.admin_ui.features import AGGREGATED_EVENTS, ALL_EVENTS, Grant
from trio_socketio.ops.admin_ui.reports import PERIOD_S, Reports
from trio_socketio.ops.admin_ui.sessions import MemorySessions, RedisSessions
from trio_socketio.ops.admin_ui.shown import show_socket
from trio_socketio.ops.admin_ui.watching import Watcher
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.adapter import describe
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.steps import Step
from trio_socketio.socketio.target import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.ops.admin_ui.options import AdminUIOptions
    from trio_socketio.ops.admin_ui.sessions import Commands as RedisCommands
    from trio_socketio.ops.admin_ui.sessions import Sessions
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.remote_socket import SocketDetails
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

MAX_NAMESPACES: Final = 100
"""Of how many namespaces the sockets are listed."""

_LISTED: Final = 4
"""A list of sockets may be this many times as large as the output that may wait for a client; a
client is given up at once when eight times as much waits."""


_REST: Final = 3.0
"""For how many times as long as a list takes, no other is made: lists take a quarter of the time of
this server at most (AUI-35)."""


@dataclass(frozen=True, slots=True)
class AdminUIStatistics:
    """A snapshot of the Admin UI.

    Args:
        admins: administrators who are connected to this server.
        refused: how often somebody was not let in, by reason.
        commands: how many commands were carried out or refused.
        events_told, events_untold: events of clients that were shown, or only counted.
    """

    admins: int
    refused: dict[str, int]
    commands: dict[str, int]
    events_told: int
    events_untold: int


class AdminUI(Observer):
    """Has a server serve the official Admin UI of Socket.IO, in a namespace of its own.

    ::

        AdminUI(sio, AdminUIOptions(auth="basic", username="ops", password_hash="$2b$10$..."))

    It has 13 attributes: its parts, and what it was given.

    Args:
        server: the server, which does not serve yet.
        options: who may connect, and what is shown.
        redis: where servers share the sessions of administrators; None keeps them in memory.
        tokens: those of the control socket; needed if the options ask for tokens.

    Raises:
        ConfigurationError: the options switch it off, or the package bcrypt is missing.
        LocalProtocolError: the server is running.
    """

    def __init__(
        self,
        server: "Server",
        options: "AdminUIOptions",
        *,
        redis: "RedisCommands | None" = None,
        tokens: Tokens | None = None,
    ) -> None:
        if options.auth is None:
            raise ConfigurationError(
                "the Admin UI needs to know who may connect: set auth to basic or token, or to "
                "none if everybody may"
            )
        server.lifespan(self._live)  # first, as it raises if the server is running
        self._server = server
        self._options = options
        self._space = space = server.of(options.namespace)
        space._allow_recovery(False)  # AUI-13: a lost session must not come back without a step
        credentials = choose_credentials(options, tokens)
        sessions: Sessions = MemorySessions(options.session_s, trio.current_time)
        if redis is not None:
            sessions = RedisSessions(redis, options.session_s)
        self._entrance = Entrance(
            credentials, sessions, options.max_admins, options.attempts_per_minute
        )
        self._channel = Channel(space, options.max_events_per_s, trio.current_time)
        self._commands = Commands(server, space, self._grant_of)
        if not options.readonly:  # AUI-10
            self._commands.register()
        self._awaiting: dict[Socket, None] = {}  # the list of all sockets
        self._asked = trio.Event()
        self._has_cut = False  # that a list was cut was told
        self._untold = 0  # what was told of events that are not shown
        space.add_steps([Step(State.AUTHENTICATING, self._entrance.admit)])
        space.observe(self)
        self._watcher: Watcher | None = None
        if options.mode == "development":
            server._host.shows_clients = True
            self._watcher = Watcher(server, self._channel, space, options.max_shown_characters)

    def use_tokens(self, tokens: Tokens) -> None:
        """Go by other tokens from now on; whoever has come with one that is gone is put out."""
        credentials = self._entrance.credentials
        if isinstance(credentials, NamedTokens):
            credentials.use(tokens)
            self._put_out()

    def statistics(self) -> AdminUIStatistics:
        """Return the current numbers."""
        return AdminUIStatistics(
            admins=len(self._space.sockets),
            refused=dict(self._entrance.refused),
            commands={"done": self._commands.done, "refused": self._commands.refused},
            events_told=self._channel.told,
            events_untold=self._channel.untold,
        )

    # -- administrators

    def _grant_of(self, socket: "Socket") -> Grant | None:
        admission = self._entrance.admitted.get(socket)
        return None if admission is None else admission.grant

    def joined(self, socket: "Socket") -> None:
        """Greet an administrator who has been told that it is connected.

        Official servers send the session before that, when the UI does not listen yet, so that it
        asks for the password after every reload (AUI-03).
        """
        admission = self._entrance.admitted.get(socket)
        if admission is None:  # it must not be here, however it has come
            socket.disconnect()
            return
        if admission.session_id is not None:
            socket.emit("session", admission.session_id)
        log.info("%r is connected to the Admin UI", admission.grant.name)
        socket.emit("config", {"supportedFeatures": self._features(admission.grant)})
        if self._watcher is not None:
            self._awaiting[socket] = None
            self._asked.set()

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        self._awaiting.pop(socket, None)
        self._entrance.admitted.pop(socket, None)

    def _features(self, grant: Grant) -> list[str]:
        features = [] if self._options.readonly else list(grant.commands)
        features.append(AGGREGATED_EVENTS)
        if self._watcher is not None:
            features.append(ALL_EVENTS)
        return features

    def _put_out(self) -> None:
        """Disconnect the administrators whose credentials count no more (AUI-12)."""
        credentials = self._entrance.credentials
        if credentials is None:
            return
        for socket, admission in list(self._entrance.admitted.items()):
            grant = credentials.grant_of(admission.grant.credential)
            if grant is None:
                socket.disconnect(close=True)
            else:
                self._entrance.admitted[socket] = admission._replace(grant=grant)

    # -- its tasks

    async def _live(self, server: "Server") -> AsyncIterator[None]:
        async with alone(trio.open_nursery()) as tasks:
            if self._entrance.credentials is None:
                log.warning(
                    "the Admin UI lets everybody in who can reach this server%s: set [admin_ui] "
                    "auth to basic or token unless that is only you",
                    "" if self._options.readonly else ", and has them act on clients",
                )
            tasks.start_soon(self._report_forever)
            if self._watcher is not None:
                tasks.start_soon(self._list_for_all, self._watcher)
                log.info(
                    "the Admin UI is in development mode: it is told of every event, at most %d a "
                    "second, and each is one more message to every administrator and to Redis",
                    self._options.max_events_per_s,
                )
            yield
            tasks.cancel_scope.cancel()

    async def _report_forever(self) -> None:
        reports = Reports(self._server, self._options.server_id)
        while True:
            self._channel.tell("server_stats", await reports.make())
            if self._watcher is not None:
                await self._watcher.look_round()
                self._tell_untold()
            await trio.sleep(PERIOD_S)

    def _tell_untold(self) -> None:
        if not self._untold and self._channel.untold:
            self._untold = self._channel.untold
            log.warning(
                "the Admin UI does not show all events, because there are more than "
                "max_events_per_s (%d) of [admin_ui]; the metrics count those that are left out",
                self._options.max_events_per_s,
            )

    # -- the list of all sockets

    async def _list_for_all(self, watcher: Watcher) -> None:
        """Send the list to all administrators that wait for it, with one question to the nodes."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            waiting = list(self._awaiting)
            self._awaiting.clear()
            await watcher.catch_up()
            elsewhere = await self._fetch_all()
            began_at = trio.current_time()
            sockets = self._list_sockets(elsewhere)
            to = [admin.public_id for admin in waiting if admin.connected]
            if to:
                self._space.local.to(to).emit("all_sockets", sockets)
            # Whoever may only look on must not keep the server busy by connecting again and again.
            await trio.sleep(_REST * (trio.current_time() - began_at))

    async def _fetch_all(self) -> "dict[Namespace, list[SocketDetails]]":
        """Return the sockets of the other servers, for each namespace that is listed."""
        elsewhere: dict[Namespace, list[SocketDetails]] = {
            namespace: [] for namespace in list(self._server.namespaces.values())[:MAX_NAMESPACES]
        }
        async with alone(trio.open_nursery()) as tasks:
            for namespace in elsewhere:
                tasks.start_soon(self._fetch, namespace, elsewhere)
        return elsewhere

    def _list_sockets(
        self, elsewhere: "dict[Namespace, list[SocketDetails]]"
    ) -> list[dict[str, Any]]:
        """Return the sockets of all servers as they are shown.

        Those of this server are looked at last, without a checkpoint before they are sent, so that
        nothing of what is told about them in the meantime is contradicted (AUI-21).
        """
        output_bound_bytes = self._server._host.options.connections.output_bound_bytes
        left = output_bound_bytes * _LISTED
        listed: list[dict[str, Any]] = []
        for namespace, others in elsewhere.items():
            here: Iterable[SocketDetails] = map(describe, namespace.sockets.values())
            for details in (*here, *others):
                shown = show_socket(details, namespace.name, self._options.max_shown_characters)
                left -= len(msgspec.json.encode(shown))
                if left < 0:
                    self._tell_cut(len(listed))
                    return listed
                listed.append(shown)
        return listed

    async def _fetch(
        self, namespace: "Namespace", elsewhere: "dict[Namespace, list[SocketDetails]]"
    ) -> None:
        """Ask the other servers for their sockets in a namespace."""
        found: list[SocketDetails] = []
        here = {socket.public_id for socket in namespace.sockets.values()}
        if not namespace.adapter.reaches_other_nodes:
            return
        try:
            found = await namespace.adapter.fetch_sockets(EVERYBODY)
        except AckTimeout as error:  # those that have answered in time are shown
            found = error.responses
        except Exception as error:  # the adapter may be one of the program's
            log.warning("the Admin UI cannot list the sockets of other servers: %r", error)
        here |= {socket.public_id for socket in namespace.sockets.values()}
        elsewhere[namespace] = [details for details in found if details.id not in here]

    def _tell_cut(self, count: int) -> None:
        if not self._has_cut:
            self._has_cut = True
            log.warning(
                "the Admin UI lists the first %d sockets only: the others would be more than a "
                "client may have to take at once (output_bound_bytes of [connections])",
                count,
            )
