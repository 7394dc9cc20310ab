"""The public names: what a program may rely on."""

import inspect
from pathlib import Path

import pytest

import trio_socketio

PUBLIC = [
    "Ack",
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
    "Cookie",
    "Engine",
    "EngineRequest",
    "EventRefused",
    "HandshakeDetails",
    "HttpCompression",
    "Joining",
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
    "RefusedRequest",
    "RemoteProtocolError",
    "RemoteSocket",
    "ResponseHeaders",
    "SavedSession",
    "Server",
    "ServerOptions",
    "Session",
    "SessionClosed",
    "Socket",
    "SocketDetails",
    "Statistics",
    "Target",
    "TrioSocketIOError",
    "__version__",
    "open_client",
    "open_server",
]


def test_the_public_names_are_these() -> None:
    assert trio_socketio.__all__ == PUBLIC


def test_nothing_else_looks_public() -> None:
    names = {
        name
        for name, value in vars(trio_socketio).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names == set(PUBLIC) - {"__version__"}


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_a_public_name_is_documented(name: str) -> None:
    documented = getattr(trio_socketio, name)
    doc = documented.__doc__  # its own: inspect.getdoc would take a base class's
    assert doc is not None
    assert doc.strip()
    # What dataclasses write by themselves is no documentation.
    assert not doc.startswith(f"{name}(")


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_members_are_documented(name: str) -> None:
    public = getattr(trio_socketio, name)
    if not inspect.isclass(public):
        return
    undocumented = [
        member
        for member, value in vars(public).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod)))
        and not inspect.getdoc(value)
    ]
    assert undocumented == []


def test_exceptions_are_one_tree() -> None:
    exceptions = [
        value
        for name in PUBLIC
        if inspect.isclass(value := getattr(trio_socketio, name))
        and issubclass(value, BaseException)
    ]
    assert len(exceptions) == 11
    assert all(issubclass(kind, trio_socketio.TrioSocketIOError) for kind in exceptions)


def test_the_version_is_the_one_that_is_released() -> None:
    project = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{trio_socketio.__version__}"\n' in project


def test_types_are_shipped() -> None:
    assert (Path(trio_socketio.__file__).parent / "py.typed").is_file()


def test_a_session_shows_its_documented_names_alone() -> None:
    assert {name for name in dir(trio_socketio.Session) if not name.startswith("_")} == {
        "close",
        "contain",
        "drop",
        "handshake",
        "is_closed",
        "is_open",
        "is_writable",
        "joined",
        "listener",
        "lose",
        "pause_reading",
        "paused",
        "protocol",
        "reason",
        "reschedule",
        "resume_reading",
        "send",
        "send_binary",
        "send_text",
        "send_volatile",
        "sid",
        "transport",
        "wait_drained",
        "waiting_bytes",
    }
    assert trio_socketio.Session.__bases__ == (object,)
