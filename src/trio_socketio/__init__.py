"""A realtime server that speaks Socket.IO, and a client, on trio."""

from trio_socketio.client.client import Client, open_client
from trio_socketio.client.dispatch import ReceivedEvent
from trio_socketio.client.namespace import ClientNamespace
from trio_socketio.client.options import ClientOptions
from trio_socketio.engine.session import Listener, Session
from trio_socketio.errors import (
    AckTimeout,
    BufferFull,
    ConfigurationError,
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    SessionClosed,
    TrioSocketIOError,
)
from trio_socketio.options import ServerOptions
from trio_socketio.socketio.adapter import Adapter, Target
from trio_socketio.socketio.broadcast import Broadcast
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server, Statistics, open_server
from trio_socketio.socketio.socket import Socket

__version__ = "0.1.0"

__all__ = [
    "AckTimeout",
    "Adapter",
    "Broadcast",
    "BufferFull",
    "Client",
    "ClientNamespace",
    "ClientOptions",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectRefused",
    "Listener",
    "LocalProtocolError",
    "Namespace",
    "ProtocolError",
    "ReceivedEvent",
    "RemoteProtocolError",
    "Server",
    "ServerOptions",
    "Session",
    "SessionClosed",
    "Socket",
    "Statistics",
    "Target",
    "TrioSocketIOError",
    "__version__",
    "open_client",
    "open_server",
]
