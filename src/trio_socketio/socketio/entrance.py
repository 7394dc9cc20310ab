"""The interfaces of the server, the namespace and the client that a joining needs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.socketio.place import Membering, Place
from trio_socketio.socketio.restoration import SessionStore
from trio_socketio.socketio.socket import SocketClient

if TYPE_CHECKING:
    from trio_socketio.socketio.adapter_life import AdapterLife
    from trio_socketio.socketio.history import History
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.socket import Socket

Predicate = Callable[[str, dict[str, Any]], bool | Awaitable[bool]]
"""Called with a name and the payload of the CONNECT; says whether the namespace may exist."""


class Keeping(Membering, SessionStore, Protocol):
    """The adapter of a namespace, which also keeps the sessions of lost clients."""


class Hall(Place, Protocol):
    """A namespace that clients can join; at run time a Namespace."""

    @property
    def adapter(self) -> Keeping:
        """Puts sockets into rooms, and keeps sessions."""

    @property
    def _joinings(self) -> dict[Any, None]:
        """The clients that are joining, oldest first."""

    @property
    def _adapter_life(self) -> "AdapterLife":
        """Starts the adapter before any client joins."""

    @property
    def _family(self) -> str:
        """The name for the log. Children of a parent share one, as clients make up their names."""


class Parent(Protocol):
    """Stands for namespaces that clients may bring into being; at run time a ParentNamespace."""

    @property
    def name(self) -> str:
        """The name of its pattern or predicate."""

    @property
    def _ask(self) -> Predicate:
        """Says whether a name that a client asks for is one of its children."""

    @property
    def _is_async(self) -> bool:
        """Whether the predicate is async."""


class Directory(Protocol):
    """The namespaces of a server; at run time its Namespaces."""

    @property
    def by_name(self) -> Mapping[str, Hall]:
        """The namespaces that exist."""

    @property
    def parents(self) -> Mapping[Any, Parent]:
        """The parents, in the order in which they are asked."""

    @property
    def everywhere(self) -> "Registry":
        """The registrations for every namespace."""

    def create_child(self, parent: Any, name: str) -> Hall | None:
        """Make a namespace that a client asked for; None if there are too many of them."""


class Candidate(SocketClient, Protocol):
    """A client that is joining; at run time a Participant."""

    @property
    def namespaces(self) -> Directory:
        """The namespaces that it may join."""

    @property
    def sockets(self) -> "dict[str, Socket]":
        """The sockets that have joined, by namespace."""

    @property
    def history(self) -> "History":
        """The namespaces that it has left."""

    def admit(self, joining: Any, socket: "Socket") -> None:
        """Take in the socket of a joining that has ended in JOINED."""

    def forget_joining(self, joining: Any) -> None:
        """Let the client ask again: a joining was decided against it."""

    def joining_over(self) -> None:
        """Stop counting a joining of which nothing is at work."""
