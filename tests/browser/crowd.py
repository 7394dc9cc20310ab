"""Clients of a server beside a page of the test: they run in a thread of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Final

import trio

from trio_socketio import Client, ClientOptions, open_client

START_S: Final = 20.0


class Crowd:
    """Clients that are there as long as the block of `here` runs.

    Attributes:
        clients: by name. What a page looks at may be read from the thread of the test.
        heard: the events "news" that they got: the name, and the arguments.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._started = Event()
        self._ended = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self.heard: list[tuple[Any, ...]] = []
        self.clients: dict[str, Client] = {}

    @contextmanager
    def here(
        self,
        *names: str,
        rooms: tuple[str, ...] = ("tea",),
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        namespace: str = "/",
    ) -> Iterator["Crowd"]:
        """Have a client of each name come; all are gone when the block ends.

        Args:
            names: of the clients.
            rooms: that they join.
            auth: instead of their names.
            headers: of their requests.
            namespace: where they are.
        """
        thread = Thread(target=trio.run, args=(self._run, names, rooms, auth, headers, namespace))
        thread.start()
        try:
            assert self._started.wait(START_S)
            yield self
        finally:
            if self._token is not None:
                trio.from_thread.run_sync(self._ended.set, trio_token=self._token)
            thread.join(START_S)

    async def _run(self, names: tuple[str, ...], *given: Any) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            for name in names:
                await nursery.start(self._be, name, *given)
            self._started.set()
            await self._ended.wait()
            nursery.cancel_scope.cancel()

    async def _be(
        self,
        name: str,
        rooms: tuple[str, ...],
        auth: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        namespace: str,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        options = ClientOptions(reconnect=False)
        told = {"name": name} if auth is None else dict(auth)
        async with open_client(
            self._url, namespaces=namespace, auth=told, headers=headers, options=options
        ) as client:
            self.clients[name] = client
            client.on("news")(lambda *arguments: self.heard.append((name, *arguments)))
            for room in rooms:
                await client.emit_with_ack("join", room, timeout_s=10)
            task_status.started()
            await trio.sleep_forever()
