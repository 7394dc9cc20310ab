"""Lays out what the bench needs: the load generator, the peers, a certificate."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import BENCH, BUILD, PEERS, PEERS_PYTHON, ROOT

LOADGEN, LIMIT_PROGRAM = BUILD / "loadgen", BUILD / "limit"
CERT, KEY = BUILD / "cert.pem", BUILD / "key.pem"
INSTALL_S = 300.0

_HAS_BINARY = (
    "const { platform, arch, versions } = process;"
    "require('@trufflesuite/uws-js-unofficial/binaries/uws_' +"
    " `${platform}_${arch}_${versions.modules}.node`)"
)


class NotPreparedError(Exception):
    """Says in one line why something cannot be measured."""


@dataclass(slots=True)
class Prepared:
    """What is there, and why the rest is not.

    Args:
        missing: reason by name of a server, "loadgen" or "tls".
    """

    missing: dict[str, str] = field(default_factory=dict)

    def attempt(self, names: Sequence[str], step: Callable[[], None]) -> None:
        try:
            step()
        except NotPreparedError as error:
            for name in names:
                self.missing[name] = str(error)
            print(f"bench: not measured: {', '.join(names)}: {error}", flush=True)


def prepare(servers: Sequence[str]) -> Prepared:
    BUILD.mkdir(exist_ok=True)
    prepared = Prepared()
    prepared.attempt(["loadgen"], lambda: _compile(prepared))
    prepared.attempt(["tls"], _make_certificate)
    if "limit" in servers:
        prepared.attempt(["limit"], _compile_limit)
    if node := [name for name in ("node", "uws") if name in servers]:
        prepared.attempt(node, _install_node_peers)
    if "uws" in servers and "uws" not in prepared.missing:
        prepared.attempt(["uws"], _check_uws)
    python = [name for name in ("uvicorn", "aiohttp") if name in servers]
    if python:
        prepared.attempt(python, install_python_peers)
    return prepared


def _run(command: Sequence[str | Path], what: str, where: Path = ROOT) -> None:
    """Run a step of the preparation.

    Raises:
        NotPreparedError: it failed; its last line of output tells why.
    """
    if shutil.which(str(command[0])) is None:
        raise NotPreparedError(f"{what} needs {Path(command[0]).name}, which is not installed")
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotPreparedError(f"{what} took longer than {INSTALL_S:.0f} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise NotPreparedError(f"{what} failed: {lines[-1] if lines else 'no output'}")


def _is_newer(made: Path, *sources: Path) -> bool:
    return made.exists() and all(
        made.stat().st_mtime >= source.stat().st_mtime for source in sources
    )


def _compile(prepared: Prepared) -> None:
    """With OpenSSL if it is there, else without TLS."""
    source = BENCH / "loadgen.c"
    without_tls = BUILD / "without_tls"
    if _is_newer(LOADGEN, source):
        if without_tls.exists():
            prepared.missing["tls"] = "the load generator was built without OpenSSL"
        return
    command: list[str | Path] = ["cc", "-O2", "-o", LOADGEN, source]
    try:
        _run([*command, "-DWITH_TLS", "-lssl", "-lcrypto"], "compiling the load generator")
        without_tls.unlink(missing_ok=True)
    except NotPreparedError:
        _run(command, "compiling the load generator")
        without_tls.touch()
        prepared.missing["tls"] = "the load generator was built without OpenSSL"
        print(f"bench: not measured: tls: {prepared.missing['tls']}", flush=True)


def _compile_limit() -> None:
    source = BENCH / "limit.c"
    if not _is_newer(LIMIT_PROGRAM, source):
        _run(["cc", "-O2", "-o", LIMIT_PROGRAM, source], "compiling the limit")


def _make_certificate() -> None:
    if CERT.exists() and KEY.exists():
        return
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "3650", "-subj", "/CN=localhost"]
    files: list[str | Path] = ["-keyout", KEY, "-out", CERT]
    _run(["openssl", "req", "-x509", *curve, *subject, *files], "making a certificate")


def _install_node_peers() -> None:
    ready = PEERS / "node_modules" / ".ready"
    if _is_newer(ready, PEERS / "package.json", PEERS / "package-lock.json"):
        return
    _run(["npm", "ci", "--silent"], "installing socket.io", PEERS)
    ready.touch()


def _check_uws() -> None:
    """Raise when the package would fall back to JavaScript, which is not what is to be measured.

    Raises:
        NotPreparedError: it has no binary for this Node on this system.
    """
    try:
        _run(["node", "-e", _HAS_BINARY], "loading uWebSockets.js", PEERS)
    except NotPreparedError:
        reason = "uWebSockets.js has no binary that this Node can load on this system"
        raise NotPreparedError(reason) from None


def install_python_peers() -> None:
    """Install them, unless they are there.

    Raises:
        NotPreparedError: that has failed.
    """
    folder = PEERS_PYTHON.parent.parent
    ready = folder / ".ready"
    requirements = PEERS / "requirements.txt"
    if _is_newer(ready, requirements):
        return
    _run([sys.executable, "-m", "venv", folder], "making the environment of the Python peers")
    pip: list[str | Path] = [
        PEERS_PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    _run([*pip, "-r", requirements], "installing the Python peers")
    ready.touch()
