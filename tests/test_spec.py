"""The requirements of spec/*.toml against the code that they name and the tests that prove them."""

import ast
import importlib
import importlib.util
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SPEC: Final = ROOT / "spec"
TESTS: Final = ROOT / "tests"
PACKAGE: Final = "trio_socketio"

FIELDS: Final = ("id", "source", "level", "rule", "code", "exception")
MAY_BE_EMPTY: Final = frozenset(("exception",))
LEVELS: Final = frozenset(("MUST", "SHOULD", "MAY"))
ID: Final = re.compile(r"[A-Z][A-Z0-9]*-[0-9]{2,3}")


@dataclass(frozen=True)
class Requirement:
    """One entry; fields that are missing or no strings are empty here and reported apart."""

    file: str
    id: str
    level: str
    code: str
    exception: str

    @property
    def needs_test(self) -> bool:
        return self.level == "MUST" and not self.exception


@dataclass(frozen=True)
class Mark:
    """One id that a test names."""

    file: str
    line: int
    id: str


# --- spec/*.toml ---------------------------------------------------------------------------------


@cache  # what spec/ and tests/ hold is asked for by several tests
def read_requirements(folder: Path) -> tuple[list[Requirement], list[str]]:
    """Every requirement, and what is wrong with how they are written."""
    requirements: list[Requirement] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{path.name}: not TOML: {error}")
            continue
        entries = document.pop("requirement", None)
        problems += [f"{path.name}: unknown table or key {key!r}" for key in document]
        if not isinstance(entries, list) or not entries:
            problems.append(f"{path.name}: no [[requirement]]")
            continue
        for number, entry in enumerate(entries, 1):
            requirement, wrong = read_requirement(path.name, number, entry)
            requirements.append(requirement)
            problems += wrong
    files = defaultdict[str, list[str]](list)
    for requirement in requirements:
        files[requirement.id].append(requirement.file)
    problems += [
        f"{', '.join(sorted(set(names)))}: id {identifier} is used {len(names)} times"
        for identifier, names in files.items()
        if identifier and len(names) > 1
    ]
    return requirements, problems


def read_requirement(file: str, number: int, entry: Any) -> tuple[Requirement, list[str]]:
    if not isinstance(entry, dict):
        return Requirement(file, "", "", "", ""), [f"{file}: requirement {number} is no table"]
    name = entry.get("id")
    where = f"{file}: {name if isinstance(name, str) and name else f'requirement {number}'}"
    problems: list[str] = []
    text: dict[str, str] = {}
    for field in FIELDS:
        value = entry.get(field)
        text[field] = value.strip() if isinstance(value, str) else ""
        if value is None:
            problems.append(f"{where}: field {field!r} is missing")
        elif not isinstance(value, str):
            problems.append(f"{where}: field {field!r} is no string")
        elif not text[field] and field not in MAY_BE_EMPTY:
            problems.append(f"{where}: field {field!r} is empty")
    problems += [f"{where}: unknown field {field!r}" for field in entry if field not in FIELDS]
    if text["id"] and not ID.fullmatch(text["id"]):
        problems.append(f"{where}: an id is like EIO4-07")
    if text["level"] and text["level"] not in LEVELS:
        problems.append(f"{where}: level {text['level']!r} is none of {', '.join(sorted(LEVELS))}")
    return Requirement(file, text["id"], text["level"], text["code"], text["exception"]), problems


# --- the code that they name ---------------------------------------------------------------------


def missing_code(code: str, package: str = PACKAGE) -> str | None:
    """Why there is no such module or object below the package; None if there is."""
    names = code.split(".")
    if not all(name.isidentifier() for name in names):
        return f"code {code!r} is no dotted name"
    module = importlib.import_module(package)
    for at, name in enumerate(names):
        dotted = f"{module.__name__}.{name}"
        if hasattr(module, "__path__") and importlib.util.find_spec(dotted) is not None:
            try:
                module = importlib.import_module(dotted)
            except ImportError as error:
                return f"code {code!r}: {dotted} cannot be imported: {error}"
            continue
        found: object = module
        for attribute in names[at:]:
            if not hasattr(found, attribute):
                return f"code {code!r}: {module.__name__} has no {'.'.join(names[at:])}"
            found = getattr(found, attribute)
        return None
    return None


def folder_of(floor: str) -> Path:
    return ROOT / "src" / PACKAGE / floor


def source_of(code: str) -> str:
    """The lines of a module, or of what it holds; comments behind the last statement included."""
    floor, module, *names = code.split(".")
    source = (folder_of(floor) / f"{module}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    first, last = 1, len(lines)
    body = ast.parse(source).body
    for name in names:
        at = next(number for number, node in enumerate(body) if name in names_bound_by(node))
        node = body[at]
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        # A string behind a constant documents it, so it ends where the next name begins.
        following = (after.lineno for after in body[at + 1 :] if names_bound_by(after))
        last = next(following, last + 1) - 1
        body = getattr(node, "body", [])
    return "\n".join(lines[first - 1 : last])


def names_bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


# --- the tests that prove them -------------------------------------------------------------------


@cache
def read_marks(folder: Path) -> tuple[list[Mark], list[str]]:
    """Every id in a ``pytest.mark.req(...)``, and the marks that prove nothing.

    Counted are marks that pytest sees: decorators of tests and of classes, ``pytestmark``, and
    ``marks=`` of a ``pytest.param``, all in files that pytest collects.
    """
    marks: list[Mark] = []
    problems: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        file = path.relative_to(folder.parent).as_posix()
        if "node_modules" in path.parts:
            continue
        tree = ast.parse(path.read_bytes(), filename=file)
        nodes = list(ast.walk(tree))
        live = {id(call) for call in live_marks(nodes)}
        for call in nodes:
            if not isinstance(call, ast.Call) or not is_req(call.func):
                continue
            where = f"{file}:{call.lineno}"
            if not path.name.startswith("test_"):
                problems.append(f"{where}: pytest does not collect this file")
            elif id(call) not in live:
                problems.append(f"{where}: this mark is on nothing that pytest runs")
            if not call.args or call.keywords:
                problems.append(f"{where}: req takes ids and nothing else")
            for argument in call.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    marks.append(Mark(file, call.lineno, argument.value))
                else:
                    problems.append(f"{where}: ids are literal strings")
    return marks, problems


def is_req(function: ast.expr) -> bool:
    """``pytest.mark.req`` or ``mark.req``."""
    if not isinstance(function, ast.Attribute) or function.attr != "req":
        return False
    owner = function.value
    return (isinstance(owner, ast.Attribute) and owner.attr == "mark") or (
        isinstance(owner, ast.Name) and owner.id == "mark"
    )


def live_marks(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    for node in nodes:
        places: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            places = node.decorator_list if node.name.startswith("test") else []
            places = [place for place in places if is_req_call(place)] + [
                keyword.value for place in node.decorator_list for keyword in param_marks(place)
            ]
        elif isinstance(node, ast.ClassDef):
            places = [place for place in node.decorator_list if is_req_call(place)]
        elif isinstance(node, ast.Assign):
            if any(is_pytestmark(target) for target in node.targets):
                places = [node.value]
            else:  # a list of pytest.param that a parametrize names
                places = [keyword.value for keyword in param_marks(node.value)]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            if is_pytestmark(node.target):
                places = [node.value]
            else:
                places = [keyword.value for keyword in param_marks(node.value)]
        for place in places:
            yield from (call for call in ast.walk(place) if isinstance(call, ast.Call))


def is_req_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and is_req(node.func)


def is_pytestmark(target: ast.expr) -> bool:
    """``pytestmark``, also ``SomeMachine.TestCase.pytestmark``."""
    return (isinstance(target, ast.Name) and target.id == "pytestmark") or (
        isinstance(target, ast.Attribute) and target.attr == "pytestmark"
    )


def param_marks(node: ast.expr) -> Iterator[ast.keyword]:
    for call in ast.walk(node):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute | ast.Name)
            and (call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id)
            == "param"
        ):
            yield from (keyword for keyword in call.keywords if keyword.arg == "marks")


# --- both together -------------------------------------------------------------------------------


def untested(requirements: list[Requirement], marks: list[Mark]) -> list[str]:
    tested = {mark.id for mark in marks}
    return [
        f"{requirement.file}: {requirement.id} is a MUST, and no test names it"
        for requirement in requirements
        if requirement.needs_test and requirement.id not in tested
    ]


def unknown(requirements: list[Requirement], marks: list[Mark]) -> list[str]:
    known = {requirement.id for requirement in requirements}
    return [
        f"{mark.file}:{mark.line}: {mark.id!r} is in no file of spec/"
        for mark in marks
        if mark.id not in known
    ]


def report(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(["", *problems]), pytrace=False)


def test_requirements_are_well_formed() -> None:
    requirements, problems = read_requirements(SPEC)
    report(problems)
    assert requirements, "spec/ holds no requirements"


def test_code_that_requirements_name_exists() -> None:
    requirements, _ = read_requirements(SPEC)
    missing = {code: missing_code(code) for code in {item.code for item in requirements} if code}
    report(
        [f"{item.file}: {item.id}: {why}" for item in requirements if (why := missing[item.code])]
    )


def test_every_must_has_a_test() -> None:
    requirements, _ = read_requirements(SPEC)
    marks, _ = read_marks(TESTS)
    report(untested(requirements, marks))


def test_tests_name_known_requirements() -> None:
    requirements, _ = read_requirements(SPEC)
    marks, problems = read_marks(TESTS)
    report(problems + unknown(requirements, marks))


@pytest.mark.parametrize("floor", ["client", "codec", "http", "net", "protocol", "runtime"])
def test_floors_name_the_requirements_that_they_implement(floor: str) -> None:
    """One search for an id finds the rule, the code and the test."""
    requirements, _ = read_requirements(SPEC)
    source = "".join(path.read_text() for path in folder_of(floor).glob("*.py"))
    ours = {item.id for item in requirements if item.code.partition(".")[0] == floor}
    if floor == "client":  # its other ids are not in the code yet
        ours = {name for name in ours if name.startswith("CLI")}
    assert ours - set(ID.findall(source)) == set()


@pytest.mark.parametrize("floor", ["engine", "socketio"])
def test_code_names_the_requirements_that_it_implements(floor: str) -> None:
    """The same, of the very object that the requirement names."""
    requirements, _ = read_requirements(SPEC)
    named_code = {item.id: item.code for item in requirements if item.code.startswith(f"{floor}.")}
    report(
        [
            f"{identifier}: the source of {code} does not name it"
            for identifier, code in named_code.items()
            if identifier not in ID.findall(source_of(code))
        ]
    )


def test_code_names_known_requirements() -> None:
    requirements, _ = read_requirements(SPEC)
    known = {item.id for item in requirements}
    kinds = {name.partition("-")[0] for name in known}
    source = "".join(path.read_text() for path in (ROOT / "src" / PACKAGE).rglob("*.py"))
    named = {name for name in ID.findall(source) if name.partition("-")[0] in kinds}
    assert named - known == set()


# --- that the above finds what it should ---------------------------------------------------------

GOOD: Final = {
    "id": "XYZ1-01",
    "source": "somewhere",
    "level": "MUST",
    "rule": "do",
    "code": "codec",
    "exception": "",
}


def write_spec(folder: Path, *entries: dict[str, str], name: str = "xyz.toml") -> None:
    lines: list[str] = []
    for entry in entries:
        lines += ["[[requirement]]", *(f'{key} = "{value}"' for key, value in entry.items())]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")


def test_a_good_requirement_is_read(tmp_path: Path) -> None:
    write_spec(tmp_path, GOOD)
    assert read_requirements(tmp_path) == (
        [Requirement("xyz.toml", "XYZ1-01", "MUST", "codec", "")],
        [],
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "XYZ1_1"}, "xyz.toml: XYZ1_1: an id is like EIO4-07"),
        ({"level": "must"}, "xyz.toml: XYZ1-01: level 'must' is none of MAY, MUST, SHOULD"),
        ({"rule": " "}, "xyz.toml: XYZ1-01: field 'rule' is empty"),
        ({"rules": "x"}, "xyz.toml: XYZ1-01: unknown field 'rules'"),
    ],
)
def test_a_bad_requirement_is_reported(
    tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    write_spec(tmp_path, GOOD | change)
    assert read_requirements(tmp_path)[1] == [problem]


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_reported(tmp_path: Path, field: str) -> None:
    write_spec(tmp_path, {key: value for key, value in GOOD.items() if key != field})
    where = "requirement 1" if field == "id" else "XYZ1-01"
    assert read_requirements(tmp_path)[1] == [f"xyz.toml: {where}: field {field!r} is missing"]


def test_an_id_in_two_files_is_reported(tmp_path: Path) -> None:
    write_spec(tmp_path, GOOD)
    write_spec(tmp_path, GOOD, name="other.toml")
    assert read_requirements(tmp_path)[1] == ["other.toml, xyz.toml: id XYZ1-01 is used 2 times"]


@pytest.mark.parametrize("code", ["codec", "codec.engine_packet.PacketType.OPEN", "errors"])
def test_code_that_exists_is_found(code: str) -> None:
    assert missing_code(code) is None


@pytest.mark.parametrize(
    "code", ["nowhere", "codec.nowhere", "codec.engine_packet.nowhere", "errors.nowhere.at", "a b"]
)
def test_code_that_does_not_exist_is_reported(code: str) -> None:
    assert missing_code(code) is not None


MARKED: Final = """
import pytest
pytestmark = [pytest.mark.req("A-01"), pytest.mark.slow]
CASES = [pytest.param(1, marks=pytest.mark.req("A-02"))]
@pytest.mark.req("A-03", "A-04")
async def test_a(): ...
@pytest.mark.parametrize("x", [pytest.param(1, marks=[pytest.mark.req("A-05")])])
def test_b(x): ...
@pytest.mark.req("A-06")
class TestC:
    @pytest.mark.req("A-07")
    def test_d(self): ...
Machine.TestCase.pytestmark = pytest.mark.req("A-08")
"pytest.mark.req('A-09')"  # text is no mark
"""


def test_marks_are_found_where_pytest_sees_them(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "codec"
    folder.mkdir(parents=True)
    (folder / "test_x.py").write_text(MARKED, encoding="utf-8")
    marks, problems = read_marks(tmp_path / "tests")
    assert sorted(mark.id for mark in marks) == [f"A-0{number}" for number in range(1, 9)]
    assert {mark.file for mark in marks} == {"tests/codec/test_x.py"}
    assert problems == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("test_x.py", "@pytest.mark.req('A-01')\ndef helper(): ..."),
        ("test_x.py", "unused = pytest.mark.req('A-01')"),
        ("test_x.py", "@pytest.mark.req(NAME)\ndef test_a(): ..."),
        ("test_x.py", "@pytest.mark.req()\ndef test_a(): ..."),
        ("model.py", "@pytest.mark.req('A-01')\ndef test_a(): ..."),
    ],
)
def test_marks_that_prove_nothing_are_reported(tmp_path: Path, name: str, source: str) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / name).write_text(source, encoding="utf-8")
    _, problems = read_marks(folder)
    assert len(problems) == 1
    assert problems[0].startswith(f"tests/{name}:1: ")


def test_untested_and_unknown_are_told_apart() -> None:
    requirements = [
        Requirement("x.toml", "A-01", "MUST", "codec", ""),
        Requirement("x.toml", "A-02", "MUST", "codec", "argued"),
        Requirement("x.toml", "A-03", "SHOULD", "codec", ""),
        Requirement("x.toml", "A-04", "MUST", "codec", ""),
    ]
    marks = [Mark("tests/test_x.py", 7, "A-04"), Mark("tests/test_x.py", 9, "A-99")]
    assert untested(requirements, marks) == ["x.toml: A-01 is a MUST, and no test names it"]
    assert unknown(requirements, marks) == ["tests/test_x.py:9: 'A-99' is in no file of spec/"]
