"""Files with secrets that everybody can read are told."""

from pathlib import Path

import pytest

from trio_socketio.cli import main
from trio_socketio.configuration.exposed import find_exposed
from trio_socketio.configuration.loading import Sources, load

CONFIGURATION = """
[listen]
certfile = "both"
[admin]
listen = "127.0.0.1:0"
certfile = "public"
keyfile = "key"
[control]
listen = ["tcp:127.0.0.1:0"]
tokens = [{ name = "ops", file = "token", methods = ["*"] }]
[redis]
url = "redis://h"
password_file = "password"
[cluster]
internal = "127.0.0.1:0"
secret_files = ["secret", "former"]
internal_tls_cert = "public"
internal_tls_key = "node.key"
internal_tls_ca = "public"
[identity]
tokens = [{ user = "u", file = "client" }]
jwt = { keys = [{ file = "hs", algorithm = "HS256" }, { file = "public", algorithm = "RS256" }] }
des = { key_file = "des", iv_file = "iv" }
[presence]
webhook = { url = "https://h/", secret_file = "hook", namespaces = ["/"] }
"""
NAMED = {
    "both": "[listen] certfile",
    "key": "[admin] keyfile",
    "token": "[control] tokens",
    "password": "[redis] password_file",
    "secret": "[cluster] secret_files",
    "former": "[cluster] secret_files",
    "node.key": "[cluster] internal_tls_key",
    "client": "[identity] tokens",
    "hs": "[identity] jwt.keys",
    "des": "[identity] des.key_file",
    "iv": "[identity] des.iv_file",
    "hook": "[presence] webhook.secret_file",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that others may enter, with files that they may read."""
    tmp_path.chmod(0o755)
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    for name in (*NAMED, "public"):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef")
        (tmp_path / name).chmod(0o644)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told() -> list[str]:
    return list(find_exposed(load(Sources(Path("config.toml"), {}, {}, {})).configuration))


@pytest.mark.req("CFG-37")
def test_each_secret_that_everybody_can_read_is_told_once(folder: Path) -> None:
    expected = [
        f"every user of this machine can read {name}, which holds a secret ({option}): set its "
        "mode to 600, or to 640 with the group of the server; it is 644"
        for name, option in NAMED.items()
    ]
    assert sorted(told()) == sorted(expected)
    for name in NAMED:
        (folder / name).chmod(0o640)
    (folder / "secret").unlink()  # it is an error when it is read
    assert told() == []


@pytest.mark.req("CFG-37")
def test_a_folder_that_nobody_else_may_enter_is_enough(folder: Path) -> None:
    folder.chmod(0o700)
    assert told() == []


@pytest.mark.req("CFG-37")
def test_check_config_and_the_start_tell_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.toml").write_text(
        '[control]\nlisten = ["tcp:127.0.0.1:0"]\n'
        'tokens = [{ name = "ops", file = "token", methods = ["*"] }]\n'
    )
    line = "every user of this machine can read token, which holds a secret ([control] tokens)"
    assert main(["check-config", "config.toml"]) == 0
    assert capfd.readouterr().err.count(f"warning: {line}") == 1
    # The start ends there, as this machine has no such address.
    assert main(["serve", "--host", "192.0.2.1", "--port", "0", "--config", "config.toml"]) == 2
    assert capfd.readouterr().err.count(line) == 1
