"""What keeps the definitions of namespaces: Redis for all nodes, or the disk of a single one."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol

import trio

from trio_socketio.errors import TrioSocketIOError
from trio_socketio.im.namespaces.definition import NamespaceDefinition

MAX_NAMESPACES: Final = 10_000
"""How many namespaces may be defined."""

MAX_TOTAL_BYTES: Final = 16 * 1024 * 1024
"""How many bytes their definitions may have together, as JSON."""

Kind = Literal["create", "update", "remove"]


class DefinitionsUnavailable(TrioSocketIOError):
    """The definitions cannot be read or changed at the moment; the message says why.

    Args:
        reason: why.
        is_unsure: whether the change may have been made, or be made later.
        is_forbidden: whether this node may not read them, so that waiting is of no use.
    """

    def __init__(self, reason: str, *, is_unsure: bool = False, is_forbidden: bool = False) -> None:
        super().__init__(reason)
        self.is_unsure = is_unsure
        self.is_forbidden = is_forbidden


class DefinitionRefused(TrioSocketIOError):
    """A change was not made, because of what is kept already.

    Args:
        why: ``exists``, ``missing``, ``changed`` if the namespace has another revision than
            expected, or ``full``.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Change(NamedTuple):
    """A change that is asked for.

    Args:
        kind: of the change.
        name: of the namespace.
        definition: the new one, as JSON; empty for a removal.
        reason: of a removal, which clients are told.
        expected: the revision that is to be replaced; None means any.
    """

    kind: Kind
    name: str
    definition: bytes = b""
    reason: str = ""
    expected: int | None = None


class Stamp(NamedTuple):
    """When a change was made.

    Args:
        epoch: of the store, which begins another one when it has lost everything; empty if it has
            none.
        revision: of the change; revisions are comparable within an epoch.
    """

    epoch: str
    revision: int


class Listener(Protocol):
    """Is told of the definitions that hold, in the order in which they were changed."""

    def replace(self, definitions: Mapping[str, NamespaceDefinition], revision: int) -> None:
        """Take all definitions as they were read, after the change of this revision."""

    def change_one(
        self, name: str, definition: NamespaceDefinition | None, revision: int, reason: str
    ) -> None:
        """Take one change; None removes the namespace, for a reason."""

    def known(self) -> Mapping[str, NamespaceDefinition]:
        """Return the definitions that were taken last."""


class Store(Protocol):
    """Keeps the definitions."""

    @property
    def where(self) -> str:
        """Where it keeps them, in a few words."""

    @property
    def epoch(self) -> str:
        """The epoch of the definitions that the listener has."""

    @property
    def fault(self) -> str:
        """Why the definitions that the listener has may not be the last ones; empty if they are."""

    async def change(self, change: Change) -> Stamp:
        """Make a change. The listener is told, perhaps only later.

        Raises:
            DefinitionRefused: it cannot be made.
            DefinitionsUnavailable: it was not made; or that is unknown, as the error says.
        """

    async def run(
        self,
        listener: Listener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Tell a listener of all definitions, and then of every change, until cancelled.

        It has started when all were read.
        """
