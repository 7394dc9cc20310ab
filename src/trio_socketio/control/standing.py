"""The state of a peer of the control socket: how far its life has gone, and its identity."""

import logging
from typing import Final

from trio_socketio.control.access import Access
from trio_socketio.control.failures import unauthorized
from trio_socketio.control.tokens import Grant
from trio_socketio.protocol.control_peer import READING, Input, Life, advance

log = logging.getLogger(__name__)

MAX_FAULTS: Final = 3
"""The number of wrong tokens, and of other lines without a token, after which a peer is ended."""


class Standing:
    """Decides what may be read from a peer, bound to it and logged about it.

    Args:
        access: says what tokens allow now.
        name: of the peer, for the log.

    Attributes:
        life: follows the table of protocol.control_peer.
        faults: how often it has failed to say who it is, since it has last done so.
    """

    __slots__ = ("_access", "_identity", "_name", "faults", "life")

    def __init__(self, access: Access, name: str) -> None:
        self._access = access
        self._name = name
        self._identity: bytes | None = None  # the digest of its token
        self.life = Life.GREETED
        self.faults = 0

    @property
    def is_read(self) -> bool:
        """Whether its lines are read."""
        return self.life in READING

    @property
    def has_identity(self) -> bool:
        """Whether it has said who it is."""
        return self._identity is not None

    @property
    def grant(self) -> Grant | None:
        """Its current permissions; None if it has given no valid token."""
        return self._access.grant_of(self._identity)

    @property
    def is_revoked(self) -> bool:
        """Whether its token is not valid any more."""
        return self.has_identity and self.grant is None

    def may_be_called(self, method: str) -> bool:
        """Whether it is connected, and its token still allows what it has registered with."""
        grant = self.grant
        return self.life is Life.KNOWN and grant is not None and grant.allows(method)

    def advance(self, event: Input) -> None:
        """Apply one input to its life."""
        self.life = advance(self.life, event)

    def find_grant(self, secret: str) -> Grant:
        """Return the grant of a token.

        Raises:
            ControlError: there is no such token, or it has given too many wrong ones.
        """
        if self.faults >= MAX_FAULTS:
            raise unauthorized("too many wrong tokens were given on this connection")
        grant = self._access.find(secret)
        if grant is None:
            self.faults += 1
            self._access.refusals.tell(
                "wrong tokens given to the control socket",
                "%s has given a wrong token",
                self._name,
            )
            raise unauthorized("there is no such token")
        return grant

    def identify(self, grant: Grant) -> None:
        """Let it do what a grant allows, for as long as that is valid."""
        self.advance(Input.IDENTIFY)
        self._identity = grant.digest
        self.faults = 0

    def log_end(self, level: int, words: str, reason: str) -> None:
        """Write its last line."""
        if self.has_identity:
            log.log(level, "%s %s: %s", self._name, words, reason)
        elif level >= logging.WARNING:  # CONTROL-70: any peer can cause such lines
            kind = f"a peer without a token {words}"
            self._access.refusals.tell(kind, "%s %s: %s", self._name, words, reason)
