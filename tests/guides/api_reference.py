"""The reference of the API: the public names, their signatures and their docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from enum import EnumType
from functools import cached_property, partial
from types import ModuleType
from typing import Any, Final

from tests.guides.docstrings import as_markdown

import trio_socketio
import trio_socketio.control as control
import trio_socketio.im.presence as presence

SERVER: Final = {
    "The server": "Server open_server Namespace ParentNamespace Statistics",
    "Clients of the server": """Socket Broadcast RemoteSocket SocketDetails HandshakeDetails
        ClientDetails Ack""",
    "Joining": "Joining JoiningState Step Observer",
    "Options": """ServerOptions EngineOptions SocketOptions CorsOptions HttpOptions
        HttpCompression PerMessageDeflate Cookie RequestHooks RecoveryOptions ClientFilesOptions
        ConnectionLimits RuntimeOptions StopOptions""",
    "Runtime and addresses": """open_runtime Runtime TcpEndpoint UnixEndpoint
        InheritedEndpoint""",
    "The client": "open_client Client ClientNamespace ClientOptions ReceivedEvent",
    "Engine.IO": """Engine EngineRequest RefusedRequest ResponseHeaders Session Listener
        Outgoing""",
    "Parsers and adapters": "Parser Packet PacketType Adapter Target SavedSession RedisPubSub",
    "Redis": """open_redis Redis RedisOptions RedisScript RedisSubscription RedisStatistics""",
    "Exceptions": """TrioSocketIOError ProtocolError LocalProtocolError RemoteProtocolError
        ConfigurationError ConnectRefused ConnectFailed EventRefused SessionClosed AckTimeout
        BufferFull ControlError RedisUnavailable RedisCommandError""",
}
"""The public names of trio_socketio, in the order in which a reader meets them."""

MADE: Final = {
    "ControlClient",
    "MemoryStore",
    "Presence",
    "PresenceWebhook",
    "RedisPubSub",
    "Server",
    "Step",
}
"""Classes with a constructor that programs call; objects of the others come from the server."""

MAX_FIELDS: Final = 12
"""Groups with more fields are made with some of them by name; their docstrings list them."""

_ARGS: Final = re.compile(r"^Args:\n(?:(?:    .*)?\n?)*", re.MULTILINE)

HEAD: Final = """# API

Every public name, with its signature and its docstring. This page is made out of the code by
`make references`, and a test fails when it is out of date; `help(trio_socketio.Server)` shows the
same. Whatever is not here, or begins with an underscore, may change at any time.
"""


def api_text() -> str:
    """The whole page."""
    listed = [name for names in SERVER.values() for name in names.split()]
    named = set(trio_socketio.__all__) - {"__version__"}
    assert len(listed) == len(set(listed))
    assert set(listed) == named, f"give these a place: {sorted(named ^ set(listed))}"
    parts = [HEAD, "## `trio_socketio`\n"]
    for title, names in SERVER.items():
        parts.append(f"### {title}\n")
        parts += [_describe(trio_socketio, name) for name in names.split()]
    for module in (control, presence):
        parts.append(f"## `{module.__name__}`\n\n{_first_line(module)}\n")
        parts += [_describe(module, name) for name in module.__all__]
    return "\n".join(parts)


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().partition("\n")[0]


def _describe(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    if isinstance(thing, EnumType):
        members = ", ".join(f"`{member}`" for member in thing.__members__)
        return f"#### `{name}`\n\n{as_markdown(thing)} {members}.\n"
    if inspect.isclass(thing):
        return _describe_class(name, thing)
    if callable(thing):
        told = _Source(thing).signature(name)
        return f"#### `{name}`\n\n`{told}`\n\n{as_markdown(thing)}\n"
    return f"#### `{name}`\n\nA type, for annotations.\n"


def _describe_class(name: str, kind: type) -> str:
    text = f"#### `{name}`\n\n"
    told = _constructor(name, kind)
    if told:
        text += f"`{told}`\n\n"
    doc = inspect.getdoc(kind) or ""
    if not told and not _fields(kind) and not issubclass(kind, BaseException):
        doc = _ARGS.sub(partial(_members_among, kind), doc)  # programs do not make it
    text += f"{as_markdown(kind, doc=doc)}\n"
    if kind is not trio_socketio.Broadcast and issubclass(kind, trio_socketio.Broadcast):
        text += "\nIt is a `Broadcast` to all its sockets, and has what that has.\n"
    members = [_describe_member(kind, member) for member in _members(kind)]
    shown = [member for member in members if member]
    return text + ("\n" + "\n".join(shown) + "\n" if shown else "")


def _members_among(kind: type, arguments: re.Match[str]) -> str:
    """Leave those arguments of a constructor that are members as well."""
    entries = re.split(r"^    (?=\S)", arguments[0], flags=re.MULTILINE)[1:]
    left = [entry for entry in entries if entry.partition(":")[0] in dir(kind)]
    return "".join(["Args:\n", *(f"    {entry}" for entry in left)]) if left else ""


def _constructor(name: str, kind: type) -> str:
    """How an object is made; empty if that is in the docstring alone, or no matter of programs."""
    own = vars(kind).get("__init__")
    if issubclass(kind, BaseException) or inspect.isabstract(kind):
        return ""
    if inspect.isfunction(own) and own.__code__.co_filename == inspect.getsourcefile(kind):
        if name not in MADE:
            return ""
        return _Source(own).signature(name).removesuffix(" -> None")
    fields = _fields(kind)
    return f"{name}({', '.join(fields)})" if 0 < len(fields) <= MAX_FIELDS else ""


def _members(kind: type) -> Iterable[str]:
    """The public members that are not fields of the class, which its docstring has."""
    left_out = {*_fields(kind), *dir(tuple), *dir(Exception)}
    broadcast = trio_socketio.Broadcast
    for name in dir(broadcast):
        is_same = inspect.getattr_static(kind, name, None) is inspect.getattr_static(
            broadcast, name
        )
        if kind is not broadcast and is_same:
            left_out.add(name)
    return [name for name in dir(kind) if not name.startswith("_") and name not in left_out]


def _fields(kind: type) -> list[str]:
    named = getattr(kind, "_fields", ()) if issubclass(kind, tuple) else ()
    return [
        *named,
        *getattr(kind, "__struct_fields__", ()),
        *getattr(kind, "__dataclass_fields__", ()),
    ]


def _describe_member(kind: type, name: str) -> str:
    value = inspect.getattr_static(kind, name)
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if isinstance(value, (property, cached_property)):
        function = value.fget if isinstance(value, property) else value.func
        told = f"- **`{name}`** (property)"
        return f"{told}\n\n{as_markdown(function, '  ')}\n"
    if inspect.isfunction(value) and not value.__code__.co_filename.startswith("<"):
        told = _Source(value).signature(name)
        return f"- **`{told}`**\n\n{as_markdown(getattr(kind, name), '  ')}\n"
    return ""


class _Source:
    """A function as it stands in the source, so that annotations are as short as there."""

    def __init__(self, function: Any) -> None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
        (node,) = tree.body
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        self._node = node

    def signature(self, name: str) -> str:
        node = self._node
        prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
        returns = _annotation(node.returns)
        if any("contextmanager" in ast.unparse(one) for one in node.decorator_list):
            prefix += "with "
            yields = re.fullmatch(r"\w+\[(.*)\]", returns)
            returns = f" as {yields[1]}" if yields else ""
        elif returns:
            returns = f" -> {returns}"
        return f"{prefix}{name}({', '.join(self._arguments())}){returns}"

    def _arguments(self) -> Iterable[str]:
        given = self._node.args
        plain = [*given.posonlyargs, *given.args]
        missing: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults))
        for argument, default in zip(plain, [*missing, *given.defaults], strict=True):
            if argument.arg not in ("self", "cls"):
                yield _argument(argument, default)
        if given.vararg is not None:
            yield f"*{_argument(given.vararg)}"
        elif given.kwonlyargs:
            yield "*"
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            yield _argument(argument, default)
        if given.kwarg is not None:
            yield f"**{_argument(given.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None = None) -> str:
    kind = _annotation(argument.annotation)
    told = f"{argument.arg}: {kind}" if kind else argument.arg
    if default is None:
        return told
    return f"{told} = {ast.unparse(default)}" if kind else f"{told}={ast.unparse(default)}"


def _annotation(node: ast.expr | None) -> str:
    """An annotation as text; one that stands in quotes, which is for the interpreter, without."""
    if node is None:
        return ""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            is_name = re.fullmatch(r"[\w.\[\], |]+", inner.value)
            if is_name and not isinstance(node, ast.Subscript):
                return inner.value
    return ast.unparse(node)
