"""The tokens, and the methods that each of them allows."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from trio_socketio.control.options import ControlToken, covers
from trio_socketio.errors import ConfigurationError

MIN_SECRET_BYTES: Final = 16
MAX_SECRET_BYTES: Final = 4096
OPEN_METHODS: Final = frozenset(("auth", "rpc.discover"))
"""Methods that every caller with a grant may call."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The permissions of a caller.

    Args:
        name: of the token, or another name of the caller for the log.
        methods: names, ``prefix.*``, or ``*``.
        digest: of the secret; empty for a caller that needs none.
    """

    name: str
    methods: tuple[str, ...]
    digest: bytes = b""

    def allows(self, method: str) -> bool:
        """Whether the method may be called."""
        return method in OPEN_METHODS or any(covers(one, method) for one in self.methods)


LOCAL: Final = Grant("local", ("*",))
"""The grant of processes that can open the Unix socket, as the permissions of its file decide."""


class TokenTable:
    """The tokens of one configuration. Of each secret only its SHA-256 is kept.

    Args:
        tokens: as configured; their files are read.
    Raises:
        ConfigurationError: a file cannot be read, or what it holds cannot be a secret. The message
            never shows the secret.
    """

    __slots__ = ("_by_digest", "_grants")

    def __init__(self, tokens: Iterable[ControlToken] = ()) -> None:
        grants, faults = read_grants(tokens)
        if faults:
            raise ConfigurationError("; ".join(faults))
        self._grants = tuple(grants)
        self._by_digest = {grant.digest: grant for grant in (LOCAL, *grants)}

    def __len__(self) -> int:
        return len(self._grants)

    def names_of_new_secrets(self, before: "TokenTable") -> list[str]:
        """Return the names of tokens that were in an earlier table, with another secret."""
        digests = {grant.name: grant.digest for grant in before._grants}
        return [one.name for one in self._grants if digests.get(one.name, one.digest) != one.digest]

    def find(self, secret: str) -> Grant | None:
        """Return the grant of a secret, or None. Every token is compared, in constant time."""
        digest = sha256(secret.encode("utf-8", "surrogatepass")).digest()
        found = None
        for grant in self._grants:  # CONTROL-14
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        return found

    def grant_of(self, digest: bytes) -> Grant | None:
        """Return the grant of the secret with this digest, or None if there is none any more."""
        return self._by_digest.get(digest)


def read_grants(tokens: Iterable[ControlToken]) -> tuple[list[Grant], list[str]]:
    """Read the files of tokens.

    Returns:
        The grants of the tokens that can be used, and an error for each of the others.
    """
    grants: list[Grant] = []
    faults: list[str] = []
    for token in tokens:
        try:
            digest = sha256(_read_secret(token)).digest()
        except ConfigurationError as error:
            faults.append(str(error))
            continue
        same = next((other for other in grants if other.digest == digest), None)
        if same is not None:
            faults.append(f"the tokens {same.name} and {token.name} have the same secret")
        else:
            grants.append(Grant(token.name, tuple(token.methods), digest))
    return grants, faults


def _read_secret(token: ControlToken) -> bytes:
    try:
        with Path(token.file).open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 2).strip()
    except OSError as error:
        raise ConfigurationError(
            f"token {token.name}: cannot read {token.file}: {error.strerror}"
        ) from None
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ConfigurationError(
            f"token {token.name}: {token.file} must hold {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} "
            "characters, such as those of: openssl rand -hex 32"
        )
    if not all(0x21 <= byte <= 0x7E for byte in secret):  # it has to fit into a header of HTTP
        raise ConfigurationError(
            f"token {token.name}: {token.file} must hold visible ASCII characters without spaces"
        )
    return secret
