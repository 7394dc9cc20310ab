"""Our other nodes, as the control API needs them; and the method system.nodes."""

import socket
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from trio_socketio.control.methods import rpc

if TYPE_CHECKING:
    from msgspec import Raw

    from trio_socketio.codec.node_messages import NodeFacts
    from trio_socketio.control.system import System
    from trio_socketio.errors import ControlError
    from trio_socketio.socketio.server import Server


class Answers(NamedTuple):
    """What the nodes have answered that were asked.

    Args:
        results: the result of each node that has done it, by its name.
        errors: the error of each node that has not, by its name.
        missing: the names of the nodes that have not answered in time, have gone before, or could
            not be asked, as they are silent. They may have done it all the same.
    """

    results: "dict[str, Raw]"
    errors: "dict[str, ControlError]"
    missing: list[str]


class BackendNamespaces(NamedTuple):
    """The namespaces for which there are backends on a node; ``*`` stands for all.

    Args:
        events: those whose events a backend handles.
        authenticate: those whose clients a backend identifies.
    """

    events: tuple[str, ...] = ()
    authenticate: tuple[str, ...] = ()


class Question(Protocol):
    """A call of a method of other nodes, for which there is room."""

    def send(self) -> None:
        """Send it, unless that was done before. Never blocks."""

    async def wait(self, timeout_s: float, *, one_is_enough: bool = False) -> Answers:
        """Wait until every node that was asked has answered or gone.

        Args:
            timeout_s: how long they may take, counted from the sending.
            one_is_enough: whether not to wait for the others once a node has a result.
        """


class Nodes(Protocol):
    """The other nodes of the cluster that this node belongs to."""

    @property
    def name(self) -> str:
        """The name of this node."""

    @property
    def fault(self) -> str:
        """Why this node is not one of the cluster, in a few words; empty if it is."""

    def others(self) -> "list[NodeFacts]":
        """Return the other nodes that live, in the order of their names."""

    def unheard(self) -> dict[str, bool]:
        """Return the nodes that may have clients although they are not heard (NODE-23).

        They have fallen silent without a goodbye, and their leases may not have ended. Every
        question to all nodes counts them as missing.

        Returns:
            Their names, and whether each one keeps its seats in a store that others have, too.
        """

    def listed(self) -> "list[NodeInfo]":
        """Return all nodes that live, in the order of their names; this one always among them."""

    def question(
        self, method: str, params: Any, to: Collection[str] | None = None
    ) -> AbstractContextManager[Question]:
        """Prepare to call a method of other nodes; after the block no answer is awaited any more.

        Calls of one node begin on another one in the order in which they were sent.

        Args:
            method: its name.
            params: its parameters by name; raw JSON goes into the message as it is.
            to: the names of the nodes to ask; None means all.
        Raises:
            ControlError: it does not fit into a message, or too many questions wait for answers;
                nothing was sent.
        """

    async def ask(
        self, method: str, params: Any, timeout_s: float, to: Collection[str] | None = None
    ) -> Answers:
        """Call a method of other nodes, and wait for their answers; see question."""

    def announce(self) -> None:
        """Tell the other nodes at once that something about this one has changed."""

    def serve(self, group: object) -> None:
        """Let other nodes call the methods of an object."""

    def use_backends(self, describe: Callable[[], BackendNamespaces]) -> None:
        """Have a function tell the other nodes for which namespaces there are backends here."""


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A node: one server process.

    It has 14 attributes, because it is all that operators see of a node.

    Args:
        name: its name, which no other living node has.
        boot: names this incarnation of it; it has another one after a restart, and after it has
            lost its connection to Redis. Empty if the server belongs to no cluster.
        host: the name of its machine.
        pid: of its process.
        version: of trio-socketio.
        started_at_s: when it was started, seconds since 1970, on its own clock.
        state: starting, serving or draining.
        connections: how many sessions it has.
        last_heard_s: how long ago it was heard last; 0 for the node that answers.
        parent: the node whose worker it is; empty if it is none.
        workers: how many workers it has; it has no clients then.
        forwarding: whether the node that answers can pass requests on to it, according to the last
            trial; null if there was none yet, or if that node passes nothing on to it.
        forwarding_fault: why that is not possible; empty if it is, or if it is not known.
        unreached: nodes to which it says it cannot pass requests on; at most 20 names.
    """

    name: str
    boot: str
    host: str
    pid: int
    version: str
    started_at_s: float
    state: Literal["starting", "serving", "draining"]
    connections: int
    last_heard_s: float
    parent: str = ""
    workers: int = 0
    forwarding: bool | None = None
    forwarding_fault: str = ""
    unreached: list[str] = []


class NodeList(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a cluster.

    Args:
        node: the name of the node that answers.
        nodes: all that live, that one included, in the order of their names.
    """

    node: str
    nodes: list[NodeInfo]


class NodeMethods:
    """The method system.nodes.

    Args:
        server: of this node.
        system: the program around it.
        nodes: the cluster; None if the server belongs to none.
    """

    def __init__(self, server: "Server", system: "System", nodes: Nodes | None) -> None:
        self._server = server
        self._system = system
        self._nodes = nodes

    @rpc("system.nodes")
    def list_nodes(self) -> NodeList:
        """Show our nodes that live; those of other programs on the same Redis are not known."""
        if self._nodes is not None:
            return NodeList(node=self._nodes.name, nodes=self._nodes.listed())
        found = self._system.info()
        alone = NodeInfo(
            name=found.node,
            boot="",
            host=socket.gethostname(),
            pid=found.pid,
            version=found.version,
            started_at_s=found.started_at_s,
            state=found.state,
            connections=self._server.statistics().sessions,
            last_heard_s=0.0,
        )
        return NodeList(node=found.node, nodes=[alone])
