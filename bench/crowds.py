"""A process of peers that keep a server busy while something is measured."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.generator import LoadFailedError
from bench.machine import ROOT, Cores
from bench.servers import end, pinned

READY_S = 10.0  # until they are ready


@contextmanager
def crowd(cores: Cores, module: str, *arguments: str) -> Iterator[None]:
    """Run a module of the bench that prints "ready", and goes on until its input ends.

    It runs on the core of the load generator.
    """
    told = " ".join((module, *arguments))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=pinned(cores.generator),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    limit = threading.Timer(READY_S, process.kill)
    limit.start()
    try:
        if process.stdout.readline() != b"ready\n":
            raise LoadFailedError(f"{told} was not ready in time")
        limit.cancel()
        yield
        if process.poll() is not None:
            raise LoadFailedError(f"{told} ended early")
    finally:
        limit.cancel()
        end(process)
        process.stdin.close()
        process.stdout.close()
