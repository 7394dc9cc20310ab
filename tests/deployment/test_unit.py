"""The units of systemd, as far as they can be tried where another program is the first process."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.balancers.balancing import find
from tests.cli_process import ROOT, ServingProcess
from tests.deployed_files import FILES, service
from tests.deployment.proxies import Place
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio.cli import main

EXPOSED: Final = 2.0  # of 10; 1.5 with systemd 252
NEW_TYPE: Final = "Failed to parse service type, ignoring: notify-reload"
UIDS: Final = "12345"


def systemd_version() -> int:
    done = subprocess.run(
        [find("systemd-analyze"), "--version"], capture_output=True, check=True, text=True
    )
    found = re.match(r"systemd (\d+)", done.stdout)
    assert found
    return int(found[1])


@pytest.mark.req("DEPLOY-07")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    assert main(["init", "--deploy", str(tmp_path)]) == 0
    program = tmp_path / "bin" / "trio-socketio"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "trio-socketio.service"
    path.write_text(path.read_text().replace("/opt/trio-socketio/", f"{tmp_path}/"))
    done = subprocess.run(
        [find("systemd-analyze"), "verify", str(path), str(tmp_path / "trio-socketio.socket")],
        capture_output=True,
        check=False,
        text=True,
    )
    told = {line.partition(": ")[2] for line in done.stderr.splitlines()}
    assert told == ({NEW_TYPE} if systemd_version() < 253 else set())
    exposure = subprocess.run(
        [find("systemd-analyze"), "security", "--offline=true", str(path)],
        capture_output=True,
        check=True,
        text=True,
    )
    (level,) = re.findall(r"Overall exposure level for .*: (\S+)", exposure.stdout)
    assert float(level) <= EXPOSED


FORBID: Final = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    print("this kernel does not know PR_SET_MDWE", file=sys.stderr)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Does what MemoryDenyWriteExecute= does, as kernels can since 6.3, and runs a command."""


def confined(place: Place) -> list[str]:
    """Write the configuration; return a command that serves it within what the unit allows.

    The process is another user without rights, and may write into two folders of a file system
    that is read-only otherwise.
    """
    allowed = service()
    prepare = ["set -e", "mount --make-rprivate /"]
    folders = {"/run": allowed["RuntimeDirectory"], "/var/lib": allowed["StateDirectory"]}
    for parent, name in folders.items():
        own = place.folder / parent.rpartition("/")[2]
        own.mkdir()
        os.chown(own, int(UIDS), int(UIDS))
        prepare.append(f"mount --bind {shlex.quote(str(own))} /mnt")
        prepare.append(f"mount -t tmpfs -o mode=755 none {parent} && mkdir {parent}/{name}")
        prepare.append(f"mount --move /mnt {parent}/{name}")
    text = place.configure("a").read_text()
    text = text.replace(f"{place.folder}/run-a", f"/run/{allowed['RuntimeDirectory']}")
    text += '[chat]\nnamespaces = ["/chat"]\n[deliveries]\ndurable = ["/chat"]\n'
    (place.folder / "run" / "a.toml").write_text(text)
    rights = ["--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"]
    program = [str(ROOT / ".venv" / "bin" / name) for name in ("python", "trio-socketio")]
    command = [
        *(program[0], "-c", FORBID),
        *("setpriv", "--reuid", UIDS, "--regid", UIDS, "--clear-groups", *rights, "--"),
        *(program[1], "serve", "--config", f"/run/{allowed['RuntimeDirectory']}/a.toml"),
    ]
    prepare += ["mount -o remount,bind,ro /", f"exec {shlex.join(command)}"]
    return ["unshare", "--mount", "bash", "-c", "\n".join(prepare)]


def rights_of(process: int) -> dict[str, list[str]]:
    """What the kernel says of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return {key.rstrip(":"): values for key, *values in map(str.split, status.splitlines())}


@pytest.mark.req("DEPLOY-07")
@pytest.mark.time_limit(60)
@trio_test
async def test_the_program_serves_within_what_the_unit_allows(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this test makes a mount namespace: run make deployment as root"
    process = await trio.lowlevel.open_process(
        confined(Place(tmp_path)),
        stderr=subprocess.PIPE,
        env={**os.environ, "STATE_DIRECTORY": f"/var/lib/{service()['StateDirectory']}"},
    )
    try:
        node = ServingProcess(process)
        with trio.fail_after(20):
            port = await node.wait_port()
            rights = rights_of(process.pid)
            assert {*rights["Uid"]} == {UIDS}
            assert not int(rights["CapBnd"][0], 16)
            assert rights["NoNewPrivs"] == ["1"]
            async with open_client(port) as client:
                await client.connect()
            assert await node.end() == 0
        assert not [line for line in node.log if "ERROR" in line or "denied" in line]
        assert "state is kept in /var/lib/trio-socketio" in "\n".join(node.log)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def test_the_files_say_how_older_systemd_reloads() -> None:
    assert "\n# ExecReload=/bin/kill -HUP $MAINPID\n" in FILES["trio-socketio.service"]
