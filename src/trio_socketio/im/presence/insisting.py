"""Asks a store until it answers, for what must not be lost because it is away."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from trio_socketio.im.presence.store import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S: Final = 0.5
"""The wait before a store that was unavailable is asked again."""


class Insistence:
    """Asks one store. An outage is told once for each kind of request, however many there are.

    Args:
        passes_on: failures for which it does not ask again.
    """

    def __init__(self, *passes_on: type[StoreUnavailable]) -> None:
        self._passes_on = passes_on
        self._failures: Counter[str] = Counter()  # in a row, by what was asked

    async def ask(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call a method of a store until it answers, and return what it does.

        Args:
            what: is asked of it, as in "to release claims", for the log.
            call: calls it once.
        Raises:
            StoreUnavailable: one of the failures that are passed on.
        """
        while True:
            try:
                answer = await call()
            except self._passes_on:
                raise
            except StoreUnavailable as error:
                if not self._failures[what]:  # LEASE-04: not again at every try
                    log.warning(
                        "presence: the store does not answer when it is asked %s, and is asked "
                        "again: %s",
                        what,
                        error,
                    )
                self._failures[what] += 1
                await trio.sleep(RETRY_S)
            else:
                if failures := self._failures.pop(what, 0):
                    log.info(
                        "presence: the store answers again when it is asked %s, after %d failures",
                        what,
                        failures,
                    )
                return answer


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call a method of a store until it answers, whoever else asks it."""
    return await Insistence().ask("for the log", call)
