"""Run scenarios with a client in Python against a server.

    python -m tests.interop.python_driver URL SCENARIOS TRANSPORT CLIENT

The same command line and the same lines of JSON as ``client.mjs``; CLIENT is a name of the matrix.
"""

import gc
import json
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from tests.interop.python_scenarios import SCENARIOS, Clients


def report(line: dict[str, Any]) -> None:
    """Write a line that the caller reads at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run(name: str, clients: Clients, stray: list[str]) -> bool:
    """Run one scenario; what fails beside it, in threads and destructors, fails it too."""
    stray.clear()
    error = ""
    try:
        try:
            SCENARIOS[name](clients)
        finally:
            clients.close()
        gc.collect()  # what was left open says so
    except Exception:
        error = traceback.format_exc()
    error += "".join(stray)
    report({"scenario": name, "ok": not error, "error": error or None})
    return not error


def main(arguments: Sequence[str]) -> int:
    url, wanted, transport, client = arguments
    stray: list[str] = []

    def remember(failure: Any) -> None:
        kind, value, where = failure.exc_type, failure.exc_value, failure.exc_traceback
        stray.extend(traceback.format_exception(kind, value, where))

    threading.excepthook = remember
    sys.unraisablehook = remember
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)  # aiohttp's advice

    def restart(how: str) -> None:
        report({"restart": how})

    opened = partial(Clients, url, transport, client, restart)
    failed = [name for name in wanted.split(",") if not run(name, opened(), stray)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
