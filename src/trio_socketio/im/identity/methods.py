"""The methods auth.revoke and auth.unrevoke of the control socket."""

from typing import Annotated

import msgspec

from trio_socketio.control.failures import invalid, overloaded, unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.targets import User, read_user
from trio_socketio.im.identity.identity import MAX_TOKEN_ID_BYTES
from trio_socketio.im.identity.service import IdentityService

TokenId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN_ID_BYTES)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=10 * 366 * 86_400)]


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """What a revocation has done.

    Args:
        done: how many clients were put out, once for each namespace. Those that were still joining
            count, and lost ones whose seats were held. A client does not count while a backend or
            webhook is being asked who it is: it is refused when the answer comes.
        until_s: until when the revocation is kept, seconds since 1970.
    """

    done: int
    until_s: float


class Lifted(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a revocation.

    Args:
        done: whether there was one.
    """

    done: bool


class AuthMethods:
    """The methods auth.*.

    Args:
        service: None as long as no identity is asked for.
    """

    def __init__(self, service: IdentityService | None) -> None:
        self.service = service

    @rpc("auth.revoke")
    async def revoke(
        self,
        user: User | None = None,
        token_id: TokenId | None = None,
        for_s: Seconds | None = None,
    ) -> Revoked:
        """Put out a user's clients, or those that have come with a token, and keep them out.

        A user's tokens that are issued later are accepted: JWTs, when their iat is more than
        leeway_s later; JWTs without iat are not. A static token counts as issued when the server
        has first read it. If a backend or webhook does not say when a token was issued, one that
        no client of the user has had is accepted. The revocation outlives no restart.

        Args:
            user: the id of the user; give either this or token_id.
            token_id: the jti of a JWT, or the token_id that a backend or webhook has answered.
            for_s: how long the revocation is kept; null means max_lifetime_s of [identity], after
                which no token is valid any more that is now.
        """
        service, named = self._read(user, token_id)
        result = await service.revoke(user=named, token_id=token_id, for_s=for_s)
        if result is None:
            raise overloaded("max_revocations of [identity] are kept already", 60_000)
        return Revoked(done=result.done, until_s=result.until_s)

    @rpc("auth.unrevoke")
    def unrevoke(self, user: User | None = None, token_id: TokenId | None = None) -> Lifted:
        """Lift what auth.revoke has set up, so that the user's tokens, or the token, are accepted.

        Args:
            user: the id of the user; give either this or token_id, as in auth.revoke.
            token_id: the id of the token.
        """
        service, named = self._read(user, token_id)
        return Lifted(done=service.unrevoke(user=named, token_id=token_id))

    def _read(
        self, user: User | None, token_id: TokenId | None
    ) -> tuple[IdentityService, str | None]:
        if self.service is None:
            raise unavailable("no identity is asked for: see [identity] in the configuration")
        if (user is None) is (token_id is None):
            raise invalid("user", "give either user or token_id")
        return self.service, None if user is None else read_user(user)
