"""The services of the program beside the server: control, identity, presence, admin, systemd."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from trio_socketio.admin_ui_services import AdminUIServices
from trio_socketio.chat_services import ChatServices
from trio_socketio.cluster.workers.role import Alone, Role
from trio_socketio.cluster_services import cluster_collectors, create_cluster
from trio_socketio.configuration.checks import unserved
from trio_socketio.control.places import open_endpoints
from trio_socketio.control.service import ControlService
from trio_socketio.control.workers import WorkerMethods
from trio_socketio.delivery_services import DeliveryServices
from trio_socketio.http.refused_callers import RefusedCallers
from trio_socketio.im.identity.methods import AuthMethods, NodeRevocations
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.presence import MemoryStore, Presence, presence_of
from trio_socketio.im.presence.legacy import LegacyRecords
from trio_socketio.im.presence.legacy_methods import LegacyMethods
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.im.presence.user_methods import UserMethods
from trio_socketio.im.presence.watchers import RoomWatchers
from trio_socketio.im.presence.webhook import PresenceWebhook
from trio_socketio.im.rules.options import RulesOptions
from trio_socketio.lobby.chat import tell_dashboard
from trio_socketio.ops.admin import AdminPort, admin_endpoints, dashboard_url
from trio_socketio.ops.health import Health, check_server
from trio_socketio.runtime.endpoints import RenewableEndpoint
from trio_socketio.state_services import StateServices

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext

    from trio_socketio.cluster.shared_presence import SharedPresence
    from trio_socketio.configuration.tables import Configuration
    from trio_socketio.im.presence.store import PresenceStore
    from trio_socketio.im.presence.turns import Turns
    from trio_socketio.ops.log import Log
    from trio_socketio.ops.systemd import Inherited, Systemd
    from trio_socketio.program_system import ProgramSystem
    from trio_socketio.reloading import Held
    from trio_socketio.runtime.endpoints import Endpoint
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_PER_NODE: Final = (
    "users are per node, because presence is kept in its memory: somebody may be logged in on each "
    "node, and presence counts the users of this one; if that matters, "
)
_SHARE_OPTION: Final = "leave out [presence] store, so that it is kept in Redis"
_SHARE_APP: Final = "have the app make its Presence without a store, so that it is kept in Redis"
_SHARE_LOBBY: Final = "serve an app (--app) or set [identity]: the lobby is for one process"


class Services:
    """The services that the configuration asks for. `start` starts them.

    It has 21 attributes: one for each service, and what services are made of.

    Args:
        server: the server.
        system: the program, as the methods of control see it.
        held: the options, files, tokens and keys with which the program starts.
        program_log: the log, whose drops are a metric.
        inherited: sockets that systemd has opened.
        systemd: is notified of the state of the server.
        name_of: names an option, given its table and its name there, for an error.
        role: of this process. In a worker nothing listens here: the control socket and the admin
            port are those of its parent.

    Attributes:
        endpoints: where they listen, by the table of their options; empty before `start`.
        identity: asks clients who they are; None if everybody may enter.
        presence: knows who is online; None without identity, unless the app has made one.

    Raises:
        ConfigurationError: the app handles the event auth where identity is asked for, or a package
            is missing.
    """

    def __init__(
        self,
        server: "Server",
        system: "ProgramSystem",
        held: "Held",
        program_log: "Log",
        inherited: "Inherited",
        systemd: "Systemd",
        name_of: Callable[[str, str], str],
        role: Role | None = None,
    ) -> None:
        self._role = role = role or Alone()
        self.endpoints: dict[str, list[RenewableEndpoint]] = {"control": [], "admin": []}
        self._server = server
        self._systemd = systemd
        self._name_of = name_of
        self._held = held
        self._inherited = inherited
        self._refused = RefusedCallers()
        control, admin = held.configuration.control, held.configuration.admin
        self._cluster = create_cluster(server, held, system.info(), role)
        nodes = None if self._cluster is None else self._cluster.nodes
        auth, legacy = AuthMethods(None, nodes), LegacyMethods(None)
        if nodes is not None:
            nodes.serve(NodeRevocations(auth))
        self._presence_methods = PresenceMethods(server, control.max_line_bytes)
        self._state = state = StateServices(server, held.configuration, self._cluster)
        self._delivery = DeliveryServices(server, held.configuration, self._cluster, state.database)
        self._control: ControlService | None = None
        if control.listen or inherited.control or control.tokens:
            self._control = ControlService(
                server,
                system,
                control,
                held.tokens,
                self._refused,
                [
                    auth,
                    UserMethods(server),
                    self._presence_methods,
                    legacy,
                    state.methods,
                    self._delivery.methods,
                    WorkerMethods(role.workers),
                ],
                nodes,
                state.namespaces.find,
            )
        self.identity: IdentityService | None = None
        if held.identity is not None:
            ask = None if self._control is None else self._control.backends.authenticate
            self.identity = auth.service = IdentityService(
                server,
                held.configuration.identity,
                ask,
                held.identity,
                redis=None if self._cluster is None else self._cluster.redis,
                prefix=held.configuration.redis.prefix,
            )
        self._chat = ChatServices(
            server, held.configuration, nodes, self.identity, self._delivery.deliveries
        )
        self._shared: SharedPresence | None = None  # what all nodes keep together
        node = system.info().node
        self.presence = system.presence = self._create_presence(node)
        self._admin_ui = AdminUIServices(server, held, self._cluster, self.identity, node)
        state.use(self.identity, self.presence, self._admin_ui, self._delivery, self._chat)
        self._delivery.go_by(held.configuration, self.identity)
        if self.identity is not None and self.presence is not None:
            self.identity.use_seats(self.presence)
        self._webhook = self._create_webhook()
        most = held.configuration.presence.legacy_records
        if most and self.presence is not None:
            legacy.records = LegacyRecords(server, self.presence, most)
        self._legacy = legacy.records
        forwarded = held.configuration.forwarded_namespaces()
        for option, name in held.configuration.reported_namespaces():
            if name not in forwarded and not server._namespaces.may_exist(name):  # HOOK-24
                log.warning("%s", unserved(option, name))
        watch = held.configuration.presence.watch
        if watch:
            watchers = RoomWatchers(server)
            for one in watch:
                watchers.watch(one.namespace, one.rooms, max_users=one.max_users)
        self._admin: AdminPort | None = None
        if admin.listen is not None or inherited.admin:
            version = system.info().version
            self._admin = self._create_admin(held.configuration, version, program_log)

    def _create_presence(self, node: str) -> Presence | None:
        """Return the presence of the app, or one with the seats of the configuration.

        It is left before the lifespans of the app and before every service: when these end, the log
        already says that all clients are offline (PRES-65).
        """
        presence = presence_of(self._server)
        asks_in = None
        if presence is None:
            if self.identity is None:
                return None
            presence, asks_in = Presence(self._server), self.identity.asks_in
        advice = _SHARE_LOBBY if self._held.configuration.app.spec is None else _SHARE_APP
        if not presence.has_own_store:
            advice = _SHARE_OPTION
            outage = self._held.configuration.presence.outage
            presence.keep_in(self._create_store(presence), node=node, outage=outage)
        if asks_in is not None:
            presence.seat_by_name(self._held.configuration.presence, asks_in)
        if self._cluster is not None and isinstance(presence.store, MemoryStore):  # CLUS-08
            log.warning("%s%s", _PER_NODE, advice)
        return presence

    def _create_store(self, presence: Presence) -> "PresenceStore":
        configuration = self._held.configuration
        options = configuration.presence
        if self._cluster is None or options.kept_in(has_redis=True) == "memory":
            return MemoryStore(max_events=options.max_events, max_bytes=options.max_bytes)
        from trio_socketio.cluster.shared_presence import SharedPresence

        log.info(
            "presence is kept in Redis, for all nodes; leases last %g s, and outage is %s",
            options.lease_s,
            options.outage,
        )
        prefix = configuration.redis.prefix
        self._shared = SharedPresence(self._cluster, prefix, options, presence)
        return self._shared.store

    @property
    def _turns(self) -> "Turns | None":
        return None if self._shared is None else self._shared.turns

    def _check_presence(self) -> str:
        """Return why no client can get a seat; empty text if they can; see ops.health (CLUS-14).

        Before the server starts, and when it stops, check_server says enough; without a connection
        to Redis, the cluster does (CLUS-18).
        """
        if self._shared is not None and self._shared.settings.fault:
            return self._shared.settings.fault
        if self.presence is None or self._server.state not in ("starting", "serving"):
            return ""
        if self._shared is not None and self._cluster is not None:
            return self.presence.fault if self._cluster.redis.connected else ""
        return self.presence.fault

    def _create_webhook(self) -> PresenceWebhook | None:
        options, address = self._held.configuration.presence.webhook, self._held.webhook
        if options is None or address is None:
            return None
        if self.presence is None:
            log.warning(
                "[presence] webhook has no effect: nobody is known to be online, because no client "
                "is asked who it is; set [identity]"
            )
            return None
        return PresenceWebhook(self.presence.store, options, address, turns=self._turns)

    @property
    def runs_control(self) -> bool:
        """Whether there is a control service, so that tokens are good for something."""
        return self._control is not None

    def _create_admin(
        self, configuration: "Configuration", version: str, program_log: "Log"
    ) -> AdminPort:
        # These modules need a package that a server without this port does not need.
        from trio_socketio.ops.metrics import Metrics  # its error says how to install that

        health = Health()
        health.add(check_server(self._server))
        health.add(self._state.check)
        metrics = Metrics(
            self._server,
            health,
            version=version,
            log_records_dropped=lambda: program_log.dropped,
            refused=self._refused,
        )
        for collector in (
            *self._state.collectors(),
            *self._delivery.collectors(),
            *self._chat.collectors(),
            *self._admin_ui.collectors(),
        ):
            metrics.add(collector)
        if self._control is not None:
            from trio_socketio.control.metrics import ControlCollector

            metrics.add(ControlCollector(self._control))
            from trio_socketio.im.presence.feed_metrics import FeedCollector

            metrics.add(FeedCollector(self._presence_methods))
        if self.identity is not None:
            from trio_socketio.im.identity.metrics import IdentityCollector

            metrics.add(IdentityCollector(self.identity))
            health.add(self.identity.check)
        if self.presence is not None:
            from trio_socketio.im.presence.metrics import PresenceCollector

            metrics.add(PresenceCollector(self.presence, self._server))
            health.add(self._check_presence)
        if self._shared is not None:
            from trio_socketio.im.presence.redis_metrics import RedisStoreCollector

            metrics.add(RedisStoreCollector(self._shared.store))
        if self._webhook is not None:
            from trio_socketio.im.presence.hook_metrics import WebhookCollector

            metrics.add(WebhookCollector(self._webhook))
        if self._cluster is not None:
            health.add(self._cluster.check_redis)
            health.add(self._cluster.check_name)
            health.add_note(self._cluster.check_forwarding)
            for collector in cluster_collectors(self._cluster):
                metrics.add(collector)
        control = self._control
        return AdminPort(
            configuration.admin,
            health,
            self._role.use_metrics(metrics, health),
            check_token=control.knows if control and configuration.control.tokens else None,
            routes={**self._admin_ui.routes, **({} if control is None else control.routes)},
            refused=self._refused,
        )

    async def start(self, runtime: "Runtime") -> None:
        """Start them. They report "starting" from then on, and end with the runtime.

        Raises:
            ConfigurationError: one cannot listen on its address, or others could reach it there.
        """
        if self._systemd.is_there:
            await runtime.start_service("watchdog", self._systemd.keep_watchdog)
            workers = self._role.workers
            count = None if workers is None else workers.count_connections
            follow = partial(self._systemd.follow, self._server, count)
            await runtime.start_service("systemd", follow)
        await self._admin_ui.start()
        listens = not self._role.family.parent
        if self._admin is not None and listens:
            options = self._held.configuration.admin
            found = admin_endpoints(options, self._inherited.admin, self._tls("admin"))
            endpoints = self.endpoints["admin"] = self._renewable(found, "admin")
            serve = partial(self._admin.serve, runtime, endpoints)
            at = await runtime.start_service("admin", serve, end=self._admin.end)
            tell_dashboard(self._server, dashboard_url(at, secure=self._tls("admin") is not None))
        if self._cluster is not None:
            await self._cluster.start(runtime)
        if self._has_messaging:
            await self._state.start(runtime)
        if self.identity is not None:  # after the port, because it may wait for keys from a URL
            await runtime.start_service("identity", partial(self.identity.run, runtime))
        feed = None if self._control is None else self._presence_methods.open_feed(self._turns)
        if feed is not None:
            await runtime.start_service("presence feed", feed.run)
        if self._legacy is not None:
            await runtime.start_service("on/off records", self._legacy.run)
        if self._webhook is not None:
            await runtime.start_service(
                "presence webhook", self._webhook.run, end=self._webhook.end
            )
        if self._control is not None:  # last, so that it ends before the port that carries /rpc
            control = self._held.configuration.control
            tls, inherited = self._tls("control"), self._inherited.control
            found = open_endpoints(control, tls, inherited) if listens else []
            endpoints = self.endpoints["control"] = self._renewable(found, "control")
            run = partial(self._control.run, runtime, endpoints)
            await runtime.start_service("control", run, end=self._control.end)
        if self._cluster is not None:  # when operators can see that it waits
            self._systemd.status("waiting for Redis")
            await self._cluster.wait_joined()
        if self._shared is not None:
            self._systemd.status("waiting for other settings of Redis")
            await self._shared.wait_fit()
        if self._has_messaging:
            await self._state.namespaces.wait_read()
            await self._delivery.start(runtime)
            await self._chat.start(runtime)

    @property
    def _has_messaging(self) -> bool:
        """Whether there may be chat events, rules, deliveries or namespaces made at run time."""
        configuration = self._held.configuration
        return (
            self._control is not None
            or self._cluster is not None
            or self._state.database is not None
            or bool(configuration.chat.namespaces)
            or configuration.rules != RulesOptions()
        )

    def _renewable(self, endpoints: "Iterable[Endpoint]", table: str) -> list[RenewableEndpoint]:
        option = self._name_of(table, "listen")
        return [RenewableEndpoint(endpoint, option) for endpoint in endpoints]

    def _tls(self, table: str) -> "SSLContext | None":
        certificate = self._held.certificates.get(table)
        return None if certificate is None else certificate.context

    def apply(self, held: "Held") -> None:
        """Use other tokens and keys from now on."""
        if self._control is not None:
            self._control.apply(held.tokens)
        self._admin_ui.apply(held.tokens)
        if self.identity is not None and held.identity is not None:
            self.identity.apply(held.identity)
        if self.presence is not None:
            self.presence.apply(held.configuration.presence)
        self._chat.apply(held.configuration)
        if self._cluster is not None and self._cluster.forwarding is not None and held.credentials:
            self._cluster.forwarding.apply(held.credentials)
