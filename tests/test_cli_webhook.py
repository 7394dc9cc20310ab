"""``serve`` with a table [presence.webhook]."""

from pathlib import Path

import pytest
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.http.answering import answering
from tests.im.hook_receiver import SECRET, Receiver
from tests.im.test_presence_webhook import until
from tests.redis_server import RedisServer
from tests.test_cli_services import free_port, get
from tests.wire import open_client

IDENTITY = """
[identity]
tokens = [{ user = "ann", token = "token-of-ann" }, { user = "bob", token = "token-of-bob" }]
namespaces = [{ name = "/chat", methods = ["static"] }]
"""
HOOK = """
[presence.webhook]
url = "{url}"
secret_file = "{secret}"
namespaces = ["/chat"]
"""


@pytest.mark.req("HOOK-01", "HOOK-09")
@trio_test
async def test_a_url_is_told_who_is_online_to_the_end(tmp_path: Path) -> None:
    secret, conf, admin = tmp_path / "secret", tmp_path / "conf.toml", free_port()
    secret.write_text(SECRET)
    async with answering("") as receiving:
        text = IDENTITY + HOOK.format(url=receiving.url, secret=secret)
        conf.write_text(f'{text}\n[admin]\nlisten = "127.0.0.1:{admin}"\n')
        async with serving("--config", str(conf)) as server:
            port = await server.wait_port()
            async with open_client(port) as ann, open_client(port) as bob:
                await ann.connect("/chat", {"token": "token-of-ann"})
                await bob.connect("/chat", {"token": "token-of-bob"})
                await until(lambda: b'"bob"' in receiving.asked[-1].body)
                metrics = (await get(admin, "/metrics")).text
                assert 'tsio_presence_webhook_gaps_total{reason="started"} 1.0' in metrics
                assert 'tsio_presence_webhook_lag_entries{namespace="/chat"}' in metrics
                assert await server.end() == 0
        receiver = Receiver()
        for asked in receiving.asked:
            receiver.take(asked)
    assert receiver.users == {}, "the last entries have come, too"
    assert [entry["type"] for entry in receiver.entries] == ["online", "online", *["offline"] * 2]
    assert SECRET not in "\n".join(server.log)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HOOK.format(url="https://a.example/", secret="nowhere"), "cannot read the secret nowhere"),
        (HOOK.format(url="http://a.example/", secret="x"), "cleartext"),
        ('[presence.webhook]\nurl = "https://a.example/"', "secret_file"),
        (HOOK.format(url="https://a.example/", secret="x") + "stop_s = 9", "must be 0.001 to 4"),
    ],
)
def test_check_config_tells_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(IDENTITY + text)
    ended = run_cli("check-config", str(conf))
    assert ended.returncode != 0
    assert fault in ended.stdout + ended.stderr


@trio_test
async def test_a_webhook_without_identity_has_no_effect_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    secret, conf = tmp_path / "secret", tmp_path / "conf.toml"
    secret.write_text(SECRET)
    conf.write_text(HOOK.format(url="https://a.example/", secret=secret))
    ended = run_cli("check-config", str(conf))
    assert "has no effect without [identity]" in ended.stdout + ended.stderr
    async with serving("--app", "trio_socketio.lobby:create", "--config", str(conf)) as server:
        await server.wait_url()
        assert await server.end() == 0
    (line,) = [line for line in server.log if "webhook has no effect" in line]
    assert "set [identity]" in line


@pytest.mark.req("CLUS-09")
@pytest.mark.time_limit(60)
@trio_test
async def test_nodes_take_turns_in_telling_it(tmp_path: Path, redis_server: RedisServer) -> None:
    secret, conf = tmp_path / "secret", tmp_path / "conf.toml"
    secret.write_text(SECRET)
    async with answering("") as receiving:
        text = IDENTITY + HOOK.format(url=receiving.url, secret=secret)
        conf.write_text(f'{text}\n[redis]\nurl = "{redis_server.tcp_url}"\n')
        at = ("--config", str(conf))
        async with serving(*at, "--node", "a") as a, serving(*at, "--node", "b") as b:
            ports = [await a.wait_port(), await b.wait_port()]
            async with open_client(ports[0]) as ann, open_client(ports[1]) as bob:
                await ann.connect("/chat", {"token": "token-of-ann"})
                await until(lambda: any(b'"ann"' in one.body for one in receiving.asked))
                assert await a.end() == 0
                await bob.connect("/chat", {"token": "token-of-bob"})
                await until(lambda: b'"bob"' in receiving.asked[-1].body)
            assert await b.end() == 0
        receiver = Receiver()
        for asked in receiving.asked:
            receiver.take(asked)
    assert receiver.users == {}
    told = [(entry["type"], entry["user"]) for entry in receiver.entries]
    # That ann is online may have been said by the snapshot.
    assert told[-3:] == [("offline", "ann"), ("online", "bob"), ("offline", "bob")]
    assert receiver.gaps == ["started"]
