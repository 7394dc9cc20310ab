"""Mutation testing of what TARGETS names: ``python -m tests.mutants [PART OF A PATH]...``.

cosmic-ray makes the mutants. Each replaces its module in a copy of the tree, where a forked
process, with everything but this package imported already, runs the tests: first those that are
nearest to the module, then the others of its target. Exits 1 if more than a tenth of the mutants of
any module survive.
"""

import contextlib
import difflib
import importlib
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest
from cosmic_ray import mutating, plugins  # type: ignore[import-untyped]  # it has no annotations
from parso.python.tree import Function, Keyword

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = "src/trio_socketio"
COPIED: Final = ("src", "spec", "tests", "README.md", "Makefile", "pyproject.toml")


@dataclass(frozen=True)
class Target:
    """Modules, and the tests that have to notice every change of them.

    Args:
        modules: patterns below SOURCE.
        nearest: patterns of the tests that run first; `{module}` is the name of the module.
        others: what runs when those have noticed nothing.
        at_most: mutants of a module that are tried, evenly chosen, where tests take long.
    """

    modules: tuple[str, ...]
    nearest: tuple[str, ...]
    others: tuple[str, ...]
    at_most: int = 10_000

    def paths(self) -> list[Path]:
        return sorted(path for pattern in self.modules for path in (ROOT / SOURCE).glob(pattern))

    def nearest_tests(self, path: str) -> list[str]:
        module = Path(path).stem
        found = [ROOT.glob(pattern.format(module=module)) for pattern in self.nearest]
        tests = [test.relative_to(ROOT).as_posix() for some in found for test in sorted(some)]
        return list(dict.fromkeys(tests))


PURE: Final = ("tests/codec", "tests/protocol", "tests/test_vectors.py")
TARGETS: Final = (
    Target(("codec/*.py",), ("tests/codec/test_{module}*.py",), PURE),
    Target(("protocol/*.py",), ("tests/protocol/test_{module}*.py",), PURE),
    Target(
        ("runtime/deadlines.py",),
        ("tests/runtime/test_deadlines.py",),
        ("tests/engine/test_heartbeat.py",),
    ),
    Target(
        ("net/frames.py",),
        ("tests/net/test_frame*.py",),
        (
            "tests/engine/test_websocket.py",
            "tests/engine/test_aborting.py",
            "tests/engine/test_backpressure.py",
            "tests/net/test_connection.py",
            "tests/net/test_deflate.py",
        ),
        at_most=250,
    ),
    Target(
        ("http/request_head.py", "http/chunks.py", "http/content_coding.py", "http/request.py"),
        ("tests/http/test_{module}*.py",),
        (
            "tests/http/test_http_heads.py",
            "tests/http/test_http_bodies.py",
            "tests/http/test_http.py",
        ),
        at_most=150,
    ),
    Target(
        (
            "http/exchange.py",
            "http/framing.py",
            "http/h11_framing.py",
            "http/incoming_body.py",
            "http/error_answers.py",
        ),
        (
            "tests/http/test_exchange.py",
            "tests/http/test_request.py",
            "tests/http/test_error_answers.py",
            "tests/http/test_framing.py",
            "tests/http/test_incoming*.py",
            "tests/http/test_http*.py",
            "tests/net/test_http_rules.py",
        ),
        ("tests/engine/test_error_answers.py", "tests/engine/test_polling.py"),
        at_most=150,
    ),
    Target(
        (
            "socketio/joining.py",
            "socketio/undos.py",
            "socketio/credentials.py",
            "socketio/socket_life.py",
            "socketio/refusing.py",
        ),
        ("tests/socketio/test_{module}.py", "tests/socketio/test_joining.py"),
        (
            "tests/socketio/test_connecting.py",
            "tests/socketio/test_middleware.py",
            "tests/socketio/test_restoring.py",
            "tests/socketio/test_dynamic_namespaces.py",
            "tests/socketio/test_recovery.py",
            "tests/socketio/test_acks.py",
            "tests/socketio/test_credentials.py",
            "tests/socketio/test_dynamic_lifetimes.py",
            "tests/socketio/test_unjoined.py",
            "tests/socketio/test_outgoing_listeners.py",
            "tests/socketio/test_user_code.py",
            "tests/socketio/test_failures.py",
            "tests/im/identity/test_gate.py",
            "tests/im/identity/test_secrets.py",
            "tests/socketio/test_joining_model.py",
        ),
        at_most=150,
    ),
)

UNCHANGED: Final = "unchanged"
CONTROL: Final = "nothing is changed"

REQUIRED: Final = 0.9
TOTAL_S: Final = 60 * 60
MEMORY_BYTES: Final = 2 << 30

# Arithmetic is exchanged for its opposite only: bit operations and powers die of any test, and
# would flatter the score. So would type unions, and identity for equality changes nothing here.
OPERATORS: Final = (
    "NumberReplacer",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ZeroIterationForLoop",
    "ExceptionReplacer",
    "RemoveDecorator",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceBinaryOperator_Mod_Add",
    "ReplaceBinaryOperator_Pow_Mul",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_IsNot_Is",
    *(
        f"ReplaceComparisonOperator_{old}_{new}"
        for old in ("Lt", "LtE", "Gt", "GtE")
        for new in ("Lt", "LtE", "Gt", "GtE", "Eq")
        if old != new
    ),
)


@dataclass(frozen=True)
class Mutant:
    """One changed module."""

    path: str
    operator: str
    source: str
    target: Target


class StatementRemover:
    """An operator of cosmic-ray's kind: a simple statement in a function becomes ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type != "simple_stmt" or node.children[0].type in ("string", "keyword"):
            return
        parent = node.parent
        while parent is not None and not isinstance(parent, Function):
            parent = parent.parent
        if parent is not None:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _: int) -> Any:
        first = node.children[0]
        node.children[0] = Keyword("pass", first.start_pos, first.get_first_leaf().prefix)
        return node


def make_mutants(path: Path, target: Target) -> Iterator[Mutant]:
    source = path.read_text(encoding="utf-8")
    seen = {source}
    operators: dict[str, Any] = {"StatementRemover": StatementRemover()}
    operators |= {name: plugins.get_operator(f"core/{name}")() for name in OPERATORS}
    for name, operator in operators.items():
        for occurrence in itertools.count():
            try:
                mutated = mutating.mutate_code(source, operator, occurrence)
            except AttributeError:  # it cannot replace an exception that is named with a dot
                continue
            if mutated is None:
                break
            with contextlib.suppress(SyntaxError):
                compile(mutated, "", "exec")
                if mutated not in seen:
                    seen.add(mutated)
                    yield Mutant(path.relative_to(ROOT).as_posix(), name, mutated, target)


def make_controls(targets: Iterable[Target]) -> list[Mutant]:
    """A module of each target as it is. If that dies, the tests fail for another reason."""
    controls = []
    for target in targets:
        path = target.paths()[0]
        source = path.read_text(encoding="utf-8")
        controls.append(Mutant(path.relative_to(ROOT).as_posix(), CONTROL, source, target))
    return controls


# --- running -------------------------------------------------------------------------------------


def copy_tree(to: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
            )
        else:
            shutil.copy(source, target)


def run_tests(tree: Path, tests: list[str], seconds: float, *, first: bool = False) -> bool:
    """Whether they pass in the tree within that time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.dont_write_bytecode = not first  # of a mutant none is kept
            code = _run_in_child(tree, tests, seconds)
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _run_in_child(tree: Path, tests: list[str], seconds: float) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test sends it to its own process
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.chdir(tree)
    sys.path[:] = [str(tree / "src"), str(tree), *(p for p in sys.path if p not in ("", str(ROOT)))]
    for name in list(sys.modules):
        if name.partition(".")[0] in ("tests", "trio_socketio"):
            del sys.modules[name]
    hypothesis.settings.register_profile(
        "mutants",
        max_examples=25,
        stateful_step_count=20,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    early = "ignore::pytest.PytestAssertRewriteWarning"  # plugins that are imported already
    # The timer is this process's own: no test sets another.
    options = ["-x", "-q", "--tb=no", "--no-summary", "--time-limit-factor=0", "-W", early]
    return int(pytest.main([*options, *tests]))


_tree = Path()
_seconds: dict[Target, float] = {}


def begin_worker(seconds: dict[Target, float], folder: Path) -> None:
    global _tree, _seconds
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _seconds = seconds
    _tree = folder / str(os.getpid())
    shutil.copytree(folder / UNCHANGED, _tree)  # with its bytecode, which saves half the time


def survives(mutant: Mutant) -> tuple[Mutant, bool]:
    module = _tree / mutant.path
    original = module.read_bytes()
    module.write_text(mutant.source, encoding="utf-8")
    target, seconds = mutant.target, _seconds[mutant.target]
    try:
        tests = target.nearest_tests(mutant.path)
        alive = not tests or run_tests(_tree, tests, seconds)
        return mutant, alive and run_tests(_tree, list(target.others), seconds)
    finally:
        module.write_bytes(original)


def show(mutant: Mutant) -> str:
    original = (ROOT / mutant.path).read_text(encoding="utf-8").splitlines()
    lines = difflib.unified_diff(original, mutant.source.splitlines(), lineterm="", n=0)
    return "\n".join([f"{mutant.path}: {mutant.operator}", *list(lines)[2:], ""])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(parts: list[str]) -> int:
    begun = time.monotonic()
    # What a process then has in memory already: all that this package imports but itself.
    importlib.import_module("trio_socketio")
    mutants: list[Mutant] = []
    for target in TARGETS:
        for path in target.paths():
            if not parts or any(part in str(path) for part in parts):
                made = list(make_mutants(path, target))
                mutants += made[:: -(-len(made) // target.at_most) or 1]
    if not mutants:
        say(f"no module's path has {' or '.join(parts)} in it")
        return 1
    tried, died = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / UNCHANGED
        copy_tree(tree)
        seconds: dict[Target, float] = {}
        for target in {mutant.target: None for mutant in mutants}:
            started = time.monotonic()
            nearest = [test for path in target.paths() for test in target.nearest_tests(str(path))]
            tests = list(dict.fromkeys([*nearest, *target.others]))
            if not run_tests(tree, tests, 300, first=True):
                say(f"the tests of {', '.join(target.modules)} fail without any mutant")
                return 1
            seconds[target] = 10 + 4 * (time.monotonic() - started)
        controls = make_controls(seconds)
        tries = [*controls, *mutants, *controls]  # at the end too, as the machine may be busy then
        workers = min(os.cpu_count() or 1, 8)
        say(f"{len(mutants)} mutants, {workers} at a time")
        context = multiprocessing.get_context("fork")
        with context.Pool(workers, begin_worker, (seconds, Path(folder))) as pool:
            results = pool.imap_unordered(survives, tries)
            for done in range(1, len(tries) + 1):
                try:
                    left = max(0.0, begun + TOTAL_S - time.monotonic())
                    mutant, alive = results.next(left)
                except multiprocessing.TimeoutError:
                    say(f"out of time: only {done - 1} of {len(tries)} were tried")
                    break
                if mutant.operator == CONTROL:
                    if not alive:
                        modules = ", ".join(mutant.target.modules)
                        say(f"void: the tests of {modules} fail in a copy without any mutant")
                        return 1
                    continue
                tried[mutant.path] += 1
                died[mutant.path] += not alive
                if alive:
                    say(show(mutant))
    scores = {module: died[module] / tried[module] for module in sorted(tried)}
    for module, score in scores.items():
        say(f"{score:7.1%}  {died[module]:4} of {tried[module]:4}  {module}")
    say(f"at least {REQUIRED:.0%} of each; {time.monotonic() - begun:.0f} s")
    return 0 if min(scores.values()) >= REQUIRED and tried.total() == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
