"""Confirms to the store that a client is out whom an order has named."""

from functools import partial
from typing import TYPE_CHECKING

from trio_socketio.im.presence.leavers import Leaver, wait_told
from trio_socketio.im.presence.store import NamespaceUnusable

if TYPE_CHECKING:
    from trio_socketio.im.presence.node import Node
    from trio_socketio.protocol.presence_claims import Order


async def confirm(node: "Node", order: "Order", leaver: Leaver | None) -> None:
    """Confirm an order once its client was sent that it is out, or LEAVES_S have passed (PRES-80).

    A newer client enters on another node as soon as this one has confirmed.
    """
    if leaver is not None:
        await wait_told([leaver])
    try:
        await node.insistence.ask(
            "to confirm that clients are out", partial(node.store.confirm, order)
        )
    except NamespaceUnusable as error:  # it is received, and confirmed, again (LEASE-32)
        node.unusable.note(order.namespace, error)
