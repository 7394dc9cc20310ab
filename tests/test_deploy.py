"""``init --deploy``: what it writes, and that its files agree with one another and the program.

What needs nginx, HAProxy, Prometheus or systemd is tested by `make deployment`.
"""

import os
import re
import signal
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import serving
from tests.deployed_files import (
    FILES,
    alerts,
    dashboard,
    expressions,
    header,
    image_command,
    image_variables,
    instructions,
    labels_grouped_by,
    metrics_in,
    service,
    unit,
)
from tests.redis_server import RedisServer
from tests.test_cli_services import free_port, get
from tests.wire import open_client
from trio_socketio import EngineOptions, ServerOptions
from trio_socketio.cli import main
from trio_socketio.descriptors import RESERVE

CONFIGURATION: Final[dict[str, Any]] = tomllib.loads(FILES["trio-socketio.toml"])


# --- the command


@pytest.mark.req("DEPLOY-01")
def test_every_file_is_written_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "deploy"
    assert main(["init", "--deploy", str(folder)]) == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == FILES
    packaged = Path(sys.modules["trio_socketio.cli"].__path__[0], "deploy")
    assert {path.name for path in packaged.iterdir()} == {*FILES}
    told = capsys.readouterr().out
    assert told.startswith(f"wrote {folder}\n")
    listed = re.findall(r"^  (\S+)  +\S", told.partition("next, ")[0], re.MULTILINE)
    assert listed == [*FILES]
    for step in ("useradd", header("trio-socketio.toml"), "systemctl enable --now trio-socketio"):
        assert step in told.partition("next, ")[2]


@pytest.mark.req("DEPLOY-02")
def test_nothing_is_written_beside_a_file_that_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nginx.conf").write_text("mine")
    (tmp_path / "haproxy.cfg").symlink_to(tmp_path / "nowhere")
    assert main(["init", "--deploy", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"trio-socketio: {tmp_path} has nginx.conf, haproxy.cfg already, and nothing was written: "
        "name another folder, or replace them with --force\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"nginx.conf", "haproxy.cfg"}
    assert (tmp_path / "nginx.conf").read_text() == "mine"


@pytest.mark.req("DEPLOY-03")
def test_force_replaces_these_files_and_no_others(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "nginx.conf").write_text("old, and longer than what takes its place" * 1000)
    (tmp_path / "haproxy.cfg").symlink_to(other)
    assert main(["init", "--deploy", str(tmp_path), "--force"]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        **FILES,
        "other": "mine",
    }
    file = tmp_path / "trio-socketio.toml"
    assert main(["init", str(file)]) == 2
    assert file.read_text() == FILES["trio-socketio.toml"]
    assert main(["init", str(file), "--force"]) == 0
    assert "#ping_interval_s = 25.0" in file.read_text()


@pytest.mark.req("DEPLOY-04")
def test_what_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["init", "--deploy", str(file / "folder")]) == 2
    assert f"cannot write {file / 'folder'}: {os.strerror(20)}" in capsys.readouterr().err
    (tmp_path / "nginx.conf").mkdir()
    assert main(["init", "--deploy", str(tmp_path), "--force"]) == 2
    assert f"cannot write {tmp_path / 'nginx.conf'}: " in capsys.readouterr().err
    assert main(["init", "mine.toml", "--deploy", str(tmp_path / "x")]) == 2
    assert "leave out mine.toml" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# --- the files, beside one another


@pytest.mark.req("DEPLOY-05")
def test_the_configuration_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "trio-socketio.toml"
    text = FILES[path.name].replace("/run/trio-socketio", str(tmp_path))
    path.write_text(text.replace("# allow_eio3", "allow_eio3").replace("# origins", "origins"))
    assert main(["check-config", str(path)]) == 0


@pytest.mark.req("DEPLOY-05")
def test_all_files_name_the_same_places() -> None:
    listen = "127.0.0.1:{port}".format_map(CONFIGURATION["listen"])
    assert CONFIGURATION["listen"]["host"] == ["127.0.0.1"]
    ((_, stream),) = [one for one in unit("trio-socketio.socket")["Socket"] if "Stream" in one[0]]
    assert stream == listen
    passed_on = re.findall(r"^    server (127\S+) max_fails=0;$", FILES["nginx.conf"], re.MULTILINE)
    assert passed_on == [listen]
    proxied = re.findall(r"^    server a (\S+)$", FILES["haproxy.cfg"], re.MULTILINE)
    assert proxied == [listen, listen]
    admin = CONFIGURATION["admin"]["listen"]
    assert f"check inter 1s port {admin.rpartition(':')[2]}\n" in FILES["haproxy.cfg"]
    assert f"--config {header('trio-socketio.toml')}" in service()["ExecStart"]
    (control,) = CONFIGURATION["control"]["listen"]
    assert control.startswith(f"unix:/run/{service()['RuntimeDirectory']}/")
    variables = image_variables()
    assert variables["TRIO_SOCKETIO__CONTROL__LISTEN"] == control
    assert variables["TRIO_SOCKETIO__ADMIN__LISTEN"] == admin
    assert ("EXPOSE", variables["TRIO_SOCKETIO__LISTEN__PORT"]) in instructions()
    assert variables["TRIO_SOCKETIO__STATE__FOLDER"] == f"/var/lib/{service()['StateDirectory']}"


@pytest.mark.req("DEPLOY-06")
def test_the_unit_leaves_room_for_what_the_configuration_allows() -> None:
    connections = CONFIGURATION["connections"]["max_connections"]
    assert int(service()["LimitNOFILE"]) >= 2 * connections + RESERVE
    stop = {"delay_s": 5, "window_s": 20}  # what the comment says of several nodes
    assert "delay_s = 5 and window_s = 20" in FILES["trio-socketio.toml"]
    options = ServerOptions()
    rest = 3 * options.stop_grace_s + options.stop_flush_s
    assert int(service()["TimeoutStopSec"]) > sum(stop.values()) + rest


@pytest.mark.req("DEPLOY-07")
def test_the_unit_allows_little() -> None:
    found = service()
    assert found["Type"] == "notify-reload"
    assert found["WatchdogSec"] == "30"
    assert found["User"] == found["Group"] == "trio-socketio"
    assert found["CapabilityBoundingSet"] == ""
    assert found["ProtectSystem"] == "strict"
    assert {key for key, value in found.items() if value == "yes"} >= {
        *("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"),
        *("ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups"),
        *("RestrictNamespaces", "RestrictSUIDSGID", "MemoryDenyWriteExecute", "LockPersonality"),
    }
    assert "ReadWritePaths" not in found


@pytest.mark.req("DEPLOY-08")
def test_proxies_wait_for_longer_than_a_client_may_be_silent() -> None:
    engine = EngineOptions()
    silence_s = engine.ping_interval_s + engine.ping_timeout_s
    nginx = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", FILES["nginx.conf"])
    haproxy = re.findall(r"timeout (?:client|server) (\d+)s", FILES["haproxy.cfg"])
    assert len(nginx) == len(haproxy) == 2
    assert all(int(time_s) > silence_s for time_s in nginx + haproxy)
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", FILES["nginx.conf"])
    assert int(megabytes) * 1024**2 > engine.max_http_buffer_size_bytes


# --- the image


@pytest.mark.req("DEPLOY-09")
def test_the_image_runs_without_rights_and_holds_no_secret() -> None:
    found = instructions()
    bases = [rest.partition(" AS ")[0] for name, rest in found if name == "FROM"]
    assert len({*bases}) == 1
    tag = bases[0].rpartition("/")[2].partition(":")[2]
    assert re.match(r"\d+\.\d+", tag)
    last = len(found) - 1 - [name for name, _ in reversed(found)].index("FROM")
    (user,) = [rest for name, rest in found[last:] if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert not {name for name, _ in found} & {"ADD", "ARG", "VOLUME"}
    copied = [rest.split()[-2] for name, rest in found if name == "COPY"]
    assert copied == ["trio_socketio-*.whl", "/opt/trio-socketio"]
    secret = re.compile("TOKEN|SECRET|PASSWORD|KEY")
    assert not [name for name in image_variables() if secret.search(name)]


@pytest.mark.req("DEPLOY-10")
@trio_test
async def test_the_health_of_the_container_is_that_of_the_program(tmp_path: Path) -> None:
    admin, port = free_port(), free_port()
    places = {"/run/trio-socketio": "run", "/var/lib/trio-socketio": "state"}
    variables = image_variables()
    for name, value in variables.items():
        for place, own in places.items():
            value = value.replace(place, str(tmp_path / own))
        variables[name] = value.replace("9100", str(admin)).replace("3000", str(port))
    del variables["TRIO_SOCKETIO__LISTEN__PORT"]  # given below
    assert image_command("ENTRYPOINT") == ["/opt/trio-socketio/bin/trio-socketio"]
    assert image_command("CMD") == ["serve"]
    python, option, code = image_command("HEALTHCHECK")
    assert (python, option) == ("/opt/trio-socketio/bin/python", "-c")

    async def is_healthy() -> bool:  # here, because an interpreter takes long to start
        try:
            await trio.to_thread.run_sync(exec, code.replace("9100", str(admin)), {})
        except OSError:
            return False
        return True

    async with serving(
        "--stop-delay", "60", port=port, cwd=tmp_path, variables=variables
    ) as program:
        assert await program.wait_port() == port
        assert await is_healthy()
        assert (tmp_path / "run" / "control.sock").exists()
        assert (tmp_path / "state").is_dir()
        program.process.send_signal(signal.SIGTERM)
        await program.wait_logged("SIGTERM")
        assert (await get(admin, "/readyz")).status == 503
        assert await is_healthy()
        program.process.send_signal(signal.SIGTERM)
        assert await program.wait_end() == 0
    assert not await is_healthy()


# --- alerts and the dashboard

APP: Final = """
from trio_socketio import Server
sio = Server()
@sio.on("connection")
async def connected(socket):
    pass
"""
EVERYTHING: Final = """
[app]
spec = "app.py"
[control]
listen = ["unix:{folder}/run/control.sock"]
[admin]
listen = "127.0.0.1:{admin}"
[identity]
jwt.keys = [{{ file = "key", algorithm = "HS256" }}]
namespaces = [{{ name = "/", methods = [] }}]
[presence]
namespaces = [{{ name = "/chat" }}]
webhook = {{ namespaces = ["/chat"], url = "http://127.0.0.1:9/", secret_file = "key" }}
[chat]
namespaces = ["/chat"]
[rules]
user.per_s = 100
"""
OF_PROMETHEUS: Final = {"instance", "job"}
"""Labels that Prometheus itself sets."""


def turn_everything_on(folder: Path, admin: int, more: str) -> None:
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "key").write_text("0123456789abcdef" * 4)
    (folder / "all.toml").write_text(EVERYTHING.format(folder=folder, admin=admin) + more)


async def scrape(folder: Path, more: str) -> dict[str, set[str]]:
    """The metrics of a server with everything turned on, with the labels that are seen."""
    admin = free_port()
    turn_everything_on(folder, admin, more)
    async with serving("--config", "all.toml", cwd=folder) as program:
        async with open_client(await program.wait_port()) as client:
            await client.connect()
        text = (await get(admin, "/metrics")).text
        with trio.fail_after(20):  # workers are found, and tried, after the start
            while "[workers]" in more and "tsio_forwarding_possible{" not in text:
                await trio.sleep(0.2)
                text = (await get(admin, "/metrics")).text
    families = {name: set[str]() for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        families.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return families


@pytest.mark.req("DEPLOY-11")
@trio_test
async def test_alerts_and_dashboard_ask_for_metrics_that_exist(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    families = await scrape(
        tmp_path / "a",
        f'[redis]\nurl = "{redis_server.tcp_url}"\n[cluster]\nnode = "a"\n[workers]\ncount = 2\n',
    )
    alone = await scrape(tmp_path / "b", '[state]\nfolder = "state"\n')
    for name, labels in alone.items():
        families.setdefault(name, set()).update(labels)
    assert len(families) > 100
    asked = Counter[str]()
    for expression in expressions():
        found = metrics_in(expression)
        assert found or expression.startswith("up{"), expression
        for name, labels in found.items():
            assert name in families, expression
            asked[name] += 1
            if families[name]:  # a counter has no labels before it has counted
                wanted = labels | labels_grouped_by(expression)
                assert wanted - OF_PROMETHEUS - {"le"} <= families[name], expression
    assert len(asked) > 40


@pytest.mark.req("DEPLOY-12")
def test_every_alert_says_what_has_happened_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len({*names}) > 20
    for rule in alerts():
        assert {*rule} - {"for"} == {"alert", "expr", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {*rule["annotations"]} == {"summary", "description"}
        assert rule["annotations"]["description"].endswith(".")


@pytest.mark.req("DEPLOY-13")
def test_the_dashboard_is_laid_out() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 30
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (at["x"] + across, at["y"] + down)
            for across in range(at["w"])
            for down in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for number, target in enumerate(panel.get("targets", ())):
            assert target["refId"] == chr(ord("A") + number)
            assert "$instance" in target["expr"], panel["title"]
    assert [one["name"] for one in dashboard()["templating"]["list"]] == ["datasource", "instance"]
