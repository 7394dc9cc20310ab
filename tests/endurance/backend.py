"""What backends and operators do while clients come and go."""

from random import Random
from typing import Any, Final

import trio

from tests.endurance.client import CHAT
from tests.endurance.places import Place
from tests.endurance.ways import REGULARS
from trio_socketio.control import BackendEvent, follow_presence
from trio_socketio.errors import TrioSocketIOError

DELIVERY_PAUSE_S: Final = 0.2


class Backend:
    """Handles the events of a server's clients, kicks those who ask for it, follows who is online.

    Args:
        place: the server.
        users: how many users there are.

    Attributes:
        handled: the numbers of the events that it has handled.
        online: the users that are, as far as the presence log has told.
        entries: how many of them it has read.
        deliveries: how many messages it has had delivered.
        faults: whatever is wrong.
    """

    def __init__(self, place: Place) -> None:
        self.handled: set[int] = set()
        self.online: set[str] = set()
        self.entries = 0
        self.deliveries = 0
        self.faults: list[str] = []
        self._place = place
        self._dice = Random(1)
        self._to_kick, self._kicks = trio.open_memory_channel[str](10_000)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            await self._place.control.register(self._handle)
            await nursery.start(self._follow)
            nursery.start_soon(self._kick)
            task_status.started()

    def _handle(self, event: BackendEvent) -> Any:
        if event.event == "kick me":
            assert event.user is not None
            self._to_kick.send_nowait(event.user)
            return None
        number = event.args[0]
        if number in self.handled:
            self._blame(f"event {number} came twice")
        self.handled.add(number)
        return tuple(event.args)

    async def _kick(self) -> None:
        async for user in self._kicks:
            await self._call("users.kick", namespace=CHAT, users=[user])

    async def deliver(self) -> None:
        """Have messages delivered until cancelled, most of them to users who are not there."""
        while True:
            users = [f"regular{self._dice.randrange(REGULARS)}" for _ in range(3)]
            message = {"event": "news", "args": [{"text": "tea"}], "users": users, "durable": True}
            await self._call("deliver", namespace=CHAT, **message)
            self.deliveries += 1
            await trio.sleep(DELIVERY_PAUSE_S)

    async def _call(self, method: str, **params: Any) -> None:
        try:
            await self._place.control.call(method, params)
        except TrioSocketIOError as error:
            self._blame(f"{method} has failed: {error}")

    async def _follow(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Read the presence log, and keep who is online."""
        async with follow_presence(CHAT, self._place.address) as batches:
            async for batch in batches:
                if batch.online is not None:
                    if self.entries or batch.online:
                        self._blame("the presence log could not be followed")
                    task_status.started()
                for entry in batch.entries:
                    self._take(entry["type"], entry["user"])

    def _take(self, kind: str, user: str) -> None:
        self.entries += 1
        if kind == "online":
            if user in self.online:
                self._blame(f"{user} was online already")
            self.online.add(user)
        elif kind == "offline":
            if user not in self.online:
                self._blame(f"{user} was offline already")
            self.online.discard(user)

    def _blame(self, fault: str) -> None:
        if len(self.faults) < 10:
            self.faults.append(f"{self._place.name}: {fault}")
