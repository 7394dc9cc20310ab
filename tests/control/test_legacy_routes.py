"""The HTTP routes of the original contract."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.control.serving import Controlled, controlled, write_token
from tests.wire import HttpClient, Response
from trio.testing import trio_test

from trio_socketio import Server, TcpEndpoint
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.legacy_views import EVENTS
from trio_socketio.control.methods import rpc
from trio_socketio.control.options import ControlToken
from trio_socketio.errors import ControlError
from trio_socketio.http.options import HttpOptions
from trio_socketio.http.routes import Routes
from trio_socketio.http.server import open_http_connections
from trio_socketio.runtime.options import ConnectionLimits

SECRET: Final = "s" * 32
OTHER: Final = "o" * 32
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


class Definitions:
    """Stands for those of im/namespaces, which need a store."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rules: dict[str, dict[str, Any]] = {}
        self.identity: dict[str, list[str] | None] = {}

    @rpc("namespaces.create")
    def create(
        self,
        namespace: str,
        chat: bool = False,
        rules: dict[str, Any] | None = None,
        identity: list[str] | None = None,
    ) -> dict[str, Any]:
        """Make a namespace."""
        name = namespace if namespace.startswith("/") else f"/{namespace}"
        if name in self._server.namespaces:
            raise ControlError(Code.EXISTS, f"namespace: {name} is there already")
        assert chat
        self._server.of(name)
        self._rules[name] = rules or {}
        self.identity[name] = identity
        return {"done": 0}

    @rpc("namespaces.remove")
    async def remove(self, namespace: str) -> dict[str, Any]:
        """Remove a namespace."""
        name = namespace if namespace.startswith("/") else f"/{namespace}"
        if name not in self._rules:
            raise ControlError(Code.NOT_FOUND, f"namespace: there is no namespace {name!r}")
        del self._rules[name]
        await self._server.remove(name)
        return {"done": 0}

    @rpc("namespaces.list")
    def list_namespaces(self, after: str | None = None, limit: int = 100) -> dict[str, Any]:
        """Show the namespaces."""
        names = sorted(name for name in self._server.namespaces if after is None or name > after)
        page = [
            {
                "namespace": name,
                "sockets": len(self._server.of(name).sockets),
                "rooms": len(self._server.of(name).rooms),
                "definition": {"rules": self._rules[name]} if name in self._rules else None,
            }
            for name in names[:limit]
        ]
        following = names[limit - 1] if len(names) > limit else None
        return {"namespaces": page, "total": len(self._server.namespaces), "next": following}


class Caller:
    """Sends requests."""

    def __init__(self, http: HttpClient, definitions: Definitions) -> None:
        self._http = http
        self.definitions = definitions

    async def ask(
        self, method: str, path: str, kind: str = "", body: bytes = b"", secret: str = SECRET
    ) -> Response:
        headers = [("Content-Type", kind)] if kind else []
        headers += [("Authorization", f"Bearer {secret}")] if secret else []
        return await self._http.request(method, path, headers, body)

    async def data(self, method: str, path: str, kind: str = "", body: bytes = b"") -> Any:
        """The data of an answer that is in order."""
        response = await self.ask(method, path, kind, body)
        assert (response.status, response.json()["errcode"]) == (200, 0), response.text
        assert response.json()["errmsg"] == "ok"
        return response.json()["data"]

    async def refused(self, *arguments: Any, **options: Any) -> tuple[int, int, str]:
        """The status and the error of an answer that is not."""
        response = await self.ask(*arguments, **options)
        assert response.json()["data"] is None
        return response.status, response.json()["errcode"], response.json()["errmsg"]


@asynccontextmanager
async def routed(
    folder: Path, server: Server | None = None, **options: Any
) -> AsyncIterator[tuple[Controlled, Caller]]:
    (folder / "all").mkdir()
    (folder / "one").mkdir()
    tokens = (
        ControlToken(name="all", file=write_token(folder / "all", secret=SECRET), methods=("*",)),
        ControlToken(
            name="one", file=write_token(folder / "one", secret=OTHER), methods=("namespaces.list",)
        ),
    )
    async with controlled(folder, server, tokens=tokens, **options) as where:
        dispatcher = where.service._dispatcher
        for method in ("create", "list", "remove"):
            dispatcher.methods.pop(f"namespaces.{method}")
        definitions = Definitions(where.server)
        dispatcher.add(definitions)
        routes = Routes(destroy_upgrade=True)
        routes.add_tree("/api/", where.service.receive_legacy)
        connections = open_http_connections(
            where.runtime.poller,
            where.runtime.deadlines,
            ConnectionLimits(),
            HttpOptions(),
            routes.receive_request,
        )
        async with (
            where.runtime.holding(connections, flush_s=1),
            where.runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
        ):
            http = HttpClient(addresses[0][1])
            yield where, Caller(http, definitions)
            await http.aclose()


@pytest.mark.req("LEG-10")
@trio_test
async def test_namespaces_are_made_shown_and_removed(tmp_path: Path) -> None:
    async with routed(tmp_path) as (where, caller):
        body = json.dumps({"nspName": "demo", "evts": ["bid", "chat/users"]}).encode()
        assert await caller.data("POST", "/api/nsps/gen", JSON, body) is None
        assert "/demo" in where.server.namespaces
        for form in (b"nspName=/room%201&evts=a&evts=b", b"nspName=plain&evts[]=a&identity=des"):
            await caller.data("POST", "/api/nsps/gen", f"{FORM}; charset=utf-8", form)
        one = b'{"nspName":"/one","evts":"a","identity":["jwt","des"]}'
        await caller.data("POST", "/api/nsps/gen", JSON, one)
        await caller.data("POST", "/api/nsps/gen", JSON, b'{"nspName":"none"}')
        given = caller.definitions.identity
        assert (given["/demo"], given["/one"]) == (None, ["jwt", "des"])
        assert given["/plain"] == ["des"]
        where.server.of("/of-the-app")
        assert await caller.data("GET", "/api/nsps/all") == [
            {"name": "demo", "listenEvts": ["bid", "chat/users"]},
            {"name": "none", "listenEvts": []},
            {"name": "of-the-app", "listenEvts": ["*"]},
            {"name": "one", "listenEvts": ["a"]},
            {"name": "plain", "listenEvts": ["a"]},
            {"name": "room 1", "listenEvts": ["a", "b"]},
        ]
        for name in ("room 1", "/room 1"):
            found = await caller.data("GET", f"/api/nsps/{quote(name, safe='')}")
            assert found == [{"name": "room 1", "listenEvts": ["a", "b"]}]
        assert await caller.data("DELETE", "/api/nsps/demo") == {"done": 0}
        assert "/demo" not in where.server.namespaces
        for method in ("GET", "DELETE"):
            status, errcode, errmsg = await caller.refused(method, "/api/nsps/demo")
            assert (status, errcode) == (404, 2)
            assert "there is no namespace" in errmsg
        assert (await caller.refused("POST", "/api/nsps/gen", JSON, one))[:2] == (409, 2)


def test_what_clients_may_send_includes_the_events_of_the_contract() -> None:
    assert {"auth", "join", "leave", "chat/users", "chat/rooms"} <= set(EVENTS)


@pytest.mark.req("LEG-09", "LEG-10", "LEG-14")
@pytest.mark.parametrize(
    ("kind", "body", "status", "why"),
    [
        (JSON, b"", 400, "body: "),
        (JSON, b"[", 400, "body: "),
        (JSON, b"{}", 400, "body: Object missing required field `nspName`"),
        (JSON, b'{"nspName":7}', 400, "body: Expected `str`"),
        (JSON, b'{"nspName":"a","evts":{}}', 400, "body: Expected `str | array`"),
        (JSON, b'{"nspName":"a","evts":[7]}', 400, "body: Expected `str`"),
        (JSON, b'{"nspName":""}', 400, "nspName: cannot be empty"),
        (JSON, b"[" * 2000, 400, "body: "),
        (
            JSON,
            b'{"nspName":"a","identiy":[]}',
            400,
            "body: Object contains unknown field `identiy`",
        ),
        (JSON, b'{"nspName":"a","evts":"join,leave"}', 400, "evts: expected one event in each"),
        (JSON, b" " * (1 << 20) + b"{}", 413, "a body may have at most"),
        (FORM, b"nspName=a&evts=join,leave", 400, "evts: expected one event in each"),
        (FORM, b"nspName=a&evts=%5B%22join%22%5D", 400, "evts: expected one event in each"),
        (FORM, b"nspName=a&identiy=jwt", 400, "body: Form contains unknown field `identiy`"),
        (FORM, b"\xff", 400, "body: "),
        (FORM, b"", 400, "nspName: cannot be empty"),
        (FORM, b"a=1&" * 1001, 400, "body: "),
        ("text/plain", b"x", 400, "Content-Type: expected"),
        ("", b"x", 400, "Content-Type: expected"),
    ],
)
@trio_test
async def test_bodies_that_cannot_be_used(
    tmp_path: Path, kind: str, body: bytes, status: int, why: str
) -> None:
    async with routed(tmp_path) as (where, caller):
        found = await caller.refused("POST", "/api/nsps/gen", kind, body)
        assert found[:2] == (status, 2)
        assert found[2].startswith(why)
        assert list(where.server.namespaces) == ["/"]


@pytest.mark.req("LEG-15")
@trio_test
async def test_errors_are_told_in_the_words_of_the_routes(tmp_path: Path) -> None:
    async with routed(tmp_path) as (_, caller):
        one = b'{"nspName":"one","identity":[]}'
        assert await caller.data("POST", "/api/nsps/gen", JSON, one) is None
        assert caller.definitions.identity["/one"] == []
        status, errcode, told = await caller.refused("POST", "/api/nsps/gen", JSON, one)
        assert (status, errcode, told) == (409, 2, "nspName: /one is there already")
        told = (await caller.refused("DELETE", "/api/nsps/two"))[2]
        assert told == "nspName: there is no namespace '/two'"
        for what in ("rooms", "rooms?roomId=r", "sockets", "sockets?socketId=x"):
            path = f"/api/{what}{'&' if '?' in what else '?'}nspName=nope"
            told = (await caller.refused("GET", path))[2]
            assert told == "nspName: there is no namespace '/nope'", path
        assert (await caller.refused("GET", "/api/rooms?roomId=r&nspName=one"))[2].startswith(
            "room"
        )


@pytest.mark.req("LEG-07", "LEG-08")
@trio_test
async def test_a_token_is_needed_that_may_make_the_calls(tmp_path: Path) -> None:
    async with routed(tmp_path) as (where, caller):
        for path in ("/api/nsps/all", "/api/statics", "/api/rooms", "/api/nothing"):
            assert (await caller.refused("GET", path, secret=""))[:2] == (401, 5)
            assert (await caller.refused("GET", path, secret="x" * 32))[:2] == (401, 3)
        one = b'{"nspName":"one"}'
        assert (await caller.ask("GET", "/api/nsps/all", secret=OTHER)).status == 200
        found = await caller.refused("POST", "/api/nsps/gen", JSON, one, OTHER)
        assert found == (403, 3, "the token 'one' may not call namespaces.create")
        assert (await caller.refused("GET", "/api/statics", secret=OTHER))[:2] == (403, 3)
        assert "/one" not in where.server.namespaces
        tallies = where.service.statistics().methods
        assert tallies["namespaces.list"][0] > 0
        response = await caller._http.request(
            "GET", "/api/nsps/all", [("Authorization", f"Bearer {SECRET}"), ("Origin", "http://x")]
        )
        assert (response.status, response.json()["errcode"]) == (403, 3)


@pytest.mark.req("LEG-09")
@trio_test
async def test_routes_and_methods_that_do_not_exist(tmp_path: Path) -> None:
    async with routed(tmp_path) as (where, caller):
        for path in ("/api/", "/api/nsps", "/api/nsps/", "/api/statics/x", "/api/nsps/a/b"):
            assert (await caller.refused("GET", path))[:2] == (404, 2)
        response = await caller.ask("PUT", "/api/nsps/x")
        assert (response.status, response.json()["errmsg"]) == (405, "expected GET or DELETE")
        assert response.headers["allow"] == "GET, DELETE"
        assert (await caller.refused("GET", "/api/nsps/gen"))[:2] == (405, 2)
        where.service._dispatcher.methods.pop("namespaces.create")
        one = b'{"nspName":"one"}'
        assert (await caller.refused("POST", "/api/nsps/gen", JSON, one))[:2] == (501, 1)
        where.service.end()
        where.service._http.nursery = None
        assert (await caller.refused("GET", "/api/statics"))[:2] == (503, 1)


@pytest.mark.req("LEG-11")
@trio_test
async def test_what_there_is_is_counted(tmp_path: Path) -> None:
    server = Server()
    demo = server.of("/demo")
    async with (
        routed(tmp_path, server) as (where, caller),
        where.client("/demo") as (_, ann),
        where.client("/demo") as (_, bob),
        where.client("/") as (_, carl),
    ):
        for socket in (ann, bob):
            demo.sockets[socket].join("r1")
        demo.sockets[ann].join("r2")
        demo.sockets[ann].join("user:7")
        assert await caller.data("GET", "/api/statics") == {
            "socketCnt": 3,
            "nspCount": 2,
            "roomsCount": 3,
            "nspStat": [
                {"nspName": "/", "socketCnt": 1, "roomsCnt": 0},
                {"nspName": "/demo", "socketCnt": 2, "roomsCnt": 3},
            ],
            "nodes": [{"name": "n0de", "connections": 3}],
        }
        for path in ("/api/rooms", "/api/statics/rooms"):
            assert await caller.data("GET", path) == {
                "rooms": [
                    {"nspName": "/demo", "roomId": "r1", "socketsCnt": 2},
                    {"nspName": "/demo", "roomId": "r2", "socketsCnt": 1},
                ],
                "truncated": False,
            }
            for query in ("?roomId=r1", "?roomId=r1&nspName=demo", "?nspName=%2Fdemo&roomId=r1"):
                assert await caller.data("GET", path + query) == {
                    "stat": {"id": "r1", "userIdsCnt": 0, "socketsCnt": 2},
                    "userIds": [],
                }
            for query in ("?roomId=r9", "?roomId=r1&nspName=/", "?nspName=x&roomId=r1"):
                assert (await caller.refused("GET", path + query))[:2] == (404, 2)
        for path in ("/api/sockets", "/api/statics/sockets"):
            found = await caller.data("GET", path)
            assert found == {"sockets": [carl, *sorted((ann, bob))], "truncated": False}
            found = await caller.data("GET", f"{path}?socketId={ann}")
            assert found["userId"] is None
            assert found["socketStat"]["id"] == ann
            assert found["socketStat"]["nspName"] == "/demo"
            assert found["socketStat"]["connected"] is True
            assert found["socketStat"]["rooms"] == ["r1", "r2", "user:7"]
            assert (await caller.refused("GET", f"{path}?socketId=x"))[:2] == (404, 2)
            assert (await caller.data("GET", f"{path}?nspName=demo"))["sockets"] == sorted(
                (ann, bob)
            )


@pytest.mark.req("LEG-11")
@trio_test
async def test_answers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_socketio.control.legacy_views.MAX_SHOWN", 2)
    monkeypatch.setattr("trio_socketio.control.legacy_views.MAX_SEARCHED", 2)
    server = Server()
    names = [f"/n{number}" for number in range(4)]
    for name in names:
        server.of(name)
    async with routed(tmp_path, server) as (where, caller), where.client("/n1") as (_, ann):
        for room in ("a", "b", "c"):
            server.of("/n1").sockets[ann].join(room)
        response = await caller.ask("GET", "/api/nsps/all")
        assert [one["name"] for one in response.json()["data"]] == ["n0"]  # and "/", not shown
        assert response.json()["next"] == "/n0"
        response = await caller.ask("GET", "/api/nsps/all?after=n0")
        assert [one["name"] for one in response.json()["data"]] == ["n1", "n2"]
        assert await caller.data("GET", "/api/nsps/n3")
        response = await caller.ask("GET", "/api/statics")
        assert response.json()["data"]["nspCount"] == 5
        assert response.json()["next"] == "/n0"
        for path in ("/api/rooms", "/api/sockets?socketId=x"):
            status, errcode, errmsg = await caller.refused("GET", path)
            assert (status, errcode) == (400, 2)
            assert errmsg.startswith("nspName: is needed")
        found = await caller.data("GET", "/api/rooms?nspName=n1")
        assert found["truncated"] is True
        assert [one["roomId"] for one in found["rooms"]] == ["a", "b"]


@pytest.mark.req("LEG-13")
@pytest.mark.parametrize("searched", [3, 100])
@trio_test
async def test_the_pages_of_a_list_show_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searched: int
) -> None:
    monkeypatch.setattr("trio_socketio.control.legacy_views.MAX_SHOWN", 2)
    monkeypatch.setattr("trio_socketio.control.legacy_views.MAX_SEARCHED", searched)
    server = Server()
    server.of("/n1")
    server.of("/n2")
    async with (
        routed(tmp_path, server) as (where, caller),
        where.client("/n1") as (_, ann),
        where.client("/n1") as (_, bob),
        where.client("/n2") as (_, carl),
    ):
        for room in ("a", "b,c", *(f"user:{number}" for number in range(9)), "v"):
            server.of("/n1").sockets[ann].join(room)
        server.of("/n2").sockets[carl].join("w")

        async def pages(path: str, kind: str) -> list[Any]:
            found: list[Any] = []
            after = ""
            while True:
                answer = (await caller.ask("GET", path + after)).json()
                assert len(answer["data"][kind]) <= 2
                assert answer["data"]["truncated"] is (answer["next"] is not None)
                found += answer["data"][kind]
                if answer["next"] is None:
                    return found
                after = f"{'&' if '?' in path else '?'}after={quote(answer['next'], safe='')}"

        rooms = await pages("/api/rooms", "rooms")
        shown = [(one["nspName"], one["roomId"]) for one in rooms]
        assert shown == [("/n1", "a"), ("/n1", "b,c"), ("/n1", "v"), ("/n2", "w")]
        one = [room["roomId"] for room in await pages("/api/rooms?nspName=n1", "rooms")]
        assert one == ["a", "b,c", "v"]
        assert await pages("/api/sockets", "sockets") == [*sorted((ann, bob)), carl]
        told = await caller.refused("GET", "/api/rooms?after=x")
        assert told == (400, 2, "after: expected the value of next from the previous page")


class TwoNodes:
    """Stands for a cluster of which one node does not answer."""

    def __init__(self) -> None:
        self.missing: dict[str, Any] = {}

    @rpc("system.nodes")
    def list_nodes(self) -> dict[str, Any]:
        """Show the nodes."""
        return {"node": "a", "nodes": [{"name": name, "connections": 1} for name in "ab"]}

    @rpc("namespaces.list")
    def list_namespaces(self, after: str | None, limit: int) -> dict[str, Any]:
        """Show the namespaces."""
        one = {"namespace": "/", "sockets": 5, "joining": 0, "rooms": 7, "dynamic": False}
        return {"namespaces": [one], "total": 1, "next": None, **self.missing}


@pytest.mark.req("LEG-09", "LEG-11")
@trio_test
async def test_all_nodes_are_counted_or_it_is_an_error(tmp_path: Path) -> None:
    async with routed(tmp_path) as (where, caller):
        nodes = TwoNodes()
        for name in ("system.nodes", "namespaces.list"):
            where.service._dispatcher.methods.pop(name)
        where.service._dispatcher.add(nodes)
        found = await caller.data("GET", "/api/statics")
        assert (found["socketCnt"], found["roomsCount"], len(found["nodes"])) == (5, 7, 2)
        silent, refusing = {"missing": {"nodes": ["b"]}}, {"failed": {"c": "no", "d": "no"}}
        for missing, told in (
            (silent, "no answer of the nodes b"),
            (refusing, "a refusal of the nodes c, d"),
            (silent | refusing, "no answer of the nodes b, and a refusal of the nodes c, d"),
        ):
            nodes.missing = missing
            found = await caller.refused("GET", "/api/statics")
            assert found == (503, 1, f"namespaces.list: {told}")
            assert (await caller.ask("GET", "/api/nsps/all")).status == 200  # a knows them all
