"""Asks the other nodes which users are connected there, for messages to users who are not here.

A message to a user goes to all nodes at once, and nobody waits for this. But its sender is told if
nobody has got it. While one question is under way, further users are gathered for the next, so that
a node is asked about once a round trip, however many messages there are.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import trio

from trio_socketio.control.methods import rpc
from trio_socketio.errors import ControlError, TrioSocketIOError
from trio_socketio.protocol.user_ids import user_room

if TYPE_CHECKING:
    from trio_socketio.control.nodes import Nodes
    from trio_socketio.socketio.server import Server

METHOD: Final = "node.chat_users"
ANSWER_S: Final = 2.0
"""How long other nodes may take to answer, in seconds."""
MAX_WAITING: Final = 10_000
"""How many users may wait to be asked about."""
MAX_ASKED: Final = 1000
"""About how many users one question asks about."""

_decode: Final = msgspec.json.Decoder(dict[str, list[str]]).decode


class Whereabouts(NamedTuple):
    """What became of the search for users.

    Args:
        absent: no node has them.
        unknown: no node has said that it has them, and not all have answered.
        fault: why these have not; empty if all have.
    """

    absent: list[str]
    unknown: list[str]
    fault: str


class _Inquiry(NamedTuple):
    namespace: str
    users: list[str]
    conclude: Callable[[Whereabouts], None]


class UsersHere:
    """The method node.chat_users, which other nodes call.

    Args:
        server: has the clients.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server

    @rpc(METHOD)
    def find(self, users: dict[str, list[str]]) -> dict[str, list[str]]:
        """Say which of these users are connected to this node.

        Args:
            users: ids of users by namespace.
        """
        found = {}
        for name, asked in users.items():
            namespace = self._server.namespaces.get(name)
            if namespace is not None:
                rooms = namespace.rooms
                found[name] = [
                    user
                    for user in asked
                    if any(one.user == user for one in rooms.joined(user_room(user)))
                ]
        return found


class Inquiries:
    """Asks other nodes about users, many at a time.

    Args:
        server: of this node.
        nodes: the others.
    """

    def __init__(self, server: "Server", nodes: "Nodes") -> None:
        self._server = server
        self._nodes = nodes
        self._waiting: deque[_Inquiry] = deque()
        self._count = 0
        self._has_some = trio.Event()
        nodes.serve(UsersHere(server))

    def ask(
        self, namespace: str, users: list[str], conclude: Callable[[Whereabouts], None]
    ) -> None:
        """Find out whether users are connected to other nodes. Never blocks.

        Args:
            namespace: of the users.
            users: their ids.
            conclude: called once with the result; not at all if the server stops before.
        """
        if self._count + len(users) > MAX_WAITING:
            fault = f"{MAX_WAITING} users are being looked for already"
            conclude(Whereabouts([], users, fault))
            return
        self._count += len(users)
        self._waiting.append(_Inquiry(namespace, users, conclude))
        self._has_some.set()

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled: for Runtime.start_service."""
        task_status.started()
        while True:
            await self._has_some.wait()
            batch = self._take()
            found, fault, foreign = await self._find(batch)
            for namespace, users, conclude in batch:
                lost = [one for one in users if one not in found.get(namespace, ())]
                if namespace in foreign:
                    lost = []  # CHAT-22: others may have got the message, and cannot be asked
                absent, unknown = ([], lost) if fault else (lost, [])
                conclude(Whereabouts(absent, unknown, fault if unknown else ""))

    def _take(self) -> list[_Inquiry]:
        batch: list[_Inquiry] = []
        asked = 0
        while self._waiting and asked < MAX_ASKED:
            batch.append(self._waiting.popleft())
            asked += len(batch[-1].users)
        self._count -= asked
        if not self._waiting:
            self._has_some = trio.Event()
        return batch

    async def _find(self, batch: list[_Inquiry]) -> tuple[dict[str, set[str]], str, set[str]]:
        """Ask for users.

        Returns:
            Those that other nodes have, by namespace; why not all nodes have answered; and the
            namespaces that programs other than ours serve, too.
        """
        users: dict[str, dict[str, None]] = {}
        for namespace, names, _ in batch:
            users.setdefault(namespace, {}).update(dict.fromkeys(names))
        found: dict[str, set[str]] = {name: set() for name in users}
        if self._nodes.fault:
            await trio.lowlevel.checkpoint()
            return found, self._nodes.fault, set()
        params = {"users": {name: list(ids) for name, ids in users.items()}}
        try:
            answers = await self._nodes.ask(METHOD, params, ANSWER_S)
        except ControlError as error:
            return found, error.message, set()
        silent = [*answers.missing, *answers.errors]
        for node, raw in answers.results.items():
            try:
                for name, present in _decode(raw).items():
                    found.setdefault(name, set()).update(present)
            except msgspec.MsgspecError:  # it is of another version
                silent.append(node)
        fault = f"not all nodes have answered: {', '.join(silent[:3])}" if silent else ""
        lost = [name for name, ids in users.items() if len(found[name]) < len(ids)]
        ours = 1 + len(answers.results) + len(silent)
        foreign = {name for name in lost if await self._is_foreign(name, ours)}
        return found, fault, foreign

    async def _is_foreign(self, name: str, ours: int) -> bool:
        """Whether programs other than ours may have clients in a namespace."""
        namespace: Any = self._server.namespaces.get(name)
        if namespace is None:
            return False
        try:
            with trio.move_on_after(ANSWER_S):
                count: int = await namespace.adapter.node_count()
                return count > ours
        except (TrioSocketIOError, TimeoutError):
            return False
        return False
