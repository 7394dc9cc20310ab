"""The nodes of a cluster, as a service of each of them: who lives, and calls from node to node.

All messages of a node go over its one connection to Redis, in the order in which it sends them,
those of the adapters of its namespaces included. So a question that follows an emit reaches every
node after the emit.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.cluster.channel import EVERYBODY, NodeChannel
from trio_socketio.cluster.connection import NodeConnection
from trio_socketio.cluster.exchange import Exchange
from trio_socketio.cluster.followers import Followers
from trio_socketio.cluster.questions import OpenQuestion
from trio_socketio.cluster.workers.role import ALONE, Family
from trio_socketio.codec.node_messages import (
    MAX_UNREACHED,
    NODE_NAME,
    NODE_NAME_RULE,
    Answer,
    Ask,
    Beat,
    Bye,
    Claim,
    NodeFacts,
    NodeMessage,
)
from trio_socketio.control.emitting import Emitting
from trio_socketio.control.namespaces import NamespaceMethods
from trio_socketio.control.node_methods import NodeReach
from trio_socketio.control.nodes import Answers, BackendNamespaces, NodeInfo
from trio_socketio.control.rooms import RoomMethods
from trio_socketio.control.sockets import SocketMethods
from trio_socketio.errors import ConfigurationError, TrioSocketIOError
from trio_socketio.im.presence.service import presence_of
from trio_socketio.im.presence.user_methods import UserMethods
from trio_socketio.protocol.node_name import Count, SendBeat, SendBye, SendClaim, Settled, State
from trio_socketio.protocol.node_roster import Gone, Joined
from trio_socketio.protocol.nodes import SILENCE_S, NodesMachine, Output
from trio_socketio.runtime.groups import alone

if TYPE_CHECKING:
    from trio_socketio.codec.node_messages import NodeState
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_NAME: Final = re.compile(NODE_NAME).match
_START_S: Final = 2 * SILENCE_S
"""The time after which a node starts without its name, because Redis does not answer."""
_STATES: Final[dict[str, "NodeState"]] = {"serving": "serving", "stopping": "draining"}


@dataclass(frozen=True, slots=True)
class NodesStatistics:
    """A snapshot of what a node knows of the others, and of its calls.

    Args:
        others: how many other nodes live.
        is_member: whether this node has its name.
        lag_s: how long its last heartbeat took through Redis and back.
        asked: how many calls it has made of others.
        waiting: how many of them wait for answers.
        missing: how many answers have not come in time.
        answered: how many calls of others it has answered.
        dropped: how many messages were not used, by reason.
        unsent: how many messages could not be sent.
    """

    others: int
    is_member: bool
    lag_s: float
    asked: int
    waiting: int
    missing: int
    answered: int
    dropped: dict[str, int]
    unsent: int


class ClusterNodes:
    """The nodes that share a Redis. `run` makes this node one of them.

    Adapters of the server have to reach the other nodes, as RedisPubSub does, since events for
    clients are not sent over this channel.

    It has 20 attributes: what it says about itself, its parts, and how far it has come. Of its 23
    methods, half are for others: the control API, forwarding and operators.

    Args:
        redis: the connection.
        server: the server of this node.
        name: of this node: as NODE_NAME has it. No other living node may have it.
        prefix: begins the names of the channels.
        version: of trio-socketio.
        max_answer_bytes: the longest answer that this node gives to emit_with_ack.
        lease_s: how long a node may have clients after it has fallen silent without a goodbye.
        family: what other nodes are told of the program.

    Raises:
        ConfigurationError: no node can have this name.

    Attributes:
        faults: says why requests cannot be passed on to the other nodes, by node name: empty text
            if they can be, None if that is not known yet. Requests are not passed on to nodes left
            out.
        followers: are told of the nodes that come and go.
        host: the name of the machine that this node runs on.
        name: of this node.
        reach: where it takes requests of other nodes, and the prefix of its sids, for NodeFacts.
    """

    def __init__(
        self,
        redis: NodeConnection,
        server: "Server",
        name: str,
        *,
        prefix: str = "tsio",
        version: str = "",
        max_answer_bytes: int = 1 << 20,
        lease_s: float = 10.0,
        family: Family = ALONE,
    ) -> None:
        if not _NAME(name):
            raise ConfigurationError(f"the name of a node is {NODE_NAME_RULE}, not {name!r}")
        self.name = name
        self.reach = ("", "")
        self.faults: Callable[[], Mapping[str, str | None]] = dict
        self.followers = Followers()
        self._redis = redis
        self._server = server
        self._version = version[:64]
        self._family = family
        self._channel = NodeChannel(redis, prefix, name)
        self.host = socket.gethostname()[:255].encode("ascii", "replace").decode()
        self._started_at_s = time.time()
        boots = (token_urlsafe(9) for _ in count())
        self._machine = NodesMachine(name, self._started_at_s, boots, keeps_s=lease_s)
        self._holders: Callable[[], Collection[str]] = tuple
        self._exchange = Exchange(name, self._channel, self._machine, self.unheard)
        for group in (
            Emitting(server, max_answer_bytes),
            NamespaceMethods(server),  # without definitions, which the asking node has too
            NodeReach(server),
            RoomMethods(server),
            SocketMethods(server),
            UserMethods(server),
        ):
            self.serve(group)
        self._backends: Callable[[], BackendNamespaces] = BackendNamespaces
        self._settled = trio.Event()
        self._has_started = False
        self._hurry = trio.Event()  # set when the next deadline has come nearer
        self._refused: Settled | None = None  # why this node is no member
        self._nursery: trio.Nursery | None = None

    # -- what the control API needs; see control.nodes.Nodes

    def others(self) -> list[NodeFacts]:
        """Return the other nodes that live, in the order of their names."""
        peers = self._machine.roster.peers
        return [peers[name].node for name in sorted(peers)]

    def unheard(self) -> dict[str, bool]:
        """Return the nodes that may have clients, but cannot be asked; see control.nodes.Nodes."""
        roster = self._machine.roster
        # Those with a lease may never have been heard, if this node has just started.
        known = {self.name, *roster.peers, *roster.departed}
        found = {name: True for name in self._holders() if name not in known}
        return found | {name: one.node.shares_presence for name, one in roster.silent.items()}

    def listed(self) -> list[NodeInfo]:
        """Return all nodes that live, in the order of their names; this one always among them."""
        now = trio.current_time()
        peers = self._machine.roster.peers.values()
        faults = self.faults()
        shown = [_show(self._facts(), 0.0, "", is_reached=None)]
        for peer in peers:
            fault = faults.get(peer.node.name, "")
            is_reached = not fault if fault is not None and peer.node.name in faults else None
            heard_s = round(now - peer.heard_at, 3)
            shown.append(_show(peer.node, heard_s, fault or "", is_reached=is_reached))
        return sorted(shown, key=lambda one: one.name)

    def question(
        self, method: str, params: Any, to: Collection[str] | None = None
    ) -> AbstractContextManager[OpenQuestion]:
        """Prepare to call a method of other nodes; see control.nodes.Nodes."""
        return self._exchange.question(method, params, to)

    async def ask(
        self, method: str, params: Any, timeout_s: float, to: Collection[str] | None = None
    ) -> Answers:
        """Call a method of other nodes, and wait for their answers; see control.nodes.Nodes."""
        with self.question(method, params, to) as question:
            return await question.wait(timeout_s)

    def announce(self) -> None:
        """Tell the other nodes at once that something about this one has changed."""
        if self._nursery is not None:
            self._do(self._machine.own.announce(trio.current_time()))

    def serve(self, group: object) -> None:
        """Let other nodes call the methods of an object."""
        self._exchange.calls.dispatcher.add(group)

    def use_backends(self, describe: Callable[[], BackendNamespaces]) -> None:
        """Tell the other nodes for which namespaces there are backends here."""
        self._backends = describe

    # -- for forwarding

    @property
    def process(self) -> str:
        """This process, which may have to claim its name anew, with another boot each time."""
        return name_process(os.getpid(), self._started_at_s)

    def find(self, name: str) -> NodeFacts | None:
        """Return what another node has told about itself last; None if it does not live."""
        peer = self._machine.roster.peers.get(name)
        return None if peer is None else peer.node

    def use_leases(self, holders: Callable[[], Collection[str]]) -> None:
        """Count the nodes that hold a lease among those that may have clients (NODE-25).

        Args:
            holders: returns their names.
        """
        self._holders = holders

    # -- for operators

    @property
    def fault(self) -> str:
        """Why this node is not one of the cluster, in a few words; empty if it is."""
        if not self._redis.connected:
            return "there is no connection to Redis"
        if self._machine.is_member:
            return ""
        if self._refused is not None:
            return _tell_refusal(self.name, self._refused)
        return f"the name {self.name!r} is not claimed yet: Redis has not answered"

    def statistics(self) -> NodesStatistics:
        """Return a snapshot."""
        return NodesStatistics(
            others=len(self._machine.roster.peers),
            is_member=self._machine.is_member,
            lag_s=self._machine.own.lag_s,
            asked=self._exchange.questions.asked,
            waiting=len(self._exchange.questions),
            missing=self._exchange.questions.missing,
            answered=self._exchange.calls.answered,
            dropped={**self._channel.dropped, "too_many": self._machine.roster.ignored},
            unsent=self._channel.unsent,
        )

    # -- the service

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be one of the nodes, until cancelled: a service for Runtime.start_service.

        It has started once this node has its name. If Redis does not answer, it starts without, and
        claims the name when Redis is there. If another node has the name then, that is logged, and
        the name is claimed again whenever the other one is silent.

        Args:
            task_status: told of the start.
        Raises:
            ConfigurationError: another node has the name.
        """
        with self._channel.opened(self._receive, self._on_gap):
            try:
                async with alone(trio.open_nursery()) as nursery:
                    self._nursery = nursery
                    self._exchange.calls.begin(nursery)
                    self._do(self._machine.begin(trio.current_time()))
                    nursery.start_soon(self._keep_time)
                    await self._wait_settled()
                    self._has_started = True
                    task_status.started()
                    await trio.sleep_forever()
            finally:
                self._nursery = None
                self._exchange.calls.end()
                self._do(self._machine.own.end())

    async def _wait_settled(self) -> None:
        if self._redis.connected:
            with trio.move_on_after(_START_S):
                await self._settled.wait()
        if self._machine.own.state is State.REFUSED and self._refused is not None:
            raise ConfigurationError(_tell_refusal(self.name, self._refused))
        if not self._machine.is_member:
            log.warning("the name %r is not claimed yet; it is when Redis answers", self.name)

    async def _keep_time(self) -> None:
        while True:
            with trio.move_on_at(self._machine.next_deadline()):
                await self._hurry.wait()
            self._hurry = trio.Event()
            self._do(self._machine.advance(trio.current_time()))

    def _do(self, outputs: Iterable[Output]) -> None:
        """Do what the machine asks for."""
        for one in outputs:
            if isinstance(one, SendBeat):
                beat = Beat(node=self._facts(), number=one.number, asks=one.asks)
                self._channel.send(one.to or EVERYBODY, beat)
            elif isinstance(one, SendClaim):
                claim = Claim(node=self._facts())
                if not (self._redis.connected and self._channel.send(self.name, claim)):
                    self._machine.own.put_off(trio.current_time())
                    self._hurry.set()
            elif isinstance(one, SendBye):
                self._channel.send(EVERYBODY, Bye(name=self.name, boot=self._machine.own.boot))
            elif isinstance(one, Count):
                assert self._nursery is not None
                self._nursery.start_soon(self._count, one.boot)
            elif isinstance(one, Settled):
                self._settle(one)
            elif isinstance(one, Joined):
                log.info("the node %s", _describe(one.node))
                self.followers.came(one.node)
            elif isinstance(one, Gone):
                log.info("the node %r %s", one.node.name, one.why)
                self._exchange.lose(one.node)
                self.followers.went(one)

    def _settle(self, settled: Settled) -> None:
        self._refused = settled if settled.state is State.REFUSED else None
        if settled.state is State.MEMBER:
            log.info("this node is named %r: %s", self.name, settled.why)
        elif settled.state is State.REFUSED:
            if self._has_started:  # otherwise `run` raises it
                log.error("%s", _tell_refusal(self.name, settled))
        else:
            log.warning("the name %r is claimed anew: %s", self.name, settled.why)
        self._settled.set()

    async def _count(self, boot: str) -> None:
        """Count who listens to the name of this node."""
        channel = self._channel.own
        try:
            reply = await self._redis.execute("PUBSUB", "NUMSUB", channel, timeout_s=SILENCE_S)
            subscribers = int(reply[1])
        except (TrioSocketIOError, TimeoutError, TypeError, ValueError, LookupError) as error:
            log.debug("the subscribers of %s were not counted: %s", channel, error)
            return  # the claim is won when nobody answers it
        self._do(self._machine.own.counted(boot, subscribers, trio.current_time()))

    # -- messages

    def _facts(self) -> NodeFacts:
        backends = self._backends()
        internal, sid_prefix = self.reach
        presence = presence_of(self._server)
        return NodeFacts(
            name=self.name,
            boot=self._machine.own.boot,
            host=self.host,
            pid=os.getpid(),
            version=self._version,
            started_at_s=self._started_at_s,
            state=_STATES.get(self._server.state, "starting"),
            connections=self._server.statistics().sessions,
            backends=backends.events,
            authenticators=backends.authenticate,
            shares_presence=presence is not None and presence.store.is_shared,
            internal=internal,
            sid_prefix=sid_prefix,
            parent=self._family.parent,
            workers=self._family.workers,
            unreached=tuple(sorted(name for name, fault in self.faults().items() if fault))[
                :MAX_UNREACHED
            ],
        )

    def _on_gap(self) -> None:
        self._do(self._machine.own.reconnected(trio.current_time()))

    def _receive(self, message: NodeMessage) -> None:
        if self.followers.heard() and self._nursery is not None:
            self._nursery.start_soon(self.followers.settle)
        if isinstance(message, Ask):
            self._exchange.receive_ask(message)
        elif isinstance(message, Answer):
            self._exchange.receive_answer(message)
        else:
            self._do(self._machine.receive(message, trio.current_time()))


def name_process(pid: int, started_at_s: float) -> str:
    """Return a name for a process of a node, of letters, digits and a dash."""
    return f"{pid}-{round(started_at_s * 1e6)}"


def _show(node: NodeFacts, last_heard_s: float, fault: str, *, is_reached: bool | None) -> NodeInfo:
    return NodeInfo(
        name=node.name,
        boot=node.boot,
        host=node.host,
        pid=node.pid,
        version=node.version,
        started_at_s=node.started_at_s,
        state=node.state,
        connections=node.connections,
        last_heard_s=last_heard_s,
        parent=node.parent,
        workers=node.workers,
        forwarding=is_reached,
        forwarding_fault=fault,
        unreached=list(node.unreached),
    )


def _describe(node: NodeFacts) -> str:
    return f"{node.name!r} has come: host {node.host}, pid {node.pid}, boot {node.boot}"


def _tell_refusal(name: str, refused: Settled) -> str:
    holder = refused.holder
    who = "another node" if holder is None else f"a node on host {holder.host}, pid {holder.pid}"
    return f"the name {name!r} belongs to {who}: give each node a name of its own"
