"""A backend that is killed again and again: ``python -m tests.im.presence_backend ...``.

Usage: ADDRESS JOURNAL STATE [GROUP]. It appends the cursor of each entry to JOURNAL, and then keeps
its count and cursor in STATE, as the guide says. STATE belongs to all members of a group; a lock
stands for the transaction of a database.
"""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

from trio_socketio.control import ControlClient


def main(address: str, journal: Path, path: Path, group: str | None = None) -> None:
    state = read(path)
    batches = ControlClient(address).follow_presence("/chat", cursor=state["cursor"], group=group)
    seen = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with path.with_suffix(".lock").open("w") as lock:
        for batch in batches:
            # Written before the state: whoever is killed in between has seen the entries twice.
            os.write(seen, "".join(f"{entry['cursor']}\n" for entry in batch.entries).encode())
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = read(path)
            if batch.online is not None:
                online, entries = batch.online, []
            else:
                online = state["online"]
                entries = [one for one in batch.entries if after(one["cursor"], state["cursor"])]
            online += sum({"online": 1, "offline": -1}.get(one["type"], 0) for one in entries)
            if entries or batch.online is not None:
                temporary = path.with_suffix(".new")
                temporary.write_text(json.dumps({"online": online, "cursor": batch.cursor}))
                temporary.replace(path)
            fcntl.flock(lock, fcntl.LOCK_UN)


def read(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text())
    return state


def after(cursor: str, stored: str) -> bool:
    """Whether an entry is not in the state yet; the test has one generation."""
    return int(cursor.partition("-")[2]) > int(stored.partition("-")[2])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
