"""``serve`` delivers messages until they are acknowledged, as ``ctl`` asks it to."""

import json
from pathlib import Path

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.test_cli_services import free_port, get
from tests.wire import open_client


@pytest.mark.req("DELIV-18", "DELIV-40", "DELIV-41", "DELIV-53")
@trio_test
async def test_an_operator_sends_a_message_and_reads_who_has_it(tmp_path: Path) -> None:
    admin, socket = free_port(), f"unix:{tmp_path}/run/c.sock"
    conf = tmp_path / "conf.toml"
    conf.write_text(f"""
[identity]
tokens = [{{ user = "ann", token = "token-of-ann" }}]
namespaces = [{{ name = "/chat", methods = ["static"] }}]
[state]
folder = "{tmp_path}/state"
[deliveries]
durable = ["/chat"]
schedule_s = [0.2, 0.4]
[control]
listen = ["{socket}"]
[admin]
listen = "127.0.0.1:{admin}"
""")

    async def ctl(*words: str) -> str:
        found = await trio.to_thread.run_sync(run_cli, "ctl", "--control", socket, *words)
        assert found.returncode == 0, found.stderr
        return found.stdout

    async with serving("--config", str(conf), limit_s=40) as server:
        async with open_client(await server.wait_port()) as ann:
            await ann.connect("/chat", {"token": "token-of-ann"})
            told = await ctl(
                *("deliver", "namespace=/chat", "event=news", "--json"),
                *('args=[{"text": "hello", "id": "m1"}]', 'users=["ann", "bob"]'),
            )
            assert json.loads(told)["targets"] == 2
            for _ in range(2):
                text, _ = await ann.receive()
                assert text.endswith('["news",{"text":"hello","id":"m1"}]')
            await ann.send(f"3/chat,{text.partition(',')[2].partition('[')[0]}[]")
            while True:
                told = await ctl("deliveries.get", "namespace=/chat", "id=m1", "--json")
                report = json.loads(told)
                if report["confirmed"]:
                    break
            assert report["confirmed"][0]["user"] == "ann"
            assert report["unconfirmed"] == ["bob"]
            assert "m1" in await ctl("deliveries.list", "namespace=/chat")
            await ctl("namespaces.create", "namespace=/open", "identity=[]")
            words = ("deliver", "namespace=/open", "event=news", "args=[{}]", "users=ann")
            done = await trio.to_thread.run_sync(run_cli, "ctl", "--control", socket, *words)
            assert done.returncode == 1
            assert "nobody can confirm messages in /open, because" in done.stderr
            metrics = (await get(admin, "/metrics")).text
            assert "tsio_deliveries_accepted_total 1.0" in metrics
            assert 'tsio_delivery_targets_total{result="confirmed"} 1.0' in metrics
        assert await server.end() == 0
    assert (tmp_path / "state").is_dir()


@pytest.mark.req("DELIV-07")
@trio_test
async def test_what_waits_comes_after_the_answer_to_auth(tmp_path: Path) -> None:
    socket = f"unix:{tmp_path}/run/c.sock"
    conf = tmp_path / "conf.toml"
    conf.write_text(f"""
[identity]
tokens = [{{ user = "ann", token = "token-of-ann" }}]
namespaces = [{{ name = "/chat", methods = ["static"] }}]
[control]
listen = ["{socket}"]
""")
    async with serving("--config", str(conf), limit_s=40) as server:
        port = await server.wait_port()
        words = ("deliver", "namespace=/chat", "event=news", 'args=[{"id":"m1"}]', 'users=["ann"]')
        done = await trio.to_thread.run_sync(run_cli, "ctl", "--control", socket, *words)
        assert done.returncode == 0, done.stderr
        async with open_client(port) as ann:
            await ann.connect("/chat")
            await ann.send('2/chat,["auth",{"token":"token-of-ann"}]')
            answer, news = [(await ann.receive())[0] for _ in range(2)]
            assert '"auth/reply"' in answer
            assert news.endswith('["news",{"id":"m1"}]')
        assert await server.end() == 0


@pytest.mark.req("DELIV-18")
def test_messages_that_have_to_last_need_a_place(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text('[deliveries]\ndurable = ["/chat"]\n')
    done = run_cli("serve", "--port", "0", "--config", str(conf))
    assert done.returncode != 0
    assert "[deliveries] durable needs a place that outlives the program" in done.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("schedule_s = [5, 5]", "expected ascending times between 0 and expires_s (30), not 5"),
        ("expires_s = 10", "expected ascending times between 0 and expires_s (10), not 10"),
        ("expires_s = 700000", "must be 0.001 to 604800.0, not 700000"),
        ('durable = ["chat"]', "expected names of namespaces, as /chat or /room-*, not 'chat'"),
        ("max_targets = 0", "must be above zero"),
        ("max_message_bytes = 1_000_000", "must be 64 to 524288"),
    ],
)
def test_options_that_cannot_be_are_errors(tmp_path: Path, option: str, reason: str) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(f"[deliveries]\n{option}\n")
    done = run_cli("check-config", str(conf))
    assert done.returncode != 0
    assert reason in " ".join((done.stdout + done.stderr).split())
