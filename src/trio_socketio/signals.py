"""Handles the signals of the standalone server."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio


def ignore_hang_ups() -> None:
    """Keep a SIGHUP from ending the program before it serves.

    A SIGHUP at that time asks for the configuration to be read, which is about to happen. A
    terminal that is closed then goes unnoticed. Under nohup nothing changes, see `handled_signals`.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: None)


@contextmanager
def handled_signals(
    stop: Callable[[str], None],
    cancel: Callable[[str], None],
    reload: Callable[[], None],
    restart: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Stop on the first signal, cancel on the second; the third ends the process.

    The first two take effect between two steps of trio's tasks. If a plain handler never returns,
    only the third has an effect.

    SIGHUP has two meanings. It asks a service to read its configuration again, and must not end it.
    It is also sent when the terminal of the server is closed; then it stops the server as SIGTERM
    does, because the server would otherwise go on unseen and keep its port. Under nohup SIGHUP is
    ignored, and stays so.

    Args:
        stop: called by the first signal, with its name.
        cancel: called by the second, with its name.
        reload: called by SIGHUP.
        restart: called by SIGUSR2; None leaves that signal alone.
    """
    token = trio.lowlevel.current_trio_token()
    received = 0
    had_terminal = _has_terminal()

    def on_signal(number: int, _: Any) -> None:
        nonlocal received
        received += 1
        if received > 1:
            for known in before:
                signal.signal(known, signal.SIG_DFL)
        action = stop if received == 1 else cancel
        token.run_sync_soon(action, signal.Signals(number).name)

    def on_hang_up(number: int, frame: Any) -> None:
        if had_terminal and not _has_terminal():
            on_signal(number, frame)
        else:
            token.run_sync_soon(reload, idempotent=True)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hang_up)
    if restart is not None:
        before[signal.SIGUSR2] = signal.signal(
            signal.SIGUSR2, lambda *_: token.run_sync_soon(restart, idempotent=True)
        )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def handled_term(stop: Callable[[str], None]) -> Iterator[None]:
    """Stop on SIGTERM, however often it comes: a parent process deals with all other signals.

    Args:
        stop: called with the name of the signal.
    """
    token = trio.lowlevel.current_trio_token()
    before = signal.signal(
        signal.SIGTERM, lambda *_: token.run_sync_soon(stop, "SIGTERM", idempotent=True)
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that has not been closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
