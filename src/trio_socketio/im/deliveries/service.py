"""Confirmed delivery as a service of a node.

A message is sent to the sockets of its users on all nodes. By a schedule it is sent again to those
who have not acknowledged it, always with the same id, and also when one of them comes back, to
whichever node. The node that accepted it attends to it. If that node ends, another one goes on with
it where the deliveries are shared, or the node itself after a restart where they are on its disk.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Raw

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.control.failures import (
    invalid,
    not_found,
    overloaded,
    unavailable,
)
from trio_socketio.errors import ControlError
from trio_socketio.im.deliveries.acceptance import Prepared, check_load, tell, tell_known
from trio_socketio.im.deliveries.coordinator import Attended, Coordinator, Due
from trio_socketio.im.deliveries.counts import Counts, DeliveriesStatistics
from trio_socketio.im.deliveries.keeping import Keeping
from trio_socketio.im.deliveries.messenger import Messenger, Told, too_many
from trio_socketio.im.deliveries.offers import Offer, Offers
from trio_socketio.im.deliveries.order import Accepted, Checked, Order, check
from trio_socketio.im.deliveries.record import Answer, Key, Line, Record
from trio_socketio.im.deliveries.store import DeliveryStore, Full
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.registrar import Observer

if TYPE_CHECKING:
    from trio_socketio.control.nodes import Nodes
    from trio_socketio.im.deliveries.options import DeliveriesOptions
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

ROOMS_S: Final = 1.5
"""How long other nodes may take to say who is in a room: less than until one counts as lost."""
_MAX_SLEEP_S: Final = 5.0  # copies expire, and the clock of the machine may be set
_SLICE: Final = 20


class Deliveries(Observer):
    """Delivers messages until their users have acknowledged them, or their time is over.

    It has 14 attributes: its options, its parts, and how far it has come. It has 22 methods, as
    callers, other nodes and sockets each have some of them.

    Args:
        server: has the users.
        options: the bounds and times.
        store: keeps what does not have to outlive the program.
        durable: keeps what has to; None if nothing can. Both are the same one if it is shared.
        nodes: the cluster; None if there is none.
        clock: returns the seconds since 1970.

    Attributes:
        options: the bounds and times.
        may_identify: whether clients of a namespace may say who they are, by its name.
    """

    def __init__(
        self,
        server: "Server",
        options: "DeliveriesOptions",
        store: DeliveryStore,
        durable: DeliveryStore | None = None,
        nodes: "Nodes | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.may_identify: Callable[[str], bool] = lambda namespace: True
        self._server = server
        self._clock = clock
        self._node = "" if nodes is None else nodes.name
        self._messenger = None if nodes is None else Messenger(nodes, self._keep_lost)
        self._counts = Counts()
        self._coordinator = Coordinator()
        self._keeping = Keeping(
            store, durable, self._coordinator, self._counts, self._attend, clock
        )
        self._offers = Offers(server, self._acknowledged)
        self._by_namespace = options.durable_namespaces()
        self._defined: dict[str, bool] = {}
        self._hurry = trio.Event()
        self._is_running = False

    # -- what callers ask for

    def define(self, namespace: str, durable: bool | None) -> None:
        """Say whether the messages of a namespace have to outlive the program.

        Args:
            namespace: its name.
            durable: None means as configured again.
        """
        if durable is None:
            self._defined.pop(namespace, None)
        else:
            self._defined[namespace] = durable

    def end(self, namespace: str) -> None:
        """End the messages of a namespace that this node attends to: it was removed (DELIV-28).

        Whoever has the id of one of their users in a later namespace of this name may be somebody
        else.
        """
        ended = self._coordinator.end(namespace)
        for one in ended:
            self._keeping.end(one)
            self._counts.end(one)
        count = len(ended) + self._keeping.forget_lost(namespace)
        if count:
            log.warning(
                "%s was removed, so the messages that waited there for users have expired: %d",
                namespace,
                count,
            )

    async def start(self, order: Order) -> Accepted:
        """Accept a message; it is kept before this returns.

        The same message with the same id is sent once: the second call returns what has become of
        the first (DELIV-22).

        Raises:
            ControlError: it cannot be accepted, and nothing was sent. If the store does not answer,
                it is unknown whether it was kept, and the error says so; the same call can be made
                again.
        """
        accepted: list[Accepted] = []
        await self.start_all([order], accepted)
        return accepted[0]

    async def start_all(self, orders: Sequence[Order], accepted: list[Accepted]) -> None:
        """Accept messages: all of them, or none if it can be known beforehand that one is refused.

        Only the store can refuse one after others were accepted, as it becomes full or goes away.

        Args:
            orders: the messages.
            accepted: takes what has become of those that were accepted, also if another one is not.

        Raises:
            ControlError: one cannot be accepted; see `start`.
        """
        prepared: list[Prepared] = []
        name = ""
        try:
            for order in orders:
                name = ""
                checked = check(order, self.options)
                name = checked.key.id
                prepared.append(await self._prepare(checked, order, prepared))
            for one in prepared:
                name = one.checked.key.id
                known = one.known or await self._keep(one)
                accepted.append(known)
        except ControlError as error:
            self._counts.refuse(error)
            if len(orders) == 1 or not name:
                raise
            told = f"the message {name!r}: {error.message}"
            raise ControlError(error.code, told, error.data) from None

    async def _prepare(
        self, checked: Checked, order: Order, others: Sequence["Prepared"]
    ) -> "Prepared":
        """Find out whether a message can be accepted after others of its sender.

        Raises:
            ControlError: it cannot.
        """
        key = checked.key
        if not self._server._namespaces.may_exist(key.namespace):
            raise not_found("namespace", "namespace", key.namespace)
        if not self.may_identify(key.namespace):  # DELIV-53
            raise invalid(
                "namespace",
                f"nobody can confirm messages in {key.namespace}, because nobody is asked there "
                "who it is (see [identity]): nothing was sent",
            )
        if not self._is_running:
            raise unavailable("the server does not deliver messages now, as it starts or stops")
        durable = order.durable
        if durable is None:
            durable = self._defined.get(key.namespace, self._by_namespace.find(key.namespace))
        store = self._keeping.choose(durable=durable)
        known = await self._keeping.find(
            key, "nothing was sent, because it cannot be read whether the message was sent before"
        )
        if known is not None:
            return Prepared(checked, known, store, tell_known(known, checked))
        users = await self._find_targets(checked)
        record = checked.record(users, self._clock(), durable=store.is_durable)
        before = [one.record for one in others if one.known is None]
        check_load(record, before, self._coordinator, self.options)
        return Prepared(checked, record, store, None)

    async def _keep(self, one: "Prepared") -> Accepted:
        """Keep a message, and attend to it.

        Raises:
            ControlError: the store has no room for it, or does not answer, or knows another one.
        """
        namespace = one.checked.key.namespace
        found = await self._keeping.add(one.record, one.store)
        if isinstance(found, Full):
            raise overloaded(f"{found.what}: wait until some have ended")
        if found is not None:
            return tell_known(found, one.checked)
        if not self._server._namespaces.may_exist(namespace):  # it was removed meanwhile
            self.end(namespace)
            raise not_found("namespace", "namespace", namespace)
        self._counts.accepted += 1
        return tell(one.record, is_new=True)

    async def find(self, key: Key) -> Record:
        """Return what is known of a delivery.

        Raises:
            ControlError: nothing is, or the store cannot be asked.
        """
        known = await self._keeping.find(key)
        if known is None:
            raise not_found("id", "delivery", key.id)
        return known

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        """Return the deliveries of a namespace whose ids follow one, in the order of their ids.

        Raises:
            ControlError: the store cannot be asked.
        """
        return await self._keeping.page(namespace, after, limit)

    def statistics(self) -> DeliveriesStatistics:
        """Return a snapshot."""
        counts, messenger = self._counts, self._messenger
        found = counts.kept.values()
        return DeliveriesStatistics(
            open=sum(one[0] for one in found),
            reports=sum(one[1] for one in found),
            size=sum(one[2] for one in found),
            attended=len(self._coordinator),
            waiting=len(self._offers),
            accepted=counts.accepted,
            refused=dict(counts.refused),
            confirmed=counts.confirmed,
            unconfirmed=counts.unconfirmed,
            sent=self._offers.sent,
            unsent=self._offers.refused,
            retries=counts.retries,
            taken=counts.taken,
            failures=self._keeping.failures + (0 if messenger is None else messenger.failures),
        )

    async def _find_targets(self, checked: Checked) -> list[str]:
        users = dict.fromkeys(checked.users)
        if checked.rooms:
            namespace = checked.key.namespace
            users.update(dict.fromkeys(self.users_here(namespace, checked.rooms)))
            if self._messenger is not None:
                others = await self._messenger.users_in(namespace, checked.rooms, ROOMS_S)
                users.update(dict.fromkeys(others))
        if not users:  # DELIV-24
            raise ControlError(
                Code.NOT_FOUND,
                "rooms: no client that is in them has said who it is, so nobody could confirm the "
                "message: nothing was sent",
                {"parameter": "rooms"},
            )
        if len(users) > self.options.max_targets:
            raise too_many(len(users), self.options.max_targets)
        return list(users)

    # -- what other nodes ask for

    def send_here(self, node: str, offer: Offer) -> int:
        """Send copies of a message to those of its users who are here; return how many it was."""
        # The others may come to this node before it looks at the store again (DELIV-07).
        self._counts.goes_on = True
        return self._offers.send(node, offer, trio.current_time())

    def note(self, key: Key, user: str) -> bool:
        """Note that a user has confirmed; return whether that is new, as far as is known here."""
        now = self._clock()
        found = self._coordinator.confirm(key, user, now)
        if found is None:
            if self._keeping.is_shared and key not in self._coordinator:
                # Another node attends to it by now, or it has ended: the store knows.
                self._keeping.note(Answer(key, user, now))
            return False
        answer, store = found
        self._counts.confirmed += 1
        self._keeping.note(answer, store)
        return True

    def offer_again(self, namespace: str, user: str, node: str) -> int:
        """Send a user who has come to a node what waits for him; return how much that is."""
        now = self._clock()
        waiting = self._coordinator.waiting_for(namespace, user, now)
        for one in waiting:
            offer = _offer(one, (user,), now)
            if node == self._node:
                self.send_here(node, offer)
            elif self._messenger is not None:
                self._messenger.offer(offer, node)
        self._counts.retries += len(waiting)
        return len(waiting)

    def users_here(self, namespace: str, rooms: Sequence[str]) -> list[str]:
        """Return the identified users in rooms of this node."""
        place = self._server.namespaces.get(namespace)
        if place is None:
            return []
        users = (socket.user for room in rooms for socket in place.rooms.joined(room))
        return list(dict.fromkeys(user for user in users if user is not None))

    # -- what happens here

    def joined(self, socket: "Socket") -> None:
        """Send a user who has come back what waits for him (DELIV-07)."""
        user = socket.user
        if user is None or not self._counts.goes_on:
            return
        namespace = socket.namespace.name
        self.offer_again(namespace, user, self._node)
        if self._messenger is not None:
            self._messenger.arrived(namespace, user)

    def _acknowledged(self, node: str, key: Key, user: str) -> None:
        if node == self._node:
            self.note(key, user)
        elif self._messenger is not None:
            self._messenger.confirm(node, key, user)

    def _keep_lost(self, told: Sequence[Told]) -> None:
        """Write confirmations that did not reach the node that attends, as it may be lost."""
        if self._keeping.is_shared:
            now = self._clock()
            for namespace, name, user in told:
                self._keeping.note(Answer(Key(namespace, name), user, now))

    def _attend(self, record: Record, store: DeliveryStore) -> None:
        self._coordinator.attend(record, store, self._clock())
        self._counts.goes_on = True
        self._hurry.set()

    # -- the service

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled: a service, to be started after those that the stores need."""
        # Behind identity, which observes since it was made: it answers a client that has joined,
        # and messages that wait for its user follow the answer.
        self._server.observe(self)
        await self._keeping.look()
        try:
            async with alone(trio.open_nursery()) as tasks:
                self._keeping.run(tasks)
                tasks.start_soon(self._keep_time)
                if self._messenger is not None:
                    tasks.start_soon(self._messenger.run)
                self._is_running = True
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._is_running = self._counts.goes_on = False
            self._offers.forget()
            await self._keeping.release()

    async def _keep_time(self) -> None:
        """Send copies when they are due."""
        while True:
            wait_s = min(self._coordinator.next_at() - self._clock(), _MAX_SLEEP_S)
            with trio.move_on_after(max(wait_s, 0.0)):
                await self._hurry.wait()
            self._hurry = trio.Event()
            self._offers.expire(trio.current_time())
            for number, due in enumerate(self._coordinator.take_due(self._clock()), 1):
                self._do(due)
                if number % _SLICE == 0:
                    await trio.lowlevel.checkpoint()

    def _do(self, due: Due) -> None:
        one, users, is_retry = due
        if one.life.is_over:
            self._keeping.end(one)
            self._counts.end(one)
        elif users:
            offer = _offer(one, users, self._clock())
            self._counts.retries += len(users) if is_retry else 0
            if self._messenger is not None:
                self._messenger.offer(offer)
            self.send_here(self._node, offer)


def _offer(one: Attended, users: tuple[str, ...], now: float) -> Offer:
    head = one.record.head
    args = Raw(one.record.args)
    return Offer(
        head.namespace, head.id, head.event, args, users, max(head.expires_at - now, 0.001)
    )
