"""Tokens that stand in the configuration, for development."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.identity import Attempt, Identity, Later, Verdict
from trio_socketio.im.identity.options import MIN_TOKEN, StaticToken
from trio_socketio.secret_files import read_secret_file

_MAX_FILE_BYTES: Final = 4096


class StaticTokens:
    """Knows the tokens of the configuration. Of each only its SHA-256 is kept.

    Args:
        tokens: as configured; their files are read.
    Raises:
        ConfigurationError: a file cannot be used, or two users have the same token. The message
            does not show the token.
    """

    method = "static"

    def __init__(self, tokens: Iterable[StaticToken]) -> None:
        self._users: dict[bytes, str] = {}
        for token in tokens:
            digest = _digest(_read(token))
            other = self._users.setdefault(digest, token.user)
            if other != token.user:
                raise ConfigurationError(
                    f"the static tokens of {other!r} and {token.user!r} are the same"
                )

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        # Digests are looked up, so the time that it takes tells nothing about a token.
        digest = _digest(attempt.token)
        user = self._users.get(digest)
        if user is None:
            return None
        return Identity(user=user, token_id=f"static:{digest.hex()[:16]}")

    async def verify(self, attempt: Attempt) -> Verdict:
        raise AssertionError(f"{attempt!r} was decided at once")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def _read(token: StaticToken) -> str:
    if token.token is not None:
        return token.token
    assert token.file is not None
    content = read_secret_file(token.file, f"the token of {token.user!r} in", _MAX_FILE_BYTES)
    text = content.decode("ascii", "replace")
    if len(text) < MIN_TOKEN or not (text.isascii() and text.isprintable()):
        raise ConfigurationError(
            f"the token of {token.user!r}: {token.file} must hold one line of at least "
            f"{MIN_TOKEN} ASCII characters"
        )
    return text
