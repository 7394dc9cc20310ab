"""The names of the keys that identity and presence have in Redis."""

from typing import Final

TAG: Final = "{presence#0}"
"""All keys have it, so that a Redis Cluster would keep them on one server. 0 is the partition."""


def name_key(prefix: str, name: str = "") -> str:
    """Return the full name of a key; without a name, what all of them begin with.

    Args:
        prefix: that of [redis].
        name: ``meta``, ``leases``, ``dead``, ``owned``, ``orders``, ``inbox``, ``kicked`` and
            ``ns:NAMESPACE:PART`` are of the presence store, ``groups`` is of the turns, which also
            read ``leases``, ``options`` tells by which rules nodes give seats, and ``revoked`` is
            of the revocations.
    """
    return f"{prefix}:{TAG}:{name}"
