"""The command line: its help, the apps it finds, and what it says when it cannot."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio.testing import trio_test

import trio_socketio
from tests.cli_process import run_cli, serving
from tests.wire import HttpClient, open_client
from trio_socketio import ServerOptions
from trio_socketio.cli import main
from trio_socketio.errors import ConfigurationError

OPTIONS = {
    "--config": "FILE",
    "--app": "FILE.py[:NAME]|MODULE[:NAME]",
    "--host": "HOST",
    "--port": "PORT",
    "--workers": "N|auto",
    "--unix": "FILE",
    "--fd": "N",
    "--certfile": "FILE",
    "--keyfile": "FILE",
    "--control": "ADDRESS",
    "--admin": "HOST:PORT",
    "--redis": "URL",
    "--node": "NAME",
    "--adapter": "{pubsub}",
    "--internal": "HOST:PORT",
    "--cluster-secret-file": "FILE",
    "--path": "PATH",
    "--ping-interval": "S",
    "--ping-timeout": "S",
    "--upgrade-timeout": "S",
    "--connect-timeout": "S",
    "--stop-delay": "S",
    "--stop-window": "S",
    "--stop-grace": "S",
    "--max-payload": "BYTES",
    "--input-bound": "BYTES",
    "--input-bound-all": "BYTES",
    "--allow-eio3": "",
    "--parser": "{json,msgpack}",
    "--state-recovery,": "--no-state-recovery",
    "--state-recovery-duration": "S",
    "--transport": "{polling,websocket}",
    "--cookie": "[NAME]",
    "--cors-origin": "ORIGIN",
    "--cors-max-age": "S",
    "--serve-client": "FOLDER",
    "--trusted-proxy": "CIDR",
    "--max-connections": "N",
    "--max-connections-per-address": "N",
    "--max-unjoined-sessions": "N",
    "--max-unjoined-sessions-per-address": "N",
    "--max-dynamic-namespaces": "N",
    "--max-namespaces-founded-per-session": "N",
    "--cleanup-empty-child-namespaces,": "--no-cleanup-empty-child-namespaces",
    "--log-level": "{debug,info,warning,error}",
    "--log-format": "{text,json}",
    "--no-upgrades": "",
    "--no-destroy-upgrade": "",
    "--no-trailing-slash": "",
    "--no-http-compression": "",
    "--per-message-deflate": "",
    "--cors-credentials": "",
    "--no-serve-client": "",
}
DEFAULTS = {
    "--allow-eio3": "no",
    "--parser": ServerOptions().parser,
    "--state-recovery,": "no",
    "--state-recovery-duration": f"{ServerOptions().state_recovery_max_disconnection_s:g}",
    "--host": "127.0.0.1",
    "--port": "3000",
    "--control": "none",
    "--admin": "none",
    "--redis": "none, which serves a single node",
    "--node": "host:pid",
    "--adapter": "pubsub",
    "--internal": "none",
    "--path": ServerOptions().path,
    "--ping-interval": f"{ServerOptions().ping_interval_s:g}",
    "--ping-timeout": f"{ServerOptions().ping_timeout_s:g}",
    "--upgrade-timeout": f"{ServerOptions().upgrade_timeout_s:g}",
    "--connect-timeout": f"{ServerOptions().connect_timeout_s:g}",
    "--stop-delay": f"{ServerOptions().stop_delay_s:g}",
    "--stop-window": f"{ServerOptions().stop_window_s:g}",
    "--stop-grace": f"{ServerOptions().stop_grace_s:g}",
    "--max-payload": str(ServerOptions().max_http_buffer_size_bytes),
    "--input-bound": str(ServerOptions().input_bound_bytes),
    "--input-bound-all": str(ServerOptions().input_bound_all_bytes),
    "--transport": "both",
    "--cookie": "none; without a NAME: io",
    "--workers": "1",
    "--cors-origin": "none",
    "--cors-max-age": "their own choice",
    "--serve-client": "the npm package in the working directory",
    "--max-connections": str(ServerOptions().max_connections),
    "--max-connections-per-address": "no limit",
    "--max-unjoined-sessions": str(ServerOptions().max_unjoined_sessions),
    "--max-unjoined-sessions-per-address": str(ServerOptions().max_unjoined_sessions_per_address),
    "--max-dynamic-namespaces": str(ServerOptions().max_dynamic_namespaces),
    "--max-namespaces-founded-per-session": str(ServerOptions().max_namespaces_founded_per_session),
    "--cleanup-empty-child-namespaces,": "no",
    "--log-level": "info",
    "--log-format": "text",
}

APP = """
from trio_socketio import Server, ServerOptions
import beside

def create(options):
    sio = Server(options)
    sio.on("which")(lambda socket: "create")
    return sio

def second(options):
    sio = Server(options)
    sio.on("which")(lambda socket: "second")
    return sio

ready = Server()
ready.on("which")(lambda socket: "ready")
number = 5
def nothing(options): pass
async def later(options): return create(options)
def broken(options): raise LookupError("no\\nluck")
"""
FAILING = "import trio_socketio\n\nraise RuntimeError('out of\\nsomething')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody keeps apps."""
    (tmp_path / "chat.py").write_text(APP)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "typo.py").write_text("def create(:\n")
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    (tmp_path / "empty.py").write_text("")
    package = tmp_path / "rooms" / "main"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from chat import second as app\n")
    return tmp_path


def refusal(*arguments: str, cwd: Path | None = None) -> str:
    """What the command says, which must be one line and exit code 2."""
    ended = run_cli(*arguments, cwd=cwd)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.endswith("\n")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("trio-socketio")
    return line


# -- what it tells


def test_help_of_serve_names_every_option_with_its_default() -> None:
    ended = run_cli("serve", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    _, _, described = ended.stdout.partition("\noptions:\n")
    entries = re.split(r"^  (?=-)", described, flags=re.MULTILINE)[1:]
    told = {name: entry for entry in entries if (name := entry.split()[0]) != "-h,"}
    names = {name: entry.partition("  ")[0].split() for name, entry in told.items()}
    assert {name: " ".join(words[1:]) for name, words in names.items()} == OPTIONS
    texts = {name: " ".join(entry.split()[2:]) for name, entry in told.items()}
    defaults = {
        name: found[1]
        for name, text in texts.items()
        if name != "--app" and (found := re.search(r"\(default: (.*?)\)", text))
    }
    assert defaults == DEFAULTS
    assert "create, app, sio or server" in texts["--app"]
    assert "Times are in seconds" in ended.stdout
    assert "Exit codes: 0 after SIGTERM" in ended.stdout


def test_help_names_the_command() -> None:
    ended = run_cli("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in ("serve", "connect", "check-config", "init", "size"):
        assert re.search(rf"^ +{command}\s+\S", ended.stdout, re.MULTILINE)
    assert "--version" in ended.stdout


def test_version() -> None:
    ended = run_cli("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"trio-socketio {trio_socketio.__version__}\n"


def test_the_script_is_the_same_program() -> None:
    script = Path(sys.executable).with_name("trio-socketio")
    told = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == run_cli("--version").stdout


# -- the app


async def ask(port: int, event: str) -> str:
    async with open_client(port) as client:
        await client.connect()
        await client.emit(event, ack_id=1)
        text, _ = await client.receive()
        return text


@trio_test
async def test_without_an_app_the_lobby_is_served() -> None:
    async with serving() as server:
        assert await ask(await server.wait_port(), "list") == "31[{}]"


@pytest.mark.parametrize(
    ("app", "answers"),
    [
        ("chat.py", "create"),
        ("chat.py:second", "second"),
        ("chat.py:ready", "ready"),
        ("chat", "create"),
        ("chat:second", "second"),
        ("chat:ready", "ready"),
        ("rooms.main", "second"),
    ],
)
def test_an_app_is_found_by_file_or_module(folder: Path, app: str, answers: str) -> None:
    async def visit() -> None:
        async with serving("--app", app, cwd=folder) as server:
            assert await ask(await server.wait_port(), "which") == f'31["{answers}"]'

    trio.run(visit)


@trio_test
async def test_a_file_elsewhere_finds_what_lies_beside_it(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with serving("--app", str(folder / "chat.py"), cwd=elsewhere) as server:
        assert await ask(await server.wait_port(), "which") == '31["create"]'


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("missing.py", "--app missing.py: there is no such file"),
        ("rooms.py:app", "--app rooms.py:app: there is no such file"),
        ("missing", "No module named 'missing'"),
        ("missing.inner:app", "No module named 'missing'"),
        ("some/where", "'some/where' is neither a FILE.py nor a module"),
        ("", "'' is neither"),
        (".chat", "'.chat' is neither"),
        ("chat.py:missing", "it has no 'missing'"),
        ("chat:missing", "it has no 'missing'"),
        ("empty.py", "it has none of 'create', 'app', 'sio', 'server': name its Server, as in "),
        ("empty.py", ", as in --app empty.py:NAME"),
        ("chat.py:number", "number is neither a Server nor a function"),
        ("chat.py:nothing", "it returned NoneType, not a Server"),
        ("chat.py:later", "it returned coroutine, not a Server"),
        ("chat.py:broken", r"it failed: LookupError: no\nluck ("),
        ("failing.py", r"importing it failed: RuntimeError: out of\nsomething ("),
        ("failing", r"importing it failed: RuntimeError: out of\nsomething ("),
        ("typo.py", "importing it failed: SyntaxError: "),
        ("lacking.py", "No module named 'no_such_library' ("),
    ],
)
def test_an_app_that_cannot_be_served(folder: Path, app: str, says: str) -> None:
    line = refusal("serve", "--port", "0", "--app", app, cwd=folder)
    assert line.startswith(f"trio-socketio: --app {app}: ")
    assert says in line


def test_a_failing_app_is_told_with_file_and_line(folder: Path) -> None:
    line = refusal("serve", "--app", "failing.py", cwd=folder)
    assert line.endswith("failing.py:3)")


def test_the_traceback_of_a_failing_app_is_there_for_who_asks(folder: Path) -> None:
    ended = run_cli("serve", "--app", "failing.py", "--log-level", "debug", cwd=folder)
    assert ended.returncode == 2
    assert "    Traceback (most recent call last):" in ended.stderr.splitlines()


# -- what it cannot do


@pytest.mark.req("CMD-13")
def test_a_port_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(path))
        local.listen()
        port = other.getsockname()[1]
        conf = tmp_path / "conf.toml"
        conf.write_text(f"[listen]\nport = {port}\n")
        address = f"127.0.0.1:{port}"
        lines = [
            refusal("serve", *arguments)
            for arguments in (
                ("--port", str(port)),
                ("--config", str(conf)),
                ("--port", "0", "--admin", address),
                ("--port", "0", "--control", f"unix:{path}"),
            )
        ]
    options = (
        ("--port", address, "port"),
        (f"{conf}: [listen] port", address, "port"),
        ("--admin", address, "port"),
        ("--control", path, "path"),
    )
    assert lines == [
        f"trio-socketio: {option}: cannot listen on {where}: another program has it; end that one, "
        f"or choose another {what}"
        for option, where, what in options
    ]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "192.0.2.1"])
def test_a_host_that_is_not_ours(host: str) -> None:
    assert "cannot listen on" in refusal("serve", "--port", "0", "--host", host)


@pytest.mark.parametrize("name", ["no/such/folder/socket", "x" * 120, "file"])
def test_a_unix_socket_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("precious")
    line = refusal("serve", "--unix", str(tmp_path / name))
    assert line.startswith(f"trio-socketio: cannot listen on {tmp_path / name}: ")
    assert "None" not in line
    assert (tmp_path / "file").read_text() == "precious"


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    chain, key, bad = (str(tmp_path / name) for name in ("chain.pem", "key.pem", "bad.pem"))
    certificate.cert_chain_pems[0].write_to_path(chain)
    other.private_key_pem.write_to_path(key)
    Path(bad).write_text("no certificate")
    missing = str(tmp_path / "missing.pem")

    def said(*arguments: str) -> str:
        return refusal("serve", "--port", "0", *arguments).removeprefix("trio-socketio: ")

    assert said("--certfile", missing) == f"--certfile: certificate file not found: {missing}"
    assert (
        said("--certfile", chain, "--keyfile", missing)
        == f"--keyfile: key file not found: {missing}"
    )
    assert said("--keyfile", key) == "--keyfile needs --certfile"
    assert said("--certfile", bad).startswith(f"--certfile: cannot use certificate {bad}")
    assert said("--certfile", chain).startswith(
        f"--certfile: cannot use certificate {chain}"
    )  # has no key
    unlike = said("--certfile", chain, "--keyfile", key)
    assert unlike.startswith(f"--certfile: cannot use certificate {chain} with key {key}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["serve", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["serve", "--ping", "3"], "unrecognized arguments: --ping"),
        (["serve", "--nonsense"], "(see trio-socketio serve --help)"),
        (["serve", "--cors-origins", "*"], "--cors-origins *; did you mean --cors-origin?"),
        (["serve", "--prot=80"], "--prot=80; did you mean --port?"),
        (["serve", "chat.py"], "unrecognized arguments: chat.py; did you mean --app chat.py?"),
        (["connect", "http://a", "--name-space", "/"], "did you mean --namespace?"),
        (["serve", "--port"], "argument --port: expected one argument"),
        (["serve", "--port", "99999"], "argument --port: '99999' is not a port (0 to 65535)"),
        (["serve", "--port", "-1"], "argument --port: '-1' is not a port"),
        (["serve", "--port", "http"], "argument --port: 'http' is not a port"),
        (
            ["serve", "--ping-interval", "-1"],
            "argument --ping-interval: '-1' is not a number of seconds",
        ),
        (
            ["serve", "--ping-timeout", "-0.5"],
            "argument --ping-timeout: '-0.5' is not a number of seconds",
        ),
        (
            ["serve", "--ping-timeout", "0"],
            "argument --ping-timeout: '0' is not a number of seconds",
        ),
        (
            ["serve", "--connect-timeout", "nan"],
            "argument --connect-timeout: 'nan' is not a number of seconds",
        ),
        (
            ["serve", "--upgrade-timeout", "soon"],
            "argument --upgrade-timeout: 'soon' is not a number of seconds",
        ),
        (
            ["serve", "--ping-timeout", "1e9"],
            "'1e9' is not a number of seconds (above 0, at most 31536000, which is a year)",
        ),
        (
            ["serve", "--stop-delay", "-1"],
            "'-1' is not a number of seconds (0 to 31536000, which is a year)",
        ),
        (["serve", "--stop-grace", "inf"], "'inf' is not a number of seconds (0 to 31536000"),
        (["serve", "--stop-window", "nan"], "'nan' is not a number of seconds (0 to 31536000"),
        (["serve", "--cors-max-age", "-1"], "'-1' is not a whole number (0 or more)"),
        (["serve", "--fd", "x"], "argument --fd: 'x' is not a whole number (0 or more)"),
        (["serve", "--max-payload", "0"], "argument --max-payload: '0' is not a whole number"),
        (["serve", "--max-payload", "1e6"], "argument --max-payload: '1e6' is not a whole number"),
        (["serve", "--max-connections", "-5"], "argument --max-connections: '-5' is not a whole"),
        (["serve", "--max-dynamic-namespaces", "0"], "argument --max-dynamic-namespaces: '0'"),
        (["serve", "--trusted-proxy", "10.0.0.0/99"], "argument --trusted-proxy: '10.0.0.0/99'"),
        (["serve", "--trusted-proxy", "10.0.0.1/8"], "10.0.0.1/8 has host bits set"),
        (["serve", "--log-level", "loud"], "argument --log-level: invalid choice: 'loud'"),
        (["serve", "--log-format", "xml"], "argument --log-format: invalid choice: 'xml'"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith("trio-socketio")
    assert says in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "99999"], "argument --port: '99999' is not a port (0 to 65535)"),
        (["--ping-interval", "-1"], "argument --ping-interval: '-1' is not a number of seconds"),
        (["--trusted-proxy", "10.0.0.0/99"], "argument --trusted-proxy: '10.0.0.0/99'"),
        (["--ping-interval", "2147483"], "at most 2147483 together with ping_timeout_s"),
        (["--path", "relative"], "path: must be an absolute URL path, not 'relative'"),
    ],
)
def test_nonsense_ends_the_process_with_one_line(arguments: list[str], says: str) -> None:
    assert says in refusal("serve", *arguments)


def test_an_interrupt_before_serving_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # may be ignored from outside
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ended = run_cli("serve", "--app", "app.py", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


# -- listening elsewhere


@pytest.mark.req("CMD-01", "CMD-04")
@pytest.mark.parametrize(
    ("hosts", "ips"),
    [
        (["127.0.0.1", "::1"], ["127.0.0.1", "[::1]"]),
        (["127.0.0.2", "127.0.0.1"], ["127.0.0.2", "127.0.0.1"]),
        (["all"], ["0.0.0.0", "[::]"]),
    ],
)
@trio_test
async def test_serving_on_several_addresses(hosts: list[str], ips: list[str]) -> None:
    async with serving(*(part for host in hosts for part in ("--host", host))) as server:
        urls = (await server.wait_url()).split(", ")
        port = server_port(urls[0])
        assert urls == [f"http://{ip}:{port}/socket.io/" for ip in ips]
        for host in ("127.0.0.1", "::1") if hosts == ["all"] else hosts:
            http = HttpClient(0, await trio.open_tcp_stream(host, port))
            answer: Any = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            assert answer.status == 200
            await http.aclose()


def server_port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


@pytest.mark.req("CMD-03")
def test_hosts_that_overlap() -> None:
    line = refusal("serve", "--port", "0", "--host", "127.0.0.1", "--host", "127.0.0.1")
    assert (
        line == "trio-socketio: hosts '127.0.0.1' and '127.0.0.1' both name 127.0.0.1: give it once"
    )
    line = refusal("serve", "--port", "0", "--host", "all", "--host", "::1")
    assert "hosts 'all' and '::1' overlap" in line


@pytest.mark.req("CMD-10")
@pytest.mark.parametrize(("other", "value"), [("host", "127.0.0.1"), ("port", "0")])
def test_a_host_or_port_and_a_unix_socket(tmp_path: Path, other: str, value: str) -> None:
    line = refusal("serve", f"--{other}", value, "--unix", str(tmp_path / "socket"))
    says = f"--unix does not listen on a {other}: leave out either it or --{other}"
    assert line == f"trio-socketio: {says}"


@trio_test
async def test_serving_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving("--unix", str(path)) as server:
        assert await server.wait_url() == f"unix:{path}"
        http = HttpClient(0, await trio.open_unix_socket(str(path)))
        answer: Any = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
        assert answer.status == 200
        await http.aclose()
        line = await trio.to_thread.run_sync(refusal, "serve", "--unix", str(path))
        told = "another program has it; end that one, or choose another path"
        assert line.endswith(f"--unix: cannot listen on {path}: {told}")
        server.process.kill()
        await server.wait_end()
    assert path.exists()  # left by the one that was killed; the next takes its place
    async with serving("--unix", str(path)) as server:
        await server.wait_url()
        assert await server.end() == 0
    assert not path.exists()


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the command does when the program ends with an error."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("trio_socketio.cli.serve.ignore_hang_ups", lambda: None)
    monkeypatch.setattr("trio_socketio.cli.serve._freeze", lambda: None)
    monkeypatch.setattr("trio_socketio.cli.serve.trio.run", fail)
    return main(["serve"])


def test_every_fault_in_a_group_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [ConfigurationError("the first"), ConfigurationError("the second")]
    group = ExceptionGroup("g", [faults[0], ExceptionGroup("h", [faults[1]])])
    assert end_with(group, monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        "trio-socketio: the first",
        "trio-socketio: the second",
    ]


@pytest.mark.parametrize("first", [True, False])
def test_another_failure_is_not_hidden_behind_a_fault(
    monkeypatch: pytest.MonkeyPatch, *, first: bool
) -> None:
    errors = [ConfigurationError("a fault"), KeyError("a defect")]
    group = ExceptionGroup("g", errors if first else errors[::-1])
    with pytest.raises(ExceptionGroup) as raised:
        end_with(group, monkeypatch)
    assert raised.value is group
