"""Lets administrators in: the step of joining their namespace."""

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from trio_socketio.engine.sessions import show_address
from trio_socketio.errors import ConnectRefused
from trio_socketio.ops.admin_ui.features import Grant
from trio_socketio.ops.admin_ui.sessions import draw_session_id, is_session_id
from trio_socketio.protocol.token_bucket import TokenBuckets, token_rate
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.ops.admin_ui.credentials import Credentials
    from trio_socketio.ops.admin_ui.sessions import Sessions
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

INVALID: Final = "invalid credentials"
"""The message at which the UI asks for the password again, in the language of the browser."""
MAX_CHECKS: Final = 2
"""How many passwords are checked at a time, each in a thread."""
MAX_WAITING: Final = 16
"""How many may wait for that."""
MAX_ADDRESSES: Final = 10_000
"""How many addresses are remembered that have tried passwords."""

_MINUTE_S: Final = 60.0
_NETWORK_CHARACTERS: Final = 19  # of an IPv6 address that is written out: the first 64 bits


class Admission(NamedTuple):
    """An administrator who was let in.

    Args:
        grant: what for.
        session_id: of a session that has begun with a password; None if there is none to tell.
    """

    grant: Grant
    session_id: str | None = None


class Entrance:
    """Judges whoever wants to join the namespace of administrators.

    Args:
        credentials: None lets everybody in.
        sessions: of administrators.
        max_admins: how many may be there.
        attempts_per_minute: how many passwords one address may try.
        clock: in seconds.

    Attributes:
        admitted: those who are there, or were let in and are about to be there.
        refused: how often somebody was refused, by reason.
    """

    def __init__(
        self,
        credentials: "Credentials | None",
        sessions: "Sessions",
        max_admins: int,
        attempts_per_minute: int,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.admitted: dict[Socket, Admission] = {}
        self.refused = {"credentials": 0, "attempts": 0, "busy": 0, "full": 0}
        self.credentials = credentials
        self._sessions = sessions
        self._max_admins = max_admins
        self._rate = token_rate(attempts_per_minute / _MINUTE_S, attempts_per_minute)
        self._attempts = TokenBuckets[str](MAX_ADDRESSES)
        self._clock = clock
        self._lines = SampledLog(log, logging.WARNING, REFUSALS)
        self._checks: trio.CapacityLimiter | None = None  # it has to be made inside trio

    async def admit(self, joining: "Joining") -> None:
        """Judge a client: a step of joining.

        Raises:
            ConnectRefused: it is not let in; the message says why.
        """
        # Taken out first of all, so that nothing keeps the password (AUI-06).
        given = {name: joining.auth.pop(name, None) for name in ("sessionId", "password")}
        username = joining.auth.pop("username", None)
        socket = joining.socket
        assert socket is not None, "a step is called once the namespace has been found"
        grant, is_new = await self._judge(
            given["sessionId"], username, given["password"], socket.handshake.address
        )
        # Only now, so that those who are not let in take no places (AUI-14).
        if len(self.admitted) >= self._max_admins:
            raise self._refusal(
                "full", "too many administrators are connected to this server: close other windows"
            )
        self.admitted[socket] = Admission(grant)
        joining.undo(partial(self._forget, socket))
        if is_new:
            session_id = draw_session_id()
            await self._sessions.save(session_id, grant.credential)
            # The tokens may have been changed meanwhile, and with them the grant (AUI-12).
            self.admitted[socket] = self.admitted[socket]._replace(session_id=session_id)

    def _forget(self, socket: "Socket") -> None:
        self.admitted.pop(socket, None)

    async def _judge(
        self, session_id: Any, username: Any, password: Any, address: str
    ) -> tuple[Grant, bool]:
        """Return what somebody is let in for, and whether that was judged by a password."""
        credentials = self.credentials
        if credentials is None:
            return Grant("anybody"), False
        if is_session_id(session_id):
            credential = await self._sessions.find(session_id)
            grant = None if credential is None else credentials.grant_of(credential)
            if grant is not None:
                return grant, False
        # The UI asks without any password after a load, to learn whether it has to ask for one.
        if type(username) is not str or type(password) is not str or not password:
            raise self._refusal("credentials", INVALID)
        wait_s = self._attempts.take(_household(address), self._rate, self._clock())
        if wait_s:  # AUI-08
            raise self._refusal(
                "attempts", f"too many attempts from your address: try again in {wait_s:.0f} s"
            )
        grant = await self._check(credentials, username, password)
        if grant is None:
            if self._lines.admits("wrong passwords"):
                log.warning(
                    "the Admin UI has refused a wrong password or token from %s",
                    show_address(address),
                )
            raise self._refusal("credentials", INVALID)
        return grant, True

    async def _check(
        self, credentials: "Credentials", username: str, password: str
    ) -> Grant | None:
        if not credentials.takes_long:
            return credentials.check(username, password)
        if self._checks is None:
            self._checks = trio.CapacityLimiter(MAX_CHECKS)
        if self._checks.statistics().tasks_waiting >= MAX_WAITING:  # AUI-07
            raise self._refusal(
                "busy", "too many passwords are being checked at the moment: try again"
            )
        return await trio.to_thread.run_sync(
            credentials.check, username, password, limiter=self._checks
        )

    def _refusal(self, reason: str, message: str) -> ConnectRefused:
        self.refused[reason] += 1
        return ConnectRefused(message)


def _household(address: str) -> str:
    """Return what shares the attempts of an address: with IPv6, the network of 64 bits (AUI-08).

    A single host has all addresses of such a network, and could try a password from each.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:  # whatever a trusted proxy has written
        return address
    mapped = parsed.ipv4_mapped
    return parsed.exploded[:_NETWORK_CHARACTERS] if mapped is None else str(mapped)
