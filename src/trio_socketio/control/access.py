"""The method with which a caller identifies itself."""

import msgspec

from trio_socketio.control.caller import Caller
from trio_socketio.control.methods import rpc


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """The permissions of a token.

    Args:
        name: of the token.
        methods: names, prefix.*, or * for all.
    """

    name: str
    methods: list[str]


class Access:
    """The method auth."""

    @rpc("auth")
    def auth(self, token: str, caller: Caller) -> Granted:
        """Identify the caller by a token. A TCP connection has to call this first.

        Args:
            token: the secret.
            caller: makes the call.
        """
        grant = caller.authenticate(token)
        return Granted(name=grant.name, methods=list(grant.methods))
