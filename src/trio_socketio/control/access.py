"""The identity and the permissions of callers."""

import msgspec

from trio_socketio.control.caller import Caller
from trio_socketio.control.failures import unauthorized
from trio_socketio.control.methods import rpc
from trio_socketio.control.refusals import Refusals
from trio_socketio.control.tokens import Grant, TokenTable


class Access:
    """The tokens that are valid now, and the log of what is refused.

    Peers and requests keep their identity, but not their permissions, which are looked up here at
    each call. So a change of the tokens takes effect at once (CONTROL-75).

    Args:
        tokens: the first ones.

    Attributes:
        refusals: logs what callers were refused.
    """

    def __init__(self, tokens: TokenTable) -> None:
        self._tokens = tokens
        self.refusals = Refusals()

    def use(self, tokens: TokenTable) -> None:
        """Use other tokens from now on."""
        self._tokens = tokens

    def find(self, secret: str) -> Grant | None:
        """Return the grant of a secret, or None if there is no such token."""
        return self._tokens.find(secret)

    def grant_of(self, identity: bytes | None) -> Grant | None:
        """Return what a caller may do now.

        Args:
            identity: the digest of its grant; None if it has given no token.
        Returns:
            None if it has given no token, or the token is not valid any more.
        """
        return None if identity is None else self._tokens.grant_of(identity)


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """The permissions of a token.

    Args:
        name: of the token.
        methods: names, prefix.*, or * for all.
    """

    name: str
    methods: list[str]


class AccessMethods:
    """The method auth."""

    @rpc("auth")
    def auth(self, caller: Caller, token: str | None = None) -> Granted:
        """Identify the caller by a token. A TCP connection has to call this first.

        Args:
            caller: makes the call.
            token: the secret; null asks what the caller may do already, by a header or a socket.
        """
        grant = caller.grant if token is None else caller.authenticate(token)
        if grant is None:
            raise unauthorized("no token was given")
        return Granted(name=grant.name, methods=list(grant.methods))
