"""Confirms to the store that a client is out whom an order has named."""

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import SessionClosed
from trio_socketio.im.presence.store import NamespaceUnusable

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.im.presence.node import Node
    from trio_socketio.protocol.presence_claims import Order

LEAVES_S: Final = 0.05
"""How long a confirmation waits for what the old client is sent. It takes less than a millisecond,
unless that does not read, or does not poll at the moment."""

_PASSES: Final = 10  # of the scheduler


async def confirm(node: "Node", order: "Order", session: "Session | None") -> None:
    """Confirm an order once its client was sent that it is out, or LEAVES_S have passed (PRES-80).

    A newer client enters on another node as soon as this one has confirmed. Without the wait it
    could be told so before the old one is told, because output is gathered for a moment.
    """
    if session is not None:
        with trio.move_on_after(LEAVES_S) as scope, suppress(SessionClosed):
            await session.wait_drained()
        if scope.cancelled_caught:
            # On a busy machine the time can pass before the poller has had its turn to send.
            for _ in range(_PASSES):
                await trio.lowlevel.checkpoint()
    try:
        await node.insistence.ask(
            "to confirm that clients are out", partial(node.store.confirm, order)
        )
    except NamespaceUnusable as error:  # it is received, and confirmed, again (LEASE-32)
        node.unusable.note(order.namespace, error)
