"""Asks a store until it answers, for what must not be lost because it is away."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from trio_socketio.im.presence.store import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S: Final = 0.5
"""The wait before a store that was unavailable is asked again."""


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call a method of a store until it answers, and return what it does."""
    failures = 0
    while True:
        try:
            answer = await call()
        except StoreUnavailable as error:
            if not failures:  # not again at every try
                log.warning("presence: the store does not answer, and is asked again: %s", error)
            failures += 1
            await trio.sleep(RETRY_S)
        else:
            if failures:
                log.info("presence: the store answers again, after %d failures", failures)
            return answer
