"""What spec/guide/deploy.md shows can be done: its blocks are run, or read as their readers would.

`make deployment` has Prometheus read its files, too.
"""

import configparser
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trustme
import yaml
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.deployed_files import FILES, alerts, header, image_variables, instructions, service
from trio_socketio.control import open_control

GUIDE: Final = Path(__file__).resolve().parents[1] / "spec" / "guide" / "deploy.md"
TEXT: Final = GUIDE.read_text(encoding="utf-8")
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)


def blocks(kind: str, part: str = "") -> list[str]:
    return [code for one, code in BLOCKS if one == kind and part in code]


def block(kind: str, part: str = "") -> str:
    """The only block of a kind that has a part in it."""
    (found,) = blocks(kind, part)
    return found


def test_all_kinds_of_blocks_are_read() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "ini", "toml", "yaml", "python", ""}
    assert [len(blocks(kind)) for kind in ("ini", "toml", "yaml", "python", "")] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("code", blocks("sh"), ids=lambda code: code.split("\n", 1)[0][:40])
def test_the_shell_understands_the_commands(code: str) -> None:
    done = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_files_are_written_and_used_where_they_say_that_they_belong(tmp_path: Path) -> None:
    (command,) = block("sh", "init --deploy").splitlines()
    done = run_cli(*shlex.split(command)[1:], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = "\n".join(blocks("sh"))
    used = re.findall(r"(?<![/\w])deploy/([\w.-]+)", text)
    assert {*used} == {
        *("trio-socketio.toml", "trio-socketio.service", "trio-socketio.socket"),
        *("nginx.conf", "haproxy.cfg"),
    }
    assert {*used} < {path.name for path in (tmp_path / "deploy").iterdir()}
    for name in ("trio-socketio.toml", "nginx.conf", "haproxy.cfg"):
        assert str(Path(header(name)).parent) in text
    listed = re.findall(r"`([\w.-]+)`", TEXT.partition("| file | what")[2].partition("\n\n")[0])
    assert listed == [*FILES]
    assert (
        f"useradd --system --no-create-home --shell /usr/sbin/nologin {service()['User']}" in text
    )
    program = service()["ExecStart"].split()[0]
    assert f"{program} check-config {header('trio-socketio.toml')}" in text


class Bash:
    """Runs scripts of the guide where programs that need a whole machine only write down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "bin").mkdir()

    def stub(self, name: str, does: str = "") -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{does}\n')
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **variables: str) -> int:
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        command = ["bash", "-c", script, "script", *arguments]
        return subprocess.run(command, env={"PATH": path, **variables}, check=False).returncode


@pytest.fixture
def bash(tmp_path: Path) -> Bash:
    return Bash(tmp_path)


@pytest.mark.parametrize("proxy", ["haproxy", "nginx"])
def test_a_renewed_certificate_reaches_the_proxy(bash: Bash, proxy: str) -> None:
    script = block("sh", "RENEWED_LINEAGE").replace("/etc/haproxy", str(bash.folder / "haproxy"))
    for name in ("fullchain", "privkey"):
        (bash.folder / f"{name}.pem").write_text(f"{name}\n")
    certs = bash.folder / "haproxy" / "certs"
    if proxy == "haproxy":
        certs.mkdir(parents=True)
    bash.stub("systemctl")
    assert bash.run(script, RENEWED_LINEAGE=str(bash.folder)) == 0
    assert bash.calls.read_text() == f"systemctl reload {proxy}\n"
    if proxy == "haproxy":
        (file,) = certs.iterdir()
        assert file.read_text() == "fullchain\nprivkey\n"
        assert file.stat().st_mode & 0o777 == 0o600


def test_nodes_are_upgraded_until_one_does_not_come_back(bash: Bash) -> None:
    script = block("sh", "# roll.sh")
    bash.stub("sleep")
    bash.stub("ssh", '[ "$1 $2" != "b curl" ]')
    assert bash.run(script, "a", "b", "c") == 1
    calls = bash.calls.read_text().splitlines()
    assert [call.split()[1] for call in calls if "restart" in call] == ["a", "b"]
    assert calls.count("sleep 1") == 59


def test_the_files_of_units_are_drop_ins() -> None:
    for code in blocks("ini"):
        parser = configparser.ConfigParser()
        parser.read_string(code)
        assert parser.sections() == ["Service"]
    (limit,) = re.findall(r"^LimitNOFILE=(\d+)$", block("ini", "haproxy"), re.MULTILINE)
    assert limit == service()["LimitNOFILE"]
    assert f"`LimitNOFILE={limit}`" in TEXT


def test_the_limits_of_the_kernel_are_there() -> None:
    for line in block("", "sysctl.d").splitlines()[1:]:
        name, value = line.split(" = ")
        assert all(number.isdecimal() for number in value.split())
        path = Path("/proc/sys", *name.split("."))
        assert path.exists() or "nf_conntrack" in name  # which is there where a firewall is


def test_the_configurations_can_be_used(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    for name in ("fullchain.pem", "admin.pem", "privkey.pem"):
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    (secret,) = re.findall(r"^\(.*\)$", block("sh", "shop.token"), re.MULTILINE)
    subprocess.run(["bash", "-c", secret], cwd=tmp_path, check=True)
    token = tmp_path / "shop.token"
    assert len(token.read_text()) > 40
    assert token.stat().st_mode & 0o777 == 0o640
    token.rename(tmp_path / "prometheus.token")
    for number, code in enumerate(blocks("toml")):
        file = tmp_path / f"{number}.toml"
        text = code.replace("/etc/trio-socketio", str(tmp_path))
        file.write_text(text.replace("10.0.0.11:", "127.0.0.1:"))
        done = run_cli("check-config", str(file))
        assert (done.returncode, done.stderr) == (0, "")


def test_prometheus_finds_the_servers_and_the_rules() -> None:
    for code in blocks("yaml"):
        document: dict[str, Any] = yaml.safe_load(code)
        (job,) = document["scrape_configs"]
        assert document["rule_files"] == [header("prometheus-rules.yaml")]
        named = [rule["expr"] for rule in alerts() if "job=" in rule["expr"]]
        assert named
        assert all(f'job="{job["job_name"]}"' in expression for expression in named)
    admin = tomllib.loads(FILES["trio-socketio.toml"])["admin"]["listen"]
    assert f'targets: ["{admin}"]' in blocks("yaml")[0]


def test_all_critical_alerts_have_a_row() -> None:
    table = TEXT.partition("| alert | where to look first |")[2].partition("\n\n")[0]
    named = {*re.findall(r"`(SocketIO\w+)`", table)}
    assert named == {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "critical"}
    assert {*re.findall(r"`(SocketIO\w+)`", TEXT)} <= {rule["alert"] for rule in alerts()}


def test_the_container_is_run_as_its_file_says() -> None:
    words = shlex.split(block("sh", "podman run"))
    values = dict(pairwise(words))
    volumes = [after for word, after in pairwise(words) if word == "--volume"]
    (folders,) = [rest for name, rest in instructions() if "install -d" in rest]
    assert all(volume.partition(":")[2] in folders for volume in volumes)
    port = image_variables()["TRIO_SOCKETIO__LISTEN__PORT"]
    assert values["--publish"].endswith(f":{port}:{port}")
    assert values["--stop-timeout"] == service()["TimeoutStopSec"]
    shown = FILES["Containerfile"].replace("\n#     ", "\n")
    assert (
        block("sh", "podman run").split()
        == shown[shown.index("podman run") :].replace("#", "").split()
    )


@trio_test
async def test_the_state_is_copied_while_the_server_runs(tmp_path: Path) -> None:
    state, control = tmp_path / "state", f"unix:{tmp_path / 'run' / 'control.sock'}"
    variables = {"TRIO_SOCKETIO__STATE__FOLDER": str(state)}
    copy = tmp_path / "copy.sqlite3"
    async with serving("--control", control, cwd=tmp_path, variables=variables) as server:
        await server.wait_port()
        async with open_control(control) as backend:
            await backend.call("namespaces.create", {"namespace": "/shop", "identity": []})
        code = block("python", "# backup.py")
        arguments = [sys.executable, "-c", code, str(state / "state.sqlite3"), str(copy)]
        await trio.run_process(arguments)
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT count(*) FROM namespaces").fetchone() == (1,)
