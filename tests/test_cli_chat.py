"""``[chat]`` of the configuration file: what it starts, refuses and warns of, and its metrics."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.interop.server_process import free_port
from tests.test_cli_services import get
from tests.wire import SocketIOClient, open_client
from trio_socketio import Server
from trio_socketio.chat_services import ChatServices
from trio_socketio.configuration.tables import Configuration
from trio_socketio.control import open_control
from trio_socketio.delivery_services import DeliveryServices
from trio_socketio.errors import ControlError
from trio_socketio.im.chat import ToConfirm
from trio_socketio.storage.opening import FILE

TOKENS: Final = """[identity]
tokens = [{ user = "ann", token = "token-of-ann" }, { user = "bob", token = "token-of-bob" }]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "im.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.req("CHAT-01", "CHAT-25")
@trio_test
async def test_the_program_serves_chat_without_an_app(tmp_path: Path) -> None:
    config = write(tmp_path, f'{TOKENS}[chat]\nnamespaces = ["/demo", "/room-*"]\n')
    admin = free_port()
    async with serving("--config", config, "--admin", f"127.0.0.1:{admin}") as program:
        port = await program.wait_port()
        assert any("clients have chat events in /demo, /room-*" in line for line in program.log)
        for namespace in ("/demo", "/room-7"):
            async with open_client(port) as client:
                await client.connect(namespace, {"token": "token-of-ann"})
                await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace=namespace)
                assert (await client.receive_event(namespace))[1]["errcode"] == 0
                entry = {"roomId": "r1", "msg": {"meta": "hello"}}
                await client.emit("chat/rooms", [entry], namespace=namespace)
                event, message = await client.receive_event(namespace)
                assert (event, message["from"], message["meta"]) == ("chat/rooms", "ann", "hello")
        told = (await get(admin, "/metrics")).text
        assert 'tsio_chat_events_total{event="chat/rooms",result="accepted"} 2.0' in told


@pytest.mark.req("CHAT-29")
@pytest.mark.parametrize(
    ("table", "code", "line"),
    [
        ('namespaces = ["/"]', 2, "[chat] namespaces: / has no chat events"),
        ('namespaces = ["demo"]', 2, "[chat] namespaces: expected names of namespaces"),
        ('confirm = ["/demo"]', 2, "[chat] confirm: '/demo' is not one of namespaces"),
        ("rooms = 3", 2, "[chat] rooms"),
        ('namespaces = ["/demo"]', 0, "clients in /demo are not asked who they are"),
    ],
)
def test_what_is_told_of_the_table(table: str, code: int, line: str, tmp_path: Path) -> None:
    done = run_cli("check-config", write(tmp_path, f"[chat]\n{table}\n"))
    assert done.returncode == code
    assert line in done.stderr


NOBODY = 'namespaces = [{ name = "/demo", methods = [] }]'


@pytest.mark.req("CHAT-33")
@pytest.mark.parametrize(
    ("tables", "line"),
    [
        (TOKENS + NOBODY, "nobody can confirm messages in /demo"),
        ("", "[chat] confirm has no effect"),
    ],
)
def test_messages_are_not_confirmed_where_nobody_is_asked(
    tables: str, line: str, tmp_path: Path
) -> None:
    chat = '[chat]\nnamespaces = ["/demo"]\nconfirm = ["/demo"]\n'
    done = run_cli("check-config", write(tmp_path, f"{tables}\n{chat}"))
    assert line in done.stderr


@pytest.mark.req("CHAT-33")
@trio_test
async def test_only_clients_that_are_known_send_messages_to_be_confirmed() -> None:
    server = Server()
    delivery = DeliveryServices(server, Configuration(), None, None)
    services = ChatServices(server, Configuration(), None, None, delivery.deliveries)
    with pytest.raises(ControlError, match="have said who they are"):
        await services._confirm([ToConfirm("/demo", "chat/rooms", {"id": "m1"}, ("ann",))], [])


async def say(client: SocketIOClient, place: str, number: str) -> Any:
    """Send a message to a room; give the acknowledgement."""
    entry = {"roomId": "r1", "msg": {"id": number, "meta": "hello"}}
    await client.emit("chat/rooms", [entry], namespace=place, ack_id=3)
    return await answer(client, place)


async def answer(client: SocketIOClient, place: str) -> Any:
    """The acknowledgement that is the next packet."""
    text, _ = await client.receive()
    prefix = f"3{place},3"
    assert text.startswith(prefix), text
    (told,) = json.loads(text.removeprefix(prefix))
    return told


@pytest.mark.req("CHAT-21", "CHAT-31")
@trio_test
async def test_a_message_is_delivered_until_it_is_acknowledged(tmp_path: Path) -> None:
    chat = '[chat]\nnamespaces = ["/demo"]\nconfirm = ["/demo"]\n'
    config = write(tmp_path, f'{TOKENS}{chat}[control]\nlisten = ["unix:{tmp_path}/control"]\n')
    async with serving("--config", config) as program:
        port = await program.wait_port()
        async with open_client(port) as sender, open_client(port) as other:
            for client, user in ((sender, "ann"), (other, "bob")):
                await client.connect("/demo", {"token": f"token-of-{user}"})
                await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace="/demo")
                assert (await client.receive_event("/demo"))[1]["errcode"] == 0
            entry = {"roomId": "r1", "msg": {"id": "m1", "meta": "hello"}}
            await sender.emit("chat/rooms", [entry], namespace="/demo", ack_id=3)
            got = [(await client.receive())[0] for client in (other, sender, sender)]
            told = [text for text in got if text.startswith("3")]
            assert told == ['3/demo,3[{"errcode":0,"errmsg":"ok","ids":["m1"]}]']
            for text in got:
                if not text.startswith("3"):  # an event that asks for an acknowledgement
                    assert text.startswith("2/demo,")
                    assert text[7].isdigit()
                    assert '"id":"m1","from":"ann"' in text
            # Sent again, because the sender has not seen the answer, say: nobody gets it twice.
            assert (await say(sender, "/demo", "m1"))["errcode"] == 0
            async with open_control(f"unix:{tmp_path}/control") as control:
                found = await control.call("deliveries.list", {"namespace": "/demo"})
                assert [one["id"] for one in found["deliveries"]] == ["m1"]
                one = await control.call("deliveries.get", {"namespace": "/demo", "id": "m1"})
                assert sorted(one["unconfirmed"]) == ["ann", "bob"]


@pytest.mark.req("CHAT-24", "CHAT-30", "CHAT-33")
@trio_test
async def test_a_namespace_that_is_made_at_run_time_has_chat(tmp_path: Path) -> None:
    config = write(
        tmp_path,
        f'{TOKENS}[state]\nfolder = "{tmp_path}/state"\n'
        f'[control]\nlisten = ["unix:{tmp_path}/control"]\n',
    )
    async with serving("--config", config) as program:
        port = await program.wait_port()
        async with (
            open_control(f"unix:{tmp_path}/control") as control,
            open_client(port) as client,
        ):
            rules = {"rooms": ["r*"]}
            given = {"namespace": "/later", "chat": True, "rules": rules}
            await control.call("namespaces.create", given)
            await client.connect("/later", {"token": "token-of-ann"})
            await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace="/later")
            assert (await client.receive_event("/later"))[1]["errcode"] == 0
            await client.emit("join", {"rooms": [{"roomId": "other"}]}, namespace="/later")
            event, told = await client.receive_event("/later")
            assert (event, told["errcode"]) == ("join/reply", 2)
            await control.call("namespaces.update", {"namespace": "/later", "chat": False})
            await client.emit("join", {"rooms": [{"roomId": "r2"}]}, namespace="/later")
            with trio.move_on_after(0.3) as scope:
                await client.receive()
            assert scope.cancelled_caught
            for wrong, what in (
                ({"confirm": True}, "confirm: has no effect without chat"),
                ({"chat": True, "confirm": True, "identity": []}, "confirm: nobody can confirm"),
                ({"rules": {"rooms": 7}}, "rules"),
                ({"rules": {"rates": {"user": {"per_s": -1}}}}, "rules.per_s"),
            ):
                with pytest.raises(ControlError, match=what):
                    await control.call("namespaces.create", {"namespace": "/x", **wrong})


@pytest.mark.req("NSP-04", "CHAT-30")
@trio_test
async def test_what_a_definition_leaves_out_of_confirmation_is_as_configured(
    tmp_path: Path,
) -> None:
    """With an app, as otherwise the configuration makes these namespaces itself."""
    app = tmp_path / "app.py"
    app.write_text("from trio_socketio import Server\n\nserver = Server()\n")
    config = write(
        tmp_path,
        f'{TOKENS}[state]\nfolder = "{tmp_path}/state"\n'
        '[chat]\nnamespaces = ["/shop-*"]\nconfirm = ["/shop-*"]\n'
        '[deliveries]\ndurable = ["/shop-*"]\n'
        f'[control]\nlisten = ["unix:{tmp_path}/control"]\n',
    )
    cases: list[tuple[dict[str, bool], list[str]]] = [
        ({}, ["m1"]),
        ({"confirm": False}, []),
        ({"durable": False}, ["m1"]),
    ]
    async with serving("--config", config, "--app", str(app)) as program:
        port = await program.wait_port()
        async with (
            open_control(f"unix:{tmp_path}/control") as control,
            open_client(port) as client,
        ):
            for number, (given, confirmed) in enumerate(cases):
                name = f"/shop-{number}"
                await control.call("namespaces.create", {"namespace": name, "chat": True, **given})
                await client.connect(name, {"token": "token-of-ann"})
                await client.emit("join", {"rooms": [{"roomId": "r1"}]}, namespace=name)
                assert (await client.receive_event(name))[1]["errcode"] == 0
                entry = {"roomId": "r1", "msg": {"id": "m1", "meta": "hello"}}
                await client.emit("chat/rooms", [entry], namespace=name, ack_id=3)
                got = [(await client.receive())[0] for _ in range(2)]
                assert any(text.startswith(f"3{name},3") for text in got)
                found = await control.call("deliveries.list", {"namespace": name})
                assert [one["id"] for one in found["deliveries"]] == confirmed, given
            with closing(sqlite3.connect(tmp_path / "state" / FILE)) as disk:
                durable = [name for (name,) in disk.execute("SELECT namespace FROM deliveries")]
            assert durable == ["/shop-0"]
