"""Checks that concern several options."""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from trio_socketio.configuration.redis_checks import REDIS, find_faults_of_redis, named_like
from trio_socketio.configuration.settings import Settings
from trio_socketio.configuration.tables import TABLES, Configuration, Place
from trio_socketio.control.address import Address, parse_address
from trio_socketio.im.identity.options import DES_IS_WEAK, IdentityOptions
from trio_socketio.ops.admin_options import split_listen
from trio_socketio.protocol.namespace_patterns import compile_pattern
from trio_socketio.runtime.addresses import EVERYWHERE

_CONTROL: Final[Place] = ("control", "listen")
_ADMIN: Final[Place] = ("admin", "listen")
_PLACE: Final[Place] = ("cluster", "place")
_NEEDS: Final[Mapping[Place, tuple[Place, ...]]] = {
    **{
        ("cluster", name): (REDIS,)
        for name in ("node", "adapter", "key", "request_timeout_s")
    },
    **{
        ("cluster", name): (("cluster", "internal"),)
        for name in (
            "secret_files", "internal_tls_cert", "place",
        )
    },
    **{
        ("redis", name): (REDIS,)
        for name in (
            "password_file", "ca_file", "prefix", "connect_timeout_s", "command_timeout_s",
            "send_timeout_s", "probe_s", "retry_first_s", "retry_max_s", "max_commands",
            "max_queue_bytes", "max_reply_bytes",
        )
    },
    **{
        ("cors", name): (("cors", "origins"),)
        for name in ("credentials", "methods", "allowed_headers", "exposed_headers", "max_age_s")
    },
    **{
        ("recovery", name): (("recovery", "enabled"),)
        for name in (
            "max_disconnection_s", "skip_middlewares", "max_packets", "max_bytes", "max_sessions",
            "max_session_bytes",
        )
    },
    # Seats are for users, and only [identity] says who is one.
    **{
        ("presence", name): (
            ("identity", "jwt"), ("identity", "des"), ("identity", "backend"),
            ("identity", "webhook"), ("identity", "tokens"),
        )
        for name in (
            "policy", "maximum", "takeover", "namespaces",
        )
    },
    **{
        ("presence", name): (
            ("identity", "jwt"), ("identity", "des"), ("identity", "backend"),
            ("identity", "webhook"), ("identity", "tokens"),
            ("app", "spec"),  # which may have a Presence of its own
        )
        for name in ("webhook", "legacy_records", "store", "max_events", "max_bytes")
    },
    **{("presence", name): (REDIS,) for name in ("lease_s", "outage")},
    ("rules", "logins"): (
        ("identity", "jwt"), ("identity", "des"), ("identity", "backend"),
        ("identity", "webhook"), ("identity", "tokens"), ("app", "spec"),
    ),
    ("chat", "confirm"): (
        ("identity", "jwt"), ("identity", "backend"), ("identity", "webhook"),
        ("identity", "tokens"), ("identity", "des"), ("app", "spec"),
    ),
    ("presence", "linger_s"): (("recovery", "enabled"),),
    ("client_files", "folder"): (("client_files", "serve"),),
    # Backends register on the control socket. Without it, forwarded events would only be refused.
    ("control", "backends", "forward"): (_CONTROL,),
    **{
        ("control", name): (_CONTROL,)
        for name in (
            "certfile", "max_connections", "max_in_flight", "auth_timeout_s",
            "output_bound_bytes", "slow_peer_s",
        )
    },
    **{("control", name): (_CONTROL, _ADMIN) for name in ("tokens", "max_line_bytes", "max_batch")},
    ("control", "max_http_calls"): (_ADMIN,),
    **{
        ("admin", name): (_ADMIN,)
        for name in ("certfile", "hosts", "allow_cleartext", "max_connections")
    },
    **{
        ("admin_ui", name): (("admin_ui", "auth"),)
        for name in (
            "username", "password_hash", "tokens", "mode", "readonly", "namespace", "server_id",
            "session_s", "max_admins", "attempts_per_minute", "max_events_per_s",
            "max_shown_characters",
        )
    },
    ("admin_ui", "folder"): (_ADMIN,),
    ("admin_ui", "outside_fonts"): (("admin_ui", "folder"),),
}  # fmt: skip
"""Options that have an effect only if another one is set, each with the options that will do."""


def find_contradictions(
    configuration: Configuration, settings: Settings, inherited: Collection[str] = ()
) -> Iterator[str]:
    """Yield an error for every two options that cannot be used together; it names both (CFG-07)."""
    listen = configuration.listen
    host, port = settings.get(("listen", "host")), settings.get(("listen", "port"))
    if listen.fds:
        inherited = settings["listen", "fds"]
        others = [host, port, settings.get(("listen", "unix")) if listen.unix else None]
        given = [other.beside(inherited) for other in others if other is not None]
        if given:  # CMD-10
            yield (
                f"{inherited.where} listens on an inherited descriptor: leave out either it or "
                f"{' and '.join(given)}"
            )
    elif listen.unix is not None:
        unix = settings["listen", "unix"]
        for other, name in ((host, "host"), (port, "port")):
            if other is not None:
                yield (
                    f"{unix.where} does not listen on a {name}: leave out either it or "
                    f"{other.beside(unix)}"
                )
    certfile = settings.get(("listen", "certfile"))
    if listen.keyfile is not None and (certfile is None or certfile.value is False):
        where = settings["listen", "keyfile"].where
        yield f"{where} needs {named_like(where, ('listen', 'certfile'), '--certfile')}"
    yield from _faults_of_methods(configuration, settings)
    if configuration.identity.backend and not _has_control(configuration, inherited):
        where = settings["identity", "backend"].where
        yield f"{where} asks backends on the control socket: set [control] listen"
    if configuration.identity.asks:
        for one in configuration.presence.namespaces:
            asks = one.name.endswith("*") or configuration.identity.asks_in(one.name)
            if not asks and one.policy != "none":
                where = settings["presence", "namespaces"].where
                yield (
                    f"{where}: {one.name} can have no seats, because [identity] namespaces gives "
                    "it no methods, so that nobody is asked there who it is"
                )
    yield from _faults_of_admin_ui(configuration, settings)
    yield from find_faults_of_redis(configuration, settings)
    yield from _faults_of_rules(configuration, settings)
    yield from _faults_of_confirmation(configuration, settings)
    if configuration.engine.allow_eio3 and configuration.sockets.parser != "json":
        eio3, parser = settings["engine", "allow_eio3"], settings["sockets", "parser"]
        yield (
            f"{eio3.where} and {parser.beside(eio3)} contradict each other: clients 1.x and 2.x "
            "speak JSON only, so the parser must be json"
        )


def _faults_of_confirmation(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for each namespace whose messages nobody can confirm (CHAT-33)."""
    identity = configuration.identity
    if not identity.asks or configuration.app.spec is not None:  # an app may identify clients
        return
    for name in configuration.chat.confirm:
        if not name.endswith("*") and not identity.asks_in(name):
            yield (
                f"{settings['chat', 'confirm'].where}: nobody can confirm messages in {name}, "
                "because [identity] namespaces gives it no methods, so that nobody is asked there "
                "who it is"
            )


def _faults_of_rules(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for each claim that rules go by and that no client can have (RULE-11)."""
    identity = configuration.identity
    for one in configuration.rules.namespaces:
        if one.claim is None:
            continue
        fault = identity.fault_of_claim(one.claim, identity.methods_in(one.name))
        if fault:
            where = settings["rules", "namespaces"].where
            yield f"{where}: the rules of {one.name} go by the claim {one.claim}, {fault}"


def _faults_of_methods(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error if [identity] was given, and sets up no method to identify clients (CFG-33).

    Everybody could enter, which is the opposite of what the table is there for.
    """
    given = {place: setting for place, setting in settings.items() if place[0] == "identity"}
    if configuration.identity.asks or not given:
        return
    methods = IdentityOptions._one_of
    if all(("identity", method) in given for method in methods):
        return  # as in an example whose comments were removed: each of them is explicitly off
    for place, setting in given.items():
        is_off = setting.value is False or setting.value == []
        if len(place) > 1 and place[1] in methods and not is_off:
            return  # it cannot be used, which was told
    first = next(iter(given.values()))
    yield (
        f"{first.origin}: [identity] has no method: set {', '.join(methods[:-1])} or "
        f"{methods[-1]}, or leave out the table if everybody may enter"
    )


def find_collisions(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for every two options that name the same port or Unix socket (CFG-20).

    Otherwise the error would be that another program has it, which would be misleading.
    """
    control, admin, listen = configuration.control, configuration.admin, configuration.listen
    addresses = [("control", "listen", parse_address(text)) for text in control.listen]
    if admin.listen is not None:
        host, port = split_listen(admin.listen)
        addresses.append(("admin", "listen", Address(host=host, port=port)))
    if listen.unix is not None:
        addresses.append(("listen", "unix", Address(path=str(listen.unix))))
    elif not listen.fds:
        addresses += [
            ("listen", "port", Address(host=host, port=listen.port)) for host in listen.host
        ]
    taken: list[tuple[str, Address]] = []
    for table, option, address in addresses:
        setting = settings.get((table, option))
        where = f"[{table}] {option}" if setting is None else setting.where
        for other, before in taken:
            if _collide(before, address):
                both = before.path or f"port {address.port}"
                yield f"{where}: {both} is already taken by {other}"
                break
        taken.append((where, address))


def _collide(one: Address, other: Address) -> bool:
    if one.path or other.path:
        return one.path == other.path
    if one.port != other.port or not one.port:
        return False
    hosts = {one.host, other.host}
    return (
        len(hosts) == 1
        or EVERYWHERE in hosts
        or ("0.0.0.0" in hosts and not any(":" in host for host in hosts))
        or ("::" in hosts and all(":" in host for host in hosts))
    )


def _faults_of_admin_ui(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the Admin UI beside the other tables (AUI-27)."""
    options = configuration.admin_ui
    if options.auth is None:
        if options.folder is not None:
            where = settings["admin_ui", "folder"].where
            yield f"{where} shows pages that could connect to nothing: set [admin_ui] auth"
        return
    known = {token.name for token in configuration.control.tokens}
    for name in options.tokens:
        if name not in known:
            where = settings["admin_ui", "tokens"].where
            yield f"{where} names {name!r}, which is not among the tokens of [control]"
    for place, names in (
        (("chat", "namespaces"), configuration.chat.namespaces),
        (("identity", "namespaces"), [one.name for one in configuration.identity.namespaces]),
        (("presence", "namespaces"), [one.name for one in configuration.presence.namespaces]),
        (("rules", "namespaces"), [one.name for one in configuration.rules.namespaces]),
        (("control", "backends", "forward"), configuration.forwarded_namespaces()),
    ):
        if options.namespace in names:
            yield (
                f"{settings[place].where if place in settings else '.'.join(place)} names "
                f"{options.namespace}, which is the namespace of the Admin UI and has none of this"
            )


def find_idle(
    configuration: Configuration,
    settings: Settings,
    flags: Mapping[Place, str],
    inherited: Collection[str] = (),
) -> Iterator[str]:
    """Yield a warning for every option that was given, and changes what is not on (CMD-11).

    Identity without an app or backends is one of them: whoever is let in can do nothing.

    Args:
        configuration: the effective one; the app may have turned on what the option changes.
        settings: what was given.
        flags: the flag of each option that has one.
        inherited: the tables for which systemd has opened sockets.
    """
    for place, needed in _NEEDS.items():
        setting = next((one for at, one in settings.items() if at[: len(place)] == place), None)
        if setting is None or any(
            _option(configuration, other) or (other[1] == "listen" and other[0] in inherited)
            for other in needed
        ):
            continue
        if place == _PLACE and configuration.workers.number > 1:
            continue  # workers pass on to one another without any other option (WORK-50)
        default = getattr(TABLES[place[0]](), place[1])
        if _option(configuration, place[:2]) == default:
            continue  # what is given is the default, as in an example whose comments were removed
        if len(place) > 2 and _within(configuration, place) == getattr(default, place[2]):
            continue
        wanted = [named_like(setting.where, other, flags.get(other)) for other in needed]
        yield f"{setting.where} has no effect without {' or '.join(wanted)}"
    yield from _idle_options_of_store(configuration, settings)
    folder = settings.get(("state", "folder"))
    if folder is not None and configuration.state.folder and configuration.redis.url is not None:
        yield f"{folder.where} has no effect, because all nodes keep their state in Redis"
    if configuration.identity.des is not None:
        given = (one for place, one in settings.items() if place[:2] == ("identity", "des"))
        for setting in islice(given, 1):
            yield f"{setting.origin}: [identity] des {DES_IS_WEAK}"  # LEG-01
            if not any("des" in one.methods for one in configuration.identity.namespaces):
                yield (
                    f"{setting.origin}: [identity] namespaces names des nowhere, so only "
                    "namespaces that are made at run time can take its tokens"  # LEG-12
                )
    has_logic = (
        configuration.app.spec is not None
        or configuration.chat.namespaces
        or _has_control(configuration, inherited)
    )
    if configuration.identity.asks and not has_logic:  # PRES-66
        yield (
            "nothing handles what clients send, and nobody can send them anything, because there "
            "is neither an app nor a control socket: set [app] spec or [control] listen"
        )

    yield from _anonymous_chat(configuration, settings)


def _anonymous_chat(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield a warning for each namespace with chat whose clients nobody asks who they are."""
    setting = settings.get(("chat", "namespaces"))
    if setting is None:
        return
    for name in configuration.chat.namespaces:
        if not (name.endswith("*") or configuration.identity.asks_in(name)):
            yield (
                f"{setting.where}: clients in {name} are not asked who they are, so their messages "
                "have no sender, and nobody can send to a user there: set [identity]"
            )


def _idle_options_of_store(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield a warning for each option of the store of presence that the chosen one has no use for.

    Without Redis, the options that need it were told already.
    """
    presence = configuration.presence
    if configuration.redis.url is None:
        return
    for name, kept, why in (
        ("lease_s", "memory", "nodes have leases only if presence is kept in redis"),
        ("outage", "memory", "the memory of a node is never away"),
        ("max_bytes", "redis", "presence is kept in Redis, where max_events alone bounds the log"),
    ):
        setting = settings.get(("presence", name))
        is_default = getattr(presence, name) == getattr(TABLES["presence"](), name)
        if setting is not None and presence.kept_in(has_redis=True) == kept and not is_default:
            beside = settings.get(("presence", "store"))
            because = "" if beside is None else f" beside {beside.beside(setting)} = {kept}"
            yield f"{setting.where} has no effect{because}: {why}"


def find_unserved(configuration: Configuration) -> Iterator[str]:
    """Yield a warning for each namespace that is to be reported or watched without being there.

    Only a program without an app tells by its options which namespaces it has (HOOK-24).
    """
    if configuration.app.spec is not None or not configuration.identity.asks:
        return
    served = [*configuration.named_namespaces(), *configuration.forwarded_namespaces(), "/"]
    for option, name in configuration.reported_namespaces():
        if not any(compile_pattern(pattern).fullmatch(name) for pattern in served):
            yield unserved(option, name)


def unserved(option: str, name: str) -> str:
    """Word the warning that an option names a namespace which nothing serves."""
    return (
        f"[presence] {option} names {name}, but neither the app nor another option does, so no "
        "client is expected there: is the name right?"
    )


def _has_control(configuration: Configuration, inherited: Collection[str]) -> bool:
    control = configuration.control
    return bool(control.listen or control.tokens) or "control" in inherited


def _option(configuration: Configuration, place: Place) -> Any:
    return getattr(getattr(configuration, place[0]), place[1])


def _within(configuration: Configuration, place: Place) -> Any:
    return getattr(_option(configuration, place), place[2])
