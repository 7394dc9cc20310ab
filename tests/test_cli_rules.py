"""``serve`` with [rules]: what clients may do, and how often."""

import json
import re
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.im.identity.tokens import SECRET, token
from tests.test_cli_services import free_port, get
from tests.wire import SocketIOClient, open_client
from trio_socketio.im.rules.denial import REASONS, too_often
from trio_socketio.im.rules.grants import read_grant

ROOT = Path(__file__).resolve().parents[1]


def write(folder: Path, *tables: str, claims: str = '["im"]') -> Path:
    key, conf = folder / "key", folder / "conf.toml"
    key.write_bytes(SECRET)
    identity = f"""
        [identity]
        tokens = [{{ user = "dev", token = "a-token-for-development" }}]
        jwt.keys = [{{ file = "{key}", algorithm = "HS256" }}]
        jwt.claims = {claims}
        namespaces = [{{ name = "/chat", methods = ["jwt", "static"] }}]
        [control]
        listen = ["unix:{folder}/run/c.sock"]
        """
    conf.write_text("\n".join([identity, *tables]))
    return conf


async def refusal(client: SocketIOClient, event: str) -> dict[str, Any]:
    """Emit an event that is refused."""
    await client.emit(event, namespace="/chat")
    name, told = await client.receive_event("/chat")
    assert name == "logic/error"
    found: dict[str, Any] = told
    return found


@pytest.mark.req("RULE-03", "RULE-05", "RULE-12", "RULE-14", "RULE-18")
@trio_test
async def test_rules_hold_for_clients_and_are_reloaded(tmp_path: Path) -> None:
    admin = free_port()
    port_of_admin = f'[admin]\nlisten = "127.0.0.1:{admin}"'
    rules = """
        [rules]
        logins = { count = 3, within_s = 1200.0, hold_off_s = 600.0 }
        [[rules.namespaces]]
        name = "/chat"
        events = []
        claim = "im"
        rates.user = { per_s = 0.01, burst = 1 }
        """
    conf = write(tmp_path, port_of_admin, rules)
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as client, open_client(port) as granted:
            await client.connect("/chat", {"token": "a-token-for-development"})
            assert (await refusal(client, "hello"))["reason"] == "event_not_allowed"
            await granted.connect("/chat", {"token": token(sub="ann", im={"events": ["h*"]})})
            await granted.emit("hello", namespace="/chat")
            assert (await refusal(granted, "hello"))["reason"] == "user_rate"
            assert (await refusal(granted, "other"))["reason"] == "event_not_allowed"
            for _ in range(2):
                async with open_client(port) as again:
                    await again.connect("/chat", {"token": "a-token-for-development"})
            async with open_client(port) as again:
                with pytest.raises(AssertionError, match="Try again in 600 s"):
                    await again.connect("/chat", {"token": "a-token-for-development"})
            metrics = (await get(admin, "/metrics")).text
            for line in (
                'tsio_rules_refused_total{reason="event_not_allowed"} 2.0',
                'tsio_rules_refused_total{reason="user_rate"} 1.0',
                'tsio_rules_refused_total{reason="login_rate"} 1.0',
                'tsio_rules_refused_total{reason="room_rate"} 0.0',
                "tsio_rules_counted 3.0",
                "tsio_rules_held_off 1.0",
                "tsio_rules_forgotten_total 0.0",
            ):
                assert line in metrics, line
            write(tmp_path, port_of_admin, "[rules]\nuser = { per_s = 0.01 }")
            server.process.send_signal(SIGHUP)
            await server.wait_logged("reloaded [rules] user")
            await granted.emit("hello", namespace="/chat")
            assert (await refusal(granted, "hello"))["reason"] == "user_rate"
            async with open_client(port) as again:
                await again.connect("/chat", {"token": "a-token-for-development"})
        assert await server.end() == 0
    assert "was refused (event_not_allowed): you may not send the event 'hello' in /chat" in (
        "\n".join(server.log)
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('namespaces = [{ name = "chat" }]', "namespaces[0] name: expected the name of a"),
        ('namespaces = [{ name = "/a", events = ["a*b*"] }]', "namespaces[0] events: expected 1"),
        ('namespaces = [{ name = "/a", rates.user = { per_s = 0.0 } }]', "must be above zero"),
        ("logins = { count = 0, within_s = 5.0 }", "[rules.logins] count: must be above zero"),
        ("user = { per_s = 5.0, bust = 5 }", "bust"),
    ],
)
def test_check_config_tells_what_is_wrong(tmp_path: Path, table: str, told: str) -> None:
    ended = run_cli("check-config", str(write(tmp_path, f"[rules]\n{table}")))
    assert ended.returncode == 2
    assert told in ended.stdout + ended.stderr


@pytest.mark.req("RULE-11")
def test_a_claim_that_no_client_can_have_is_an_error(tmp_path: Path) -> None:
    rules = '[rules]\nnamespaces = [{ name = "/chat", claim = "im" }]'
    assert run_cli("check-config", str(write(tmp_path, rules))).returncode == 0
    ended = run_cli("check-config", str(write(tmp_path, rules, claims="[]")))
    assert ended.returncode == 2
    assert (
        "[rules] namespaces: the rules of /chat go by the claim im, which [identity] jwt.claims "
        in (ended.stderr)
    )
    (tmp_path / "conf.toml").write_text(rules)
    ended = run_cli("check-config", str(tmp_path / "conf.toml"))
    assert ended.returncode == 2
    assert "go by the claim im, but no client there has any: have [identity] jwt, backend or" in (
        ended.stderr
    )


@pytest.mark.req("RULE-11")
@pytest.mark.parametrize(
    ("methods", "claims", "is_fine"),
    [("webhook", '["other"]', True), ("jwt", '["im"]', True), ("static", '["im"]', False)],
)
def test_only_the_methods_of_a_namespace_matter_for_its_claim(
    tmp_path: Path, methods: str, claims: str, is_fine: bool
) -> None:
    rules = '[rules]\nnamespaces = [{ name = "/b", claim = "im" }]'
    conf = write(tmp_path, rules, claims=claims)
    (tmp_path / "webhook.key").write_bytes(SECRET)
    webhook = f'{{ url = "https://who.example/x", secret_file = "{tmp_path}/webhook.key" }}'
    text = conf.read_text().replace(
        'namespaces = [{ name = "/chat", methods = ["jwt", "static"] }]',
        f'webhook = {webhook}\nnamespaces = [{{ name = "/b", methods = ["{methods}"] }}]',
    )
    conf.write_text(text)
    ended = run_cli("check-config", str(conf))
    assert (ended.returncode == 0) is is_fine, ended.stderr
    assert ("the rules of /b go by the claim im" in ended.stderr) is not is_fine


def test_the_guide_shows_what_can_be_used(tmp_path: Path) -> None:
    guide = (ROOT / "spec" / "guide" / "rules.md").read_text()
    toml, token_text, told = re.findall(r"```(?:toml|json)\n(.*?)```", guide, re.DOTALL)
    assert 'file = "key.pem"' in toml
    (tmp_path / "key.pem").write_bytes(SECRET)
    toml = toml.replace('"key.pem"', f'"{tmp_path}/key.pem", algorithm = "HS256"')
    (tmp_path / "conf.toml").write_text(f'[control]\nlisten = ["unix:{tmp_path}/c.sock"]\n{toml}')
    ended = run_cli("check-config", str(tmp_path / "conf.toml"))
    assert ended.returncode == 0, ended.stderr
    grant = read_grant(json.loads(token_text), "im")
    assert not grant.fault
    assert grant.rooms is not None
    assert grant.rooms.match("team-7")
    wait_s = json.loads(told)["retry_after_s"]
    assert json.loads(told) == too_often("user_rate", "you send too many events", wait_s).told()
    first_cells = re.findall(r"^\|(.*?)\|", guide[guide.index("| reason |") :], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", "".join(first_cells))) == set(REASONS)


def test_logins_need_users(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text("[rules]\nlogins = { count = 3, within_s = 60.0 }")
    ended = run_cli("check-config", str(conf))
    assert (
        "[rules.logins] count has no effect without [identity] jwt" in ended.stdout + ended.stderr
    )
    for table in (
        'des = { key = "hunter22", iv = "hunter22" }',
        'tokens = [{ user = "a", token = "token-of-a" }]',
    ):
        conf.write_text(f"[identity]\n{table}\n[rules]\nlogins = {{ count = 3, within_s = 60.0 }}")
        ended = run_cli("check-config", str(conf))
        assert "[rules.logins]" not in ended.stdout + ended.stderr
