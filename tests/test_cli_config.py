"""``serve --config``, ``check-config`` and ``init`` as processes."""

import os
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.test_cli_options import APP, handshake
from trio_socketio.cli import main


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "conf.toml"


def write(conf: Path, text: str) -> None:
    conf.write_text(text)


@pytest.mark.req("CFG-01", "CFG-06")
@pytest.mark.parametrize("name", ["as_server", "deaf", "stubborn"])
def test_serve_reads_its_options_from_all_sources(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    app = tmp_path / "own_options.py"
    app.write_text(APP)
    conf.write_text(
        f'[app]\nspec = "{app}:{name}"\n[engine]\npath = "/file/"\nping_interval_s = 11\n'
    )
    monkeypatch.setenv("TRIO_SOCKETIO__ENGINE__PATH", "/environment")
    monkeypatch.setenv("TRIO_SOCKETIO__ENGINE__MAX_HTTP_BUFFER_SIZE_BYTES", "8888")

    async def main() -> None:
        async with serving("--config", str(conf), "--max-payload", "7777") as server:
            url = await server.wait_url()
            assert url.endswith("/environment/")
            port = int(url.split(":")[2].partition("/")[0])
            told = await handshake(port, "/environment/")
            assert told == {"pingInterval": 11000, "pingTimeout": 3000, "maxPayload": 7777}

    trio.run(main)


@pytest.mark.req("CFG-08")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "conf.toml: cannot be read: No such file or directory"),
        ("[engine", "conf.toml: is not TOML: "),
        ("[engin]", "conf.toml: unknown table [engin]; did you mean [engine]?"),
        (
            "[engine]\nping_interval_s = 'x'",
            "conf.toml: [engine] ping_interval_s: expected a number, not 'x'",
        ),
        ("[app]\nspec = 'none.py'", "conf.toml: [app] spec none.py: there is no such file"),
        (
            "[listen]\ncertfile = 'none.pem'",
            "conf.toml: [listen] certfile: certificate file not found: none.pem",
        ),
        ("[stop]\ndelay_s = inf", "conf.toml: [stop] delay_s: expected a number of seconds"),
        (
            "[engine]\npath = 'x'\n[listen]\nport = -1",
            "conf.toml lists all)",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used(conf: Path, text: str | None, says: str) -> None:
    if text is not None:
        conf.write_text(text)
    ended = run_cli("serve", "--config", str(conf))
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("trio-socketio: ")
    assert says in line


@pytest.mark.req("CFG-19")
@pytest.mark.parametrize("source", ["file", "environment", "flag"])
def test_an_option_that_the_app_cannot_take_is_named_as_it_was_given(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    app = tmp_path / "chat.py"
    app.write_text(
        "from dataclasses import replace\nfrom trio_socketio import Server\n"
        "def create(options):\n    return Server(replace(options, cors_origins='*'))\n"
    )
    conf.write_text(f"[app]\nspec = '{app}'\n")
    arguments = ["serve", "--config", str(conf)]
    if source == "file":
        conf.write_text(conf.read_text() + "[cors]\ncredentials = true\n")
    elif source == "environment":
        monkeypatch.setenv("TRIO_SOCKETIO__CORS__CREDENTIALS", "true")
    else:
        arguments.append("--cors-credentials")
    ended = run_cli(*arguments)
    name = {
        "file": "[cors] credentials",
        "environment": "TRIO_SOCKETIO__CORS__CREDENTIALS",
        "flag": "--cors-credentials",
    }[source]
    assert ended.stderr == (
        f"trio-socketio: {conf}: [app] spec {app}: it failed: {name}: needs the origins by name, "
        f"but origins has * ({app}:4)\n"
    )


def test_a_wrong_variable_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_SOCKETIO__LISTEN__PROT", "80")
    ended = run_cli("serve")
    assert ended.returncode == 2
    says = "trio-socketio: TRIO_SOCKETIO__LISTEN__PROT: unknown option; did you mean port?\n"
    assert ended.stderr == says


@pytest.mark.req("CMD-11")
@trio_test
async def test_an_idle_option_of_a_file_is_warned_of(conf: Path) -> None:
    write(conf, "[cors]\ncredentials = true\n[recovery]\nmax_packets = 100000\n")
    async with serving("--config", str(conf), "--state-recovery-duration", "9") as server:
        await server.wait_url()
        told = [line.rpartition("WARNING ")[2] for line in server.log if "no effect" in line]
        assert told == [
            "trio_socketio.standalone: "
            f"{conf}: [cors] credentials has no effect without [cors] origins",
            "trio_socketio.standalone: "
            "--state-recovery-duration has no effect without --state-recovery",
        ]


# -- check-config


@pytest.mark.req("CFG-10")
def test_check_config_tells_all_errors(conf: Path) -> None:
    conf.write_text(
        "[engine]\npath = 'x'\npign = 1\n[listen]\nport = 'y'\ncertfile = 'none.pem'\n"
        "[client_files]\nfolder = 'none'\n[app]\nspec = 'none.py:app'\n"
        "[admin]\ncertfile = 'admin.pem'\n"
        "[control]\ncertfile = 'control.pem'\ntokens = [{name = 'a', file = 'no.token'}]\n"
    )
    ended = run_cli("check-config", str(conf))
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = [line.removeprefix("trio-socketio: ") for line in ended.stderr.splitlines()]
    assert lines == [
        f"{conf}: [listen] port: expected a whole number, not 'y'",
        f"{conf}: [engine] pign: unknown option",
        f"{conf}: [engine] path: must be an absolute URL path, not 'x'",
        f"{conf}: [app] spec: there is no file none.py",
        f"{conf}: [listen] certfile: there is no file none.pem",
        f"{conf}: [control] certfile: there is no file control.pem",
        f"{conf}: [admin] certfile: there is no file admin.pem",
        f"{conf}: [control] tokens: token a: cannot read no.token: No such file or directory",
        f"{conf}: [client_files] folder: none holds no socket.io.js, so it is not a folder of the "
        "browser's client: name that of the npm package, such as node_modules/socket.io-client",
    ]


def check(conf: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run check-config; return what it tells on standard error, without the name of the file."""
    main(["check-config", str(conf)])
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("trio-socketio: ").replace(f"{conf}: ", "") for line in lines]


@pytest.mark.req("CFG-10", "CFG-17")
def test_check_config_tries_what_it_can_without_a_port(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "a" / "b"
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "file").touch()
    (tmp_path / "broken.pem").write_text("no certificate")
    for name in ("first", "second"):
        (tmp_path / name).write_text("0123456789abcdef")
    conf.write_text(
        f"""
        [listen]
        host = ["no.such.host.invalid", "127.0.0.1", "nor.this.invalid"]
        certfile = "{tmp_path}/broken.pem"
        [control]
        listen = [
            "unix:{nowhere}/control.sock", "unix:{shared}/control.sock", "unix:{tmp_path}/file",
            "unix:{tmp_path}/{"x" * 120}", "tcp:localhost:1",
        ]
        tokens = [
            {{name = "a", file = "{tmp_path}/first"}}, {{name = "b", file = "{tmp_path}/second"}},
            {{name = "c", file = "{tmp_path}/file"}},
        ]
        backends.forward = [{{events = ["connection"]}}, {{namespace = "/a"}}]
        """
    )
    told = check(conf, capsys)
    certificate, *rest = told
    assert certificate.startswith(
        f"[listen] certfile: cannot use certificate {tmp_path}/broken.pem"
    )
    assert [line.partition(" (")[0].rpartition("; ")[0] or line for line in rest] == [
        "[control] tokens: the tokens a and b have the same secret",
        f"[control] tokens: token c: {tmp_path}/file must hold 16 to 4096 characters, such as "
        "those of: openssl rand -hex 32",
        f"[control] listen: cannot make the folder {nowhere} for the control socket: there is no "
        f"folder {nowhere.parent}",
        f"[control] listen: every user may write to the folder {shared}: put the control socket "
        f"into a folder of its own, such as {shared}/trio-socketio/control.sock",
        f"[control] listen: cannot listen on {tmp_path}/file: there is a file that is not a socket",
        f"[control] listen: cannot listen on {tmp_path}/{'x' * 120}: the path of a Unix socket has "
        "at most 107 bytes",
        "[listen] host: cannot listen on 'no.such.host.invalid': Name or service not known",
        "[listen] host: cannot listen on 'nor.this.invalid': Name or service not known",
    ]
    assert not nowhere.parent.exists()


@pytest.mark.req("CFG-36")
def test_check_config_finds_that_nothing_could_be_kept(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf.write_text("[deliveries]\ndurable = ['/chat']\n")
    assert check(conf, capsys) == [
        "[deliveries] durable: needs a place that outlives the program: set folder in [state], or "
        "url in [redis]"
    ]
    (tmp_path / "file").touch()
    conf.write_text(f"[state]\nfolder = '{tmp_path}/file'\n")
    assert check(conf, capsys) == [f"[state] folder: '{tmp_path}/file' is not a folder"]
    conf.write_text(f"[deliveries]\ndurable = ['/chat']\n[state]\nfolder = '{tmp_path}/state'\n")
    assert check(conf, capsys) == []
    assert not (tmp_path / "state").exists()


@pytest.mark.req("CFG-17")
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_check_config_finds_an_admin_port_that_is_open_to_others(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    conf.write_text(f'[admin]\nlisten = "{host}:9"\n')
    (fault,) = check(conf, capsys)
    assert fault.startswith(
        "[admin] listen: the admin port would be open to other machines: configure"
    )
    conf.write_text('[admin]\nlisten = "localhost:9"\n')
    assert check(conf, capsys) == []
    (tmp_path / "token").write_text("0123456789abcdef")
    tokens = f"[control]\ntokens = [{{name = 'a', file = '{tmp_path}/token'}}]\n"
    conf.write_text(f'[admin]\nlisten = "{host}:9"\n{tokens}')
    (fault,) = check(conf, capsys)
    assert fault.startswith("[admin] listen: the tokens for the admin port would pass in the clear")
    conf.write_text(f'[admin]\nlisten = "{host}:9"\nallow_cleartext = true\n{tokens}')
    assert check(conf, capsys) == []


@pytest.mark.req("CFG-17")
def test_check_config_finds_the_folder_of_the_public_socket(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf.write_text(f'[listen]\nunix = "{tmp_path}/no/a.sock"\n')
    assert check(conf, capsys) == [
        f"[listen] unix: cannot listen on {tmp_path}/no/a.sock: there is no folder {tmp_path}/no"
    ]


@pytest.mark.req("CFG-17")
@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("", "'' is neither a FILE.py nor a module"),
        ("a b:app", "'a b' is neither a FILE.py nor a module"),
        ("no_such_module.chat", "there is no module no_such_module"),
        ("no/such.py:app", "there is no file no/such.py"),
        ("trio_socketio.lobby:create", None),
    ],
)
def test_check_config_finds_the_app(
    conf: Path, capsys: pytest.CaptureFixture[str], spec: str, told: str | None
) -> None:
    conf.write_text(f'[app]\nspec = "{spec}"\n')
    assert check(conf, capsys) == ([] if told is None else [f"[app] spec: {told}"])


@pytest.mark.req("CFG-18")
def test_check_config_tells_of_each_item_of_a_list(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf.write_text(
        """
        [cors]
        origins = ["https://a.example/", "https://b.example", "c d"]
        [log]
        levels = {engine = "loud", weather = "info", control = "debug"}
        [listen]
        unix = "/nowhere/a.sock"
        port = 1
        [control]
        listen = ["udp:1", "unix:/tmp", "tls:127.0.0.1:1", "tcp:10.0.0.1:1"]
        tokens = [{name = "!", file = "", methods = ["emti", "rom.*", "emit", "Z"]}, {}]
        backends = {forward = [{events = []}, {namespace = 1}], deadline_s = 0}
        """
    )
    told = check(conf, capsys)
    for part in (
        "[cors] origins: no browser sends 'https://a.example/' as an origin",
        "[cors] origins: an origin is scheme://host[:port] as browsers send it",
        "[log.levels] engine: expected debug, info, warning or error, not 'loud'",
        "[log.levels] weather: 'weather' is not a part",
        "[listen] unix does not listen on a port",
        "[listen] unix: cannot listen on /nowhere/a.sock: there is no folder /nowhere",
        "[control] listen: 'udp:1' is not an address",
        "[control] listen: tls:127.0.0.1:1: write tcp: and set certfile for TLS",
        "[control] listen: tcp:10.0.0.1:1: a TCP address needs a token: set tokens; and secrets",
        "[control] tokens[0] name: expected letters, digits",
        "[control] tokens[0] file: expected the path of a file, not ''",
        "[control] tokens[0] methods: there is no method 'emti'; did you mean emit?",
        "[control] tokens[0] methods: there is no method 'rom.*'; did you mean rooms.*?",
        "[control] tokens[0] methods: expected NAME, PREFIX.* or *, not 'Z'",
        "[control] tokens[1] name: is missing",
        "[control] tokens[1] file: is missing",
        "[control.backends] forward[0] events: expected at least one name, or *",
        "[control.backends] forward[1] namespace: expected text, not 1",
        "[control.backends] deadline_s: must be above zero, not 0.0",
        "[control] listen: cannot listen on /tmp: there is a file that is not a socket",
    ):
        assert len([line for line in told if line.startswith(part)]) == 1, (part, told)
    assert len(told) == 20


@pytest.mark.req("CMD-11")
def test_check_config_warns_of_options_without_effect(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    conf.write_text(
        f"""
        [cors]
        credentials = true
        [control]
        tokens = [{{name = "a", file = "{tmp_path}/token"}}]
        backends.forward = [{{namespace = "/"}}]
        max_in_flight = 3
        auth_timeout_s = 10
        [admin]
        hosts = ["a.example"]
        """
    )
    assert main(["check-config", str(conf)]) == 0
    told = [line.replace(f"{conf}: ", "") for line in capsys.readouterr().err.splitlines()]
    assert told == [
        f"trio-socketio: warning: {line}"
        for line in (
            "[cors] credentials has no effect without [cors] origins",
            "[control.backends] forward has no effect without [control] listen",
            "[control] max_in_flight has no effect without [control] listen",
            "[control] tokens has no effect without [control] listen or [admin] listen",
            "[admin] hosts has no effect without [admin] listen",
        )
    ]


@pytest.mark.req("CFG-10")
def test_check_config_prints_what_a_configuration_comes_to(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = tmp_path / "chain.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(chain))
    conf.write_text(f"[engine]\nping_interval_s = 9\n[listen]\ncertfile = '{chain}'\n")
    monkeypatch.setenv("TRIO_SOCKETIO__STOP__GRACE_S", "1")
    assert main(["check-config", str(conf)]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert f"ping_interval_s = 9.0 # {conf}" in lines
    assert "grace_s = 1.0 # TRIO_SOCKETIO__STOP__GRACE_S" in lines
    assert "ping_timeout_s = 20.0 # default" in lines
    again = tmp_path / "again.toml"
    again.write_text(output)
    monkeypatch.delenv("TRIO_SOCKETIO__STOP__GRACE_S")
    assert main(["check-config", str(again)]) == 0


# -- init


@pytest.mark.req("CFG-11")
def test_init_writes_an_example_and_overwrites_nothing(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(conf)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {conf}; serve it with: ")
    example = conf.read_text()
    assert "\n#ping_interval_s = 25.0\n" in example
    assert main(["check-config", str(conf)]) == 0
    conf.write_text("# mine\n")
    capsys.readouterr()
    assert main(["init", str(conf)]) == 2
    assert capsys.readouterr().err == (
        f"trio-socketio: {conf} exists already, and is left as it is\n"
    )
    assert conf.read_text() == "# mine\n"
    assert main(["init", "-"]) == 0
    assert capsys.readouterr().out == example
    nowhere = str(conf / "conf.toml")
    assert main(["init", nowhere]) == 2
    assert f"cannot write {nowhere}: {os.strerror(20)}" in capsys.readouterr().err


@trio_test
async def test_the_example_can_be_served(conf: Path) -> None:
    assert main(["init", str(conf)]) == 0
    async with serving("--config", str(conf)) as server:
        assert (await server.wait_url()).endswith("/socket.io/")
        assert await server.end() == 0
