"""The public names: what a program may rely on."""

import ast
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from trio.testing import trio_test

import trio_socketio
import trio_socketio.control as control
import trio_socketio.im.presence as presence
from tests.socketio.in_process import enter
from tests.socketio.serving import serving
from trio_socketio import Server, open_client

PUBLIC = [
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

BROADCAST = """compress disconnect_sockets emit emit_with_ack except_ fetch_sockets gather_acks in_
    local send sockets_join sockets_leave timeout to volatile"""
REGISTRAR = "add_steps observe on on_server_side on_session_expired on_unhandled use"
CHANNEL = f"{BROADCAST} {REGISTRAR} server_side_emit server_side_emit_with_ack"
FLAGGED = "broadcast compress emit emit_with_ack except_ in_ local send timeout to volatile"
FROM_THREAD = """compress disconnect_sockets emit except_ in_ local send sockets_join sockets_leave
    to volatile"""
CLIENT = """connect connected disconnect emit emit_with_ack events id joined_count on on_any
    recovered volatile wait_closed wait_drained"""

MEMBERS = {
    "Ack": "answer socket_id",
    "AckTimeout": "responses",
    "Adapter": """add add_sockets asking broadcast broadcast_with_ack close disconnect_sockets
        fetch_sockets needs_start node_count on persist_session reaches_other_nodes
        receive_server_side remove remove_all remove_sockets restore_session select
        server_side_emit server_side_emit_with_ack socket_rooms sockets start unpublished""",
    "Broadcast": BROADCAST,
    "BufferFull": "",
    "Client": f"{CLIENT} events_dropped handler_failures of packets_dropped transport",
    "ClientDetails": "id transport",
    "ClientNamespace": CLIENT,
    "ClientOptions": """close_timeout_s connect_timeout_s handler_queue max_message_bytes
        output_bound_bytes path reconnect reconnect_attempts reconnect_delay_max_s
        reconnect_delay_s reconnect_jitter send_timeout_s""",
    "ConfigurationError": "",
    "ConnectFailed": "",
    "ConnectRefused": "",
    "ControlError": "",
    "Cookie": "domain http_only max_age_s name partitioned path same_site secure",
    "Engine": "clients_count on sessions use",
    "EngineRequest": """address headers is_upgrade method new_sid path query response_headers
        secure sid url""",
    "EventRefused": "",
    "HandshakeDetails": "address headers issued_s query secure url",
    "HttpCompression": "level threshold_bytes",
    "Joining": "accept auth credentials identify name socket state undo",
    "JoiningState": """ABANDONED ACCEPTED AUTHENTICATING JOINED MIDDLEWARE REFUSED RESTORING
        SEARCHING SEAT""",
    "Listener": "expire next_deadline receive_binary receive_text session_closed",
    "LocalProtocolError": "",
    "Namespace": f"{CHANNEL} sockets",
    "Observer": "abandoned joined left refused",
    "Outgoing": "attachments body byte_count coded compress frames text v3",
    "Packet": "ack_id attachments data namespace type weight",
    "PacketType": "ACK BINARY_ACK BINARY_EVENT CONNECT CONNECT_ERROR DISCONNECT EVENT",
    "ParentNamespace": f"{BROADCAST} {REGISTRAR} server_side_emit",
    "Parser": "arguments_encoder decode_binary decode_text encode_packet",
    "PerMessageDeflate": """client_max_window_bits client_no_context_takeover level memory_level
        server_max_window_bits server_no_context_takeover threshold_bytes""",
    "ProtocolError": "",
    "ReceivedEvent": "answer arguments has_offset name wants_answer",
    "Redis": """connected connections execute fault publish run script statistics subscribe
        wait_connected""",
    "RedisCommandError": "code explain is_unsure",
    "RedisPubSub": "statistics",
    "RedisScript": "run",
    "RedisSubscription": "close confirmed wait_confirmed",
    "RedisUnavailable": "",
    "RefusedRequest": "code context message request",
    "RemoteProtocolError": "http_status",
    "RemoteSocket": """data disconnect emit emit_with_ack handshake id join leave rooms send
        timeout user""",
    "ResponseHeaders": "add encode",
    "InheritedEndpoint": "fileno listen tls",
    "Runtime": "check_thread holding last_blocked listening running_jobs start_service",
    "SavedSession": "blind changes confirmed data ends_at id namespace pid received rooms user",
    "Server": f"""{CHANNEL} apply lifespan mount mounted of options remove serve state statistics
        stop wait_closing wait_stopping""",
    "Session": """abort aborted close contain drop handshake is_closed is_open is_writable joined
        listener lose pause_reading paused protocol reason reschedule resume_reading send
        send_binary send_text send_volatile sid transport wait_drained waiting_bytes""",
    "SessionClosed": "",
    "Socket": f"""{FLAGGED} connected data disconnect handshake id join leave listeners_any
        listeners_any_outgoing namespace off_any off_any_outgoing on_any on_any_outgoing
        prepend_any prepend_any_outgoing public_id recovered rooms session use user
        wait_drained""",
    "SocketDetails": "client data handshake id rooms user",
    "Step": "describe function is_async stage takes_socket timeout_s",
    "Target": "compress excluded fits local rooms timeout_s volatile",
    "TcpEndpoint": "host listen port tls",
    "TrioSocketIOError": "",
    "UnixEndpoint": "listen mode path tls",
}
"""What `dir` of each public class shows: what is documented, and nothing else."""

FIELDS = {
    "RedisStatistics": trio_socketio.RedisStatistics,
    "ServerOptions": trio_socketio.ServerOptions,
    "Statistics": trio_socketio.Statistics,
}
"""Classes that are their fields and nothing else: each field is in the docstring."""


GROUPS = {
    "ClientFilesOptions",
    "ConnectionLimits",
    "CorsOptions",
    "EngineOptions",
    "HttpOptions",
    "RecoveryOptions",
    "RedisOptions",
    "RequestHooks",
    "RuntimeOptions",
    "SocketOptions",
    "StopOptions",
}
"""Groups of options, which are their fields too: tests/test_options.py holds them to that."""


CONTROL = {
    "Authentication": "address auth namespace socket token",
    "BackendEvent": "args event namespace socket user",
    "BackendOptions": "deadline_s forward max_in_flight max_timeouts",
    "Control": "batch call notify register wait_closed",
    "ControlClient": "batch call close follow_presence notify",
    "ControlError": "",
    "ControlOptions": """auth_timeout_s backends certfile keyfile listen max_batch
        max_connections max_http_calls max_in_flight max_line_bytes output_bound_bytes slow_peer_s
        tokens""",
    "ControlService": "apply end knows receive_legacy receive_rpc routes run statistics",
    "ControlStatistics": "backends events_failed events_handled methods peers",
    "ControlToken": "file methods name",
    "ForwardedEvents": "events namespace",
    "Greeting": "api max_batch max_line_bytes needs_token node server",
    "Reloaded": "changed needs_restart",
    "System": "drain info reload statistics",
    "SystemInfo": "lease_left_s node pid presence_fault started_at_s state version workers",
    "TokenTable": "find grant_of names_of_new_secrets",
    "PresenceBatch": "cursor entries online rebuilding",
    "PresenceBatches": "",
}
"""The classes of trio_socketio.control, in the same way."""


PRESENCE = {
    "AtOnce": "claim_now release_now",
    "Cursor": "generation sequence",
    "CursorExpired": "head oldest",
    "Entries": "cursor entries head",
    "Entry": """at boot cursor id namespace node prev reason token type unconfirmed user""",
    "GenerationChanged": "head",
    "KickResult": "confirmed cursor done nodes",
    "NamespaceSeats": "linger_s maximum name policy takeover",
    "MemoryStore": """at_once claim claim_now confirm count end_rebuild enroll expired fault get
        is_shared kick lease_s list_users read reap reassert receive_orders release
        release_now renew retire snapshot wait_confirmed wait_for_more wait_lost written""",
    "Presence": """apply boot end_lost fault has_own_store has_seats is_elsewhere keep_in kick knows
        note_reason seat seat_by_name seats_clients_of statistics store trouble""",
    "PresenceOptions": """lease_s linger_s max_bytes max_events maximum namespaces outage policy
        store takeover webhook legacy_records watch check_lingers describe kept_in resolve""",
    "PresenceStatistics": """boot claimed claims events fenced_times is_fenced kicked lease_left_s
        lingering lost_seats reasserted refused releases_dropped releasing replaced unusable
        users""",
    "PresenceStore": """at_once claim confirm count end_rebuild enroll expired fault get is_shared
        kick lease_s list_users read reap reassert receive_orders release renew retire snapshot
        wait_confirmed wait_for_more wait_lost written""",
    "PresenceWebhook": "end run statistics",
    "PresenceWebhookOptions": """batch_bytes batch_entries ca_file namespaces retry_first_s
        retry_max_s secret_file stop_s timeout_s url""",
    "SeatOptions": "linger_s maximum policy takeover",
    "StoreUnavailable": "",
    "WebhookStatistics": "attempts gaps lag lag_s",
}
"""The classes of trio_socketio.im.presence, in the same way."""


def public_names(thing: object) -> set[str]:
    """What it shows; what it has from Python's own classes is left out."""
    kind = thing if isinstance(thing, type) else type(thing)
    python = ("builtins", "collections.abc")
    given = {name for base in kind.__mro__ if base.__module__ in python for name in dir(base)}
    return {name for name in dir(thing) if not name.startswith("_")} - given


def test_the_public_names_are_these() -> None:
    assert trio_socketio.__all__ == PUBLIC


def test_nothing_else_looks_public() -> None:
    names = {
        name
        for name in dir(trio_socketio)
        if not name.startswith("_") and not inspect.ismodule(getattr(trio_socketio, name))
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


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_a_public_class_shows_what_is_documented_alone(name: str) -> None:
    assert public_names(getattr(trio_socketio, name)) == set(MEMBERS[name].split())


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_class_of_fields_documents_each(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(FIELDS[name])}
    assert public_names(FIELDS[name]) == fields
    doc = re.split(r"[\s(),.:]+", FIELDS[name].__doc__ or "")
    assert fields - set(doc) == set()


@pytest.mark.parametrize("name", sorted(CONTROL))
def test_a_class_of_control_shows_what_is_documented_alone(name: str) -> None:
    kind = getattr(control, name)
    assert public_names(kind) == set(CONTROL[name].split())
    assert (kind.__doc__ or "").strip()


def test_the_public_names_of_control_are_these() -> None:
    assert sorted(control.__all__) == sorted([*CONTROL, "follow_presence", "open_control"])


@pytest.mark.parametrize("name", sorted(PRESENCE))
def test_a_class_of_presence_shows_what_is_documented_alone(name: str) -> None:
    kind = getattr(presence, name)
    assert public_names(kind) == set(PRESENCE[name].split())
    assert (kind.__doc__ or "").strip()


def test_the_public_names_of_presence_are_these() -> None:
    assert sorted(presence.__all__) == sorted([*PRESENCE, "parse_cursor", "presence_of"])


def test_every_public_class_is_pinned() -> None:
    classes = {name for name in PUBLIC if inspect.isclass(getattr(trio_socketio, name))}
    assert classes == set(MEMBERS) | set(FIELDS) | GROUPS


def test_objects_show_what_their_classes_show_and_a_few_parts() -> None:
    """Parts that programs may use are attributes; see the docstrings of the classes."""
    server = Server()
    namespace = server.of("/chat")
    parent = server.of(re.compile("/room-[0-9]+"))
    socket = enter(namespace)
    parts = {
        server: "engine from_thread namespaces",
        namespace: "adapter name rooms",
        parent: "adapter children name",
        socket: "",
        server.engine: "",
    }
    # What Server.serve and the tests of the floor below still ask of a server.
    unfinished = {"close_adapters", "intake", "recovery", "workers"}
    for thing, names in parts.items():
        own = public_names(thing) - public_names(type(thing))
        assert own - (unfinished if thing is server else set()) == set(names.split())
    assert public_names(socket.volatile) == set(FLAGGED.split())
    assert public_names(server.from_thread) == set(f"{FROM_THREAD} of run stop".split())
    assert public_names(server.from_thread.to("room")) == set(FROM_THREAD.split())


@trio_test
async def test_clients_show_what_their_classes_show_and_what_they_were_made_with() -> None:
    async with serving(Server()) as port, open_client(f"http://127.0.0.1:{port}") as client:
        for thing, names in {client: "options", client.of("/chat"): "name"}.items():
            assert public_names(thing) - public_names(type(thing)) == set(names.split())
        assert public_names(client.volatile) == {"emit"}
        assert repr(client) == f"<Client of http://127.0.0.1:{port}/socket.io/>"
        assert repr(client.of("/chat")) == "<ClientNamespace /chat new>"


def test_exceptions_are_one_tree() -> None:
    exceptions = [
        value
        for name in PUBLIC
        if inspect.isclass(value := getattr(trio_socketio, name))
        and issubclass(value, BaseException)
    ]
    assert len(exceptions) == 14
    assert all(issubclass(kind, trio_socketio.TrioSocketIOError) for kind in exceptions)


def test_the_version_is_the_one_that_is_released() -> None:
    project = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{trio_socketio.__version__}"\n' in project


def test_types_are_shipped() -> None:
    assert (Path(trio_socketio.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("package", [trio_socketio, control])
def test_names_that_are_imported_when_they_are_used_come_from_where_they_are_typed(
    package: ModuleType,
) -> None:
    tree = ast.parse(Path(package.__file__ or "").read_text())
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {}
    for name, home in package._HOMES.items():
        module, _, original = home.partition(":")
        homes[name] = (f"trio_socketio.{module}", original or name)
    assert homes == typed
    assert set(homes) == set(package.__all__) - {"__version__"}
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018 - that it raises is the test


@pytest.mark.req("CTL-16")
def test_ctl_imports_no_server() -> None:
    code = (
        "import sys\nfrom trio_socketio.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "names = ('trio', 'ssl', 'msgspec', 'logging', 'dataclasses', 'inspect')\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)\n"
    )
    for arguments in (
        ["ctl", "--help"],
        ["ctl", "emit", "--help"],
        ["ctl", "completion", "bash"],
        ["ctl", "--control", "unix:/no/such/socket", "system.info"],
        ["--help"],
    ):
        ended = subprocess.run(
            [sys.executable, "-S", "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=dict(os.environ, PYTHONPATH=str(Path(trio_socketio.__file__ or "").parents[1])),
        )
        assert ended.stderr.splitlines()[-1] == "[]", (arguments, ended.stderr)
