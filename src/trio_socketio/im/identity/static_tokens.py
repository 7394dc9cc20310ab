"""Tokens that stand in the configuration, for development."""

import time
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from trio_socketio.errors import ConfigurationError
from trio_socketio.im.identity.identity import (
    Attempt,
    Identity,
    Later,
    Verdict,
    read_token_id,
)
from trio_socketio.im.identity.options import MIN_TOKEN, StaticToken
from trio_socketio.protocol.user_ids import parse_user_id
from trio_socketio.secret_files import read_secret_file

_MAX_FILE_BYTES: Final = 4096


class StaticTokens:
    """Knows the tokens of the configuration. Of each only its SHA-256 is kept.

    The id of a token is ``static:USER:NUMBER``: 0 for the first one of the user, and so on. It
    counts as issued when it was first read, so that another one is accepted after its user was
    revoked (IDENT-77).

    Args:
        tokens: as configured; their files are read.
        now_s: seconds since 1970; None means those of the clock of the system.
        before: the tokens that were configured until now; None if there were none.
    Raises:
        ConfigurationError: a file cannot be used, or two users have the same token. The message
            does not show the token.
    """

    method = "static"

    def __init__(
        self,
        tokens: Iterable[StaticToken],
        now_s: float | None = None,
        before: "StaticTokens | None" = None,
    ) -> None:
        self._identities: dict[bytes, Identity] = {}
        now_s = time.time() if now_s is None else now_s
        numbers: Counter[str] = Counter()
        for token in tokens:
            user = parse_user_id(token.user)
            # Not a digest of it: a token for development is short, and could be guessed from it.
            token_id = read_token_id(f"static:{user}:{numbers[user]}")
            numbers[user] += 1
            digest = _digest(_read(token))
            old = before._identities.get(digest) if before is not None else None
            issued_at_s = old.issued_at_s if old is not None and old.user == user else now_s
            named = Identity(
                user=user, token_id=token_id, issued_at_s=issued_at_s, is_of_our_clock=True
            )
            other = self._identities.setdefault(digest, named).user
            if other != user:
                raise ConfigurationError(
                    f"the static tokens of {other!r} and {user!r} are the same"
                )

    def verify_now(self, attempt: Attempt) -> Verdict | Later | None:
        # What is looked up is a digest, so the time that this takes does not help to guess a token.
        return self._identities.get(_digest(attempt.token))

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
