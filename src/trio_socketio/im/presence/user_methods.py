"""The methods users.*: the sockets of users in a namespace, and how to put them out.

They show what our nodes know of the sockets of users, whether these have seats or not. Who is
online is what the methods presence.* tell.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
import trio
from msgspec import Meta

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.failures import store_unavailable
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, cut_page
from trio_socketio.control.sockets import SocketInfo, label, show_all
from trio_socketio.control.spread import (
    MissingNodes,
    NodePage,
    OverNodes,
    Parts,
    Spread,
    join_lists,
    merge_missing,
    merge_pages,
)
from trio_socketio.control.targets import (
    User,
    Users,
    find_namespace,
    find_user,
    read_user,
    read_users,
)
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.claims import REPLACED_EVENT
from trio_socketio.im.presence.service import KICK_S, KickResult, Presence, presence_of
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.presence_claims import KICKED
from trio_socketio.protocol.user_ids import USER_ROOM_PREFIX
from trio_socketio.socketio.founding import is_dynamic_name
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_NAMED: Final = 5
"""The most users that a line of the log names."""


class UserInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A user that has sockets in a namespace.

    Args:
        user: the id of the user.
        sockets: in the order in which they have come.
    """

    user: str
    sockets: list[SocketInfo]


class UserPage(NodePage, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the users in a namespace. In total, a user counts once for each node with sockets.

    Args:
        users: in the order of their ids.
    """

    users: list[UserInfo]


class MissingUsers(MissingNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; an empty list is left out.

    Args:
        users: these have no sockets in the namespace.
    """

    users: list[str] = msgspec.field(default_factory=list)


class FoundUsers(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The users that were asked for.

    Args:
        users: those that have sockets, in the order of the call.
        missing: the names in the call that do not exist.
    """

    users: list[UserInfo]
    missing: MissingUsers


class KickedUsers(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a kick.

    Args:
        done: how many clients were put out, lost ones whose seats were held included.
        unconfirmed: users whose seats have ended while their clients are not known to be out yet,
            because their node has not answered in time; left out if there are none.
        missing: the names in the call that do not exist.
        rebuilding: whether the store has lost claims, so that clients may have stayed whose nodes
            have yet to say that they are there; call again. Left out if not.
    """

    done: int
    unconfirmed: list[str] = msgspec.field(default_factory=list)
    missing: MissingUsers
    rebuilding: bool = False


def label_user(user: UserInfo, node: str) -> UserInfo:
    """Say which node has the sockets of a user."""
    return UserInfo(user=user.user, sockets=[label(one, node) for one in user.sockets])


def join_users(one: UserInfo, other: UserInfo) -> UserInfo:
    """Join the sockets of a user on two nodes."""
    return UserInfo(user=one.user, sockets=[*one.sockets, *other.sockets])


def merge_users(parts: Parts) -> FoundUsers:
    """Join the sockets of each user on all nodes."""
    found: dict[str, UserInfo] = {}
    for node, result in parts.results.items():
        for user in result.users:
            one = label_user(user, node)
            found[one.user] = join_users(found[one.user], one) if one.user in found else one
    wanted = read_users(parts.given["users"])
    return FoundUsers(
        users=[found[user] for user in wanted if user in found],
        missing=merge_missing([one.missing for one in parts.results.values()], parts.missing),
        nodes={node: len(one.users) for node, one in parts.results.items()},
        failed=parts.failed,
    )


def merge_kicked(parts: Parts) -> KickedUsers:
    """Add up what the nodes have done. One that shares its store has done it for others, too."""
    results: dict[str, KickedUsers] = dict(parts.results)
    counts = Counter(dict.fromkeys(parts.spared, 0))
    for node, one in results.items():
        counts.update(one.nodes or {node: one.done})
        counts.setdefault(node, 0)
    return KickedUsers(
        done=sum(one.done for one in results.values()),
        unconfirmed=join_lists(one.unconfirmed for one in results.values()),
        missing=merge_missing([one.missing for one in results.values()], parts.missing),
        rebuilding=any(one.rebuilding for one in results.values()),
        nodes=dict(sorted(counts.items())),
        failed=parts.failed,
    )


async def _ends_seats_of_all(server: Server, given: Mapping[str, Any]) -> bool:
    """Whether a kick ends the seats on all nodes that share the store of this one (CONTROL-99)."""
    presence = presence_of(server)
    if presence is None or not presence.store.is_shared:
        return False
    try:
        return await _has_seats(server, presence, full_name(given["namespace"]))
    except StoreUnavailable as error:
        raise store_unavailable(f"nobody was kicked: {error}") from None


class UserMethods:
    """The methods users.*.

    Args:
        server: has the sockets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("users.get", Spread(merge_users))
    async def get(self, users: Users, namespace: str = "/") -> FoundUsers:
        """Show the sockets of users.

        Args:
            users: ids of users.
            namespace: the namespace of the sockets.
        """
        place = find_namespace(self._server, namespace)
        shown = [await _show(place, user) for user in read_users(users)]
        return FoundUsers(
            users=[one for one in shown if one.sockets],
            missing=MissingUsers(users=[one.user for one in shown if not one.sockets]),
        )

    @rpc("users.list", Spread(merge_pages("users", lambda one: one.user, join_users, label_user)))
    async def list_users(
        self, namespace: str = "/", after: User | None = None, limit: Limit = 100
    ) -> UserPage:
        """Show the users that have sockets in a namespace, page by page.

        Args:
            namespace: the namespace of the sockets.
            after: the value of next from the previous page, or any id: the users that follow it are
                shown; null for the first page.
            limit: how many users a page may hold.
        """
        last = None if after is None else read_user(after, "after")
        place = find_namespace(self._server, namespace)
        ids = (
            room.removeprefix(USER_ROOM_PREFIX)
            for room in place.rooms.names()
            if room.startswith(USER_ROOM_PREFIX)
        )

        def is_there(user: str) -> bool:
            return bool(find_user(place, user))

        page, total, following = await cut_page(ids, str, last, limit, is_there)
        shown = [await _show(place, user) for user in page]
        return UserPage(users=[one for one in shown if one.sockets], total=total, next=following)

    @rpc("users.kick", Spread(merge_kicked, is_for_sharers=_ends_seats_of_all))
    async def kick(
        self,
        users: Users,
        namespace: str = "/",
        timeout_s: Annotated[float, Meta(gt=0, le=60)] = KICK_S,
    ) -> KickedUsers:
        """Put users out of a namespace, and answer when their clients are out.

        Their clients receive the event session/replaced with the reason "kicked", and do not come
        back by themselves. Clients that come later are not concerned: auth.revoke keeps users out.

        Args:
            users: ids of users.
            namespace: the namespace that they are put out of.
            timeout_s: how long to wait for other nodes that have clients of these users.
        """
        ids = read_users(users)
        presence, name = presence_of(self._server), full_name(namespace)
        try:
            if presence is not None and await _has_seats(self._server, presence, name):
                kicked = await _kick_from_seats(presence, name, ids, timeout_s)
                if not (kicked.done or await presence.is_elsewhere(name)):
                    find_namespace(self._server, namespace)  # raises if the name is wrong
            else:
                kicked = _put_out(find_namespace(self._server, namespace), ids)
        except StoreUnavailable as error:
            raise store_unavailable(f"nobody was kicked: {error}") from None
        if kicked.done:
            _log_kick(name, ids, kicked)
        return kicked


async def _show(place: Namespace, user: str) -> UserInfo:
    return UserInfo(user=user, sockets=await show_all(find_user(place, user)))


async def _has_seats(server: Server, presence: Presence, name: str) -> bool:
    """Whether clients of a namespace have seats, on this node or in the store of all.

    Raises:
        StoreUnavailable: only the store can tell, and it has not answered.
    """
    place = server.namespaces.get(name)
    if place is not None:
        return presence.seats_clients_of(place)
    # Lost clients may have seats in a namespace that has ended because it was empty.
    return is_dynamic_name(name) and await presence.knows(name)


async def _kick_from_seats(
    presence: Presence, namespace: str, users: Iterable[str], timeout_s: float
) -> KickedUsers:
    """End the seats that users have now (CONTROL-93).

    Raises:
        ControlError: the store has not answered for some users.
    """
    results: dict[str, KickResult | None] = {}

    async def kick(user: str) -> None:
        try:
            results[user] = await presence.kick(user, namespace, timeout_s=timeout_s)
        except StoreUnavailable:
            results[user] = None

    async with trio.open_nursery() as nursery:  # at most MAX_NAMES tasks
        for user in users:
            nursery.start_soon(partial(kick, user))
    found = {user: result for user, result in results.items() if result is not None}
    done = sum(result.done for result in found.values())
    nodes = Counter(node for result in found.values() for node in result.nodes)
    if len(found) < len(results):
        unknown = [user for user, result in results.items() if result is None]
        raise ControlError(
            Code.STORE_UNAVAILABLE,
            f"the store has not answered for {len(unknown)} users: it is unknown whether they were "
            "kicked; kick them again",  # which ends the seats that are left, if any
            {"retryable": True, "retry_after_ms": 1000, "done": done, "unknown": unknown},
        )
    return KickedUsers(
        done=done,
        unconfirmed=[user for user in users if not found[user].confirmed],
        missing=MissingUsers(users=[user for user in users if not found[user].done]),
        rebuilding=await _is_rebuilding(presence, namespace),
        nodes=dict(sorted(nodes.items())) if presence.store.is_shared else {},
    )


async def _is_rebuilding(presence: Presence, namespace: str) -> bool:
    """Whether a kick may have missed seats that the store has lost.

    It is asked after the kick: a loss that came before the kick is rebuilt for a whole lease.
    """
    if not presence.store.is_shared:
        return False
    try:
        return (await presence.store.count(namespace)).is_rebuilding
    except StoreUnavailable:
        return True


def _put_out(place: Namespace, users: Iterable[str]) -> KickedUsers:
    """Put out the sockets of users that need no seats, those that are joining included."""
    joining = [one.socket for one in tuple(place._joinings) if one.socket is not None]
    absent, done = [], 0
    for user in users:
        entered = find_user(place, user)
        for socket in entered:
            socket.emit(REPLACED_EVENT, {"reason": KICKED})
            socket.disconnect()
        coming = [socket for socket in joining if socket.user == user]
        for socket in coming:
            socket.disconnect()  # which refuses its client
        done += len(entered) + len(coming)
        if not entered and not coming:
            absent.append(user)
    return KickedUsers(done=done, missing=MissingUsers(users=absent))


def _log_kick(namespace: str, users: list[str], kicked: KickedUsers) -> None:
    there = [user for user in users if user not in set(kicked.missing.users)]
    named = ", ".join(map(repr, there[:_NAMED]))
    more = f" and {len(there) - _NAMED} more users" if len(there) > _NAMED else ""
    clients = "1 client" if kicked.done == 1 else f"{kicked.done} clients"
    log.info("kicked %s%s out of %s: %s", named, more, namespace, clients)
