"""The state that all parts of one server share."""

import logging
from functools import partial
from typing import TYPE_CHECKING

from trio_socketio.codec.parsers import JSON, PARSERS, find_parser
from trio_socketio.engine.counts import EngineCounts
from trio_socketio.engine.ids import SOCKET_ID_CHARACTERS, RandomText
from trio_socketio.engine.session import MAX_PAUSE_S
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.jobs import Workers
from trio_socketio.runtime.sampling import REFUSALS, SampledLog
from trio_socketio.socketio.intake import Intake
from trio_socketio.socketio.recovery import Recovery
from trio_socketio.socketio.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.codec.parsers import Parser
    from trio_socketio.engine.forwarding import Forwarding
    from trio_socketio.engine.hooks import Engine
    from trio_socketio.http.routes import RequestHandler
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.socketio.options import ServerGroups

log = logging.getLogger(__name__)
_REFUSING = logging.getLogger("trio_socketio.socketio.refusing")  # the lines are written there


class Host:
    """The options of a server, and the parts that its namespaces and clients share.

    It has 15 attributes, because everything meets here that belongs to the whole server.

    Args:
        options: by group. They can be changed until serving begins.
        engine: knows the poller and the deadlines while the server serves.
        parser: its name, or one of the program's own; None means the one that the options name.

    Raises:
        ConfigurationError: there is no such parser.

    Attributes:
        asks_identity: whether the clients of a namespace are asked who they are; None if none are.
        counts: counts the traffic between the server and its clients.
        forwarding: passes on requests that belong to other nodes; None if nothing is passed on.
        draw_id: returns a random id for a socket, which never contains a sid.
        intake: weighs what clients send.
        pages: further paths that the server answers, and what answers them. The path of Socket.IO
            and those of the app come first.
        recovery: the log and the sessions of lost clients; None unless the server serves with
            state_recovery.
        refusal_log: logs clients that may not join a namespace.
        shows_clients: whether descriptions of sockets tell of their clients, for the Admin UI.
        stopping: the times of the next stop, or of the one that is under way.
        workers: run user code.
    """

    def __init__(
        self, options: "ServerGroups", engine: "Engine", parser: "str | Parser | None"
    ) -> None:
        self.options = options
        self.engine = engine
        self._own_parser = None if parser is None else find_parser(parser)
        self.parser = self._own_parser or PARSERS[options.sockets.parser]
        self.asks_identity: Callable[[str], bool] | None = None
        self.pages: dict[str, RequestHandler] = {}
        self.counts = EngineCounts()
        self.forwarding: Forwarding | None = None
        self.workers = Workers()
        self.intake = Intake()
        self.intake.begin(options.sockets)
        self.recovery: Recovery | None = None
        self.refusal_log = SampledLog(_REFUSING, logging.INFO, REFUSALS)
        self.shows_clients = False
        self.stopping = Stopping(options.stop.window_s)
        self.draw_id = partial(RandomText().draw, SOCKET_ID_CHARACTERS)

    def begin(self, deadlines: "Deadlines") -> None:
        """Take the options as they are now: serving begins.

        Raises:
            ConfigurationError: an option asks for something that the parser cannot do.
        """
        options = self.options
        self.refusal_log = SampledLog(_REFUSING, logging.INFO, REFUSALS, deadlines)
        self.stopping = Stopping(options.stop.window_s)
        self.intake.begin(options.sockets)
        self.parser = self._own_parser or PARSERS[options.sockets.parser]
        if options.engine.allow_eio3 and self.parser is not JSON:
            raise ConfigurationError(
                "allow_eio3: clients 1.x and 2.x speak JSON only, so the parser must be json"
            )
        cross_origin = options.cors.origins or options.origin_checks
        if options.engine.allow_eio3 and cross_origin and not options.cors.credentials:  # SURF-39
            log.warning(
                "allow_eio3: clients 1.x and 2.x poll with credentials, and browsers let pages of "
                "foreign origins do that only with [cors] credentials and origins by name "
                "(cors_credentials, cors_origins)"
            )
        self.recovery = None
        if options.recovery.enabled:
            heartbeat_s = options.engine.ping_interval_s + 2 * options.engine.ping_timeout_s
            self.recovery = Recovery(
                options.recovery,
                deadlines,
                heartbeat_s + MAX_PAUSE_S,
                # Less than the 8 times at which a client is given up for its output.
                4 * options.connections.output_bound_bytes,
            )
