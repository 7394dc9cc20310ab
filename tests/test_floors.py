"""Imports go down the floors and never in a circle; the pure floors stay pure, modules short."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.test_exports import PUBLIC

SOURCE: Final = Path(__file__).resolve().parents[1] / "src"
PACKAGE: Final = "trio_socketio"
MAX_LINES = 450  # aim for 400

# Lowest first. Modules of one floor may import others of it, but not in a circle.
FLOORS: Final = (
    ("lazy_names",),
    ("errors",),
    ("signatures",),
    ("option_checks",),
    ("secret_files",),
    ("metric_families",),
    ("codec",),
    ("protocol",),
    ("acks",),
    ("net",),
    ("runtime",),
    ("storage",),
    ("http",),
    ("engine",),
    ("socketio",),
    ("redis",),
    ("adapters",),
    ("client",),
    ("ops",),
    ("control",),
    ("im",),
    ("cluster",),
    ("configuration",),
    ("namespace_parts",),
    ("state_services",),
    ("delivery_services",),
    ("chat_services",),
    ("lobby",),
    ("descriptors",),
    ("signals",),
    ("app",),
    ("reloading",),
    ("admin_ui_services",),
    ("cluster_services",),
    ("program_system",),
    ("services",),
    ("standalone",),
    ("sizing",),
    ("cli",),
    ("__main__",),
)
LEVEL: Final = {name: level for level, floor in enumerate(FLOORS) for name in floor}

# Stricter than going down: all that these floors may import of the package, besides themselves.
ONLY: Final = {
    "lazy_names": set[str](),
    "errors": set[str](),
    "signatures": {"errors"},
    "option_checks": {"errors"},
    "secret_files": {"errors"},
    "metric_families": set(),
    "codec": {"errors"},
    "protocol": {"errors", "codec"},
    "net": {"errors", "option_checks", "codec", "protocol"},
    "acks": {"errors"},
    "runtime": {"errors", "signatures", "option_checks", "net"},
    "http": {
        "errors",
        "option_checks",
        "secret_files",
        "codec",
        "protocol",
        "net",
        "runtime",
    },
    "storage": {"errors", "option_checks", "metric_families"},
    "client": {
        "errors",
        "signatures",
        "option_checks",
        "codec",
        "protocol",
        "acks",
        "runtime",
        "http",
    },
    "redis": {
        "errors",
        "signatures",
        "metric_families",
        "option_checks",
        "secret_files",
        "codec",
        "protocol",
        "acks",
        "runtime",
        "http",
    },
    "adapters": {
        "errors",
        "metric_families",
        "codec",
        "acks",
        "runtime",
        "engine",
        "socketio",
        "redis",
    },
    "ops": {
        "errors",
        "option_checks",
        "metric_families",
        "codec",
        "protocol",
        "net",
        "runtime",
        "http",
        "engine",
        "socketio",
    },
    "control": {
        "lazy_names",
        "metric_families",
        "errors",
        "signatures",
        "option_checks",
        "codec",
        "protocol",
        "acks",
        "net",
        "runtime",
        "http",
        "socketio",
    },
    "im": {
        "errors",
        "signatures",
        "option_checks",
        "secret_files",
        "metric_families",
        "codec",
        "protocol",
        "acks",
        "net",
        "runtime",
        "http",
        "engine",
        "socketio",
        "redis",
        "control",
        "storage",
    },
    "cluster": {
        "errors",
        "option_checks",
        "metric_families",
        "secret_files",
        "codec",
        "protocol",
        "net",
        "runtime",
        "http",
        "engine",
        "socketio",
        "redis",
        "adapters",
        "control",
        "im",
    },
    "descriptors": set(),
    "signals": set(),
    "sizing": {"errors"},
}
APART: Final = ("im",)
"""Floors whose packages do not import one another."""
PURE: Final = ("codec", "protocol", "sizing")
IMPURE: Final = {
    "trio", "socket", "ssl", "time", "random", "logging", "secrets", "os",
    "asyncio", "datetime", "select", "threading", "uuid",
}  # fmt: skip
# The root package holds the public names: only the command line, for the version, asks it.
MAY_IMPORT_ROOT: Final = {"cli"}


def imported_names(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Full dotted names that a module imports, wherever in it, also under TYPE_CHECKING.

    ``from a import b`` gives ``a.b``: b may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".")
                kept = len(here) - node.level + is_package
                base = ".".join(here[:kept] + ([base] if base else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _is_dynamic_import(node):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def _is_dynamic_import(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def violations(root: Path) -> list[str]:
    """Every import below root/trio_socketio that the floors forbid, in words."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        if module == PACKAGE:
            continue  # names of every floor
        floor = parts[1]
        if floor not in LEVEL:
            found.append(f"{module} is on no floor")
            continue
        for name in imported_names(path.read_text(), module, is_package=is_package):
            why = _forbidden(floor, name.split(".")) or _aside(parts, name.split("."))
            if why:
                found.append(f"{module} imports {name}: {why}")
    return found


def _forbidden(floor: str, name: list[str]) -> str:
    if name[0] != PACKAGE:
        return "this floor is pure" if floor in PURE and name[0] in IMPURE else ""
    target = name[1] if len(name) > 1 else ""
    if target not in LEVEL:
        return "" if floor in MAY_IMPORT_ROOT else "the root package stands above all floors"
    if target == floor:
        return ""
    if LEVEL[target] >= LEVEL[floor]:
        return "that floor is not below"
    if floor in ONLY and target not in ONLY[floor]:
        return f"this floor may import only {sorted(ONLY[floor])}"
    return ""


def _aside(parts: tuple[str, ...], name: list[str]) -> str:
    """Why a module of a package may not import from the package beside it."""
    if parts[1] in APART and name[:2] == [PACKAGE, parts[1]] and name[2:3] != [parts[2]]:
        return "the packages of this floor do not import one another"
    return ""


def imports_of_modules(root: Path) -> dict[str, set[str]]:
    """The modules of the package below root, each with those that it imports, for types too."""
    paths = {}
    for path in (root / PACKAGE).rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports = {}
    for module, path in paths.items():
        is_package = path.stem == "__init__"
        names = imported_names(path.read_text(), module, is_package=is_package)
        found = {name if name in paths else name.rpartition(".")[0] for name in names}
        imports[module] = (found & paths.keys()) - {module}
    return imports


def in_circles(imports: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves by way of others."""
    found = set()
    for module in imports:
        seen: set[str] = set()
        ahead = [module]
        while ahead:
            for name in imports[ahead.pop()] - seen:
                seen.add(name)
                ahead.append(name)
        if module in seen:
            found.add(module)
    return found


def test_no_modules_import_one_another() -> None:
    """A part that needs something of the whole says what in a Protocol of its own."""
    assert in_circles(imports_of_modules(SOURCE)) == set()


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"a": "from trio_socketio import b", "b": "", "c": "import trio_socketio.a"}, ""),
        ({"a": "from trio_socketio.b import X", "b": "if 0:\n import trio_socketio.a as a"}, "ab"),
        (
            {
                "a": "from .b import X",
                "b": "from . import c",
                "c": "def f():\n from .a import Y",
                "d": "from .a import Y",
            },
            "abc",
        ),
    ],
)
def test_planted_circles_are_found(tmp_path: Path, sources: dict[str, str], found: str) -> None:
    (tmp_path / PACKAGE).mkdir()
    for name, source in sources.items():
        (tmp_path / PACKAGE / f"{name}.py").write_text(source)
    assert in_circles(imports_of_modules(tmp_path)) == {f"{PACKAGE}.{name}" for name in found}


def test_imports_go_down_the_floors() -> None:
    assert violations(SOURCE) == []


def test_every_floor_is_there() -> None:
    there = {path.stem for path in (SOURCE / PACKAGE).iterdir() if path.suffix in ("", ".py")}
    assert set(LEVEL) <= there, "a floor was renamed: nothing would guard it any more"


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert lengths, "there are no modules"
    too_long = {str(path.relative_to(SOURCE)): n for path, n in lengths.items() if n > MAX_LINES}
    assert too_long == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors.py", "import trio_socketio.engine.options"),
        ("codec/x.py", "from trio_socketio.socketio.options import ServerOptions"),
        ("codec/x.py", "from trio_socketio.http.request import Request"),
        ("codec/x.py", "from trio_socketio import net"),
        ("codec/x.py", "from trio_socketio import Server"),
        ("codec/x.py", "import trio_socketio"),
        ("codec/x.py", "from ..engine import session"),
        ("codec/x.py", "from .. import engine"),
        ("codec/__init__.py", "from ..engine import session"),
        ("codec/x.py", "import trio"),
        ("codec/x.py", "import os.path"),
        ("codec/x.py", "from time import monotonic"),
        ("codec/x.py", "import json, secrets as hidden"),
        ("protocol/x.py", "def f():\n    import random"),
        ("protocol/x.py", "try:\n    import ssl\nexcept ImportError:\n    pass"),
        ("protocol/x.py", "import importlib\nimportlib.import_module('socket')"),
        ("protocol/x.py", "from logging import getLogger"),
        ("protocol/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio"),
        ("protocol/x.py", "from trio_socketio.runtime.deadlines import Deadlines"),
        ("net/x.py", "if TYPE_CHECKING:\n    from trio_socketio.engine.session import Session"),
        ("engine/x.py", "from trio_socketio.socketio.server import Server"),
        ("socketio/x.py", "from trio_socketio.ops.log import escape"),
        ("socketio/x.py", "from trio_socketio.client.client import Client"),
        ("client/x.py", "from trio_socketio.socketio.acks import GatheredAcks"),
        ("net/x.py", "from trio_socketio.runtime.poller import Poller"),
        ("runtime/x.py", "from trio_socketio.http.request import Request"),
        ("http/x.py", "from trio_socketio.engine.session import Session"),
        ("ops/x.py", "from trio_socketio.client.client import Client"),
        ("ops/x.py", "from trio_socketio.app import load_app"),
        ("lobby.py", "from trio_socketio.app import load_app"),
        ("socketio/x.py", "from trio_socketio.control.options import ControlOptions"),
        ("control/x.py", "from trio_socketio.client.client import Client"),
        ("control/x.py", "from trio_socketio.cluster.nodes import ClusterNodes"),
        ("im/x/y.py", "from trio_socketio.im.z.y import Store"),
        ("im/x/y.py", "from trio_socketio.im import z"),
        ("im/x/y.py", "from ..z import w"),
        ("im/x/y.py", "from trio_socketio.ops.log import escape"),
        ("control/x.py", "from trio_socketio.im.presence.memory import MemoryStore"),
        ("app.py", "from trio_socketio.cli import main"),
        ("unheard_of/x.py", ""),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, module: str, source: str) -> None:
    planted = tmp_path / PACKAGE / module
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("codec/x.py", "from trio_socketio.codec.json_text import decode_json"),
        ("codec/x.py", "from . import json_text\nfrom .json_text import decode_json"),
        ("codec/x.py", "from trio_socketio.errors import RemoteProtocolError\nimport msgspec"),
        ("protocol/x.py", "from trio_socketio.protocol.upgrade import State"),
        ("net/frames.py", "from trio_socketio.codec.engine_packet import Outgoing\nimport socket"),
        ("http/server.py", "from trio_socketio.http.options import HttpOptions"),
        ("im/x/y.py", "from trio_socketio.im.x.z import Store"),
        ("app.py", "from trio_socketio import lobby"),
        ("cli/x.py", "from trio_socketio import __version__"),
    ],
)
def test_what_is_allowed_is_not_complained_of(tmp_path: Path, module: str, source: str) -> None:
    planted = tmp_path / PACKAGE / module
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    assert violations(tmp_path) == []


# --- the size of classes

MAX_ATTRIBUTES: Final = 12
MAX_METHODS: Final = 20


def large_classes(source: str, public: Collection[str] = ()) -> list[str]:
    """Classes that hold too much, unless their docstring gives the number and says why.

    Methods are counted with properties, attributes with slots and fields, inherited ones not.

    Args:
        source: of a module.
        public: names of classes whose documented members are not counted.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        functions = _functions(node)
        attributes = _attributes(node) - functions
        if node.name in public:  # what has no underscore is documented: see test_exports.py
            functions = {name for name in functions if name.startswith("_")}
            attributes = {name for name in attributes if name.startswith("_")}
        doc = " ".join((ast.get_docstring(node) or "").split())
        for names, bound, noun in (
            (attributes, MAX_ATTRIBUTES, "attributes"),
            (functions, MAX_METHODS, "methods"),
        ):
            if len(names) > bound and f"{len(names)} {noun}" not in doc:
                found.append(f"{node.name}: {len(names)} {noun}")
    return found


def _functions(node: ast.ClassDef) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {item.name for item in node.body if isinstance(item, kinds)}


def _attributes(node: ast.ClassDef) -> set[str]:
    found = {
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute)
        and isinstance(item.ctx, ast.Store)
        and isinstance(item.value, ast.Name)
        and item.value.id == "self"
    }
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if "ClassVar" not in ast.unparse(item.annotation):
                found.add(item.target.id)
        elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "__slots__":
            found |= {name for name in ast.literal_eval(item.value) if name != "__weakref__"}
    return found


def test_no_class_holds_too_much() -> None:
    found = [
        words
        for path in sorted((SOURCE / PACKAGE).rglob("*.py"))
        for words in large_classes(path.read_text(), PUBLIC)
    ]
    assert found == []


def test_a_class_that_holds_too_much_is_found() -> None:
    source = "class A:\n" + "".join(
        f"    def m{number}(self): self.a{number} = 1\n" for number in range(21)
    )
    assert large_classes(source) == ["A: 21 attributes", "A: 21 methods"]
    assert large_classes(source, {"A"}) == []
    reason = '    """It has 21 attributes and 21 methods, because."""\n'
    assert large_classes(source.replace("\n", "\n" + reason, 1)) == []
    slots = "class A:\n    __slots__ = (" + "".join(f"'s{number}'," for number in range(13)) + ")\n"
    fields = "class A:\n" + "".join(f"    f{number}: int\n" for number in range(13))
    assert large_classes(slots) == large_classes(fields) == ["A: 13 attributes"]
    assert large_classes(fields.replace("int", "ClassVar[int]")) == []
