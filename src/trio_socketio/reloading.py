"""Plans what a program goes by: at its start, and at every reload.

Files are read here and nowhere else, in a thread and once: a second look could find other contents.
Whatever can fail, fails here. What comes out is complete, so to apply it is to assign it.
"""

import ssl
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from trio_socketio.cluster.forwarding.credentials import Credentials, read_credentials
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.configuration.checks import find_idle
from trio_socketio.configuration.loading import Loaded, Sources
from trio_socketio.configuration.tables import TABLES, Configuration, differences
from trio_socketio.configuration.text import toml_value, visible_value
from trio_socketio.control.tokens import TokenTable
from trio_socketio.descriptors import fit_descriptors
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.im.identity.options import IdentityOptions, StaticToken
from trio_socketio.im.identity.verifiers import Prepared, prepare
from trio_socketio.im.presence.courier import Address, prepare_address
from trio_socketio.im.presence.options import PresenceOptions
from trio_socketio.net.tls import create_context
from trio_socketio.option_checks import OptionGroup
from trio_socketio.socketio.options import FLAT_NAMES, ServerOptions, group_options, take_over

READ_S: Final = 30.0
"""How long the files of a configuration may take to be read; they may be on a slow network."""

_MAX_USERS_TOLD: Final = 10
"""How many users a change of tokens names."""

_CERTIFIED: Final = ("listen", "admin", "control")
"""The tables that name a certificate."""


class Certificate(NamedTuple):
    """A certificate that was read.

    Args:
        context: the TLS context that has it.
        digest: of the files; another one means that they have changed.
    """

    context: ssl.SSLContext
    digest: bytes


class Held(NamedTuple):
    """The configuration, files and tokens that a program uses.

    Args:
        configuration: all options, those that the app sets itself included.
        options: those of the server.
        certificates: by the table that names them. A table that has none speaks no TLS until the
            program is started again.
        tokens: who may call methods.
        identity: the keys and tokens of clients; None if no namespace asks for them.
        webhook: where presence is reported; None if it is not.
        credentials: by what nodes know one another; None if nothing is passed on to other nodes.
    """

    configuration: Configuration
    options: ServerOptions
    certificates: Mapping[str, Certificate]
    tokens: TokenTable
    identity: Prepared | None = None
    webhook: Address | None = None
    credentials: Credentials | None = None


class Change(NamedTuple):
    """An option for which a reload has found something new.

    Args:
        table, name: the option.
        before: its value as text; None if that is the same, and the contents of a file are new.
        after: its new value as text, or what is new.
    """

    table: str
    name: str
    before: str | None
    after: str

    @property
    def option(self) -> str:
        """The name of the option, with its table."""
        return f"[{self.table}] {self.name}"

    def __str__(self) -> str:
        value = self.after if self.before is None else f"{self.before} -> {self.after}"
        return f"{self.option}: {value}"


class Plan(NamedTuple):
    """The effect of a reload.

    Args:
        held: what the program goes by from then on.
        renewed: the tables whose endpoints get another certificate.
        changed: what is new.
        needs_restart: what is new in the sources, and holds only after the next start.
        warnings: lines for the log.
    """

    held: Held
    renewed: frozenset[str]
    changed: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    warnings: tuple[str, ...]


def read_files(configuration: Configuration, options: ServerOptions, sources: Sources) -> Held:
    """Read the files that a configuration names, for the start of a program.

    Args:
        configuration: all options.
        options: those of the server.
        sources: where they come from, for errors.
    Raises:
        ConfigurationError: one cannot be used.
    """
    certificates = _read_certificates(configuration, sources)
    tokens = _read_tokens(configuration, sources)
    identity = None
    if configuration.identity.asks:
        identity = _read_identity(configuration.identity, sources)
    webhook = None
    if configuration.presence.webhook is not None:
        try:
            webhook = prepare_address(configuration.presence.webhook)
        except OptionError as error:
            raise sources.within("presence", error.within("webhook")) from None
    credentials = _read_credentials(configuration.cluster, sources)
    return Held(configuration, options, certificates, tokens, identity, webhook, credentials)


def plan(
    held: Held,
    loaded: Loaded,
    own: ServerOptions,
    sources: Sources,
    *,
    runs_control: bool,
    forwards: bool,
) -> Plan:
    """Plan a reload. Nothing is changed, except that the limit of open files may be raised.

    Args:
        held: what the program goes by.
        loaded: the configuration that was loaded anew.
        own: the options that the app sets itself.
        sources: where the configuration was loaded from.
        runs_control: whether the control service runs. If not, tokens have no effect.
        forwards: whether requests are passed on to other nodes, which takes more descriptors.
    Raises:
        ConfigurationError: something cannot be used.
    """
    try:
        wanted = replace(own, **loaded.given())
        read_certificates = _read_certificates(loaded.configuration, sources)
        read_tokens = _read_tokens(loaded.configuration, sources)
        fitting = fit_descriptors(wanted.max_connections, forwards=forwards)
        wanted = replace(wanted, max_connections=fitting.max_connections)
        options, _ = take_over(held.options, wanted)
    except OptionError as error:
        raise sources.explain(error) from None
    new = put_into(loaded.configuration, wanted)
    idle = find_idle(new, loaded.settings, sources.flags, sources.inherited)
    changed, needs_restart, taken = _compare(held.configuration, new, runs_control=runs_control)
    certificates = dict(held.certificates)
    for table in held.certificates.keys() & read_certificates.keys():
        # One that is the same keeps its context, in which clients can resume their TLS sessions.
        if read_certificates[table].digest != held.certificates[table].digest:
            certificates[table] = read_certificates[table]
    renewed = frozenset(t for t in certificates if certificates[t] is not held.certificates[t])
    for table in sorted(renewed):
        file = getattr(new, table).certfile
        if file == getattr(held.configuration, table).certfile:
            news = f"{file} has a new certificate or key"
            changed.append(Change(table, "certfile", None, news))
    tokens = held.tokens
    if runs_control:
        tokens = read_tokens
        for name in tokens.names_of_new_secrets(held.tokens):  # CFG-31
            changed.append(Change("control", "tokens", None, f"{name} has a new secret"))
    _check_presence(taken.presence, options)
    wanted_identity = loaded.configuration.identity
    if wanted_identity.asks and wanted_identity != taken.identity:
        # What waits for the restart is read as well, because that is no time to find a fault.
        _read_identity(wanted_identity, sources)
    identity = None
    if held.identity is not None:
        identity = _prepare_identity(taken.identity, held.identity, sources)
        for name, digest in identity.digests.items():
            same = getattr(taken.identity, name) == getattr(held.identity.options, name)
            if same and digest != held.identity.digests[name]:
                changed.append(Change("identity", name, None, "its files have new contents"))
    credentials = held.credentials
    if credentials is not None:
        credentials = _read_credentials(taken.cluster, sources)
        for name in _names_of_news(taken.cluster, held, credentials):
            changed.append(Change("cluster", name, None, "its files have new contents"))
    is_news = fitting.lowered and fitting.max_connections != held.options.max_connections
    return Plan(
        Held(taken, options, certificates, tokens, identity, held.webhook, credentials),
        renewed,
        tuple(changed),
        tuple(needs_restart),
        ((fitting.change,) if is_news else ()) + tuple(idle),
    )


def put_into(configuration: Configuration, options: ServerOptions) -> Configuration:
    """Put the options of a server into a configuration."""
    groups: Mapping[str, Any] = group_options(options)._asdict()
    held = {table: group for table, group in groups.items() if table in FLAT_NAMES}
    return msgspec.structs.replace(configuration, **held)


# -- files


def _read_certificates(configuration: Configuration, sources: Sources) -> dict[str, Certificate]:
    certificates = {}
    for table in _CERTIFIED:
        group = getattr(configuration, table)
        if group.certfile is not None:
            certfile, keyfile = Path(group.certfile), group.keyfile and Path(group.keyfile)
            try:
                certificates[table] = read_certificate(certfile, keyfile)
            except ConfigurationError as error:
                is_key = keyfile is not None and certfile.is_file() and not keyfile.is_file()
                named = sources.name_of(table, "keyfile" if is_key else "certfile")
                raise ConfigurationError(f"{named}: {error}") from error
    return certificates


def read_certificate(certfile: Path, keyfile: Path | None) -> Certificate:
    """Read a certificate and its key.

    Raises:
        ConfigurationError: they cannot be used.
    """
    # The digest comes first (CFG-32). If the files are replaced between the two looks, the context
    # is newer than its digest, and the next reload loads it once more. The other way round, that
    # reload would find the digest of the new files and keep the old context for good.
    digest = _digest(certfile, keyfile)
    return Certificate(create_context(certfile, keyfile), digest)


def _digest(*paths: Path | None) -> bytes:
    digest = sha256()
    for path in paths:
        if path is not None and path.is_file():  # if not, create_context tells
            try:
                digest.update(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.digest()


def _read_tokens(configuration: Configuration, sources: Sources) -> TokenTable:
    try:
        return TokenTable(configuration.control.tokens)
    except ConfigurationError as error:
        raise ConfigurationError(f"{sources.name_of('control', 'tokens')}: {error}") from None


def _read_identity(
    options: IdentityOptions, sources: Sources, before: Prepared | None = None
) -> Prepared:
    """Read the keys and tokens of clients.

    Raises:
        ConfigurationError: a file cannot be used; it names the option in its source (CFG-19).
    """
    try:
        return prepare(options, before=before)
    except OptionError as error:
        raise sources.within("identity", error) from None


def _prepare_identity(options: IdentityOptions, before: Prepared, sources: Sources) -> Prepared:
    """Read the keys and tokens of clients again (IDENT-43).

    Raises:
        ConfigurationError: a file cannot be used, or the options that can be changed now do not go
            with those that wait for the restart. Clients would be let in, or refused, by a mixture.
    """
    try:
        options = msgspec.structs.replace(options)  # which checks them
    except OptionError as error:
        raise ConfigurationError(f"[identity] {error}; this needs a restart") from None
    return _read_identity(options, sources, before)


def _read_credentials(options: ClusterOptions, sources: Sources) -> Credentials | None:
    """Read the secrets and certificates of nodes.

    Raises:
        ConfigurationError: a file cannot be used; it names the option in its source.
    """
    if options.internal is None:
        return None
    try:
        return read_credentials(msgspec.structs.replace(options))  # which checks them
    except OptionError as error:
        raise sources.within("cluster", error) from None


def _names_of_news(
    options: ClusterOptions, held: Held, credentials: Credentials | None
) -> Iterator[str]:
    """Yield the options whose values are the same, and whose files are not."""
    before, old = held.configuration.cluster, held.credentials
    if old is None or credentials is None:
        return
    if options.secret_files == before.secret_files and credentials.secrets != old.secrets:
        yield "secret_files"
    if (
        options.internal_tls_cert == before.internal_tls_cert
        and credentials.secrets == old.secrets
        and credentials.digest != old.digest
    ):
        yield "internal_tls_cert"


def _check_presence(options: PresenceOptions, server: ServerOptions) -> None:
    """Check that the options which can be changed now go with those that wait for the restart.

    Raises:
        ConfigurationError: they do not.
    """
    try:
        msgspec.structs.replace(options).check_lingers(server)
    except OptionError as error:
        raise ConfigurationError(f"[presence] {error}; this needs a restart") from None


# -- options


def _compare(
    old: Configuration, new: Configuration, *, runs_control: bool
) -> tuple[list[Change], list[Change], Configuration]:
    """Compare the configuration that holds with a new one.

    Returns:
        What has changed, what needs a restart, and the configuration that holds from now on.
    """
    changed: list[Change] = []
    needs_restart: list[Change] = []
    taken: dict[str, list[str]] = {}
    for table, name in differences(old, new):
        groups = [getattr(one, table) for one in (old, new)]
        change = _describe(table, name, *groups)
        runs_presence = old.identity.asks
        if _is_reloadable(change, *groups, runs_control=runs_control, runs_presence=runs_presence):
            taken.setdefault(table, []).append(name)
            changed.append(change)
        else:
            needs_restart.append(change)
    held = {
        table: _take(getattr(old, table), getattr(new, table), names)
        for table, names in taken.items()
    }
    return changed, needs_restart, msgspec.structs.replace(old, **held)


def _describe(table: str, name: str, old: Any, new: Any) -> Change:
    before, after = (toml_value(visible_value(group, name)) for group in (old, new))
    if (table, name) == ("identity", "tokens"):  # lists in which the tokens are masked tell nothing
        users = _users_with_changes(old.tokens, new.tokens)
        more = f" and {len(users) - _MAX_USERS_TOLD} more" if len(users) > _MAX_USERS_TOLD else ""
        told = ", ".join(users[:_MAX_USERS_TOLD]) or "nobody: their order is another"
        return Change(table, name, None, f"changed for {told}{more}")
    if before == after:
        return Change(table, name, None, f"changed where it is masked: {after}")
    return Change(table, name, before, after)


def _users_with_changes(old: Iterable[StaticToken], new: Iterable[StaticToken]) -> list[str]:
    """Return the users of which one list has a token that the other has not."""
    before, after = Counter(old), Counter(new)
    return sorted({token.user for token in (before - after) + (after - before)})


def _is_reloadable(
    change: Change, old: Any, new: Any, *, runs_control: bool, runs_presence: bool
) -> bool:
    table, name = change.table, change.name
    if table in _CERTIFIED and name in ("certfile", "keyfile"):
        # To begin or cease to speak TLS changes the URL.
        return (old.certfile is None) is (new.certfile is None)
    if (table, name) == ("control", "tokens"):
        return runs_control  # CFG-31
    if table == "cluster" and old.internal is None:
        return False
    if table == "cluster" and name.startswith("internal_tls"):  # to begin TLS changes the protocol
        return (old.internal_tls_cert is None) is (new.internal_tls_cert is None)
    if table == "identity" and old.asks is not new.asks:
        return False  # namespaces listen for identity from the start, or not at all
    if table == "presence" and not runs_presence:
        return False
    if (table, name) == ("presence", "maximum"):  # a policy that waits needs the maximum it has
        return (old.policy, old.namespaces) == (new.policy, new.namespaces)
    return name in TABLES[table]._reloadable


def _take(old: OptionGroup, new: OptionGroup, names: Iterable[str]) -> OptionGroup:
    """Return a group that holds, with some options of a new one.

    It is not checked: options that can be changed now need not go with those that wait for the
    restart. For example, a TCP address that has lost its tokens refuses every peer until then.
    """
    taken = copy(old)
    for name in names:
        msgspec.structs.force_setattr(taken, name, getattr(new, name))
    return taken
