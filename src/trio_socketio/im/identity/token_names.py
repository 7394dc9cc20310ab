"""Names for tokens that have none, so that they can be told when they come again."""

import secrets
from hmac import digest


class TokenNames:
    """Names tokens by digests, which tell nobody who does not have the key what the token is.

    Attributes:
        key: drawn at each start, so that it is nowhere but here; nodes that share their
            revocations have the same one (IDENT-89).
    """

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)

    def name(self, token: str) -> str:
        """Return the name of a token (IDENT-76)."""
        return "digest:" + digest(self.key, token.encode(), "sha256").hex()
