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
        ("[app]\nspec = 'none.py'", "conf.toml: [app] spec none.py: there is no file none.py"),
        ("[listen]\ncertfile = 'none.pem'", "certificate file not found: none.pem"),
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
        "certificate file not found: none.pem",
        "certificate file not found: admin.pem",
        "certificate file not found: control.pem",
        "token a: cannot read no.token: No such file or directory",
        "none holds no socket.io.js, so it is not a folder of the browser's client",
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
