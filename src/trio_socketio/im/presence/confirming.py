"""Puts out the clients that orders name, and confirms each order to the store."""

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.im.presence.leavers import LEAVES_S, Leaver, wait_told
from trio_socketio.im.presence.store import NamespaceUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.im.presence.node import Node
    from trio_socketio.protocol.presence_claims import Order

_LOOK_S: Final = 0.005
"""The interval between looks for further orders while clients are still being told."""
AGAIN_S: Final = 0.1
"""The same interval while the store does not take confirmations, or cannot."""


class Confirmations:
    """Obeys orders, and confirms each as soon as its client has been told (PRES-80).

    A newer client enters on another node as soon as this one has confirmed. A client that does not
    take what it is sent holds up its own confirmation. It holds up no other order, unless there are
    hundreds of such clients at once, as the store names no more orders at a time. If the store
    takes no confirmation for longer than clients are waited for, orders are looked for less often.

    Args:
        node: whose clients they name.
        nursery: for the confirmations.
    """

    def __init__(self, node: "Node", nursery: trio.Nursery) -> None:
        self._node = node
        self._nursery = nursery
        self._under_way: set[Order] = set()
        self._waiting = trio.lowlevel.ParkingLot()
        self._told_at = 0.0  # when the clients of all of them will have been told, at the latest

    def obey(self, orders: "Iterable[Order]") -> None:
        """Put out the clients that are named, and begin to confirm that."""
        for order in orders:
            if order in self._under_way:  # the store names it until it is confirmed
                continue
            leaver = self._node.obey(order)
            if order.namespace not in self._node.unusable:
                self._under_way.add(order)
                self._told_at = trio.current_time() + LEAVES_S
                self._nursery.start_soon(self._confirm, order, leaver)

    async def wait_confirmed(self) -> None:
        """Wait until everything is confirmed, or it is time to look for further orders."""
        look_s = _LOOK_S if trio.current_time() < self._told_at else AGAIN_S
        with trio.move_on_after(look_s):
            while self._under_way:
                await self._waiting.park()

    async def _confirm(self, order: "Order", leaver: Leaver | None) -> None:
        node = self._node
        try:
            if leaver is not None:
                await wait_told([leaver])
            await node.insistence.ask(
                "to confirm that clients are out", partial(node.store.confirm, order)
            )
        except NamespaceUnusable as error:  # it is received, and confirmed, again (LEASE-32)
            node.unusable.note(order.namespace, error)
        finally:
            self._under_way.discard(order)
            self._waiting.unpark_all()
