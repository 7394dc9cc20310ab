"""Tells in the log that other nodes of the cluster give seats by other rules than this one."""

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import RedisCommandError, RedisUnavailable
from trio_socketio.redis.key_names import name_key

if TYPE_CHECKING:
    from trio_socketio.im.presence.options import PresenceOptions
    from trio_socketio.redis.redis import Redis

log = logging.getLogger(__name__)

_MAX_BYTES: Final = 16 * 1024
"""The options of a node may be so long; longer ones are not compared."""

_MAX_TOLD: Final = 10
"""How many differences are logged at most."""

_MAX_GONE: Final = 100
"""So many nodes may be in the hash that do not live. Some of them may be just about to start."""

_MAX_NAME: Final = 200
_POLICY_OF: Final = "policy of "


class NodeOptions:
    """What a node does in an outage, and its policies, beside those of the other nodes.

    Redis has one hash for it, with a field for each node. Unlike a lease_s that differs, these keep
    no node from its lease: each is correct by itself, and they do differ while a cluster is being
    changed to other options, node by node.

    Args:
        redis: the connection.
        prefix: begins the name of the key.
        node: the name of this node.
        options: of this node.
    """

    def __init__(self, redis: "Redis", prefix: str, node: str, options: "PresenceOptions") -> None:
        self._redis = redis
        self._key = name_key(prefix, "options")
        self._leases = name_key(prefix, "leases")
        self._node = node
        self._own = list_options(options)

    async def compare(self, living: Collection[str]) -> None:
        """Tell other nodes of the options of this one, and warn of differences (CLUS-19).

        Args:
            living: other nodes that are known to live. Those with a lease do, too: a program that
                has just started may not have heard of them yet.
        """
        try:
            await self._redis.execute("HSET", self._key, self._node, msgspec.json.encode(self._own))
            reply: Mapping[bytes, bytes] = await self._redis.execute("HGETALL", self._key)
            found = {name.decode(errors="replace"): value for name, value in reply.items()}
            leases: list[bytes] = await self._redis.execute("HVALS", self._leases)
            alive = {*living, *map(_read_owner, leases)} - {self._node}
            gone = [name for name in found if name not in alive and name != self._node]
            if len(gone) > _MAX_GONE:
                await self._redis.execute("HDEL", self._key, *gone)
        except (RedisUnavailable, RedisCommandError, TimeoutError) as error:
            log.info("presence: the options of other nodes are not known: %s", error)
            return
        told = [line for name in sorted(alive) for line in self._differences(name, found)]
        for line in told[:_MAX_TOLD]:
            log.warning("presence: %s", line)

    def _differences(self, node: str, found: Mapping[str, bytes]) -> list[str]:
        theirs = _read(found.get(node, b""))
        if theirs is None:
            return []
        names = dict.fromkeys((*self._own, *theirs))
        pairs = [(name, _look_up(theirs, name), _look_up(self._own, name)) for name in names]
        return [
            f"node {node} has {name} = {other[:100]!r}, and this one, {self._node}, {own!r}: give "
            f"all nodes the same [presence] options"
            for name, other, own in pairs
            if other != own
        ]


def list_options(options: "PresenceOptions") -> dict[str, str]:
    """Return the options that have to be the same on all nodes, and cannot be reloaded, by name."""
    found: dict[str, str] = {"outage": options.outage, "policy": options.policy}
    for one in options.namespaces:
        found[f"{_POLICY_OF}{one.name}"] = one.policy or options.policy
    return found


def _look_up(options: Mapping[str, str], name: str) -> str:
    """Return an option; a namespace that is not named has the policy of all others."""
    return options.get(name) or options.get("policy" if name.startswith(_POLICY_OF) else name, "")


def _read_owner(lease: bytes) -> str:
    """Return the name of the node that has a lease; see lua/begin.lua."""
    return lease.decode(errors="replace").split(" ", 2)[-1]


def _read(value: bytes) -> dict[str, str] | None:
    """Return the options of another node; None if they cannot be read, or are of no known form."""
    if not 0 < len(value) <= _MAX_BYTES:
        return None
    try:
        found = msgspec.json.decode(value, type=dict[str, str])
    except msgspec.DecodeError:
        return None
    if not found.keys() >= {"outage", "policy"}:
        return None
    return {name: text for name, text in found.items() if _is_known(name)}


def _is_known(name: str) -> bool:
    of_namespace = name.startswith(_POLICY_OF) and len(name) <= _MAX_NAME
    return (of_namespace and not unfit_character(name)) or name in ("outage", "policy")
