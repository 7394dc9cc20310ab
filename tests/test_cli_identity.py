"""``serve`` with a table [identity], and what it says without one."""

from pathlib import Path
from signal import SIGHUP

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.im.identity.test_gate import refused
from tests.im.identity.tokens import SECRET, other_key, token
from tests.test_cli_services import free_port, get
from tests.wire import open_client
from trio_socketio.configuration.loading import Sources, load
from trio_socketio.configuration.settings import Faults
from trio_socketio.control import open_control

EVERYBODY = "no client is asked who it is"


@pytest.mark.req("IDENT-44")
@pytest.mark.parametrize("app", [(), ("--app", "trio_socketio.lobby:create")])
@trio_test
async def test_a_server_that_asks_nobody_says_so_once(app: tuple[str, ...]) -> None:
    async with serving(*app) as server:
        await server.wait_url()
        assert await server.end() == 0
    (line,) = [line for line in server.log if EVERYBODY in line]
    assert "set [identity] in a configuration file" in line


@pytest.mark.req("IDENT-43", "IDENT-44")
@trio_test
async def test_a_server_asks_and_takes_other_keys(tmp_path: Path) -> None:
    key, conf = tmp_path / "key", trio.Path(tmp_path / "conf.toml")
    admin, control = free_port(), tmp_path / "run" / "control.sock"
    key.write_bytes(SECRET)
    text = f"""
        [identity]
        tokens = [{{ user = "dev", token = "a-token-for-development" }}]
        jwt.keys = [{{ file = "{key}", algorithm = "HS256" }}]
        [control]
        listen = ["unix:{control}"]
        [admin]
        listen = "127.0.0.1:{admin}"
        """
    await conf.write_text(text)
    async with serving("--config", str(conf), "--log-level", "debug") as server:
        port = await server.wait_port()
        async with open_client(port) as client, open_client(port) as other:
            await client.connect("/", {"token": token(sub=7)})
            await refused(other, {"token": token(key=other_key("HS256"))}, "/")
            key.write_bytes(other_key("HS256"))
            server.process.send_signal(SIGHUP)
            await server.wait_logged("reloaded [identity] jwt: its files have new contents")
            await other.connect("/", {"token": token(key=other_key("HS256"))})
            await conf.write_text(text.replace("a-token-for", "another-token-for"))
            server.process.send_signal(SIGHUP)
            line = await server.wait_logged("reloaded [identity] tokens")
            assert line.endswith("reloaded [identity] tokens: changed for dev")
            await conf.write_text(text.replace("[identity]", "[identity]\nauth_timeout_s = 9.0"))
            server.process.send_signal(SIGHUP)
            await server.wait_logged("[identity] auth_timeout_s: 5.0 -> 9.0 needs a restart")
            async with open_control(f"unix:{control}") as backend:
                assert (await backend.call("auth.revoke", {"user": "7"}))["done"] == 1
            metrics = (await get(admin, "/metrics")).text
            assert 'tsio_auth_total{method="jwt",result="accepted"} 2.0' in metrics
            assert 'tsio_auth_total{method="jwt",result="bad_signature"} 1.0' in metrics
            assert 'tsio_auth_put_out_total{reason="revoked"} 1.0' in metrics
            assert "tsio_auth_identified 1.0" in metrics
            assert "tsio_auth_revocations 1.0" in metrics
            assert 'tsio_jwks_fetches_total{result="done"} 0.0' in metrics
        assert await server.end() == 0
    log = "\n".join(server.log)
    assert EVERYBODY not in log
    for secret in ("token-for-development", SECRET.decode(), "eyJ"):
        assert secret not in log


NO_METHOD = (
    "[identity] has no method: set tokens, jwt, des, backend or webhook, or leave out the table"
)


@pytest.mark.req("CFG-33")
@pytest.mark.parametrize(
    "table",
    [
        "",
        "# backend = true",
        "backend = false",
        "tokens = []\njwt = false",
        "by_event = false",
        'namespaces = [{ name = "/", methods = [] }]',
    ],
    ids=["empty", "commented", "off", "several-off", "another-option", "namespaces"],
)
def test_a_table_without_a_method_lets_nobody_in(tmp_path: Path, table: str) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(f"[identity]\n{table}\n[presence]\n")
    for command in (("check-config", str(conf)), ("serve", "--config", str(conf))):
        ended = run_cli(*command)
        assert ended.returncode == 2
        assert f"trio-socketio: {conf}: {NO_METHOD}" in ended.stderr, ended.stderr


@pytest.mark.req("CFG-33")
def test_a_table_may_get_its_method_elsewhere_or_turn_all_off(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    for table, variable in (
        ("", "TOKENS"),
        ("tokens = []\njwt = false\ndes = false\nbackend = false\nwebhook = false", "BY_EVENT"),
    ):
        conf.write_text(f"[identity]\n{table}\n")
        value = '[{"user": "ann", "token": "long-enough"}]' if variable == "TOKENS" else "false"
        environment = {f"TRIO_SOCKETIO__IDENTITY__{variable}": value}
        identity = load(Sources(conf, environment, {}, {})).configuration.identity
        assert identity.asks is (variable == "TOKENS")
    with pytest.raises(Faults, match=r"^TRIO_SOCKETIO__IDENTITY__BY_EVENT: \[identity\] has no me"):
        load(Sources(None, environment, {}, {}))


@pytest.mark.req("CFG-33")
@trio_test
async def test_a_reload_that_takes_all_methods_away_is_refused(tmp_path: Path) -> None:
    conf = trio.Path(tmp_path / "conf.toml")
    await conf.write_text('[identity]\ntokens = [{ user = "ann", token = "long-enough" }]\n')
    async with serving("--config", str(conf)) as server:
        await server.wait_url()
        await conf.write_text("[identity]\n")
        server.process.send_signal(SIGHUP)
        assert NO_METHOD in await server.wait_logged("nothing was reloaded")
        assert await server.end() == 0


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        ('tokens = [{ user = "a", token = "hunter22-hunter22" }]', []),
        (
            'tokens = [{ user = "a", token = "short" }]',
            ["[identity] tokens[0] token: expected at least 8 characters"],
        ),
        ('tokens = [{ user = "a", token = 12345 }]', ["tokens[0] token: expected text"]),
        (
            'tokens = [{ user = "a" }]',
            ["tokens[0]: token is missing, and there is no file either"],
        ),
        (
            'tokens = [{ user = "a", token = "hunter22-hunter22", file = "x" }]',
            ["tokens[0] file: cannot be given beside token: leave one of them out"],
        ),
        ('tokens = [{ user = "", token = "long enough" }]', ["the id of a user cannot be empty"]),
        (
            'tokens = [{ user = "a", file = "nowhere" }]',
            ["conf.toml: [identity] tokens: cannot read the token of 'a'"],
        ),
        (
            "jwt = true",
            ["conf.toml: [identity] jwt: has no keys: set jwt.keys or jwt.jwks_url"],
        ),
        (
            'jwt.claims = ["x"]',
            ["conf.toml: [identity] jwt: has no keys: set jwt.keys or jwt.jwks_url"],
        ),
        (
            'jwt.keys = [{ file = "nowhere" }]',
            ["conf.toml: [identity.jwt] keys[0]: cannot read the key nowhere"],
        ),
        ('jwt.keys = [{ file = "" }]', ["expected the path of a file"]),
        ('jwt.jwks_url = "http://a.example/"', ["this machine alone: write https://a.example"]),
        ('jwt.jwks_url = "https://a.example/"', []),
        ('jwt.jwks_url = "https://a.example/"\njwt.audience = "chat"', ["audience"]),
        (
            'jwt.keys = [{ file = "x" }]\njwt.ca_file = "y"',
            ["ca_file: has no effect without jwks_url"],
        ),
        (
            'jwt.jwks_url = "http://127.0.0.1/"\njwt.ca_file = "y"',
            ["ca_file: has no effect, because jwks_url is not https"],
        ),
        (
            'webhook = { url = "http://127.0.0.1/", secret_file = "x", ca_file = "y" }',
            ["ca_file: has no effect, because url is not https"],
        ),
        ('webhook.url = "https://a.example/"', ["secret_file: is missing"]),
        (
            'webhook.url = "https://a.example/"\nwebhook.secret_file = "nowhere"',
            ["conf.toml: [identity.webhook] secret_file: cannot read the secret nowhere"],
        ),
        ('webhook.url = "https://a.example/"\nwebhook.secret_file = ""', ["the path of a file"]),
        ('des = { key = "hunter22", iv = "hunter22" }', []),
        ('des = { key = "short", iv = "hunter22" }', ["des] key: expected at least 8 ASCII"]),
        ('des.key = "hunter22"', ["[identity] des: has no iv: set des.iv or des.iv_file"]),
        (
            'des = { key = "hunter22", iv_file = "nowhere" }',
            ["conf.toml: [identity.des] iv_file: cannot read the iv of DES tokens in nowhere"],
        ),
        ("backend = true", ["set [control] listen"]),
        ("deadline_s = 4.0", ["must be 0.001 to 3.0"]),
        ("max_token_bytes = 1", ["must be 64 to"]),
        ('namespaces = [{ name = "/a", methods = ["jwt"] }]', ["jwt, which is not set up"]),
        ('namespaces = [{ name = "/a", methods = ["x"] }]', ["expected static, jwt"]),
        ('namespaces = [{ name = "a", methods = [] }]', ["the name of a namespace"]),
        (
            'namespaces = [{ name = "/a", methods = [] }, { name = "/a", methods = [] }]',
            ["two of them are named '/a'"],
        ),
    ],
)
def test_check_config_tells_what_is_wrong(tmp_path: Path, table: str, faults: list[str]) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(f"[identity]\n{table}\n")
    ended = run_cli("check-config", str(conf))
    told = ended.stdout + ended.stderr
    assert (ended.returncode == 0) is (not faults), told
    assert [fault for fault in faults if fault not in told] == [], told
    assert "hunter22" not in told


def test_a_url_that_cannot_be_used_is_one_error(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text('[identity]\njwt.jwks_url = "http://a.example/keys"\n')
    (line,) = run_cli("check-config", str(conf)).stderr.splitlines()
    assert "[identity.jwt] jwks_url" in line


@pytest.mark.req("CFG-19")
@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[identity]\njwt = true", "[identity] jwt: has no keys"),
        ('[identity]\njwt.keys = [{ file = "x" }]', "[identity.jwt] keys[0]: cannot read the key"),
        ('[identity]\ntokens = [{ user = "a", file = "x" }]', "[identity] tokens: cannot read"),
        (
            '[identity.webhook]\nurl = "https://a.example/"\nsecret_file = "x"',
            "[identity.webhook] secret_file: cannot read the secret x",
        ),
        (
            '[identity]\njwt.jwks_url = "https://a.example/"\njwt.ca_file = "x"',
            "[identity.jwt] ca_file: cannot read the certificates x",
        ),
        (
            '[presence.webhook]\nurl = "https://a.example/"\nsecret_file = "x"\nnamespaces = ["/"]',
            "[presence.webhook] secret_file: cannot read the secret x",
        ),
        (
            '[control]\ntokens = [{ name = "a", file = "x", methods = ["*"] }]',
            "[control] tokens: token a: cannot read x",
        ),
    ],
    ids=["no-keys", "key", "token", "webhook", "ca-file", "presence", "control"],
)
def test_an_error_of_a_file_names_its_option(tmp_path: Path, table: str, told: str) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(table)
    for command in (("check-config", str(conf)), ("serve", "--config", str(conf))):
        ended = run_cli(*command)
        assert ended.returncode == 2
        assert f"{conf}: {told}" in ended.stderr, ended.stderr
