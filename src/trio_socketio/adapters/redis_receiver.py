"""Does what other servers ask for over Redis."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from trio_socketio.adapters.redis_questions import Questions
from trio_socketio.adapters.redis_records import record_of, target_of
from trio_socketio.codec.redis_adapter import decode_broadcast, decode_request, encode_response
from trio_socketio.codec.redis_messages import (
    AckResponse,
    BroadcastRequest,
    CountResponse,
    DisconnectRequest,
    DoneResponse,
    FetchRequest,
    JoinRequest,
    LeaveRequest,
    Request,
    Response,
    RoomsRequest,
    RoomsResponse,
    ServerSideRequest,
    ServerSideResponse,
    SocketDisconnectRequest,
    SocketIdsResponse,
    SocketJoinRequest,
    SocketLeaveRequest,
    SocketsRequest,
    SocketsResponse,
    room_names,
)
from trio_socketio.errors import LocalProtocolError, ProtocolError
from trio_socketio.socketio.adapter import Adapter, describe
from trio_socketio.socketio.target import Target

if TYPE_CHECKING:
    from trio_socketio.adapters.redis_bus import Bus
    from trio_socketio.adapters.redis_requests import Requests
    from trio_socketio.codec.redis_channels import Channels
    from trio_socketio.socketio.adapter import AdaptedPlace


class Receiver:
    """Takes the messages of one namespace from Redis.

    Args:
        place: the namespace.
        bus: brings the messages.
        channels: of the namespace.
        uid: names the adapter of the namespace on this server.
        own: the beginning of every broadcast that this adapter has sent.
        requests: wait for responses.
    """

    def __init__(
        self,
        place: "AdaptedPlace",
        bus: "Bus",
        channels: "Channels",
        uid: str,
        own: bytes,
        requests: "Requests",
    ) -> None:
        self._place = place
        self._local = Adapter(place)  # does it here, and goes no further
        self._bus = bus
        self._channels = channels
        self._uid = uid
        self._own = own
        self._requests = requests
        self._questions = Questions(self._local, place._workers)

    # -- broadcasts

    def receive_broadcast(self, channel: bytes, message: bytes) -> None:
        """Deliver an event to the clients of this server."""
        if message.startswith(self._own):  # they come back from Redis, delivered long ago
            return
        room = self._channels.room_of(channel)
        if room is None or not self._concerns(room):  # BUS-13
            self._bus.counts.skipped += 1
            return
        everyone = self._channels.everyone  # for the log: the room may be any text
        if not self._bus.accepts(everyone, message):
            return
        try:
            broadcast = decode_broadcast(message)
        except ProtocolError as error:
            self._bus.drop(everyone, message, error)
            return
        if broadcast.packet.nsp != self._place.name:
            self._bus.counts.skipped += 1
            return
        try:
            # BUS-14: the receivers are those that the message names; the channel is only a hint.
            self._local.broadcast(broadcast.packet.data, target_of(broadcast.opts))
        except LocalProtocolError as error:
            self._bus.drop_undeliverable(everyone, error)
        else:
            self._bus.counts.delivered += 1

    def _concerns(self, room: str) -> bool:
        """Whether a broadcast on the channel of this room may have a receiver here."""
        if self._place._recovery is not None:
            return True  # a client that has lost its connection may come back for it
        rooms = self._place.rooms
        return room in rooms if room else bool(rooms.sockets)

    # -- requests and responses

    def receive_response(self, channel: bytes, message: bytes) -> None:
        """Take a response to a request of this server, or of another one."""
        if self._bus.accepts(channel, message):
            try:
                self._requests.receive(message)
            except ProtocolError as error:
                self._bus.drop(channel, message, error)

    def receive_request(self, channel: bytes, message: bytes) -> None:
        """Do what another server asks for, and answer."""
        if not self._bus.accepts(channel, message):
            return
        try:
            request = decode_request(message)
        except ProtocolError as error:
            self._bus.drop(channel, message, error)
            return
        if request is None:
            self._bus.drop_unknown(channel)
        elif request.uid != self._uid:  # BUS-15: what this server asks for, it has done already
            try:
                self._perform(request)
            except LocalProtocolError as error:
                self._bus.drop_undeliverable(channel, error)

    def _perform(self, request: Request) -> None:
        local = self._local
        match request:
            case JoinRequest():
                local.add_sockets(target_of(request.opts), room_names(request.rooms))
            case LeaveRequest():
                local.remove_sockets(target_of(request.opts), room_names(request.rooms))
            case DisconnectRequest():
                local.disconnect_sockets(target_of(request.opts), close=request.close is True)
            case FetchRequest():
                found = local.select(target_of(request.opts))
                records = [record_of(describe(socket)) for socket in found]
                self._respond(
                    request, SocketsResponse(request_id=request.request_id, sockets=records)
                )
            case RoomsRequest():
                names: list[str | int] = [*local_rooms(self._place)]
                self._respond(request, RoomsResponse(request_id=request.request_id, rooms=names))
            case SocketsRequest():
                found = local.select(Target(rooms=room_names(request.rooms)))
                ids = [socket.public_id for socket in found]
                self._respond(
                    request, SocketIdsResponse(request_id=request.request_id, sockets=ids)
                )
            case ServerSideRequest():
                local.receive_server_side(request.data, self._answer_of(request))
            case BroadcastRequest():
                self._put_question(request)
            case SocketJoinRequest() | SocketLeaveRequest() | SocketDisconnectRequest():
                self._change_one(request)
            case _:
                assert_never(request)

    def _change_one(
        self, request: SocketJoinRequest | SocketLeaveRequest | SocketDisconnectRequest
    ) -> None:
        """Change one socket, for a server before 8. Only the one that has the socket answers."""
        socket = self._place.rooms.find(request.sid)
        if socket is None:
            return
        if isinstance(request, SocketJoinRequest):
            socket.join(str(request.room))
        elif isinstance(request, SocketLeaveRequest):
            socket.leave(str(request.room))
        else:
            socket.disconnect(request.close is True)
        self._respond(request, DoneResponse(request_id=request.request_id))

    def _put_question(self, request: BroadcastRequest) -> None:
        request_id = request.request_id

        def counted(clients: int) -> None:
            # BUS-16: a count of 0 counts, too. Without it the other server waits in vain.
            self._respond(request, CountResponse(request_id=request_id, client_count=clients))

        def answered(answer: Any, socket_id: str | None) -> None:
            response = AckResponse(request_id=request_id, packet=answer)
            if socket_id is not None:
                response.socket_id = socket_id  # BUS-19
            try:
                self._respond(request, response)
            except LocalProtocolError as error:  # JSON has integers that MessagePack has not
                self._bus.drop_undeliverable(self._channels.response, error)
                response.packet = None
                self._respond(request, response)

        if self._questions.is_full:
            self._bus.refuse_question(self._channels.request)
            counted(0)
            return
        flags = request.opts.flags
        timeout_ms = None if flags is None else flags.timeout
        target = target_of(request.opts)
        try:
            self._questions.put(request.packet.data, target, timeout_ms, counted, answered)
        except LocalProtocolError:
            counted(0)
            raise

    def _answer_of(self, request: ServerSideRequest) -> Callable[[Any], None] | None:
        """Return a function that sends the answer to an event; None if nobody waits for it."""
        request_id = request.request_id
        if not isinstance(request_id, str):
            return None

        def answer(value: Any) -> None:
            response = encode_response(ServerSideResponse(request_id=request_id, data=value))
            # On the channel of all, whatever the option says: Node does so, too.
            self._bus.publish(self._channels.response, response)

        return answer

    def _respond(self, request: Request, response: Response) -> None:
        channel = self._channels.response
        if self._bus.answers_apart and isinstance(request.uid, str):
            channel = self._channels.own_response(request.uid)
        self._bus.publish(channel, encode_response(response))


def local_rooms(place: "AdaptedPlace") -> set[str]:
    """Return the rooms of this server; each socket is in the room of its public id."""
    return {*place.rooms.names(), *(one.public_id for one in place.rooms.sockets.values())}
