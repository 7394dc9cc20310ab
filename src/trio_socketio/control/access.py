"""The method with which a caller says who it is."""

import msgspec

from trio_socketio.control.caller import Caller
from trio_socketio.control.methods import rpc


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What a token allows.

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
        """Say who is calling, by a token. A TCP connection has to do this first.

        Args:
            token: the secret.
            caller: whoever calls.
        """
        grant = caller.authenticate(token)
        return Granted(name=grant.name, methods=list(grant.methods))
