"""The program of the guide does what the text beside it says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.redis_server import RedisServer

GUIDE: Final = Path(__file__).resolve().parents[2] / "spec" / "guide" / "redis.md"
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


def test_the_program_counts_and_listens_with_the_rights_of_the_guide(
    shared_redis: RedisServer, tmp_path: Path
) -> None:
    (kind, code), (_, command) = BLOCKS
    assert kind == "python"
    program = tmp_path / "scores.py"
    program.write_text(code, encoding="utf-8")
    shared_redis.command("DEL", "scores")
    shared_redis.command(*command.replace("PASSWORD", "secret").split())
    url = shared_redis.url.replace("unix://", "unix://scores:secret@")
    done = subprocess.run(
        [sys.executable, str(program), url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("scores:ann 3\n", "")
    assert shared_redis.command("HGET", "scores", "ann") == b"3"
    shared_redis.command("ACL", "DELUSER", "scores")
