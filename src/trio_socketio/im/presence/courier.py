"""Delivers requests to one URL, one at a time, each as often as it takes."""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import random
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import trio

from trio_socketio.http.outgoing import (
    Outgoing,
    RequestFailed,
    parse_target,
    read_secret,
    sign,
    trust,
)
from trio_socketio.protocol.backoff import Backoff

if TYPE_CHECKING:
    from trio_socketio.im.presence.hook_options import PresenceWebhookOptions

log = logging.getLogger(__name__)

Result = Literal["accepted", "refused", "failed"]
"""How an attempt ended: with 2xx, with 4xx, or with anything else."""

TOLD_S: Final = 60.0
"""The least time between two lines about one outage."""


class Address(NamedTuple):
    """Where requests go, when the files were read that this needs.

    Args:
        outgoing: sends them.
        secret: signs them.
    """

    outgoing: Outgoing
    secret: bytes


def prepare_address(options: "PresenceWebhookOptions") -> Address:
    """Read the files that the options name. It may be called in any thread.

    Raises:
        ConfigurationError: one cannot be used.
    """
    target = parse_target(options.url)
    tls = trust(options.ca_file) if target.secure else None
    return Address(Outgoing(target, tls), read_secret(options.secret_file))


class Outage:
    """Decides what the log tells while requests are not accepted (HOOK-08).

    Args:
        target: where they go, for the log.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._failures = 0
        self._since = 0.0
        self._told = ""
        self._told_at = 0.0

    def note(self, failure: str, now: float) -> None:
        """Note that an attempt has failed, at a time on trio's clock."""
        self._failures += 1
        if self._failures == 1:
            self._since = now
        elif failure == self._told or now - self._told_at < TOLD_S:
            return
        self._told, self._told_at = failure, now
        log.warning(
            "presence is not reported to %s: %s; it is tried again until it answers 2xx, and what "
            "happens meanwhile is in the log of presence: see that the receiver runs, and that it "
            "has the same secret",
            self._target,
            failure,
        )

    def end(self, now: float) -> None:
        """Note that a request was accepted."""
        if self._failures:
            log.info(
                "presence is reported to %s again, after %d failures in %.0f s",
                self._target,
                self._failures,
                now - self._since,
            )
        self._failures = 0


class Courier:
    """Delivers one request after the other (HOOK-03).

    Whatever is not 2xx is tried again without end, also 410: a proxy that answers so for an hour
    must not end the reports for good. Whoever wants them to end changes the configuration.

    Args:
        address: where they go.
        options: their times.
        failed: called behind each failed attempt.
        clock: seconds since 1970.
        chance: returns random numbers, 0 to 1.

    Attributes:
        attempts: how attempts ended.
    """

    def __init__(
        self,
        address: Address,
        options: "PresenceWebhookOptions",
        failed: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random,
    ) -> None:
        self.attempts: Counter[Result] = Counter()
        self._address = address
        self._timeout_s = options.timeout_s
        self._failed = failed
        self._clock = clock
        self._chance = chance
        # Full jitter: each wait is drawn from 0 to twice the middle one.
        self._backoff = Backoff(options.retry_first_s / 2, options.retry_max_s / 2, jitter=1.0)
        self._turn = trio.Lock()
        self._hurried = trio.Event()
        self._outage = Outage(str(address.outgoing.target))

    async def deliver(self, body: bytes) -> None:
        """Send a request until it is accepted. It waits for those that came before."""
        async with self._turn:
            while failure := await self._attempt(body):
                self._outage.note(failure, trio.current_time())
                await self._failed()
                with trio.move_on_after(self._backoff.next_delay_s(self._chance())):
                    await self._hurried.wait()
                if self._hurried.is_set():
                    await trio.sleep(min(0.1, self._timeout_s))
            self._outage.end(trio.current_time())
            self._backoff.succeeded()

    def hurry(self) -> None:
        """Try at once, and again and again with short waits, because the end is near."""
        self._hurried.set()

    async def aclose(self) -> None:
        """Close the connection, for a second at most, whatever is cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._address.outgoing.aclose()

    async def _attempt(self, body: bytes) -> str:
        """Send it once; return what went wrong, or nothing."""
        signature = sign(self._address.secret, body, self._clock())  # HOOK-01: anew for each
        try:
            response = await self._address.outgoing.request(
                "POST", body, headers=[signature], timeout_s=self._timeout_s
            )
        except RequestFailed as error:
            self.attempts["failed"] += 1
            return str(error)
        if 200 <= response.status < 300:
            self.attempts["accepted"] += 1
            return ""
        self.attempts["refused" if 400 <= response.status < 500 else "failed"] += 1
        return f"it answered {response.status}"
