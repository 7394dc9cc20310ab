"""The description of the control API, and the file that it is published in.

``python -m tests.control.test_openrpc`` writes the file anew.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from tests.control.serving import FakeSystem, controlled, peer
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.cli.ctl import DESCRIPTION
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.openrpc import Discovery, describe
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService
from trio_socketio.control.workers import WorkerMethods
from trio_socketio.im.deliveries.methods import DeliveryMethods
from trio_socketio.im.identity.methods import AuthMethods
from trio_socketio.im.namespaces.methods import DefinitionMethods
from trio_socketio.im.namespaces.service import DefinedNamespaces
from trio_socketio.im.presence.legacy_methods import LegacyMethods
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.im.presence.user_methods import UserMethods

PUBLISHED: Final = Path(__file__).resolve().parents[2] / "spec" / "openrpc.json"
PACKAGED: Final = DESCRIPTION  # read by ctl, because spec/ is not installed
METHODS: Final = [
    "auth",
    "auth.revoke",
    "auth.unrevoke",
    "backend.register",
    "deliver",
    "deliveries.get",
    "deliveries.list",
    "emit",
    "emit_with_ack",
    "namespaces.create",
    "namespaces.list",
    "namespaces.remove",
    "namespaces.update",
    "presence.ack",
    "presence.count",
    "presence.get",
    "presence.legacy_list",
    "presence.list",
    "presence.log",
    "presence.snapshot",
    "presence.subscribe",
    "presence.unsubscribe",
    "rooms.clear",
    "rooms.join",
    "rooms.leave",
    "rooms.list",
    "rooms.members",
    "rpc.discover",
    "sockets.departed",
    "sockets.disconnect",
    "sockets.get",
    "sockets.list",
    "system.drain",
    "system.info",
    "system.nodes",
    "system.reload",
    "system.stats",
    "users.get",
    "users.kick",
    "users.list",
    "workers.list",
    "workers.restart",
]


def document() -> Any:
    server = Server()
    further = [
        AuthMethods(None),
        PresenceMethods(server),
        UserMethods(server),
        LegacyMethods(None),
        DefinitionMethods(DefinedNamespaces(server, None)),
        DeliveryMethods(None),
        WorkerMethods(None),
    ]
    service = ControlService(Server(), FakeSystem(), ControlOptions(), further=further)
    return describe(service._dispatcher.methods)


@pytest.mark.req("CONTROL-50")
def test_the_published_file_is_current() -> None:
    assert json.loads(PACKAGED.read_text()) == document(), (
        "the methods have changed: python -m tests.control.test_openrpc"
    )
    assert PUBLISHED.samefile(PACKAGED)


@pytest.mark.req("CONTROL-50")
@trio_test
async def test_rpc_discover_answers_it(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        assert await raw.call("rpc.discover") == document()
        assert await raw.call("rpc.discover") == document()


def test_the_document_is_encoded_once() -> None:
    """A peer that asks for it again and again is not felt by the others."""
    service = ControlService(Server(), FakeSystem(), ControlOptions())
    method = service._hub.dispatcher.methods["rpc.discover"]
    assert not method.has_bytes
    discovery = Discovery({"rpc.discover": method})
    first = discovery.discover()
    assert json.loads(bytes(first)) == describe({"rpc.discover": method})
    assert discovery.discover() is first


def test_every_method_is_described() -> None:
    described = document()
    assert described["openrpc"] == "1.3.2"
    assert [one["name"] for one in described["methods"]] == METHODS
    for method in described["methods"]:
        assert method["summary"].endswith(".")
        for param in method["params"]:
            assert param["description"]
            keeps = method["name"] == "namespaces.update"  # what is left out stays as it is
            assert param["required"] == ("default" not in param["schema"]) or keeps
        names = [param["required"] for param in method["params"]]
        assert names == sorted(names, reverse=True)  # those that may be left out come last
    emit = next(one for one in described["methods"] if one["name"] == "emit")
    assert [param["name"] for param in emit["params"]] == [
        "event", "args", "namespace", "all", "rooms", "sockets", "except", "users", "except_users",
    ]  # fmt: skip


def test_every_reference_leads_somewhere() -> None:
    described = document()
    schemas = described["components"]["schemas"]

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if "$ref" in value else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for name, schema in schemas.items():
        assert "Args:" not in schema["description"], name
        for field, shown in schema.get("properties", {}).items():
            assert shown.get("description") or "$ref" in shown, f"{name}.{field}"


def test_every_code_is_described() -> None:
    errors = document()["components"]["errors"]
    assert {name: one["code"] for name, one in errors.items()} == {
        code.name: code.value for code in Code
    }


if __name__ == "__main__":
    PACKAGED.write_text(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
