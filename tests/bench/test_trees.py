"""Checking out another commit, and making sure that it is the one that runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from bench.machine import ROOT
from bench.servers import PLAIN, _command
from bench.trees import NoSuchTreeError, Tree, check_import, check_out, unmet_dependencies

PROJECT = '[project]\nname = "trio-socketio"\nversion = "0"\ndependencies = [{}]\n'


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    done = subprocess.run(
        ["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits: the package says in which it is."""
    package = tmp_path / "src" / "trio_socketio"
    package.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PROJECT.format('"trio"'))
    git(tmp_path, "init", "--quiet", "--template=")
    for number in ("first", "second"):
        (package / "__init__.py").write_text(f"COMMIT = {number!r}\n")
        git(tmp_path, "add", "src", "pyproject.toml")
        git(tmp_path, "commit", "--quiet", "--message", number)
    monkeypatch.setattr("bench.trees.ROOT", tmp_path)
    monkeypatch.setattr("bench.trees.BUILD", tmp_path / "build")
    return tmp_path


def test_a_commit_is_checked_out_and_taken_away(repository: Path) -> None:
    with check_out("HEAD~1") as old:
        assert old.root.parent == repository / "build"
        assert "first" in (old.root / "src" / "trio_socketio" / "__init__.py").read_text()
        assert old.commit == git(repository, "describe", "--always", "HEAD~1")
        check_import(old)
    assert list((repository / "build").iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_it_is_taken_away_when_the_bench_is_interrupted(repository: Path) -> None:
    with pytest.raises(KeyboardInterrupt), check_out("HEAD"):
        raise KeyboardInterrupt
    assert list((repository / "build").iterdir()) == []


@pytest.mark.parametrize("name", ["nowhere", "--help", "", "HEAD:src"])
def test_no_such_commit(repository: Path, name: str) -> None:
    with pytest.raises(NoSuchTreeError, match="not a commit of this repository"), check_out(name):
        pass
    assert not (repository / "build").exists()


def test_a_commit_that_needs_what_is_not_here_is_refused(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(PROJECT.format('"trio>=999"'))
    git(repository, "commit", "--quiet", "--all", "--message", "later")
    with (
        pytest.raises(NoSuchTreeError, match=r"needs .* trio>=999 \(installed: "),
        check_out("HEAD"),
    ):
        pass
    assert list((repository / "build").iterdir()) == []


def test_dependencies_that_are_not_satisfied_are_named(tmp_path: Path) -> None:
    wanted = ["trio>=0.30", "no-such-thing-here>=1", "trio<0.1", 'pywin32; sys_platform == "win32"']
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(PROJECT.format(", ".join(map(repr, wanted))))
    missing, old = unmet_dependencies(pyproject)
    assert missing == "no-such-thing-here>=1 (not installed)"
    assert old.startswith("trio<0.1 (installed: ")


def test_another_copy_of_the_package_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(NoSuchTreeError, match="imported from elsewhere"):
        check_import(Tree("old", tmp_path))  # its src is empty: the installed package is found


def test_the_path_of_the_user_comes_after_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert Tree("old", tmp_path).environment()["PYTHONPATH"] == f"{tmp_path / 'src'}:/elsewhere"
    monkeypatch.delenv("PYTHONPATH")
    assert Tree("old", tmp_path).environment()["PYTHONPATH"] == str(tmp_path / "src")


def test_a_tree_is_run_by_its_own_interpreter(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntouch {ran}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    check_import(Tree("new", ROOT, python=str(python)))
    assert ran.exists()
    assert _command("trio", 1, PLAIN, False, str(python))[0] == str(python)


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoSuchTreeError, match=r"new: .*/python3 is not there"):
        check_import(Tree("new", ROOT, python=str(tmp_path / "python3")))
