"""The program that shows what the machine can do at all."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from bench.machine import BENCH
from bench.servers import Running
from tests.interop.server_process import free_port

LIMIT_S: Final = 20


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shutil.which("cc") is not None, "cc is missing: it compiles the programs of bench/"
    folder = tmp_path_factory.mktemp("built")
    for name in ("limit", "loadgen"):
        strict = ("-Wall", "-Wextra", "-Werror")
        command = ("cc", "-O1", *strict, "-o", str(folder / name), str(BENCH / f"{name}.c"))
        subprocess.run(command, check=True, timeout=LIMIT_S)
    return folder


@pytest.fixture(scope="module")
def limit(built: Path) -> Iterator[Running]:
    port = free_port()
    with subprocess.Popen([str(built / "limit"), str(port)]) as process:
        give_up = time.monotonic() + LIMIT_S
        while not _listens(port):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield Running("limit", process.pid, port)
        assert process.poll() is None, "it has failed"
        process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "load",
    [
        "connects --connections 8 --warmup-count 20",
        "echo --connections 10 --in-flight 1,16",
        "echo --connections 10 --bytes 65536 --in-flight 16",
        "ack --connections 10 --in-flight 1,16",
        "binary --connections 10 --bytes 4096 --in-flight 16",
        "broadcast --connections 50 --in-flight 1,32",
        "rooms --connections 50 --senders 5 --rooms 50 --room-size 10 --in-flight 4",
        "rooms --connections 50 --senders 5 --rooms 5 --room-size 10 --own-room --in-flight 4",
        "polling --connections 10",
    ],
)
def test_it_answers_what_the_load_generator_checks(load: str, built: Path, limit: Running) -> None:
    command = [str(built / "loadgen"), *load.split(), "--port", str(limit.port)]
    command += ["--seconds", "0.2", "--warmup", "0.02", "--server-pids", str(limit.pid)]
    command += ["--limit", str(LIMIT_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert found
    for one in found:
        assert one["messages"] > 0
        assert one["errors"] == 0
        assert one["server_us"] > 0
        assert 0 <= one["machine_busy"] <= 1
