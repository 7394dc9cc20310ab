"""The options of the control socket."""

import re
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from trio_socketio.control.address import parse_address
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.option_checks import OptionGroup, check_range

_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
_METHODS: Final = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?").fullmatch
_LEAST_LINE_BYTES: Final = 1024


METHODS: Final = (
    "auth", "auth.revoke", "auth.unrevoke", "backend.register", "deliver", "deliveries.get",
    "deliveries.list", "emit", "emit_with_ack", "namespaces.create", "namespaces.list",
    "namespaces.remove", "namespaces.update", "presence.ack", "presence.count", "presence.get",
    "presence.legacy_list", "presence.list", "presence.log", "presence.snapshot",
    "presence.subscribe", "presence.unsubscribe", "rooms.clear", "rooms.join", "rooms.leave",
    "rooms.list", "rooms.members", "rpc.discover", "sockets.departed", "sockets.disconnect",
    "sockets.get", "sockets.list", "system.drain", "system.info", "system.nodes", "system.reload",
    "system.stats", "users.get", "users.kick", "users.list", "workers.list", "workers.restart",
)  # fmt: skip
"""All methods, so that a misspelt name is an error of the configuration."""
AUTHENTICATE: Final = "backend.authenticate"
"""The method of a backend that the server calls only if the token of the backend allows it."""


def covers(pattern: str, method: str) -> bool:
    """Whether an entry in the methods of a token matches this method."""
    if pattern.endswith("*"):
        return method.startswith(pattern[:-1])
    return pattern == method


def _similar(pattern: str) -> str:
    name, dot, _ = pattern.rpartition(".*")
    known = {method.partition(".")[0] for method in METHODS if "." in method} if dot else METHODS
    similar = get_close_matches(name or pattern, sorted(known), 1)
    return f"; did you mean {similar[0]}{dot}?" if similar else ""


def check_texts(name: str, texts: object) -> None:
    """Refuse a value that is not a tuple or list of texts.

    Raises:
        OptionError: it is something else, such as one text.
    """
    if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
        raise OptionError(name, f"expected a list of texts, not {texts!r}")


def _check_groups(name: str, groups: object, kind: type[OptionGroup]) -> None:
    if not isinstance(groups, (tuple, list)) or not all(isinstance(one, kind) for one in groups):
        raise OptionError(name, f"expected a list of {kind.__name__}(...), not {groups!r}")


class ControlToken(OptionGroup, frozen=True, kw_only=True):
    """A secret that lets a backend or an operator call methods.

    Args:
        name: what the log calls it.
        file: the path of a file that holds only the secret.
        methods: the methods that it may call: names, ``prefix.*``, or ``*`` for all. A backend that
            is asked who clients are needs ``backend.authenticate`` besides ``backend.register``.
    """

    _stand_ins = MappingProxyType({"name": "token", "file": "token"})

    name: str
    file: str
    methods: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _TOKEN_NAME(self.name):
            raise OptionError(
                "name", f"expected letters, digits, dots, - and _, at most 64, not {self.name!r}"
            )
        if not self.file:
            raise OptionError("file", "expected the path of a file, not ''")
        check_texts("methods", self.methods)
        for method in self.methods:
            if not _METHODS(method):
                raise OptionError("methods", f"expected NAME, PREFIX.* or *, not {method!r}")
            if not any(covers(method, known) for known in (*METHODS, AUTHENTICATE)):  # CONTROL-19
                raise OptionError("methods", f"there is no method {method!r}{_similar(method)}")


class ForwardedEvents(OptionGroup, frozen=True, kw_only=True):
    """Events of clients that a backend handles.

    Args:
        namespace: the name of the namespace; a leading slash may be left out.
        events: the names of the events; ``*`` means every event without a handler in the app.
    """

    namespace: str = "/"
    events: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_texts("events", self.events)
        if not self.events:
            raise OptionError("events", "expected at least one name, or *")


class BackendOptions(OptionGroup, frozen=True, kw_only=True):
    """How events of clients are forwarded to backends.

    Args:
        forward: the events that are forwarded.
        deadline_s: how long a backend may take to handle an event.
        max_in_flight: how many events one backend may have to handle at a time.
        max_timeouts: after how many missed deadlines in a row a backend is disconnected.
    """

    forward: tuple[ForwardedEvents, ...] = ()
    deadline_s: float = 10.0
    max_in_flight: int = 256
    max_timeouts: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_groups("forward", self.forward, ForwardedEvents)


class ControlOptions(OptionGroup, frozen=True, kw_only=True):
    """The control socket: its addresses, tokens and bounds.

    It has 13 attributes, because they are the table of one service in the configuration file.

    Args:
        listen: addresses: ``unix:PATH``, or ``tcp:HOST:PORT``, which needs a token and, unless it
            is a loopback address, a certificate.
        certfile: the certificate chain; all TCP addresses use TLS if it is set. None means
            cleartext.
        keyfile: its private key; None if certfile holds it.
        tokens: the tokens for TCP and HTTP. Processes that can open the Unix socket need none.
        backends: how events of clients are forwarded.
        max_connections: how many peers may be connected; further ones get an error and are closed.
        max_line_bytes: the longest line, in either direction. A peer that sends a longer one is
            closed; an answer that would be longer is an error instead.
        max_in_flight: how many calls of one peer may wait for their answers before its next lines
            are read.
        max_batch: how many calls a batch may hold.
        max_http_calls: how many requests to ``/rpc`` may wait for their answers; further ones are
            refused.
        auth_timeout_s: how long a peer that needs a token may take to give one.
        output_bound_bytes: how much output may wait for a peer. A peer with more is closed if it
            takes nothing for slow_peer_s, and at once if eight times as much waits.
        slow_peer_s: see output_bound_bytes.
    """

    _reloadable = frozenset(("tokens", "certfile", "keyfile"))

    listen: tuple[str, ...] = ()
    certfile: str | None = None
    keyfile: str | None = None
    tokens: tuple[ControlToken, ...] = ()
    backends: BackendOptions = BackendOptions()
    max_connections: int = 1000
    max_line_bytes: int = 1 << 20
    max_in_flight: int = 64
    max_batch: int = 100
    max_http_calls: int = 256
    auth_timeout_s: float = 10.0
    output_bound_bytes: int = 1 << 20
    slow_peer_s: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_texts("listen", self.listen)
        _check_groups("tokens", self.tokens, ControlToken)
        check_range(self, "max_line_bytes", _LEAST_LINE_BYTES, 1 << 30)
        check_range(self, "max_batch", 1, 10_000)
        names = [token.name for token in self.tokens]
        for name in names:
            if names.count(name) > 1:
                raise OptionError("tokens", f"two of them are named {name!r}")
        if self.keyfile is not None and self.certfile is None:
            raise OptionError("keyfile", "has no effect without certfile")
        for text in self.listen:
            self._check_address(text)

    def _check_address(self, text: str) -> None:
        try:
            address = parse_address(text)
        except ConfigurationError as error:
            raise OptionError("listen", str(error)) from None
        if address.path:
            return
        if address.secure:
            raise OptionError("listen", f"{text}: write tcp: and set certfile for TLS")
        faults = []
        if not self.tokens:  # CONTROL-11
            faults.append("a TCP address needs a token: set tokens")
        if not address.is_loopback and self.certfile is None:  # CONTROL-12
            faults.append("secrets would pass in the clear: set certfile, or listen on 127.0.0.1")
        if faults:
            raise OptionError("listen", f"{text}: {'; and '.join(faults)}")
