"""What nodes tell one another about deliveries: offers, acknowledgements, and who has come back."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import trio

from trio_socketio.control.failures import too_large, unavailable
from trio_socketio.control.nodes import Nodes
from trio_socketio.errors import ControlError
from trio_socketio.im.deliveries.offers import Offer
from trio_socketio.im.deliveries.record import Key
from trio_socketio.runtime.groups import alone

log = logging.getLogger(__name__)

ASK_S: Final = 2.0
"""How long other nodes may take to answer."""
MAX_ASKING: Final = 64
"""How many messages may wait for their answers."""
_AT_ONCE: Final = 100
_USERS_AT_ONCE: Final = 2000
_BYTES_AT_ONCE: Final = 256 << 10
_ANSWERS_AT_ONCE: Final = 1000

Told = tuple[str, str, str]
"""Namespace, id and user of a confirmation."""


class RoomUsers(msgspec.Struct, frozen=True):
    """The identified users in rooms of a node.

    Args:
        users: their ids.
    """

    users: list[str]


class Messenger:
    """Tells other nodes, in the order in which it was asked to, and many things at a time.

    Args:
        nodes: the other nodes.
        lose: is told the confirmations that did not reach the node that they are for.
    """

    def __init__(self, nodes: Nodes, lose: Callable[[Sequence[Told]], None]) -> None:
        self.nodes = nodes
        self.failures = 0
        self._lose = lose
        self._offers: dict[str, list[Offer]] = {}  # by node; "" means all
        self._answers: dict[str, list[Told]] = {}
        self._arrived: list[tuple[str, str]] = []
        self._changed = trio.Event()
        self._asking = trio.Semaphore(MAX_ASKING)

    def offer(self, offer: Offer, node: str = "") -> None:
        """Offer a copy to the users on all other nodes, or on one."""
        if self._has_company():
            self._offers.setdefault(node, []).append(offer)
            self._changed.set()

    def confirm(self, node: str, key: Key, user: str) -> None:
        """Tell a node that a user has confirmed."""
        self._answers.setdefault(node, []).append((*key, user))
        self._changed.set()

    def arrived(self, namespace: str, user: str) -> None:
        """Tell all other nodes that a user has come to this one."""
        if self._has_company():
            self._arrived.append((namespace, user))
            self._changed.set()

    def _has_company(self) -> bool:
        # A node that stands still reads what it was sent when it goes on.
        return bool(self.nodes.others() or self.nodes.unheard())

    async def run(self) -> None:
        """Tell it until cancelled."""
        async with alone(trio.open_nursery()) as tasks:
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                offers, self._offers = self._offers, {}
                answers, self._answers = self._answers, {}
                arrived, self._arrived = self._arrived, []
                for method, params, node in self._write(offers, answers, arrived):
                    await self._asking.acquire()
                    await tasks.start(self._ask, method, params, node)

    def _write(
        self,
        offers: dict[str, list[Offer]],
        answers: dict[str, list[Told]],
        arrived: list[tuple[str, str]],
    ) -> Iterable[tuple[str, dict[str, Any], str]]:
        own = self.nodes.name
        for node, told in answers.items():
            for some in _cut(told, _ANSWERS_AT_ONCE):
                yield "node.confirmed", {"answers": some}, node
        for node, several in offers.items():
            for batch in _batches(several):
                yield "node.offer", {"node": own, "offers": batch}, node
        for users in _cut(arrived, _ANSWERS_AT_ONCE):
            yield "node.arrived", {"node": own, "users": users}, ""

    async def _ask(
        self,
        method: str,
        params: dict[str, Any],
        node: str,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Send a message, say that it is sent, and wait until it has been taken."""
        try:
            with self.nodes.question(method, params, (node,) if node else None) as question:
                question.send()
                task_status.started()
                answers = await question.wait(ASK_S)
        except ControlError as error:  # too many questions are open
            self._fail(method, params, str(error))
            task_status.started()
        else:
            if answers.errors or answers.missing:
                failed = {**answers.errors, **dict.fromkeys(answers.missing, "no answer")}
                self._fail(method, params, ", ".join(f"{one}: {failed[one]}" for one in failed))
        finally:
            self._asking.release()

    def _fail(self, method: str, params: dict[str, Any], why: str) -> None:
        # An offer is made again by the schedule, and an arrival is made up for by it.
        self.failures += 1
        log.debug("%s was not taken: %s", method, why)
        if method == "node.confirmed":
            self._lose(params["answers"])

    async def users_in(self, namespace: str, rooms: Sequence[str], timeout_s: float) -> list[str]:
        """Return the users in rooms of all other nodes.

        Raises:
            ControlError: a node did not say.
        """
        unknown = "nothing was sent, because it is not known who is in the rooms"
        if self.nodes.fault:  # DELIV-50
            raise unavailable(f"{unknown}: {self.nodes.fault}")
        params = {"namespace": namespace, "rooms": rooms}
        answers = await self.nodes.ask("node.room_users", params, timeout_s)
        for error in answers.errors.values():
            raise error
        # Those that have said goodbye have no sockets (NODE-21).
        possible = {*(node.name for node in self.nodes.others()), *self.nodes.unheard()}
        silent = [name for name in answers.missing if name in possible]
        if silent:
            raise unavailable(f"{unknown}: {silent[0]} did not answer")
        found: dict[str, None] = {}
        for raw in answers.results.values():
            found.update(dict.fromkeys(msgspec.json.decode(raw, type=RoomUsers).users))
        return list(found)


def too_many(count: int, most: int) -> ControlError:
    """A message is for too many users."""
    return too_large(
        f"the message is for {count} users, but one may be for {most} at most (max_targets in "
        "[deliveries]): nothing was sent",
        targets=count,
    )


def _cut(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _batches(offers: Iterable[Offer]) -> Iterable[list[Offer]]:
    """Cut offers into messages that are neither too long, nor too much work at a time."""
    batch: list[Offer] = []
    users = size = 0
    for one in offers:
        added = len(bytes(one.args)) + sum(map(len, one.users))
        if batch and (
            len(batch) >= _AT_ONCE
            or users + len(one.users) > _USERS_AT_ONCE
            or size + added > _BYTES_AT_ONCE
        ):
            yield batch
            batch, users, size = [], 0, 0
        batch.append(one)
        users += len(one.users)
        size += added
    if batch:
        yield batch
