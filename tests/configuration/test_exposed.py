"""Files with secrets that everybody can read are told."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

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
[identity.jwt]
keys = [
  { file = "hs", algorithm = "HS256" },
  { file = "public", algorithm = "RS256" },
  { file = "oct" },
  { file = "set" },
  { file = "okp" },
]
[identity.des]
key_file = "des"
iv_file = "iv"
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
    "oct": "[identity] jwt.keys",
    "set": "[identity] jwt.keys",
    "des": "[identity] des.key_file",
    "iv": "[identity] des.iv_file",
    "hook": "[presence] webhook.secret_file",
}
OCT = {"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "alg": "HS256"}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
JWKS = {"oct": OCT, "set": {"keys": [OKP, OCT]}, "okp": OKP}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that others may enter, with files that they may read."""
    # Not tmp_path, because the folders above that are for one user alone.
    with TemporaryDirectory(dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "config.toml").write_text(CONFIGURATION)
        for file in (*NAMED, "public", "okp"):
            content = json.dumps(JWKS[file]) if file in JWKS else "0123456789abcdef0123456789abcdef"
            (path / file).write_text(content)
            (path / file).chmod(0o644)
        monkeypatch.chdir(path)
        yield path
        monkeypatch.undo()


def told(environment: dict[str, str] | None = None) -> list[str]:
    file = Path("config.toml")
    return list(find_exposed(load(Sources(file, environment or {}, {}, {})), file))


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
def test_a_folder_that_nobody_else_may_enter_is_enough(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o700)
    assert told() == []
    below = folder / "below" / "it"  # whichever of the folders above that is
    below.mkdir(parents=True)
    for file in (*NAMED, "public", "okp", "config.toml"):
        (folder / file).rename(below / file)
    monkeypatch.chdir(below)
    assert told() == []
    folder.chmod(0o755)
    assert len(told()) == len(NAMED)
    monkeypatch.chdir(folder)  # a link is as open as what it leads to
    (folder / "below").chmod(0o700)
    for file in (*NAMED, "public", "okp", "config.toml"):
        (folder / file).symlink_to(below / file)
    assert told() == []


@pytest.mark.req("CFG-37")
@pytest.mark.parametrize(
    ("content", "option"),
    [
        ('[redis]\nurl = "redis://:password@h"', "[redis] url"),
        ('[redis]\nurl = "redis://h"', ""),
        (
            f'[admin_ui]\nusername = "u"\npassword_hash = "$2b$10${"a" * 53}"',
            "[admin_ui] password_hash",
        ),
        ('[identity]\ndes = { key = "12345678", iv_file = "iv" }', "[identity] des.key"),
        ('[identity.des]\nkey_file = "des"\niv = "12345678"', "[identity] des.iv"),
        ('[identity]\ntokens = [{ user = "u", token = "0123456789abcdef" }]', "[identity] tokens"),
        ('[identity]\ntokens = [{ user = "u", file = "client" }]', ""),
    ],
)
def test_a_secret_in_the_configuration_itself_is_told(
    content: str, option: str, folder: Path
) -> None:
    for name in NAMED:
        (folder / name).chmod(0o600)
    (folder / "config.toml").write_text(f"{content}\n")
    (folder / "config.toml").chmod(0o644)
    start = f"every user of this machine can read config.toml, which holds a secret ({option}): "
    assert [text.startswith(start) for text in told()] == [True] * bool(option)
    (folder / "config.toml").chmod(0o640)
    assert told() == []


@pytest.mark.req("CFG-37")
def test_a_secret_of_the_environment_is_not_in_the_configuration(folder: Path) -> None:
    (folder / "config.toml").write_text('[redis]\nurl = "redis://h"\n')
    (folder / "config.toml").chmod(0o644)
    assert told({"TRIO_SOCKETIO__REDIS__URL": "redis://:password@h"}) == []


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
