"""A realtime server that speaks Socket.IO, and a client for it, on trio."""

from typing import TYPE_CHECKING, Final

from trio_socketio.lazy_names import lazy_names

if TYPE_CHECKING:
    from trio_socketio.acks import Ack
    from trio_socketio.adapters.redis_pubsub import RedisPubSub
    from trio_socketio.client.client import Client
    from trio_socketio.client.dispatch import ReceivedEvent
    from trio_socketio.client.namespace import ClientNamespace
    from trio_socketio.client.opening import open_client
    from trio_socketio.client.options import ClientOptions
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.codec.parsers import Parser
    from trio_socketio.codec.socket_packet import Packet, PacketType
    from trio_socketio.engine.hooks import Engine, EngineRequest, RefusedRequest, ResponseHeaders
    from trio_socketio.engine.listener import Listener
    from trio_socketio.engine.options import Cookie, EngineOptions, RequestHooks
    from trio_socketio.engine.session import Session
    from trio_socketio.errors import (
        AckTimeout,
        BufferFull,
        ConfigurationError,
        ConnectFailed,
        ConnectRefused,
        ControlError,
        EventRefused,
        LocalProtocolError,
        ProtocolError,
        RedisCommandError,
        RedisUnavailable,
        RemoteProtocolError,
        SessionClosed,
        TrioSocketIOError,
    )
    from trio_socketio.http.options import (
        ClientFilesOptions,
        CorsOptions,
        HttpCompression,
        HttpOptions,
    )
    from trio_socketio.net.options import PerMessageDeflate
    from trio_socketio.protocol.joining import State as JoiningState
    from trio_socketio.redis.opening import open_redis
    from trio_socketio.redis.options import RedisOptions
    from trio_socketio.redis.redis import Redis
    from trio_socketio.redis.scripts import Script as RedisScript
    from trio_socketio.redis.statistics import RedisStatistics
    from trio_socketio.redis.subscriptions import Subscription as RedisSubscription
    from trio_socketio.runtime.endpoints import InheritedEndpoint, TcpEndpoint, UnixEndpoint
    from trio_socketio.runtime.options import ConnectionLimits, RuntimeOptions, StopOptions
    from trio_socketio.runtime.runtime import Runtime, open_runtime
    from trio_socketio.socketio.adapter import Adapter
    from trio_socketio.socketio.broadcast import Broadcast
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.open_server import open_server
    from trio_socketio.socketio.options import RecoveryOptions, ServerOptions, SocketOptions
    from trio_socketio.socketio.parent_namespace import ParentNamespace
    from trio_socketio.socketio.registrar import Observer
    from trio_socketio.socketio.remote_socket import (
        ClientDetails,
        HandshakeDetails,
        RemoteSocket,
        SocketDetails,
    )
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket
    from trio_socketio.socketio.statistics import Statistics
    from trio_socketio.socketio.steps import Step
    from trio_socketio.socketio.target import Target

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "AckTimeout",
    "Adapter",
    "Broadcast",
    "BufferFull",
    "Client",
    "ClientDetails",
    "ClientFilesOptions",
    "ClientNamespace",
    "ClientOptions",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectionLimits",
    "ControlError",
    "Cookie",
    "CorsOptions",
    "Engine",
    "EngineOptions",
    "EngineRequest",
    "EventRefused",
    "HandshakeDetails",
    "HttpCompression",
    "HttpOptions",
    "InheritedEndpoint",
    "Joining",
    "JoiningState",
    "Listener",
    "LocalProtocolError",
    "Namespace",
    "Observer",
    "Outgoing",
    "Packet",
    "PacketType",
    "ParentNamespace",
    "Parser",
    "PerMessageDeflate",
    "ProtocolError",
    "ReceivedEvent",
    "RecoveryOptions",
    "Redis",
    "RedisCommandError",
    "RedisOptions",
    "RedisPubSub",
    "RedisScript",
    "RedisStatistics",
    "RedisSubscription",
    "RedisUnavailable",
    "RefusedRequest",
    "RemoteProtocolError",
    "RemoteSocket",
    "RequestHooks",
    "ResponseHeaders",
    "Runtime",
    "RuntimeOptions",
    "SavedSession",
    "Server",
    "ServerOptions",
    "Session",
    "SessionClosed",
    "Socket",
    "SocketDetails",
    "SocketOptions",
    "Statistics",
    "Step",
    "StopOptions",
    "Target",
    "TcpEndpoint",
    "TrioSocketIOError",
    "UnixEndpoint",
    "__version__",
    "open_client",
    "open_redis",
    "open_runtime",
    "open_server",
]

# A name is imported when it is first used, so that `trio-socketio ctl` and the client for threads
# start without importing a server. Each name is listed with its module.
_HOMES: Final = {
    "Ack": "acks",
    "AckTimeout": "errors",
    "Adapter": "socketio.adapter",
    "Broadcast": "socketio.broadcast",
    "BufferFull": "errors",
    "Client": "client.client",
    "ClientDetails": "socketio.remote_socket",
    "ClientFilesOptions": "http.options",
    "ClientNamespace": "client.namespace",
    "ClientOptions": "client.options",
    "ConfigurationError": "errors",
    "ConnectFailed": "errors",
    "ConnectRefused": "errors",
    "ConnectionLimits": "runtime.options",
    "ControlError": "errors",
    "Cookie": "engine.options",
    "CorsOptions": "http.options",
    "Engine": "engine.hooks",
    "EngineOptions": "engine.options",
    "EngineRequest": "engine.hooks",
    "EventRefused": "errors",
    "HandshakeDetails": "socketio.remote_socket",
    "HttpCompression": "http.options",
    "HttpOptions": "http.options",
    "InheritedEndpoint": "runtime.endpoints",
    "Joining": "socketio.joining",
    "JoiningState": "protocol.joining:State",
    "Listener": "engine.listener",
    "LocalProtocolError": "errors",
    "Namespace": "socketio.namespace",
    "Observer": "socketio.registrar",
    "Outgoing": "codec.engine_packet",
    "Packet": "codec.socket_packet",
    "PacketType": "codec.socket_packet",
    "ParentNamespace": "socketio.parent_namespace",
    "Parser": "codec.parsers",
    "PerMessageDeflate": "net.options",
    "ProtocolError": "errors",
    "ReceivedEvent": "client.dispatch",
    "RecoveryOptions": "socketio.options",
    "Redis": "redis.redis",
    "RedisCommandError": "errors",
    "RedisOptions": "redis.options",
    "RedisPubSub": "adapters.redis_pubsub",
    "RedisScript": "redis.scripts:Script",
    "RedisStatistics": "redis.statistics",
    "RedisSubscription": "redis.subscriptions:Subscription",
    "RedisUnavailable": "errors",
    "RefusedRequest": "engine.hooks",
    "RemoteProtocolError": "errors",
    "RemoteSocket": "socketio.remote_socket",
    "RequestHooks": "engine.options",
    "ResponseHeaders": "engine.hooks",
    "Runtime": "runtime.runtime",
    "RuntimeOptions": "runtime.options",
    "SavedSession": "socketio.saved_session",
    "Server": "socketio.server",
    "ServerOptions": "socketio.options",
    "Session": "engine.session",
    "SessionClosed": "errors",
    "Socket": "socketio.socket",
    "SocketDetails": "socketio.remote_socket",
    "SocketOptions": "socketio.options",
    "Statistics": "socketio.statistics",
    "Step": "socketio.steps",
    "StopOptions": "runtime.options",
    "Target": "socketio.target",
    "TcpEndpoint": "runtime.endpoints",
    "TrioSocketIOError": "errors",
    "UnixEndpoint": "runtime.endpoints",
    "open_client": "client.opening",
    "open_redis": "redis.opening",
    "open_runtime": "runtime.runtime",
    "open_server": "socketio.open_server",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
