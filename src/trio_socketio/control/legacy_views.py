"""What the HTTP routes of the original contract show and do, by calls of the control API.

Each view is a function that makes its calls in the name of whoever has sent the request.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from trio_socketio.codec.json_rpc import Code, Request
from trio_socketio.control.failures import invalid, not_found, too_large
from trio_socketio.errors import ControlError
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX

if TYPE_CHECKING:
    from trio_socketio.control.dispatcher import Dispatcher
    from trio_socketio.control.http_calls import HttpCaller

EVENTS: Final = (
    "auth", "join", "leave", "chat/users", "chat/rooms", "chat/broadcast",
    "signal/user", "signal/room", "signal/broadcast",
)  # fmt: skip
"""The events that every namespace of the original has; those of its configuration come on top."""
MAX_SHOWN: Final = 1000
"""The most rooms, sockets or namespaces in one answer."""
MAX_SEARCHED: Final = 100
"""The most namespaces or pages that are looked at for one answer: in a cluster, each has all nodes
asked."""

_ID: Final = msgspec.Raw(b"1")
_FORM: Final = "application/x-www-form-urlencoded"
_MANY: Final = (
    f"is needed, because there are more than {MAX_SEARCHED} namespaces, which are not all searched"
)

View = Callable[..., Awaitable[Any]]
"""Returns the data of the answer, given the Calls, and for a POST also content_type and body."""


class GenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/nsps/gen``.

    Args:
        nspName: the name of the namespace; a leading slash may be left out.
        evts: an event, or several, that its clients may send besides EVENTS.
        identity: a method that identifies its clients, or several; with an empty list nobody is
            asked, and None means those that [identity] gives it. The original has no such field.
    """

    nspName: str
    evts: str | list[str] = []
    identity: str | list[str] | None = None


_FIELDS: Final = frozenset(GenRequest.__struct_fields__)
_decode_gen = msgspec.json.Decoder(GenRequest).decode


class Calls:
    """Makes calls in the name of the sender of a request."""

    def __init__(self, dispatcher: "Dispatcher", caller: "HttpCaller") -> None:
        self._dispatcher = dispatcher
        self._caller = caller

    async def __call__(self, method: str, **params: Any) -> Any:
        """Call a method and return its result.

        Raises:
            ControlError: it has failed, the sender may not call it (LEG-08), or nodes of the
                cluster have not answered, which makes the result incomplete.
        """
        result = await self._ask(method, params)
        lacks = [
            f"{why} of the nodes {', '.join(nodes)}"
            for why, nodes in (
                ("no answer", result.get("missing", {}).get("nodes")),
                ("a refusal", result.get("failed")),  # or an answer that cannot be read
            )
            if nodes
        ]
        if lacks:
            raise ControlError(Code.PARTIAL, f"{method}: {', and '.join(lacks)}")
        return result

    async def list_namespaces(self, after: str | None, limit: int) -> Any:
        """Call namespaces.list for the names and definitions, on this node alone.

        Every node knows the namespaces that the app or a call has made. A dynamic one is shown only
        if this node has it, and the numbers are those of this node. A node that hangs delays
        nothing.

        Raises:
            ControlError: it has failed, or the sender may not call it.
        """
        params = {"after": after, "limit": limit}
        return await self._ask("namespaces.list", params, is_spread=False)

    async def _ask(self, method: str, params: dict[str, Any], *, is_spread: bool = True) -> Any:
        request = Request(method, msgspec.Raw(msgspec.json.encode(params)), _ID)
        answer = await self._dispatcher.answer(request, self._caller, is_spread=is_spread)
        assert answer is not None  # as the request has an id
        decoded = msgspec.json.decode(answer)
        error = decoded.get("error")
        if error is not None:
            raise ControlError(
                error["code"], _in_words_of_routes(error["message"]), error.get("data")
            )
        return decoded["result"]

    async def find_namespace(self, name: str) -> dict[str, Any] | None:
        """Return what `list_namespaces` says about one namespace; None if it does not exist."""
        after = None
        while True:
            page = await self.list_namespaces(after, MAX_SHOWN)
            for one in page["namespaces"]:
                if one["namespace"] == name:
                    found: dict[str, Any] = one
                    return found
            after = page["next"]
            if after is None:
                return None

    async def searched(self, namespace: str | None) -> list[str]:
        """Return the names of the namespaces to look at: one, or all.

        Raises:
            ControlError: there are too many.
        """
        if namespace is not None:
            return [full_name(namespace)]
        # On all nodes, because any of them may have a dynamic namespace of its own. If a node does
        # not answer, the following calls say so.
        page = await self._ask("namespaces.list", {"after": None, "limit": MAX_SEARCHED})
        if page["next"] is not None:
            raise invalid("nspName", _MANY)
        return [one["namespace"] for one in page["namespaces"]]


async def create(call: Calls, content_type: str, body: bytes) -> None:
    """Make a namespace that has the chat events, and its own (LEG-10)."""
    asked = _read_gen(content_type, body)
    events = _read_events(asked.evts)
    methods = [asked.identity] if isinstance(asked.identity, str) else asked.identity
    if not asked.nspName:
        raise invalid("nspName", "cannot be empty")
    allowed = [*dict.fromkeys((*events, *EVENTS))]
    await call(
        "namespaces.create",
        namespace=asked.nspName,
        chat=True,
        rules={"events": allowed},
        identity=methods,  # LEG-12: without it, DES tokens are not taken
    )


async def list_namespaces(call: Calls, after: str | None) -> Any:
    """Show this node's namespaces, page by page. Dynamic ones of other nodes may be missing."""
    after = None if after is None else full_name(after)
    page = await call.list_namespaces(after, MAX_SHOWN)
    shown = [_configuration(one) for one in page["namespaces"] if one["namespace"] != "/"]
    return Page(shown, page["next"])


async def show_namespace(call: Calls, name: str) -> Any:
    """Show one namespace of this node, in a list, as the original does."""
    found = await call.find_namespace(full_name(name))
    if found is None:
        raise not_found("nspName", "namespace", name)
    return [_configuration(found)]


async def remove(call: Calls, name: str) -> Any:
    """Remove a namespace, and count the clients that were put out."""
    removed = await call("namespaces.remove", namespace=name)
    return {"done": removed["done"]}


async def show_statics(call: Calls, after: str | None) -> Any:
    """Count what is on all nodes."""
    after = None if after is None else full_name(after)
    page = await call("namespaces.list", after=after, limit=MAX_SEARCHED)
    nodes = (await call("system.nodes"))["nodes"]
    stats = [  # LEG-11
        {"nspName": one["namespace"], "socketCnt": one["sockets"], "roomsCnt": one["rooms"]}
        for one in page["namespaces"]
    ]
    found = {
        "socketCnt": sum(one["socketCnt"] for one in stats),
        "nspCount": page["total"],
        "roomsCount": sum(one["roomsCnt"] for one in stats),
        "nspStat": stats,
        "nodes": [{"name": node["name"], "connections": node["connections"]} for node in nodes],
    }
    return Page(found, page["next"])


async def show_room(call: Calls, room: str, namespace: str | None) -> Any:
    """Show who is in a room."""
    users: dict[str, None] = {}
    count = 0
    for name in await call.searched(namespace):
        after = None
        while True:
            try:
                page = await call(
                    "sockets.list", namespace=name, room=room, after=after, limit=MAX_SHOWN
                )
            except ControlError as error:
                if error.code != Code.NOT_FOUND or _is_about_namespace(error, namespace):
                    raise
                break  # the room is not in this namespace, or just gone
            users.update(dict.fromkeys(one["user"] for one in page["sockets"] if one["user"]))
            count += len(page["sockets"])
            after = page["next"]
            if after is None:
                break
            if count >= 10 * MAX_SHOWN:
                raise too_large(f"the room has more than {count} sockets: ask sockets.list")
    if not count:
        raise not_found("roomId", "room", room)
    stat = {"id": room, "userIdsCnt": len(users), "socketsCnt": count}
    return {"stat": stat, "userIds": list(users)}


async def list_rooms(call: Calls, namespace: str | None, after: str | None) -> Any:
    """Show rooms, without those of users, page by page."""
    found, following = await _list(call, _ROOMS, namespace, after)
    shown = [
        {"nspName": name, "roomId": one["room"], "socketsCnt": one["members"]}
        for name, one in found
    ]
    return Page({"rooms": shown, "truncated": following is not None}, following)


async def show_socket(call: Calls, socket: str, namespace: str | None) -> Any:
    """Show a client."""
    for name in await call.searched(namespace):
        try:
            found = await call("sockets.get", namespace=name, socket=socket)
        except ControlError as error:
            if error.code != Code.NOT_FOUND or _is_about_namespace(error, namespace):
                raise
            continue
        stat = {"id": socket, "connected": True, "disconnected": False, "nspName": name}
        stat |= {key: found[key] for key in ("address", "transport", "rooms", "connected_at_s")}
        return {"meta": {}, "userId": found["user"], "socketStat": stat}
    raise not_found("socketId", "socket", socket)


async def list_sockets(call: Calls, namespace: str | None, after: str | None) -> Any:
    """Show the public ids of clients, page by page."""
    found, following = await _list(call, _SOCKETS, namespace, after)
    shown = [one["id"] for _, one in found]
    return Page({"sockets": shown, "truncated": following is not None}, following)


def _is_about_namespace(error: ControlError, namespace: str | None) -> bool:
    """Whether the only namespace that is looked at does not exist."""
    about = error.data.get("parameter") if isinstance(error.data, dict) else None
    return namespace is not None and about == "namespace"


class _Listed(NamedTuple):
    """What a list over several namespaces is made of.

    Args:
        method: shows it in one namespace, page by page.
        key: of the list in its result.
        name: of the field by which it is sorted.
        is_shown: whether an entry is shown, by that field.
    """

    method: str
    key: str
    name: str
    is_shown: Callable[[str], bool]


_ROOMS: Final = _Listed(
    "rooms.list", "rooms", "room", lambda room: not room.startswith(USER_ROOM_PREFIX)
)
_SOCKETS: Final = _Listed("sockets.list", "sockets", "id", lambda _: True)


async def _list(
    call: Calls, what: _Listed, namespace: str | None, after: str | None
) -> tuple[list[tuple[str, dict[str, Any]]], str | None]:
    """Gather entries, at most MAX_SHOWN, with at most MAX_SEARCHED calls (LEG-13).

    Args:
        call: makes the calls.
        what: what is gathered.
        namespace: the only one that is looked at; None for all.
        after: where an earlier page has ended; None for the first.
    Returns:
        The entries, each with its namespace; and where the next page begins, None if there is none.
    """
    # No name of a namespace has a comma in it.
    first, comma, last = (after or ",").partition(",")
    if not comma:
        raise invalid("after", "expected the value of next from the previous page")
    shown: list[tuple[str, dict[str, Any]]] = []
    names = [name for name in await call.searched(namespace) if name >= first]
    calls = 0
    for name in names:
        at = last if name == first else ""
        following: str | None = at
        while following is not None:
            limit = MAX_SHOWN - len(shown)
            page = await call(what.method, namespace=name, after=at or None, limit=limit)
            calls += 1
            entries, following = page[what.key], page["next"]
            shown += [(name, one) for one in entries if what.is_shown(one[what.name])]
            if following is not None:
                at = following
            elif entries:
                at = entries[-1][what.name]
            is_last = following is None and name == names[-1]
            if not is_last and (len(shown) >= MAX_SHOWN or calls >= MAX_SEARCHED):
                return shown, f"{name},{at}"
    return shown, None


class Page:
    """Data of which more may follow: the next page has ``after`` in its query."""

    def __init__(self, data: Any, following: str | None) -> None:
        self.data = data
        self.next = following


def _configuration(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Show a namespace as the original does; ["*"] stands for whatever [rules] says of it."""
    definition = namespace.get("definition") or {}
    events = (definition.get("rules") or {}).get("events")
    shown = ["*"] if events is None else _without_common(events)
    return {"name": namespace["namespace"][1:], "listenEvts": shown}


def _without_common(events: list[str]) -> list[str]:
    """Leave out the events that `create` has added."""
    for number in range(len(events)):
        own = events[:number]
        if [*dict.fromkeys((*own, *EVENTS))] == events:
            return own
    return events


_NAMES: Final = {
    "namespace": "nspName",
    "room": "roomId",
    "socket": "socketId",
    "rules.events": "evts",
}
"""The parameters of the routes, by those of the methods that they are views of."""


def _in_words_of_routes(message: str) -> str:
    """Say in the words of the routes what a method has said."""
    name, colon, rest = message.partition(": ")
    told = f"{_NAMES[name]}{colon}{rest}" if name in _NAMES else message
    return told.replace(
        "; namespaces.update changes it",
        ": delete it first, or change it with the method namespaces.update of /rpc",
    )


def _read_events(given: str | list[str]) -> list[str]:
    """Read the events of a namespace.

    Raises:
        ControlError: several are in one text, which could be no event.
    """
    events = [given] if isinstance(given, str) else given
    for one in events:
        if "," in one or one.startswith("["):
            raise invalid(
                "evts",
                f"expected one event in each text, as in a list of JSON, or evts=join&evts=leave "
                f"in a form, not {one[:100]!r}",
            )
    return events


def _read_gen(content_type: str, body: bytes) -> GenRequest:
    """Read a body as JSON, or as the form that the original reads.

    Raises:
        ControlError: it is neither.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == _FORM:
            fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MAX_SHOWN)
            for name in fields:
                if name.removesuffix("[]") not in _FIELDS:
                    raise ValueError(f"Form contains unknown field `{name[:100]}`")
            names = fields.get("nspName", [""])
            events = fields.get("evts", []) + fields.get("evts[]", [])
            methods = fields.get("identity", []) + fields.get("identity[]", [])
            return GenRequest(nspName=names[-1], evts=events, identity=methods or None)
        if kind == "application/json":
            return _decode_gen(body)
    except (ValueError, RecursionError) as error:  # those of msgspec and of UTF-8 are ValueErrors
        raise invalid("body", str(error)) from None
    raise invalid("Content-Type", f"expected application/json or {_FORM}")
