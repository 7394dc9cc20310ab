"""``serve`` with DES tokens of the original contract."""

import json
from pathlib import Path
from signal import SIGHUP

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.im.identity.test_des_tokens import IV, KEY, META, des_token
from tests.test_cli_services import free_port, get
from tests.wire import open_client
from trio_socketio.control import open_control
from trio_socketio.im.identity.options import DES_IS_WEAK


@pytest.mark.req("LEG-01", "LEG-02", "LEG-04", "LEG-06")
@trio_test
async def test_a_server_with_des_tokens_warns_and_takes_them(tmp_path: Path) -> None:
    conf, key = tmp_path / "conf.toml", trio.Path(tmp_path / "key")
    admin, control = free_port(), tmp_path / "run" / "control.sock"
    await key.write_text(KEY)
    conf.write_text(f"""
        [identity]
        des = {{ key_file = "{key}", iv = "{IV}" }}
        namespaces = [{{ name = "/", methods = [] }}, {{ name = "/demo", methods = ["des"] }}]
        [control]
        listen = ["unix:{control}"]
        [admin]
        listen = "127.0.0.1:{admin}"
        """)
    auth = {"userId": 7, "meta": META, "token": des_token(META)}
    async with serving("--config", str(conf), "--log-level", "debug") as server:
        line = await server.wait_logged(DES_IS_WEAK)
        assert f"{conf}: [identity] des {DES_IS_WEAK}" in line
        port = await server.wait_port()
        async with open_client(port) as client, open_client(port) as other:
            await client.connect("/demo")
            await client.emit("auth", auth, namespace="/demo")
            assert await client.receive_event("/demo") == [
                "auth/reply",
                {"errcode": 0, "errmsg": "ok"},
            ]
            await other.connect("/demo")
            await other.emit("auth", {**auth, "meta": {}}, namespace="/demo")
            for event in ("auth/reply", "logic/error"):
                assert await other.receive_event("/demo") == [
                    event,
                    {"errcode": 3, "errmsg": "the token does not fit meta"},
                ]
            async with open_control(f"unix:{control}") as backend:
                shown = await backend.call("sockets.list", {"namespace": "/demo"})
                assert [one["user"] for one in shown["sockets"]] == ["7"]
                assert (await backend.call("auth.revoke", {"user": "7"}))["done"] == 1
        async with open_client(port) as client:
            await client.send(f"0/demo,{json.dumps(auth)}")
            packet, _ = await client.receive()
            assert packet.startswith("4/demo,")
            assert '"errmsg":"the token was revoked"' in packet
        await key.write_text("another-key")
        server.process.send_signal(SIGHUP)
        await server.wait_logged("reloaded [identity] des: its files have new contents")
        async with open_client(port) as client:
            await client.send(f"0/demo,{json.dumps({**auth, 'userId': 8})}")
            packet, _ = await client.receive()
            assert '"errcode":3' in packet
        metrics = (await get(admin, "/metrics")).text
        assert 'tsio_auth_total{method="des",result="accepted"} 1.0' in metrics
        assert 'tsio_auth_total{method="des",result="bad_signature"} 2.0' in metrics
        assert await server.end() == 0
    log = "\n".join(server.log)
    for secret in (KEY, IV, "another-key", auth["token"]):
        assert str(secret) not in log


@pytest.mark.req("LEG-01")
def test_check_config_warns_and_shows_no_key(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text(f'[identity.des]\nkey = "{KEY}"\niv = "{IV}"\n[control]\nlisten = ["unix:c"]\n')
    ended = run_cli("check-config", str(conf))
    assert ended.returncode == 0
    assert f"warning: {conf}: [identity] des {DES_IS_WEAK}" in ended.stderr
    assert f"{conf}: [identity] namespaces names des nowhere" in ended.stderr
    assert KEY not in ended.stdout + ended.stderr
    assert IV not in ended.stdout + ended.stderr
    assert 'key = "********"' in ended.stdout
