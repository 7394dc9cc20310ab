"""The options of the Admin UI."""

import re
from pathlib import Path
from typing import Final, Literal

from trio_socketio.errors import OptionError
from trio_socketio.ops.admin_options import check_names
from trio_socketio.option_checks import OptionGroup, check_range

Authentication = Literal["none", "basic", "token"]
Mode = Literal["development", "production"]

MAX_COST: Final = 14
"""The highest cost of a bcrypt hash: a password takes about a second, and each step doubles it."""

_HASH: Final = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}").fullmatch
_NAMESPACE: Final = re.compile(r"/[^,*]+").fullmatch


class AdminUIOptions(OptionGroup, frozen=True, kw_only=True):
    """The namespace to which the official Admin UI of Socket.IO connects.

    It has 15 attributes, because they are one table of the configuration file.

    Args:
        auth: who may connect: ``basic`` means whoever knows the password, ``token`` whoever has one
            of the tokens, and ``none`` everybody. None means that there is no Admin UI.
        username: the name that goes with the password.
        password_hash: the bcrypt hash of the password.
        tokens: the names of those tokens of [control] that may be given as the password. What an
            administrator may do follows from the methods of the token.
        mode: ``development`` shows every socket, room and event; ``production`` shows only the
            statistics, and costs nothing for each message.
        readonly: whether administrators can only look on.
        namespace: its name.
        server_id: the name of this server in the UI; None means that of the node, or else that of
            the host with the number of the process.
        folder: the folder ``ui/dist`` of the npm package @socket.io/admin-ui, which is then served
            at ``/admin-ui/`` of the admin port; None means that the UI is served elsewhere.
        outside_fonts: whether the page in that folder may load its font and its icons from the
            servers that it names, fonts.googleapis.com and cdn.jsdelivr.net.
        session_s: how long an administrator may come back without the password.
        max_admins: how many administrators may be connected to this server.
        attempts_per_minute: how many passwords one address may try.
        max_events_per_s: how many events of clients this server shows; others are only counted.
        max_shown_characters: about how much is shown of the arguments of an event, or of the data
            of a socket.
    """

    _secret = frozenset(("password_hash",))

    auth: Authentication | None = None
    username: str = ""
    password_hash: str | None = None
    tokens: tuple[str, ...] = ()
    mode: Mode = "development"
    readonly: bool = False
    namespace: str = "/admin"
    server_id: str | None = None
    folder: Path | None = None
    outside_fonts: bool = False
    session_s: float = 86400.0
    max_admins: int = 16
    attempts_per_minute: int = 10
    max_events_per_s: int = 1000
    max_shown_characters: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("auth", ("none", "basic", "token", None)),
            ("mode", ("development", "production")),
        ):
            if getattr(self, name) not in known:
                words = ", ".join(one for one in known if one is not None)
                raise OptionError(name, f"expected one of {words}, not {getattr(self, name)!r}")
        check_names("tokens", self.tokens)
        if not _NAMESPACE(self.namespace) or not self.namespace.isprintable():
            raise OptionError(
                "namespace",
                f"expected the name of a namespace of its own, as /admin, not {self.namespace!r}",
            )
        check_range(self, "max_shown_characters", 1, 100_000)
        self._check_credentials()

    def _check_credentials(self) -> None:
        """Refuse credentials that no administrator could use."""
        if self.password_hash is not None:
            found = _HASH(self.password_hash)
            if found is None:  # AUI-04: the value may be the password itself, and is not shown
                raise OptionError(
                    "password_hash",
                    "expected a bcrypt hash, such as: python -c 'import bcrypt, getpass; "
                    "print(bcrypt.hashpw(getpass.getpass().encode(), bcrypt.gensalt()).decode())'",
                )
            if not 4 <= int(found["cost"]) <= MAX_COST:
                raise OptionError(
                    "password_hash", f"must have a cost of 4 to {MAX_COST}, not {found['cost']}"
                )
        if self.auth == "basic" and not (self.username and self.password_hash):
            missing = "username" if self.password_hash else "password_hash"
            raise OptionError("auth", f"is basic, which needs {missing}")
        if self.auth == "token" and not self.tokens:
            raise OptionError(
                "auth", "is token, which needs tokens: the names of some of [control]"
            )
