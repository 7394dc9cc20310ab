"""Notifies systemd of the state of the program, and takes over sockets that systemd has opened.

Without the variables that systemd sets for the programs it starts, nothing here does anything.

Spec: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3), systemd.service(5).
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.socketio.measures import count_sessions

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
_TELL_S: Final = 1.0
_LISTEN: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class _State(Enum):
    """How far the program has come; it only goes on from one to the next."""

    STARTING = auto()
    READY = auto()
    STOPPING = auto()


class Systemd:
    """Notifies the service manager of the state of the program.

    Args:
        environment: the environment of the process.

    Attributes:
        watchdog_s: the interval of the watchdog; None if there is none.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _notify_address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        self._state = _State.STARTING
        self._status = ""
        self._has_complained = False

    @property
    def is_there(self) -> bool:
        """Whether systemd wants notifications."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Report that the program serves, unless it stops already."""
        if self._state is not _State.STOPPING:
            self._state, self._status = _State.READY, status
            self._notify("READY=1", f"STATUS={status}")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report that the program reads its configuration again while the block runs (OPS-41).

        A program that starts or stops reports nothing, because the READY=1 behind the block would
        claim that it serves (OPS-45).
        """
        if self._state is _State.READY:
            # systemd compares the time with that of its own signal.
            now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notify("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=reloading")
            try:
                yield
            finally:
                self.ready(self._status)
        else:
            yield

    def stopping(self, status: str) -> None:
        """Report that the program is about to end."""
        self._state = _State.STOPPING
        self._notify("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Report the state of the program, in words for `systemctl status`."""
        self._notify(f"STATUS={status}")

    async def keep_watchdog(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Notify the watchdog twice per interval; a service.

        It is a task of the event loop, so systemd hears nothing when the loop stands still, and
        acts.
        """
        task_status.started()
        while self.watchdog_s is not None:
            self._notify("WATCHDOG=1")
            await trio.sleep(self.watchdog_s / 2)

    async def follow(
        self,
        server: "Server",
        count: Callable[[], int] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Report when a server begins to stop, for whatever reason, and its progress; a service.

        Args:
            server: its sessions are counted.
            count: counts those of other processes instead.
            task_status: started at once.
        """
        task_status.started()
        if self._address is None:
            return
        left = count or partial(count_sessions, server)
        await server.wait_stopping()
        self.stopping(f"draining: {left()} sessions left")
        while True:
            await trio.sleep(_TELL_S)
            self.status(f"draining: {left()} sessions left")

    def _notify(self, *lines: str) -> None:
        """Send one message. It never blocks or raises, because serving goes on without systemd."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(map(_one_line, lines)).encode(), self._address)
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning("cannot notify systemd of %s: %s", lines[0], error.strerror or error)


class Inherited(NamedTuple):
    """The descriptors of listening sockets that systemd has opened for the program, by purpose."""

    public: tuple[int, ...] = ()
    control: tuple[int, ...] = ()
    admin: tuple[int, ...] = ()


def inherited_listeners(environment: MutableMapping[str, str] = os.environ) -> Inherited:
    """Return the sockets that systemd has opened, and remove its variables from the environment.

    FileDescriptorName= of their socket units distinguishes them: public, control or admin. A unit
    without it passes its own name, NAME.socket, and its sockets are public (OPS-43).

    Raises:
        ConfigurationError: the variables contradict each other, or a name is none of these.
    """
    values = {name: environment.pop(name, "") for name in _LISTEN}
    if values["LISTEN_PID"] != str(os.getpid()) or not values["LISTEN_FDS"]:
        return Inherited()  # they were meant for the process that started this one
    if not values["LISTEN_FDS"].isdecimal():
        raise ConfigurationError(f"LISTEN_FDS: expected a number, not {values['LISTEN_FDS']!r}")
    count = int(values["LISTEN_FDS"])
    names = values["LISTEN_FDNAMES"].split(":") if values["LISTEN_FDNAMES"] else ["public"] * count
    if len(names) != count:
        raise ConfigurationError(f"LISTEN_FDNAMES: expected {count} names, not {len(names)}")
    found: dict[str, list[int]] = {purpose: [] for purpose in Inherited._fields}
    for number, name in enumerate(names, _FIRST_FD):
        purpose = "public" if name.endswith(".socket") or name == "unknown" else name
        if purpose not in found:
            raise ConfigurationError(
                f"FileDescriptorName={name}: expected {', '.join(found)} for the socket {number}"
            )
        os.set_inheritable(number, False)
        found[purpose].append(number)
    return Inherited(*map(tuple, found.values()))


def inherited_purposes(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the purposes of the sockets that systemd has opened: public, control or admin."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return frozenset()
    return frozenset(environment.get("LISTEN_FDNAMES", "").split(":"))


def _notify_address(address: str) -> str | None:
    """The address in the form of the socket module; None if there is none that can be used."""
    if address.startswith("@"):
        return "\0" + address[1:]  # an abstract socket
    if address and not address.startswith("/"):
        log.warning("NOTIFY_SOCKET: systemd is not notified, because %r is not a path", address)
    return address if address.startswith("/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog interval of this process, in seconds; None if there is none (OPS-42)."""
    interval_us = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # another process is watched
    if not interval_us.isdecimal() or int(interval_us) == 0:
        return None
    return int(interval_us) / 1_000_000


def _one_line(line: str) -> str:
    return line.replace("\n", " ")
