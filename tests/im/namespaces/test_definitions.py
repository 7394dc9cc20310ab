"""Namespaces that are made, changed and removed on one node, and kept on its disk."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from tests import wire
from tests.im.identity.identified import ANN, BOB
from tests.im.namespaces.defined import ask, defined_nodes, put_out
from tests.socketio.serving import until
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Server
from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.namespaces.service import DefinedNamespaces
from trio_socketio.im.namespaces.store import Change, Stamp
from trio_socketio.storage import database as database_module
from trio_socketio.storage.opening import FILE

TOKEN = {"token": ANN}
STRANGE = {"token": "nobody's token"}
INVALID = {"message": "Invalid namespace"}


@pytest.mark.req("NSP-01", "NSP-03", "NSP-06", "NSP-07")
@trio_test
async def test_a_namespace_comes_and_goes(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        assert await a.why_not("/new", TOKEN) == INVALID
        made = await a.call("namespaces.create", namespace="new")
        assert made == {"done": 0, "definition": {"namespace": "/new", "revision": 1}}
        assert await a.listed() == {"/new": {"namespace": "/new", "revision": 1}}
        async with a.client("/new", TOKEN) as client:
            gone = await a.call("namespaces.remove", namespace="/new", reason="the end")
            assert gone == {"done": 1}
            await put_out(client, "/new", "the end")
            assert await ask(client, "/new", TOKEN) == INVALID
        assert await a.listed() == {}
        await a.call("namespaces.create", namespace="/new")
        async with a.client("/new", TOKEN):
            assert a.presence is not None
            assert (await a.presence.store.count("/new")).users == 1


@pytest.mark.req("NSP-02", "NSP-08")
@trio_test
async def test_a_restart_restores_the_same_list(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        for number in range(20):
            await nodes["a"].call("namespaces.create", namespace=f"/n{number}", max_sockets=5)
        for number in range(0, 20, 2):
            await nodes["a"].call("namespaces.update", namespace=f"/n{number}", max_sockets=None)
        for number in range(0, 20, 5):
            await nodes["a"].call("namespaces.remove", namespace=f"/n{number}")
        before = await nodes["a"].listed()
        assert len(before) == 16
        await nodes.end("a")
        again = await nodes.start("a")
        assert await again.listed() == before
        assert await again.why_not("/n1", TOKEN) is None
        assert await again.why_not("/n5", TOKEN) == INVALID
        made = await again.call("namespaces.create", namespace="/later")
        assert made["definition"]["revision"] == 20 + 10 + 4 + 1


@pytest.mark.req("NSP-04")
@trio_test
async def test_identity_and_seats_go_by_the_definition(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        assert a.presence is not None
        create = a.call
        await create("namespaces.create", namespace="/plain", identity=[])
        assert await a.why_not("/plain") is None
        await create("namespaces.create", namespace="/asked", identity=["static"])
        assert (await a.why_not("/asked", STRANGE))["data"]["errcode"] == 3
        await create("namespaces.create", namespace="/many", seats={"policy": "many", "maximum": 2})
        async with a.client("/many", TOKEN), a.client("/many", TOKEN):
            assert (await a.presence.store.count("/many")).users == 1
        await create("namespaces.create", namespace="/first", seats={"policy": "reject"})
        async with a.client("/first", TOKEN):
            assert (await a.why_not("/first", TOKEN))["message"] == "already connected"
        await create("namespaces.create", namespace="/unseated", seats={"policy": "none"})
        async with a.client("/unseated", TOKEN), a.client("/unseated", TOKEN):
            assert (await a.presence.store.count("/unseated")).users == 0


@pytest.mark.req("NSP-09")
@trio_test
async def test_a_change_of_identity_or_seats_puts_clients_out(tmp_path: Path) -> None:
    """Not one of the rest: what clients are in by does not change."""
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        assert a.presence is not None
        await a.call("namespaces.create", namespace="/x", identity=[])
        async with a.client("/x") as client:
            assert (await a.call("namespaces.update", namespace="/x", max_sockets=9))["done"] == 0
            changed = await a.call("namespaces.update", namespace="/x", identity=None)
            assert changed == {
                "done": 1,
                "definition": {"namespace": "/x", "max_sockets": 9, "revision": 3},
            }
            await put_out(client, "/x", "namespace changed")
            assert (await ask(client, "/x", STRANGE))["data"]["errcode"] == 3
            assert await ask(client, "/x", TOKEN) is None
            await a.call("namespaces.update", namespace="/x", identity=[])
            await put_out(client, "/x", "namespace changed")
            many = {"policy": "many", "maximum": 2}
            given = {"identity": None, "seats": many}
            assert await ask(client, "/x") is None
            assert (await a.call("namespaces.update", namespace="/x", **given))["done"] == 1
            await put_out(client, "/x", "namespace changed")
            await a.call("namespaces.update", namespace="/x", seats=None)
            assert await ask(client, "/x", TOKEN) is None
            assert (await a.call("namespaces.update", namespace="/x", seats=many))["done"] == 1
            await put_out(client, "/x", "namespace changed")
            assert (await a.presence.store.count("/x")).users == 0, "the seat was given back"
            assert await ask(client, "/x", TOKEN) is None
            assert (await a.presence.store.count("/x")).users == 1


@pytest.mark.req("NSP-09")
@trio_test
async def test_another_change_leaves_clients_their_seats(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        assert a.presence is not None
        await a.call("namespaces.create", namespace="/x", seats={"policy": "reject"})
        async with a.client("/x", TOKEN):
            await a.call("namespaces.update", namespace="/x", max_sockets=9)
            assert (await a.why_not("/x", TOKEN))["message"] == "already connected"
        with trio.fail_after(5):
            # The seat is given back when the server has noticed that its client is gone.
            while await a.why_not("/x", TOKEN) is not None:
                await trio.lowlevel.checkpoint()


@pytest.mark.req("NSP-10")
@trio_test
async def test_a_namespace_may_be_full(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x", identity=[], max_sockets=2)
        async with a.client("/x"), a.client("/x") as second:
            assert (await a.why_not("/x"))["message"] == "Namespace is full"
            await second.send("1/x,")
            await until(lambda: len(a.server.of("/x").sockets) == 1)
            async with a.client("/x"):
                await a.call("namespaces.update", namespace="/x", max_sockets=3)
                async with a.client("/x"):
                    await a.call("namespaces.update", namespace="/x", max_sockets=1)
                    assert len(a.server.of("/x").sockets) == 3, "those that are in stay in"
                    assert (await a.why_not("/x"))["message"] == "Namespace is full"


@pytest.mark.req("NSP-28")
@trio_test
async def test_users_come_back_to_a_full_namespace(tmp_path: Path) -> None:
    """The server has not noticed yet that their old connections are dead."""
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x", max_sockets=1)
        full = {
            "message": "Namespace is full",
            "data": {"errcode": -1, "errmsg": "Namespace is full"},
        }
        async with a.client("/x", TOKEN), a.client("/x", TOKEN):
            assert len(a.server.of("/x").sockets) == 1, "the second has replaced the first"
            assert await a.why_not("/x", {"token": BOB}) == full
            await a.call("namespaces.update", namespace="/x", max_sockets=2)
            async with a.client("/x", {"token": BOB}), a.client("/x", TOKEN):
                assert len(a.server.of("/x").sockets) == 2
        seats: list[dict[str, Any]] = [{"policy": "none"}, {"policy": "many", "maximum": 2}]
        for number, given in enumerate(seats):
            name = f"/x{number}"
            await a.call("namespaces.create", namespace=name, seats=given, max_sockets=1)
            async with a.client(name, TOKEN):
                assert await a.why_not(name, TOKEN) == full, "the old client stays in"


@pytest.mark.req("NSP-10")
@trio_test
async def test_clients_that_are_joining_count_and_failed_ones_do_not(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x", identity=[], max_sockets=1)
        hold = trio.Event()

        @a.server.of("/x").use
        async def wait(socket: Any) -> None:
            await hold.wait()

        async with wire.open_client(a.port) as first:
            await first.send("0/x,")
            await until(lambda: len(a.server.of("/x")._joinings) == 1)
            assert (await a.why_not("/x"))["message"] == "Namespace is full"
            await first.send("1/x,")
            await until(lambda: not a.server.of("/x")._joinings)
        hold.set()
        assert await a.why_not("/x") is None


@pytest.mark.req("NSP-11")
@trio_test
async def test_recovery_can_be_off(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path, state_recovery=True) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/kept", identity=[])
        await a.call("namespaces.create", namespace="/lost", identity=[], recovery=False)
        await nodes.end("a")
        a = await nodes.start("a")
        for name, keeps in (("/kept", True), ("/lost", False)):
            async with wire.open_client(a.port) as client:
                await client.send(f"0{name},")
                assert ('"pid"' in str((await client.receive())[0])) is keeps


@pytest.mark.req("NSP-05")
@trio_test
async def test_what_others_serve_cannot_be_defined(tmp_path: Path) -> None:
    async with defined_nodes(folder=tmp_path) as nodes:
        a = await nodes.start("a", app=["/chat"])
        for name in ("/chat", "chat"):
            with pytest.raises(ControlError, match="serves /chat already") as caught:
                await a.call("namespaces.create", namespace=name)
            assert caught.value.code == Code.EXISTS
        await a.call("namespaces.create", namespace="/new")
        with pytest.raises(ControlError, match=r"exists already; namespaces\.update") as caught:
            await a.call("namespaces.create", namespace="/new")
        assert caught.value.code == Code.EXISTS
        for method in ("namespaces.update", "namespaces.remove"):
            for name in ("/chat", "/none"):
                with pytest.raises(ControlError, match="was made by namespaces") as caught:
                    await a.call(method, namespace=name)
                assert caught.value.code == Code.NOT_FOUND


@pytest.mark.req("NSP-12")
@trio_test
async def test_what_can_no_longer_be_served_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The app has that namespace now, or a method is no longer set up: nobody is let in by less."""
    async with defined_nodes("a", folder=tmp_path) as nodes:
        for name in ("/chat", "/asked", "/fine"):
            identity = ["static"] if name == "/asked" else []
            await nodes["a"].call("namespaces.create", namespace=name, identity=identity)
        await nodes.end("a")
    async with defined_nodes(folder=tmp_path) as nodes:
        a = await nodes.start("a", app=["/chat"], identity=IdentityOptions())
        assert "the namespace /chat is defined, but not served" in caplog.text
        assert "the namespace /asked is defined, but not served by this node: identity" in (
            caplog.text
        )
        assert await a.why_not("/chat") is None, "it is the app's"
        assert await a.why_not("/asked") == INVALID
        assert await a.why_not("/fine") is None
        assert a.namespaces.statistics().unserved == 2
        assert (await a.call("namespaces.remove", namespace="/asked"))["done"] == 0
        assert (await a.call("namespaces.remove", namespace="/chat"))["done"] == 0
        assert await a.why_not("/chat") is None, "the app's is left alone"
        assert a.namespaces.statistics().unserved == 0


@pytest.mark.req("NSP-13", "NSP-40")
@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "namespace: is missing"),
        ({"namespace": "/"}, "namespace: the main namespace / is always there"),
        ({"namespace": ""}, "namespace: expected text whose length is at least 1"),
        ({"namespace": 7}, "namespace: expected text, not a whole number"),
        ({"namespace": "/a,b"}, "namespace: expected at most 255 characters"),
        ({"namespace": "/a*"}, "namespace: expected at most 255 characters"),
        ({"namespace": "/a?b"}, "namespace: expected at most 255 characters"),
        ({"namespace": "/a#b"}, "namespace: expected at most 255 characters"),
        ({"namespace": "/a\n"}, "namespace: expected at most 255 characters"),
        ({"namespace": "/" + "x" * 255}, "namespace: expected text whose length is at most 255"),
        ({"namespace": "x" * 255}, "namespace: expected at most 255 characters"),
        ({"namespace": "/x", "identity": "jwt"}, "identity: expected"),
        ({"namespace": "/x", "identity": ["jwt"]}, "identity: 'jwt' is not set up in [identity]"),
        ({"namespace": "/x", "seats": {"policy": "many"}}, "seats: policy many needs a maximum"),
        ({"namespace": "/x", "seats": {"maximum": 2}}, "seats: maximum has no effect without"),
        ({"namespace": "/x", "seats": {"policy": "x"}}, "seats.policy: invalid enum value 'x'"),
        ({"namespace": "/x", "seats": {"linger_s": 5}}, "seats.linger_s: has no effect without"),
        ({"namespace": "/x", "seats": {"more": 5}}, "seats.more: namespaces.create has no such"),
        ({"namespace": "/x", "identity": [], "seats": {}}, "seats: nobody is asked there who it"),
        ({"namespace": "/open-x", "seats": {}}, "seats: nobody is asked there who it"),
        ({"namespace": "/x", "rules": []}, "rules: expected an object"),
        ({"namespace": "/x", "rules": {"x": "y" * 70_000}}, "rules: the definition has 7"),
        ({"namespace": "/x", "max_sockets": 0}, "max_sockets: expected a whole number, at least 1"),
        ({"namespace": "/x", "max_sockets": True}, "max_sockets: expected"),
        ({"namespace": "/x", "chat": 1}, "chat: expected true or false"),
        ({"namespace": "/x", "revision": 1}, "revision: namespaces.create has no such parameter"),
    ],
)
@trio_test
async def test_wrong_shapes_are_refused(tmp_path: Path, params: dict[str, Any], told: str) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        with pytest.raises(ControlError) as caught:
            await nodes["a"].call("namespaces.create", **params)
        assert caught.value.code == Code.INVALID_PARAMS
        assert caught.value.message.startswith(told)
        assert await nodes["a"].listed() == {}


@pytest.mark.req("NSP-13")
@trio_test
async def test_seats_need_a_presence_of_the_configuration(tmp_path: Path) -> None:
    async with defined_nodes(folder=tmp_path) as nodes:
        a = await nodes.start("a", own_presence=True)
        with pytest.raises(ControlError, match="the app gives the seats"):
            await a.call("namespaces.create", namespace="/x", seats={})
        await a.call("namespaces.create", namespace="/x")
        await nodes.end("a")
        a = await nodes.start("a", identity=IdentityOptions())
        refused: list[dict[str, Any]] = [{"seats": {}}, {"identity": ["static"]}]
        for params in refused:
            with pytest.raises(ControlError, match="no client is asked who it is"):
                await a.call("namespaces.create", namespace="/y", **params)
        await a.call("namespaces.create", namespace="/y", identity=[], seats={"policy": "none"})
        assert await a.why_not("/y") is None


@pytest.mark.req("NSP-14")
@trio_test
async def test_a_change_may_name_the_revision_that_it_replaces(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x")
        await a.call("namespaces.update", namespace="/x", revision=1, max_sockets=1)
        with pytest.raises(ControlError, match="revision: /x has the revision 2") as caught:
            await a.call("namespaces.update", namespace="/x", revision=1, max_sockets=2)
        assert caught.value.data == {"parameter": "revision", "revision": 2}
        assert (await a.listed())["/x"]["max_sockets"] == 1


@pytest.mark.req("NSP-14")
@trio_test
async def test_changes_of_several_fields_at_once_are_all_made(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x")

        async def change(field: str, value: Any) -> None:
            await a.call("namespaces.update", namespace="/x", **{field: value})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, "max_sockets", 7)
            nursery.start_soon(change, "recovery", False)
            nursery.start_soon(change, "identity", [])
        assert (await a.listed())["/x"] == {
            "namespace": "/x",
            "identity": [],
            "recovery": False,
            "max_sockets": 7,
            "revision": 4,
        }


@pytest.mark.req("NSP-04")
@trio_test
async def test_the_configuration_decides_again_when_it_is_removed(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        given = {"identity": ["static"], "seats": {"policy": "none"}}
        await a.call("namespaces.create", namespace="/x", **given)
        await a.call("namespaces.create", namespace="/y", identity=[])
        for name in "xy":
            await a.call("namespaces.remove", namespace=name)
            a.server.of(name)  # as an app does
        assert (await a.why_not("/y", STRANGE))["data"]["errcode"] == 3
        async with a.client("/x", TOKEN):
            assert a.presence is not None
            assert (await a.presence.store.count("/x")).users == 1


@pytest.mark.req("NSP-16")
@trio_test
async def test_nothing_is_made_that_nothing_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    async with defined_nodes("a") as nodes:
        for method in ("namespaces.create", "namespaces.remove"):
            with pytest.raises(ControlError, match=r"set \[redis\] url, or \[state\]") as caught:
                await nodes["a"].call(method, namespace="/x")
            assert caught.value.code == Code.UNAVAILABLE
        assert nodes["a"].namespaces.fault.startswith("nothing keeps namespaces")


@trio_test
async def test_systemd_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    async with defined_nodes("a") as nodes:
        await nodes["a"].call("namespaces.create", namespace="/x")
    assert (tmp_path / FILE).exists()


@pytest.mark.req("NSP-17")
@trio_test
async def test_a_locked_file_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x")
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ControlError, match="locked by another program") as caught:
                await a.call("namespaces.remove", namespace="/x")
            assert caught.value.code == Code.STORE_UNAVAILABLE
            assert caught.value.data["retryable"]
            assert await a.why_not("/x", TOKEN) is None
            other.execute("ROLLBACK")
        finally:
            other.close()
        await a.call("namespaces.remove", namespace="/x")
        assert await a.why_not("/x", TOKEN) == INVALID


@pytest.mark.req("NSP-17")
@trio_test
async def test_a_full_disk_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        database = a.state.database
        assert database is not None
        pages = await database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
        await database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").close())
        rules = {"x": "y" * 60_000}
        with pytest.raises(ControlError, match="the disk is full") as caught:
            await a.call("namespaces.create", namespace="/x", rules=rules)
        assert caught.value.message == "nothing was changed: the disk is full (SQLITE_FULL)"
        assert a.state.check() == "state: the disk is full (SQLITE_FULL)"
        assert caught.value.code == Code.STORE_UNAVAILABLE
        assert await a.listed() == {}
        assert await a.why_not("/x", TOKEN) == INVALID
        await database.write(lambda c: c.execute("PRAGMA max_page_count = 100000").close())
        await a.call("namespaces.create", namespace="/x", rules=rules)
        assert await a.why_not("/x", TOKEN) is None


@pytest.mark.req("NSP-17", "NSP-27")
@trio_test
async def test_what_is_written_late_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk hangs for longer than a caller waits; nobody makes another change after that."""
    async with defined_nodes("a", folder=tmp_path) as nodes, trio.open_nursery() as nursery:
        a = nodes["a"]
        database = a.state.database
        assert database is not None
        await a.call("namespaces.create", namespace="/old", identity=[])
        async with a.client("/old") as client:
            let_go = threading.Event()
            nursery.start_soon(database.read, lambda connection: let_go.wait(10))
            await wait_all_tasks_blocked()
            with monkeypatch.context() as patch:
                patch.setattr(database_module, "ANSWER_S", 0.1)
                with pytest.raises(ControlError, match="it is unknown whether it was done"):
                    await a.call("namespaces.remove", namespace="/old")
                assert "may have made a change" in a.namespaces.fault
                with pytest.raises(ControlError, match="did not answer") as caught:
                    await a.call("namespaces.create", namespace="/new")
                assert "it is unknown" not in caught.value.message, "it was not begun"
            let_go.set()
            await put_out(client, "/old", "namespace removed")
        assert await a.listed() == {}
        await until(lambda: not a.namespaces.fault)


@pytest.mark.req("NSP-18")
@trio_test
async def test_the_change_of_a_cancelled_caller_is_made(tmp_path: Path) -> None:
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: a.call("namespaces.create", namespace="/x"))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await until(lambda: a.namespaces.find("/x") is not None)
        assert await a.why_not("/x", TOKEN) is None
        await nodes.end("a")
        assert list(await (await nodes.start("a")).listed()) == ["/x"]


@pytest.mark.req("NSP-19")
@trio_test
async def test_there_is_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trio_socketio.im.namespaces import disk_store

    monkeypatch.setattr(disk_store, "MAX_NAMESPACES", 2)
    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        for name in "xy":
            await a.call("namespaces.create", namespace=name)
        with pytest.raises(ControlError, match="remove others first") as caught:
            await a.call("namespaces.create", namespace="z")
        assert caught.value.code == Code.OVERLOADED
        await a.call("namespaces.remove", namespace="x")
        await a.call("namespaces.create", namespace="z")
        assert list(await a.listed()) == ["/y", "/z"]


@pytest.mark.req("NSP-04")
@trio_test
async def test_a_reload_keeps_the_identity_of_namespaces(tmp_path: Path) -> None:
    from trio_socketio.im.identity.verifiers import prepare

    async with defined_nodes("a", folder=tmp_path) as nodes:
        a = nodes["a"]
        assert a.identity is not None
        await a.call("namespaces.create", namespace="/x", identity=[])
        before = a.identity._prepared
        a.identity.apply(prepare(before.options, before=before))
        assert await a.why_not("/x", STRANGE) is None, "nobody is asked"
        await a.call("namespaces.update", namespace="/x", identity=None)
        assert (await a.why_not("/x", STRANGE))["data"]["errcode"] == 3
        assert await a.why_not("/x", {"token": BOB}) is None


class Lost:
    """A store that has lost everything, and begins a new epoch."""

    where, fault, epoch = "nowhere", "", "old"

    async def change(self, change: Change) -> Stamp:
        return Stamp("new", 1)

    async def run(
        self, listener: object, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()


@pytest.mark.req("NSP-20")
@trio_test
async def test_a_change_of_another_epoch_is_waited_for() -> None:
    """Its revision may be lower than the last one of the epoch that was lost."""
    store = Lost()
    service = DefinedNamespaces(Server(), store)
    service.replace({}, 5)
    made = await service.change(Change("create", "/x"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.wait_made, made)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        store.epoch = "new"
        service.replace({}, 1)
