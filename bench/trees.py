"""Checkouts whose servers are compared: the working tree, and another commit beside it.

Both run in the same interpreter with the same installed dependencies; only PYTHONPATH differs. An
environment of its own for the other commit would have to be filled from the network, takes half a
minute, and could bring other builds of the dependencies, which would then be measured as well. A
commit whose dependencies are not satisfied here is refused by name. PYTHONPATH stands before the
site-packages on sys.path, so it also hides the project's own editable install, on both sides. Where
interpreters are compared (--python), the other one brings dependencies of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement  # pytest needs it, so it is installed

from bench.machine import BUILD, ROOT

GIT_S = 60.0
IMPORT_S = 30.0


class NoSuchTreeError(Exception):
    """Says in one line why a commit cannot be measured."""


@dataclass(slots=True)
class Tree:
    """A checkout that a server of ours is started from.

    Args:
        commit: as git describes it.
        own_apps: kinds of handlers for which it runs its own bench app, since the app of the
            working tree does not run on it.
        python: the interpreter, which has the dependencies.
    """

    name: str
    root: Path
    commit: str = ""
    own_apps: set[str] = field(default_factory=set)
    python: str = sys.executable

    def environment(self) -> dict[str, str]:
        source, inherited = str(self.root / "src"), os.environ.get("PYTHONPATH")
        path = os.pathsep.join([source, inherited] if inherited else [source])
        return {**os.environ, "PYTHONPATH": path}

    def app_folder(self, handlers: str) -> Path:
        """Where the server is started, and where the paths of its apps begin."""
        return self.root if handlers in self.own_apps else ROOT


WORKING_TREE = Tree("trio", ROOT)


def _git(*arguments: str | Path) -> str:
    """Run git in the working tree.

    Raises:
        NoSuchTreeError: it failed; the message is git's last line.
    """
    # A hook of the user's must not run for a folder that is ours and temporary.
    command = ["git", "-C", str(ROOT), "-c", f"core.hooksPath={os.devnull}", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSuchTreeError(f"git did not run: {error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise NoSuchTreeError(said[-1] if said else f"git {arguments[0]} failed")
    return done.stdout.strip()


@contextmanager
def check_out(commit: str) -> Iterator[Tree]:
    """The tree of a commit in a folder of its own, until the block ends.

    Raises:
        NoSuchTreeError: there is no such commit, or its dependencies are not installed here.
    """
    try:
        full = _git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
    except NoSuchTreeError as error:
        raise NoSuchTreeError(f"{commit} is not a commit of this repository: {error}") from None
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="against-", dir=BUILD))
    try:
        _git("worktree", "add", "--quiet", "--detach", folder, full)
        if missing := unmet_dependencies(folder / "pyproject.toml"):
            raise NoSuchTreeError(
                f"{commit} needs what is not installed here: {', '.join(missing)}; install it "
                "in the environment of the project and try again"
            )
        yield Tree("old", folder, _git("describe", "--always", full))
    finally:
        with suppress(NoSuchTreeError):  # it may never have become a worktree
            _git("worktree", "remove", "--force", folder)
        shutil.rmtree(folder, ignore_errors=True)


def unmet_dependencies(pyproject: Path) -> list[str]:
    """The runtime dependencies of a project that this environment does not satisfy."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    unmet: list[str] = []
    for text in project.get("dependencies", []):
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            unmet.append(f"{text} (not installed)")
            continue
        if not wanted.specifier.contains(installed, prereleases=True):
            unmet.append(f"{text} (installed: {installed})")
    return unmet


def check_import(tree: Tree) -> None:
    """Make sure that a server of this tree runs the code of this tree.

    Raises:
        NoSuchTreeError: another copy of the package would be measured, or it cannot be imported.
    """
    if not shutil.which(tree.python):
        raise NoSuchTreeError(f"{tree.name}: {tree.python} is not there, or cannot be run")
    done = subprocess.run(
        [tree.python, "-c", "import trio_socketio; print(trio_socketio.__file__)"],
        cwd=ROOT,
        env=tree.environment(),
        capture_output=True,
        text=True,
        timeout=IMPORT_S,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise NoSuchTreeError(f"{tree.name}: the package cannot be imported: {said[-1:]}")
    found = Path(done.stdout.strip()).resolve()
    if not found.is_relative_to((tree.root / "src").resolve()):
        raise NoSuchTreeError(f"{tree.name}: the package was imported from elsewhere")
