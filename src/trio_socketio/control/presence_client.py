"""Follows who is online, in a task of its own: a client for trio."""

import logging
import ssl
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
import trio

from trio_socketio.control.address import default_address, parse_address
from trio_socketio.control.client import Control, open_control
from trio_socketio.control.presence_following import (
    ANSWER_S,
    SILENCE_S,
    Call,
    Note,
    Place,
    PresenceBatch,
    Step,
    passes,
)
from trio_socketio.errors import ConnectFailed, ControlError, SessionClosed
from trio_socketio.runtime.barrier import sole_error
from trio_socketio.runtime.groups import alone

log = logging.getLogger(__name__)


class PresenceBatches:
    """Iterates over what is new of who is online; programs get one from `follow_presence`."""

    def __init__(self) -> None:
        self._given, self._batches = trio.open_memory_channel[tuple[PresenceBatch, trio.Event]](0)
        self._done: trio.Event | None = None  # of the batch that the caller has

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PresenceBatch:
        if self._done is not None:
            self._done.set()
            self._done = None
        batch, self._done = await self._batches.receive()
        return batch

    async def _give(self, batch: PresenceBatch) -> None:
        """Give a batch to the caller, and wait until it asks for the next one."""
        done = trio.Event()
        await self._given.send((batch, done))
        await done.wait()


@asynccontextmanager
async def follow_presence(
    namespace: str,
    address: str | None = None,
    *,
    cursor: str | None = None,
    group: str | None = None,
    credit: int = 1000,
    token: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[PresenceBatches]:
    """Follow who is online in a namespace for the block, which is given batches to iterate over.

    It connects, and connects again whenever the connection is lost. A batch is acknowledged when
    the next one is asked for. No entry comes twice in a block; in the next one, entries come again
    that were not acknowledged, unless cursor leaves them out.

    Args:
        namespace: its name.
        address: of the control socket; see open_control.
        cursor: of the last batch that was dealt with; None begins with the number of those that are
            online now.
        group: of backends that share the work: see presence.subscribe. The one that is not active
            is given nothing.
        credit: how many entries may be on their way.
        token: the secret, which TCP needs.
        ssl_context: for TLS; None trusts the certificates that the system trusts.
    Raises:
        ControlError: the server refuses, for a reason that does not pass by itself: the token, the
            namespace or a parameter.
        ConfigurationError: the address cannot be used.
    """
    place = Place(namespace, cursor, group, credit)
    batches = PresenceBatches()
    parse_address(default_address() if address is None else address)

    async def follow() -> None:
        while True:
            failure: BaseException | None = None
            try:
                async with open_control(address, token=token, ssl_context=ssl_context) as control:
                    await _drive(control, place.follow(), batches)
            # In a group with Cancelled if the block ends just now: then that alone is raised.
            except* (ControlError, ConnectFailed, SessionClosed) as group:
                failure = sole_error(group)
            assert failure is not None
            if isinstance(failure, ControlError) and not passes(failure):
                raise failure
            pause_s = place.next_pause()
            log.warning("presence is followed again in %.1f s: %s", pause_s, failure)
            await trio.sleep(pause_s)

    async with alone(trio.open_nursery()) as nursery:
        nursery.start_soon(follow)
        yield batches
        nursery.cancel_scope.cancel()


async def _drive(
    control: Control, steps: Generator[Step, Any, None], batches: PresenceBatches
) -> None:
    given, notices = trio.open_memory_channel[Any](float("inf"))  # bounded by the credit

    def keep(params: bytes) -> None:
        given.send_nowait(msgspec.json.decode(params))

    control._listen("backend.presence", keep, given.close)
    step = next(steps)
    while True:
        outcome: Any = None
        try:
            if isinstance(step, PresenceBatch):
                await batches._give(step)
            elif isinstance(step, Call):
                outcome = await control.call(step.method, step.params, timeout_s=ANSWER_S)
            elif isinstance(step, Note):
                await control.notify(step.method, step.params)
            else:
                with trio.move_on_after(SILENCE_S):
                    outcome = await notices.receive()
        except trio.EndOfChannel:
            raise SessionClosed(await control.wait_closed()) from None
        except ControlError as error:
            step = steps.throw(error)
        else:
            step = steps.send(outcome)
