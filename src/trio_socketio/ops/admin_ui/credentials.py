"""The credentials of administrators: a password, or tokens of the control socket."""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.errors import ConfigurationError
from trio_socketio.ops.admin_ui.features import COMMANDS, Grant

if TYPE_CHECKING:
    from trio_socketio.ops.admin_ui.options import AdminUIOptions

MAX_PASSWORD_BYTES: Final = 72
"""bcrypt knows no more of a password."""


class TokenGrant(Protocol):
    """A token of the control socket, as far as the Admin UI needs it."""

    @property
    def name(self) -> str:
        """The name of the token."""

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the secret."""

    def allows(self, method: str) -> bool:
        """Whether the token allows a method of the control API."""


class Tokens(Protocol):
    """The tokens of the control socket."""

    def find(self, secret: str) -> TokenGrant | None:
        """Return the token with this secret, or None."""

    def grant_of(self, digest: bytes) -> TokenGrant | None:
        """Return the token whose secret has this digest, or None."""


class Credentials(Protocol):
    """Judges what administrators give to be let in."""

    takes_long: bool
    """Whether `check` takes long, and has to run in a thread."""

    def check(self, username: str, password: str) -> Grant | None:
        """Return the grant of whoever gives these, or None."""

    def grant_of(self, credential: str) -> Grant | None:
        """Return the grant for a credential that was checked before; None if it counts no more."""


class Password:
    """One name and one password, of which the bcrypt hash is known.

    Args:
        username: the name.
        password_hash: the hash.
    Raises:
        ConfigurationError: the package bcrypt is missing.
    """

    takes_long = True

    def __init__(self, username: str, password_hash: str) -> None:
        self._username = username
        self._hash = password_hash.encode()
        self._matches = _find_bcrypt()
        digest = sha256(f"{username}\0{password_hash}".encode()).hexdigest()
        self._grant = Grant(username, credential=f"basic:{digest}")

    def check(self, username: str, password: str) -> Grant | None:
        """Compare both, in a time that does not tell which of them is wrong (AUI-05)."""
        given = password.encode(errors="replace")[:MAX_PASSWORD_BYTES]
        try:
            is_right = self._matches(given, self._hash)
        except ValueError:  # a hash of the right form whose salt cannot be read
            is_right = False
        is_known = hmac.compare_digest(_digest(username), _digest(self._username))
        return self._grant if is_right and is_known else None

    def grant_of(self, credential: str) -> Grant | None:
        """Return the grant; servers of Node keep a 1 or true for a session (AUI-11)."""
        return self._grant if credential in (self._grant.credential, "1", "true") else None


class NamedTokens:
    """Some of the tokens of the control socket; one is given as the password.

    Args:
        names: of the tokens that count.
        tokens: those that are configured now.
    """

    takes_long = False

    def __init__(self, names: tuple[str, ...], tokens: Tokens) -> None:
        self._names = frozenset(names)
        self._tokens = tokens

    def use(self, tokens: Tokens) -> None:
        """Go by other tokens from now on."""
        self._tokens = tokens

    def check(self, username: str, password: str) -> Grant | None:
        """Return the grant of a token. The user name does not matter."""
        return self._grant_for(self._tokens.find(password))

    def grant_of(self, credential: str) -> Grant | None:
        """Return the grant of a token, unless it was taken away (AUI-12)."""
        kind, _, digest = credential.partition(":")
        try:
            known = bytes.fromhex(digest) if kind == "token" else b""
        except ValueError:
            return None
        return self._grant_for(self._tokens.grant_of(known)) if known else None

    def _grant_for(self, token: TokenGrant | None) -> Grant | None:
        if token is None or token.name not in self._names:
            return None
        commands = tuple(name for name, method in COMMANDS.items() if token.allows(method))
        return Grant(token.name, commands, f"token:{token.digest.hex()}")


def choose_credentials(options: "AdminUIOptions", tokens: Tokens | None) -> Credentials | None:
    """Return what judges administrators; None if everybody is let in.

    Raises:
        ConfigurationError: there are no tokens, or the package bcrypt is missing.
    """
    if options.auth == "basic":
        return Password(options.username, options.password_hash or "")
    if options.auth == "token":
        if tokens is None:
            raise ConfigurationError(
                "[admin_ui] auth is token, but there are no tokens: set [control] tokens"
            )
        return NamedTokens(options.tokens, tokens)
    return None


def _find_bcrypt() -> Callable[[bytes, bytes], bool]:
    try:
        from bcrypt import checkpw
    except ImportError:
        raise ConfigurationError(
            "[admin_ui] auth is basic, which needs the package bcrypt: pip install "
            "'trio-socketio[server]'"
        ) from None
    return checkpw


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
