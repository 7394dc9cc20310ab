"""The keys of a JWKS URL: fetched by one task, kept, and fetched again before they are old.

That one task makes all fetches is what makes them single: whoever needs new keys asks it, and waits
with the others for the same answer.
"""

import logging
from enum import Enum, auto
from math import inf
from typing import Final, Protocol

import trio

from trio_socketio.http.client import Response
from trio_socketio.http.outgoing import RequestFailed
from trio_socketio.im.identity.key_cache import KeyCache
from trio_socketio.im.identity.keys import Key, UnusableKey, read_key_set
from trio_socketio.protocol.backoff import Backoff

log = logging.getLogger(__name__)

UNKNOWN_KID_S: Final = 30.0
"""How often a token whose key is not known may cause a fetch: anybody can make such tokens up."""
_OK: Final = 200


class State(Enum):
    """Of the last fetch."""

    FETCHING = auto()  # under way, or asked for
    FETCHED = auto()
    FAILED = auto()


class Fetcher(Protocol):
    """Fetches a document; at run time an Outgoing."""

    async def request(self, method: str, *, timeout_s: float) -> Response:
        """Send a request and read its answer.

        Raises:
            RequestFailed: there is no answer that can be used.
        """


class RemoteKeys:
    """The keys of one URL.

    Args:
        fetcher: fetches the document.
        url: for the log.
        cache: holds the keys.
        timeout_s: how long a fetch may take.
        refresh_s: after so long the keys are fetched again.

    Attributes:
        fetches: how many fetches were begun.
        failures: how many of them failed.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        url: str,
        cache: KeyCache,
        *,
        timeout_s: float = 3.0,
        refresh_s: float = 300.0,
    ) -> None:
        self._fetcher = fetcher
        self._url = url
        self._cache = cache
        self._timeout_s = timeout_s
        self._refresh_s = refresh_s
        self._asked_at = -inf  # when a token caused a fetch the last time
        self._asked = trio.Event()
        self._done = trio.Event()  # set when the next fetch has ended
        self._state = State.FAILED  # there is nothing yet
        self._backoff = Backoff(1.0, UNKNOWN_KID_S, 0.0)
        self.fetches = 0
        self.failures = 0

    def current(self) -> tuple[Key, ...]:
        """The keys that are known."""
        return self._cache.current(trio.current_time())

    @property
    def may_know_more(self) -> bool:
        """Whether a fetch that is made now may bring new keys (IDENT-17)."""
        return (
            self._state is State.FETCHING or trio.current_time() - self._asked_at >= UNKNOWN_KID_S
        )

    @property
    def are_current(self) -> bool:
        """Whether the last fetch has brought the keys; False while one is under way."""
        return self._state is State.FETCHED

    async def ask_again(self) -> None:
        """Wait until a fetch has ended: one that is under way, or else a new one."""
        if self._state is not State.FETCHING:
            self._asked_at = trio.current_time()
            self._state = State.FETCHING
            self._asked.set()
        with trio.move_on_after(self._timeout_s):
            await self._done.wait()

    async def run(self) -> None:
        """Fetch the keys now, when they are wanted, and before they are old; until cancelled."""
        while True:
            self._state = State.FETCHING
            succeeded = await self._fetch()
            self._state = State.FETCHED if succeeded else State.FAILED
            delay_s = self._refresh_s if succeeded else self._backoff.next_delay_s(0)
            done, self._done, self._asked = self._done, trio.Event(), trio.Event()
            done.set()
            with trio.move_on_after(delay_s):
                await self._asked.wait()

    async def wait_fetched(self) -> None:
        """Wait until the first fetch has ended, however it ended."""
        await self._done.wait()

    async def _fetch(self) -> bool:
        self.fetches += 1
        try:
            response = await self._fetcher.request("GET", timeout_s=self._timeout_s)
            if response.status != _OK:
                raise RequestFailed(f"it answered {response.status}")
            keys, left_out = read_key_set(response.body)
        except (RequestFailed, UnusableKey) as error:
            self.failures += 1
            kept = "the last ones are kept" if self.current() else "it has none so far"
            log.warning("cannot fetch the keys of %s: %s; %s", self._url, error, kept)
            return False
        if left_out != self._cache.left_out:  # not again each time that they are fetched
            self._cache.left_out = left_out
            for reason in left_out:
                log.warning("the keys of %s: %s is left out", self._url, reason)
        self._backoff.succeeded()
        gone = self._cache.replace(keys, trio.current_time())
        if gone:
            log.info("%d keys of %s are gone, and are taken for a while more", gone, self._url)
        return True
