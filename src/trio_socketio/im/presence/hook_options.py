"""The options of what tells others about presence: the webhook, and the watchers of rooms."""

import re
from typing import Final

from trio_socketio.errors import OptionError
from trio_socketio.http.outgoing import check_url
from trio_socketio.option_checks import OptionGroup, check_groups, check_range

MAX_BATCH: Final = 5000
MAX_STOP_S: Final = 4.0
"""Less than a service has to end in, so that it can say what it has not sent."""

_NAMESPACE: Final = re.compile(r"/[^,*]*").fullmatch


class PresenceWebhookOptions(OptionGroup, frozen=True, kw_only=True):
    """A URL to which the presence log is posted, in order and signed.

    Other options, and other contents of the files, need a restart.

    Args:
        url: https, or http on this machine.
        secret_file: the path of a file with the secret that signs the requests, 32 bytes or more.
        namespaces: the names of those whose logs are posted.
        ca_file: certificates to trust for that URL; None means those of the system.
        batch_entries: how many entries, or users of a snapshot, a request holds at most.
        batch_bytes: about how many bytes it has at most; one entry is sent however large it is.
        timeout_s: how long an attempt may take, everything included.
        retry_first_s: the wait behind a failed attempt is drawn from 0 to this, which doubles with
            every further failure up to retry_max_s.
        retry_max_s: see retry_first_s.
        stop_s: how long the program waits at its end for what is left to be taken, 4 at most.
    """

    _urls = frozenset(("url",))

    url: str
    secret_file: str
    namespaces: tuple[str, ...]
    ca_file: str | None = None
    batch_entries: int = 500
    batch_bytes: int = 256 * 1024
    timeout_s: float = 10.0
    retry_first_s: float = 1.0
    retry_max_s: float = 30.0
    stop_s: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("url", self.url, self.ca_file)
        if not self.secret_file:
            raise OptionError("secret_file", "expected the path of a file, not ''")
        names = self.namespaces
        if not isinstance(names, (tuple, list)) or not names:
            raise OptionError("namespaces", f"expected a list of names, not {names!r}")
        for name in names:
            if type(name) is not str or not _NAMESPACE(name):
                raise OptionError(
                    "namespaces", f"expected names of namespaces, as /chat, not {name!r}"
                )
            if names.count(name) > 1:
                raise OptionError("namespaces", f"{name!r} is there twice")
        check_range(self, "batch_entries", 1, MAX_BATCH)
        check_range(self, "batch_bytes", 1024, 16 << 20)
        check_range(self, "timeout_s", 0.001, 60)
        check_range(self, "stop_s", 0.001, MAX_STOP_S)
        if self.retry_first_s > self.retry_max_s:
            raise OptionError("retry_first_s", f"is more than retry_max_s ({self.retry_max_s:g})")


class WatchedRooms(OptionGroup, frozen=True, kw_only=True):
    """Rooms whose clients are told which users come and go (HOOK-33).

    Args:
        namespace: its name.
        rooms: the name of a room, or a pattern such as ``team-*``.
        max_users: in a room with more users, nobody is told.
    """

    namespace: str
    rooms: str = "*"
    max_users: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _NAMESPACE(self.namespace):
            raise OptionError(
                "namespace", f"expected the name of a namespace, as /chat, not {self.namespace!r}"
            )
        if not self.rooms:
            raise OptionError("rooms", "expected the name of a room, or a pattern, not ''")


def check_watched(watched: tuple[WatchedRooms, ...]) -> None:
    """Refuse a namespace that is named twice.

    Raises:
        OptionError: one is.
    """
    check_groups("watch", watched, WatchedRooms)
    names = [one.namespace for one in watched]
    for name in names:
        if names.count(name) > 1:
            raise OptionError("watch", f"{name!r} is there twice")
