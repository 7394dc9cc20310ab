"""What all parts of one server share."""

import logging
from functools import partial
from typing import TYPE_CHECKING

from trio_socketio.codec.parsers import JSON, PARSERS
from trio_socketio.engine.ids import SOCKET_ID_CHARACTERS, RandomText
from trio_socketio.engine.session import MAX_PAUSE_S
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.jobs import Workers
from trio_socketio.socketio.intake import Intake
from trio_socketio.socketio.recovery import Recovery

if TYPE_CHECKING:
    from trio_socketio.codec.parsers import Parser
    from trio_socketio.engine.hooks import Engine
    from trio_socketio.runtime.deadlines import Deadlines
    from trio_socketio.socketio.options import ServerGroups

log = logging.getLogger(__name__)


class Host:
    """The options of a server, and the parts that namespaces and clients share.

    Args:
        options: see ServerGroups; those that hold when serving begins are the ones that count.
        engine: knows the poller and the deadlines while the server serves.
        parser: of the program's own; None is the one that the options name.

    Attributes:
        workers: run user code.
        intake: weighs what clients send.
        recovery: the log and the sessions of lost clients, while the server serves with
            state_recovery.
        draw_id: gives a random id of a socket, which is never its sid.
    """

    def __init__(self, options: "ServerGroups", engine: "Engine", parser: "Parser | None") -> None:
        self.options = options
        self.engine = engine
        self.parser = parser or PARSERS[options.sockets.parser]
        self.workers = Workers()
        self.intake = Intake()
        self.intake.begin(options.sockets)
        self.recovery: Recovery | None = None
        self.draw_id = partial(RandomText().draw, SOCKET_ID_CHARACTERS)
        self._own_parser = parser

    def begin(self, deadlines: "Deadlines") -> None:
        """Serving begins: the options hold from here on.

        Raises:
            ConfigurationError: an option asks for what the parser cannot do.
        """
        options = self.options
        self.intake.begin(options.sockets)
        self.parser = self._own_parser or PARSERS[options.sockets.parser]
        if options.engine.allow_eio3 and self.parser is not JSON:
            raise ConfigurationError("allow_eio3: clients 1.x and 2.x speak JSON only")
        cross_origin = options.cors.origins or options.origin_checks
        if options.engine.allow_eio3 and cross_origin and not options.cors.credentials:  # SURF-39
            log.warning(
                "allow_eio3: clients 1.x and 2.x poll with credentials, and browsers let pages of "
                "cors_origins do that only with cors_credentials=True and origins by name"
            )
        self.recovery = None
        if options.recovery.enabled:
            heartbeat_s = options.engine.ping_interval_s + 2 * options.engine.ping_timeout_s
            self.recovery = Recovery(
                options.recovery,
                deadlines,
                heartbeat_s + MAX_PAUSE_S,
                4 * options.connections.output_bound_bytes,  # at 8 times clients are given up
            )
