"""What a joining asks of the server, of the namespace, and of the client."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.socketio.place import Membering, Place
from trio_socketio.socketio.restoration import SessionStore
from trio_socketio.socketio.socket import SocketClient

if TYPE_CHECKING:
    from trio_socketio.socketio.history import History
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.socket import Socket

Predicate = Callable[[str, dict[str, Any]], bool | Awaitable[bool]]
"""Called with a name and the payload of the CONNECT; says whether there is such a namespace."""


class Keeping(Membering, SessionStore, Protocol):
    """The adapter of a namespace."""


class Hall(Place, Protocol):
    """A namespace that clients may join; see Namespace."""

    @property
    def adapter(self) -> Keeping:
        """See Namespace."""

    @property
    def _joinings(self) -> dict[Any, None]:
        """Clients on their way in, oldest first."""

    @property
    def _adapter_is_started(self) -> bool:
        """Whether it reaches the other nodes."""

    async def _start_adapter(self) -> None:
        """See Namespace."""

    @property
    def _family(self) -> str:
        """One name for all children of a parent: clients make up as many as they like."""


class Parent(Protocol):
    """Stands for namespaces that may come into being; see ParentNamespace."""

    @property
    def name(self) -> str:
        """Of its pattern or predicate."""

    @property
    def _ask(self) -> Predicate:
        """What says whether a name that a client asks for is one of its kind."""

    @property
    def _is_async(self) -> bool:
        """Whether that takes its time."""


class Directory(Protocol):
    """The namespaces of a server; see Namespaces."""

    @property
    def by_name(self) -> Mapping[str, Hall]:
        """Those that exist."""

    @property
    def parents(self) -> Mapping[Any, Parent]:
        """Those that may bring more into being, in the order in which they are asked."""

    @property
    def everywhere(self) -> "Registry":
        """What was registered with every namespace."""

    def create_child(self, parent: Any, name: str) -> Hall | None:
        """A namespace that a client asked for; None if there are too many such."""


class Candidate(SocketClient, Protocol):
    """A client that joins; see Participant."""

    @property
    def namespaces(self) -> Directory:
        """What it may join."""

    @property
    def sockets(self) -> "dict[str, Socket]":
        """Those that have joined, by namespace."""

    @property
    def history(self) -> "History":
        """The namespaces that it was in."""

    def admit(self, joining: Any, socket: "Socket") -> None:
        """See Participant."""

    def forget_joining(self, joining: Any) -> None:
        """See Participant."""

    def joining_over(self) -> None:
        """See Participant."""
