"""Takes up again what was put aside of namespaces whose records the store could not use."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_socketio.im.presence.insisting import RETRY_S
from trio_socketio.im.presence.store import NamespaceUnusable, StoreUnavailable

if TYPE_CHECKING:
    from trio_socketio.im.presence.node import Node
    from trio_socketio.im.presence.store import PresenceStore


async def try_unusable(node: "Node", reassert: Callable[[], None]) -> None:
    """Take to the store what a node has put aside, once that can be, until cancelled (LEASE-32).

    Args:
        node: has the claims.
        reassert: called when there may be claims to be taken anew.
    """
    while True:
        for name in await node.unusable.wait_due():
            if name not in node.unusable:
                node.unusable.forget(name)
                continue
            try:
                await _look_at(node.store, name)
            except NamespaceUnusable as error:
                node.unusable.note(name, error)
            except StoreUnavailable:  # the renewals, which fail too, say why
                await trio.sleep(RETRY_S)
            else:
                node.bring_back(name)
                reassert()


async def _look_at(store: "PresenceStore", namespace: str) -> None:
    """Read a little of each record of a namespace, so that one call fails instead of many."""
    found = await store.get(namespace, ("",))
    await store.list_users(namespace, None, 1)
    await store.read(namespace, found.cursor, 1)
