"""Servers that share a Redis, those of Node among them, behave as one server.

The format is that of @socket.io/redis-adapter 8, with PUBLISH and SUBSCRIBE. Local delivery never
waits for Redis. What other servers send while Redis is away is lost, and the log says for how long.
"""

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec.structs import replace

from trio_socketio.acks import Ack, Keep
from trio_socketio.adapters.redis_bus import Bus, BusCounts, RedisConnection
from trio_socketio.adapters.redis_receiver import Receiver, local_rooms
from trio_socketio.adapters.redis_records import (
    details_of,
    encoded_options_of,
    options_of,
    selection_of,
)
from trio_socketio.adapters.redis_requests import REDIS_AWAY, RemoteAcks, Requests
from trio_socketio.codec.redis_adapter import BroadcastEncoder, encode_request
from trio_socketio.codec.redis_channels import Channels
from trio_socketio.codec.redis_messages import (
    BroadcastRequest,
    DisconnectRequest,
    EventPacket,
    FetchRequest,
    JoinRequest,
    LeaveRequest,
    RoomsRequest,
    RoomsResponse,
    Selection,
    ServerSideRequest,
    ServerSideResponse,
    SocketsResponse,
    room_names,
)
from trio_socketio.codec.socket_packet import PacketType
from trio_socketio.errors import (
    AckTimeout,
    ConfigurationError,
    OptionError,
    RedisCommandError,
    TrioSocketIOError,
)
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.acks import GatheredAcks
from trio_socketio.socketio.adapter import AdaptedPlace, Adapter
from trio_socketio.socketio.remote_socket import SocketDetails
from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from trio_socketio.adapters.redis_broadcasts import Subscription

KEY: Final = "socket.io"
REQUEST_TIMEOUT_S: Final = 5.0
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Redis closes a subscriber that is further behind, unless it is configured otherwise."""

_EVENT: Final = int(PacketType.EVENT)


class RedisPubSub:
    """Makes the adapters of a server: ``Server(adapter=RedisPubSub(redis))``.

    Args:
        redis: the connection, which the program runs. Servers that share one count as one, and so
            do not wait for one another's answers: give each its own.
        key: the prefix of all channels, the same on all servers.
        request_timeout_s: how long other servers may take to answer.
        publish_on_specific_response_channel: whether answers are sent to the server that asks
            alone, and not to all. All servers must have version 7.1 or later of the adapter.
        max_message_bytes: larger messages of other servers are dropped unread.
        has_clients: whether this server has clients. One that has none, and sends to those of
            others, is not asked by them, and does not read what they send one another.

    Raises:
        OptionError: an option cannot be used.
    """

    def __init__(
        self,
        redis: RedisConnection,
        *,
        key: str = KEY,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        publish_on_specific_response_channel: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        has_clients: bool = True,
    ) -> None:
        if not isinstance(key, str) or not key or not key.isprintable():
            raise OptionError("key", f"expected a word, not {key!r}")
        for name, number in (
            ("request_timeout_s", request_timeout_s),
            ("max_message_bytes", max_message_bytes),
        ):
            if not isinstance(number, (int, float)) or not number > 0:
                raise OptionError(name, f"expected a number above zero, not {number!r}")
        self._bus = Bus(
            redis,
            key,
            request_timeout_s,
            max_message_bytes,
            answers_apart=publish_on_specific_response_channel,
            has_clients=has_clients,
        )

    def __call__(self, namespace: AdaptedPlace) -> "RedisAdapter":
        """Make the adapter of a namespace."""
        return RedisAdapter(namespace, self._bus)

    def statistics(self) -> BusCounts:
        """Return what the adapters have counted so far. The numbers do not change any more."""
        counts = copy(self._bus.counts)
        counts.skipped += self._bus.broadcasts.skipped
        return counts


class RedisAdapter(Adapter):
    """Serves the sockets of one namespace, on this server and on all others that share a Redis.

    It has 21 methods: those of an adapter, and all_rooms, which servers of Node have as well.

    Args:
        namespace: the namespace.
        bus: the connection to Redis.
    """

    def __init__(self, namespace: AdaptedPlace, bus: Bus) -> None:
        super().__init__(namespace)
        self._bus = bus
        self._uid = bus.draw_id()
        self._channels = Channels(bus.key, namespace.name)
        self._encoder = BroadcastEncoder(self._uid, namespace.name)
        self._requests = Requests(bus, self._channels)
        self._receiver = Receiver(
            namespace, bus, self._channels, self._uid, self._encoder.own, self._requests
        )
        self._subscriptions: list[Subscription] = []
        self._is_closed = False

    @property
    def unpublished(self) -> int:
        """How many messages Redis could not be given, for all namespaces of this server."""
        return self._bus.counts.unpublished

    # -- its life

    async def start(self) -> None:
        """Subscribe to the channels of the namespace, before any client joins it.

        While Redis is away, clients join all the same, and the subscription follows (BUS-20).

        Raises:
            ConfigurationError: Redis refuses the subscription, which will not change by itself.
        """
        if self._namespace._recovery is not None:
            self._bus.tell_recovery()
        try:
            await self._hear()
        except RedisCommandError as error:  # BUS-29
            raise ConfigurationError(
                f"Redis refuses what the namespace {self._namespace.name} has to subscribe to: "
                f"{error}; the guide about clusters has the rights that a node needs"
            ) from None

    async def _hear(self) -> None:
        if not self._subscriptions:
            redis, channels, receiver = self._bus.redis, self._channels, self._receiver
            if self._bus.has_clients:
                self._bus.broadcasts.join(self._namespace.name, receiver.receive_broadcast)
            self._subscriptions = [
                redis.subscribe(channels.response, receiver.receive_response),
                redis.subscribe(channels.own_response(self._uid), receiver.receive_response),
            ]
            if self._bus.has_clients:  # WORK-24
                # Last, because other servers expect answers from all that are subscribed to it.
                self._subscriptions.append(
                    redis.subscribe(channels.request, receiver.receive_request)
                )
        try:
            with trio.move_on_after(self._bus.request_timeout_s) as scope:
                await self._bus.broadcasts.wait_confirmed()
                for subscription in self._subscriptions:
                    await subscription.wait_confirmed()
        except RedisCommandError:
            raise
        except TrioSocketIOError as error:
            self._bus.tell_unheard(self._namespace.name, str(error))
        if scope.cancelled_caught:
            self._bus.tell_unheard(self._namespace.name, "it stands still")

    async def _hears(self) -> bool:
        """Have answers of other servers heard; return False if the namespace has ended here.

        A namespace that the program has made while serving starts with its first client, and the
        program may ask before (BUS-28).
        """
        if self._is_closed:
            await trio.lowlevel.checkpoint()
        elif not self._subscriptions:
            await self._hear()
        return not self._is_closed

    def close(self) -> None:
        """Unsubscribe: the namespace or its server has ended."""
        for subscription in self._subscriptions:
            subscription.close()
        self._bus.broadcasts.leave(self._namespace.name, self._receiver.receive_broadcast)
        self._subscriptions = []
        self._is_closed = True
        self._bus.flush()

    # -- what has an effect and no answer

    def broadcast(self, arguments: list[Any], target: Target) -> int:
        """Send an event to the sockets of target, those of other servers included.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the sockets, and holds the flags.
        Returns:
            How many sockets of this server were selected.
        Raises:
            LocalProtocolError: the arguments cannot be sent, to clients or to other servers;
                nothing was sent.
        """
        if target.local:
            return super().broadcast(arguments, target)
        told = self._in_public(target)
        # BUS-21: first of all, so that what cannot travel has reached nobody.
        message = self._encoder.encode(arguments, encoded_options_of(told))
        selected = super().broadcast(arguments, target)
        self._bus.publish(self._channels.of_broadcast(told.rooms), message)
        return selected

    def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Put the sockets of target into rooms, on all servers."""
        if target.local:
            super().add_sockets(target, rooms)
            return
        rooms, opts = tuple(rooms), self._select(target)
        request = encode_request(JoinRequest(uid=self._uid, opts=opts, rooms=[*rooms]))  # BUS-21
        super().add_sockets(target, rooms)  # BUS-15
        self._requests.send(request)

    def remove_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        """Take the sockets of target out of rooms, on all servers."""
        if target.local:
            super().remove_sockets(target, rooms)
            return
        rooms, opts = tuple(rooms), self._select(target)
        request = encode_request(LeaveRequest(uid=self._uid, opts=opts, rooms=[*rooms]))
        super().remove_sockets(target, rooms)
        self._requests.send(request)

    def disconnect_sockets(self, target: Target, *, close: bool) -> None:
        """Put the sockets of target out of the namespace, on all servers."""
        if target.local:
            super().disconnect_sockets(target, close=close)
            return
        opts = self._select(target)  # while those sockets are here that it names
        request = encode_request(DisconnectRequest(uid=self._uid, opts=opts, close=close))
        super().disconnect_sockets(target, close=close)
        self._requests.send(request)

    def server_side_emit(self, arguments: list[Any]) -> None:
        """Send an event to the same namespace of every other server.

        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        self._requests.send(encode_request(ServerSideRequest(uid=self._uid, data=arguments)))

    def _select(self, target: Target) -> Selection:
        """Describe the sockets of target to other servers."""
        return selection_of(self._in_public(target))

    def _in_public(self, target: Target) -> Target:
        """Return a target as other servers may know it: without ids that are secret (BUS-27)."""
        rooms = self._namespace.rooms
        if not rooms.has_secret_ids:
            return target
        public, excluded = rooms.in_public(target.rooms), rooms.in_public(target.excluded)
        return replace(target, rooms=public, excluded=excluded)

    # -- what asks

    async def node_count(self) -> int:
        """Return how many servers with clients there are, those of Node and this one included.

        Raises:
            TrioSocketIOError: Redis cannot tell, for example because it is away.
        """
        own = int(self._bus.has_clients)
        return await self._requests.count_others() + own if await self._hears() else own

    async def sockets(self, target: Target) -> set[str]:
        """Return the public ids of the sockets of target, on all servers.

        Raises:
            AckTimeout: a server did not answer in time; it holds the sockets of the others.
        """
        if target.local:
            return await super().sockets(target)
        return {details.id for details in await self.fetch_sockets(target)}

    async def socket_rooms(self, socket_id: str) -> frozenset[str] | None:
        """Return the rooms of a socket on any server, its own included; None if none knows it.

        Raises:
            AckTimeout: a server did not answer in time, and no other one knows the socket.
        """
        rooms = await super().socket_rooms(socket_id)
        if rooms is not None:
            return rooms
        try:
            found: list[Any] = await self.fetch_sockets(Target(rooms=(socket_id,)))
        except AckTimeout as error:
            found = error.responses
            if not found:
                raise
        return next((details.rooms for details in found if details.id == socket_id), None)

    async def all_rooms(self) -> set[str]:
        """Return the rooms of all servers; each socket is in the room of its public id.

        Raises:
            AckTimeout: a server did not answer in time; it holds the rooms of the others.
        """
        rooms = local_rooms(self._namespace)
        if not await self._hears():
            return rooms
        responses, problem = await self._requests.gather(
            lambda request_id: RoomsRequest(uid=self._uid, request_id=request_id),
            RoomsResponse,
            self._bus.request_timeout_s,
        )
        found = {*rooms, *(room for one in responses for room in room_names(one.rooms))}
        if problem is not None:
            raise AckTimeout(problem, [(None, room) for room in found])
        return found

    async def fetch_sockets(self, target: Target) -> list[SocketDetails]:
        """Return descriptions of the sockets of target, on all servers.

        Raises:
            AckTimeout: a server did not answer in time; it holds the sockets of the others.
        """
        found = await super().fetch_sockets(target)
        if target.local or not await self._hears():
            return found
        opts = self._select(target)
        responses, problem = await self._requests.gather(
            lambda request_id: FetchRequest(uid=self._uid, request_id=request_id, opts=opts),
            SocketsResponse,
            target.timeout_s or self._bus.request_timeout_s,
        )
        found += [details_of(record) for one in responses for record in one.sockets]
        if problem is not None:
            raise AckTimeout(problem, [(details.id, details) for details in found])
        return found

    async def server_side_emit_with_ack(self, arguments: list[Any], timeout_s: float) -> list[Any]:
        """Send an event to every other server, and wait for one answer of each.

        Raises:
            AckTimeout: a server did not answer in time; it holds the answers of the others.
            LocalProtocolError: the arguments cannot be sent.
        """
        if not await self._hears():
            return []
        responses, problem = await self._requests.gather(
            lambda request_id: ServerSideRequest(
                uid=self._uid, request_id=request_id, data=arguments
            ),
            ServerSideResponse,
            timeout_s,
        )
        answers = [one.data for one in responses]
        if problem is not None:
            raise AckTimeout(problem, [(None, answer) for answer in answers])
        return answers

    async def broadcast_with_ack(
        self, arguments: list[Any], target: Target, timeout_s: float, keep: Keep | None = None
    ) -> list[Ack]:
        """Send an event to the sockets of target, on all servers, and wait for their answers.

        A client of another server that leaves is waited for in vain, because the protocol cannot
        tell.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the sockets, and holds the flags.
            timeout_s: how long answers may take.
            keep: called with each answer when it comes; returns what is kept of it.
        Returns:
            The answers, in the order in which they came. Servers of Node do not tell which client
            has answered.
        Raises:
            AckTimeout: clients have not answered in time, or have left, or other servers could not
                be asked; it holds the answers of the others.
            LocalProtocolError: the arguments cannot be sent; nothing was sent.
        """
        if target.local or not await self._hears():
            return await super().broadcast_with_ack(arguments, target, timeout_s, keep)
        request = BroadcastRequest(
            uid=self._uid,
            request_id=self._bus.draw_id(),
            packet=EventPacket(type=_EVENT, data=arguments, nsp=self._namespace.name),
            opts=options_of(self._in_public(target), timeout_s),
        )
        message = encode_request(request)  # BUS-21
        acks = GatheredAcks(keep)
        remote = RemoteAcks(acks)
        with (
            self.asking(arguments, target, acks) as count,
            self._requests.awaiting(request.request_id, remote),
        ):
            acks.expect(count + 1)  # one until the number of servers is known
            async with alone(trio.open_nursery()) as tasks:
                if self._requests.send(message):
                    tasks.start_soon(self._requests.count_for, remote)
                else:
                    remote.give_up(REDIS_AWAY)
                answers = await acks.wait(timeout_s)
                tasks.cancel_scope.cancel()
        if remote.problem is not None:
            raise AckTimeout(remote.problem, answers)
        return answers
