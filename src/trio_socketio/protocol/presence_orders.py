"""The clients that nodes have to put out, and have not confirmed yet."""

from collections.abc import Callable, Iterable

from trio_socketio.protocol.presence_claims import Order
from trio_socketio.protocol.presence_cursor import Cursor

Alive = Callable[[str], bool]
"""Whether a boot holds a lease now."""


class Orders:
    """The orders of one namespace. Those of a boot that is not alive count no more."""

    __slots__ = ("_by_boot", "_by_user", "_given")

    def __init__(self) -> None:
        self._by_boot: dict[str, dict[Cursor, Order]] = {}
        self._by_user: dict[str, dict[Cursor, Order]] = {}
        self._given: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._by_boot)

    def give(self, order: Order) -> None:
        """Have a node put a client out."""
        self._by_boot.setdefault(order.boot, {})[order.token] = order
        self._by_user.setdefault(order.user, {})[order.token] = order
        self._given[order.boot] = None

    def confirm(self, order: Order) -> None:
        """Note that a client is out; a second time nothing happens (PRES-25)."""
        for index, key in ((self._by_boot, order.boot), (self._by_user, order.user)):
            orders = index.get(key, {})
            orders.pop(order.token, None)
            if not orders:
                index.pop(key, None)

    def forget(self, boot: str) -> None:
        """Forget the orders of a boot that is not alive any more."""
        for order in tuple(self.of_boot(boot)):
            self.confirm(order)

    def take_given(self) -> Iterable[str]:
        """Return the boots that were given orders since this was called last."""
        given, self._given = self._given, {}
        return given

    def of_boot(self, boot: str) -> Iterable[Order]:
        """Return what a boot has yet to confirm, in the order of the ends of the claims."""
        return self._by_boot.get(boot, {}).values()

    def of_user(self, user: str) -> Iterable[Order]:
        """Return what is to be confirmed of the clients of a user."""
        return self._by_user.get(user, {}).values()

    def awaited(self, user: str, tokens: Iterable[Cursor], alive: Alive) -> list[Order]:
        """Return the orders for these claims of a user whose nodes live and have not confirmed."""
        orders = self._by_user.get(user, {})
        found = (orders.get(token) for token in tokens)
        return [order for order in found if order is not None and alive(order.boot)]
