"""All options of the program: one group for each table of the configuration file."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.cluster.workers.options import WorkersOptions
from trio_socketio.configuration.options import AppOptions, ListenOptions
from trio_socketio.control.options import ControlOptions
from trio_socketio.engine.options import EngineOptions
from trio_socketio.http.options import ClientFilesOptions, CorsOptions, HttpOptions
from trio_socketio.im.chat.options import ChatOptions
from trio_socketio.im.deliveries.options import DeliveriesOptions
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.presence.options import PresenceOptions
from trio_socketio.im.rules.options import RulesOptions
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.ops.admin_ui.options import AdminUIOptions
from trio_socketio.ops.options import LogOptions
from trio_socketio.option_checks import OptionGroup
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.redis.options import RedisOptions
from trio_socketio.runtime.options import ConnectionLimits, RuntimeOptions, StopOptions
from trio_socketio.socketio.options import FLAT_NAMES, RecoveryOptions, SocketOptions
from trio_socketio.storage.options import StateOptions

Place = tuple[str, ...]
"""Where an option stands: its table, its name, and below that the names within its value."""

Tables = Mapping[str, type[OptionGroup]]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the program. A further group is one line here.

    It has 24 attributes, because they are all tables of the configuration file.
    """

    app: AppOptions = AppOptions()
    listen: ListenOptions = ListenOptions()
    log: LogOptions = LogOptions()
    control: ControlOptions = ControlOptions()
    admin: AdminOptions = AdminOptions()
    admin_ui: AdminUIOptions = AdminUIOptions()
    redis: RedisOptions = RedisOptions()
    cluster: ClusterOptions = ClusterOptions()
    workers: WorkersOptions = WorkersOptions()
    state: StateOptions = StateOptions()
    identity: IdentityOptions = IdentityOptions()
    presence: PresenceOptions = PresenceOptions()
    chat: ChatOptions = ChatOptions()
    rules: RulesOptions = RulesOptions()
    deliveries: DeliveriesOptions = DeliveriesOptions()
    engine: EngineOptions = EngineOptions()
    sockets: SocketOptions = SocketOptions()
    recovery: RecoveryOptions = RecoveryOptions()
    cors: CorsOptions = CorsOptions()
    connections: ConnectionLimits = ConnectionLimits()
    http: HttpOptions = HttpOptions()
    client_files: ClientFilesOptions = ClientFilesOptions()
    stop: StopOptions = StopOptions()
    runtime: RuntimeOptions = RuntimeOptions()

    def named_namespaces(self) -> list[str]:
        """Return the namespaces that [identity], [presence] and [chat] name, and their patterns."""
        names = [one.name for one in self.identity.namespaces]
        names += [one.name for one in self.presence.namespaces]
        return [*names, *self.chat.namespaces]

    def forwarded_namespaces(self) -> list[str]:
        """Return the namespaces whose events [control.backends] forwards, which makes them."""
        names = (one.namespace for one in self.control.backends.forward)
        return list(map(full_name, names))

    def reported_namespaces(self) -> list[tuple[str, str]]:
        """Return the namespaces that [presence] reports or watches, each with the option."""
        webhook, watch = self.presence.webhook, self.presence.watch
        reported = () if webhook is None else webhook.namespaces
        return [
            *(("webhook", name) for name in reported),
            *(("watch", one.namespace) for one in watch),
        ]


TABLES: Final[Tables] = {field.name: field.type for field in msgspec.structs.fields(Configuration)}
"""The group of each table."""


def options_of(table: str, kind: type[OptionGroup]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the options of a table that can be set, by name.

    Those that a server derives by itself have no flat name, and are left out.
    """
    known = FLAT_NAMES.get(table)
    return {
        field.name: field
        for field in msgspec.structs.fields(kind)
        if known is None or field.name in known
    }


def differences(old: Any, new: Any) -> list[tuple[str, str]]:
    """Return the table and name of each option in which two configurations differ."""
    return [
        (table, name)
        for table, kind in TABLES.items()
        for name in options_of(table, kind)
        if getattr(getattr(old, table), name) != getattr(getattr(new, table), name)
    ]
