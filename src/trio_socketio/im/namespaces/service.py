"""The namespaces that are made at run time, as a service of the runtime."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.im.namespaces.definition import NamespaceDefinition
from trio_socketio.im.namespaces.live import LiveNamespaces, Part
from trio_socketio.im.namespaces.store import Change, DefinitionsUnavailable, Stamp, Store
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.socketio.namespaces import Ended
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

REMOVED: Final = "namespace removed"
"""What clients are told by default whose namespace is removed."""

NO_STORE: Final = (
    "nothing keeps namespaces that are made at run time: set [redis] url, or [state] folder for a "
    "single node"
)

_MAX_COUNTS: Final = 1000
"""Of how many changes it is remembered how many clients they have put out."""


@dataclass(frozen=True, slots=True)
class NamespacesStatistics:
    """The numbers of the namespaces that are made at run time.

    Args:
        defined: how many there are.
        unserved: how many of them this node cannot serve.
        changes: how many changes this node has made its own, since the start.
        put_out: how many clients it has put out for that.
        is_current: whether it knows the last change.
    """

    defined: int
    unserved: int
    changes: int
    put_out: int
    is_current: bool


class DefinedNamespaces:
    """Makes, changes and ends the namespaces of a server as their definitions say.

    Args:
        server: the server.
        store: keeps the definitions; None if there is nothing that could.

    Attributes:
        live: the namespaces that are served.
        revision: of the last change that was made here.
    """

    def __init__(self, server: "Server", store: Store | None) -> None:
        self.live = LiveNamespaces(server, self._wait_ended)
        self.revision = 0
        self._store = store
        self._server = server
        self._known: dict[str, NamespaceDefinition] = {}
        self._counts: OrderedDict[int, int] = OrderedDict()
        self._changes = self._put_out = 0
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._read = trio.Event()

    def use_parts(self, parts: Sequence[Part], replaces: Callable[[str], bool]) -> None:
        """Have parts of the server go by the definitions, too; before `run`.

        Args:
            parts: in the order in which they are told.
            replaces: whether a new client of a user puts out the old one, by the name of the
                namespace.
        """
        self.live.parts, self.live.replaces = tuple(parts), replaces

    @property
    def fault(self) -> str:
        """Why definitions cannot be changed, or may not be the last ones; empty if all is well."""
        if self._store is None:
            return NO_STORE
        return self._store.fault

    def check(self) -> str:
        """Return why this node may not know its namespaces; see ops.health."""
        if self._store is None:
            return ""
        return "" if self._read.is_set() else self._store.fault

    def find(self, namespace: str) -> NamespaceDefinition | None:
        """Return the definition of a namespace; None if it has none."""
        return self._known.get(namespace)

    def statistics(self) -> NamespacesStatistics:
        """Return the numbers of now."""
        return NamespacesStatistics(
            defined=len(self._known),
            unserved=len(self.live.faults),
            changes=self._changes,
            put_out=self._put_out,
            is_current=self._store is None or not self._store.fault,
        )

    # -- changing them

    async def change(self, change: Change) -> Stamp:
        """Make a change, for all nodes. It may have its effect later.

        Raises:
            DefinitionRefused: it cannot be made.
            DefinitionsUnavailable: it was not made; or that is unknown, as the error says.
        """
        if self._store is None:
            raise DefinitionsUnavailable(NO_STORE)
        return await self._store.change(change)

    async def wait_made(self, stamp: Stamp) -> None:
        """Wait until a change has had its effect here."""
        while self._epoch != stamp.epoch or self.revision < stamp.revision:
            await self._changed.wait()

    async def wait_changed(self) -> None:
        """Wait until anything has changed here."""
        await self._changed.wait()

    @property
    def _epoch(self) -> str:
        return "" if self._store is None else self._store.epoch

    def count_of(self, revision: int) -> int:
        """Return how many clients a change has put out here, if it is one of the last 1,000."""
        return self._counts.get(revision, 0)

    # -- told by the store

    def known(self) -> Mapping[str, NamespaceDefinition]:
        """Return the definitions that hold, also those that this node cannot serve."""
        return self._known

    def replace(self, definitions: Mapping[str, NamespaceDefinition], revision: int) -> None:
        """Go by all definitions as they were read."""
        before = self._changes
        for name in [name for name in self._known if name not in definitions]:
            self._set(name, None, REMOVED)
        for name, definition in definitions.items():
            if self._known.get(name) != definition:
                self._set(name, definition)
        if self._changes > before:
            log.info("%d namespaces that were made at run time are known", len(self._known))
        self.revision = revision
        self._counts.clear()  # they may be of another epoch
        self._tell()

    def change_one(
        self, name: str, definition: NamespaceDefinition | None, revision: int, reason: str
    ) -> None:
        """Go by one change."""
        self._counts[revision] = self._set(name, definition, reason or REMOVED)
        if len(self._counts) > _MAX_COUNTS:
            self._counts.popitem(last=False)
        self.revision = revision
        self._tell()

    def _set(self, name: str, definition: NamespaceDefinition | None, reason: str = "") -> int:
        """Go by a definition, or by none; return how many clients were put out."""
        if definition is None:
            self._known.pop(name, None)
            out = self.live.drop(name, reason)
        else:
            self._known[name] = definition
            out = self.live.take(definition)
        self._changes += 1
        self._put_out += out
        return out

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- the service

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the store until cancelled: for Runtime.start_service.

        It has started at once; `wait_read` waits until the namespaces are there.

        Raises:
            ConfigurationError: the disk cannot be read.
        """
        try:
            async with alone(trio.open_nursery()) as nursery:
                self._nursery = nursery
                task_status.started()
                if self._store is not None:
                    await nursery.start(self._store.run, self)
                    self._read.set()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def wait_read(self) -> None:
        """Wait until all definitions were read, before clients are let in (NSP-08)."""
        if self._store is not None:
            await self._read.wait()

    def _wait_ended(self, ended: "Ended") -> None:
        namespaces = self._server._namespaces
        if self._nursery is not None:
            self._nursery.start_soon(namespaces.wait_ended, ended)
