"""How many workers there are, what does not go with them, and what their logs look like."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.workers.fake_workers import FakeWorkers
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.cli import main
from trio_socketio.cluster.forwarding.credentials import Credentials
from trio_socketio.cluster.forwarding.internal import Internal, find_internal
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.cluster.workers.options import WorkersOptions, usable_cpus
from trio_socketio.cluster.workers.parent import Parent
from trio_socketio.configuration.environment import read_environment
from trio_socketio.configuration.tables import TABLES
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.ops.entries import Entry, format_for
from trio_socketio.runtime.runtime import open_runtime
from trio_socketio.socketio.options import ServerOptions


@pytest.mark.parametrize("count", [0, 257, -1, True, "two", 1.5, None])
def test_what_is_no_number_of_workers_is_an_error(count: object) -> None:
    with pytest.raises(OptionError, match="count"):
        WorkersOptions(count=count)  # type: ignore[arg-type] # that is what is tested


@pytest.mark.req("WORK-61")
@pytest.mark.parametrize("most_s", [-1.0, 1.9, True, "30", None])
def test_what_is_no_time_for_an_answer_is_an_error(most_s: object) -> None:
    with pytest.raises(OptionError, match="max_blocked_s"):
        WorkersOptions(max_blocked_s=most_s)  # type: ignore[arg-type] # that is what is tested
    assert WorkersOptions(max_blocked_s=0).max_blocked_s == 0
    assert WorkersOptions(max_blocked_s=2).max_blocked_s == 2


def test_auto_is_the_number_of_cpus_that_may_be_used() -> None:
    assert WorkersOptions(count="auto").number == usable_cpus() >= 1
    assert WorkersOptions(count=3).number == 3
    assert WorkersOptions().number == 1


def test_where_the_system_does_not_tell_all_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cpus() == os.cpu_count()


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("auto", "auto"), ("many", "many")])
def test_the_environment_may_give_a_number_or_a_word(text: str, value: object) -> None:
    settings, faults = read_environment({"TRIO_SOCKETIO__WORKERS__COUNT": text}, TABLES)
    assert faults == []
    assert settings["workers", "count"].value == value


REDIS = ("--redis", "redis://127.0.0.1", "--workers")


@pytest.mark.req("WORK-40", "WORK-52", "WORK-53")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            [*REDIS, "2", "--config", "prefix.toml"],
            "and --workers contradict each other, because each worker needs a prefix of its own",
        ),
        (["--workers", "2"], "--workers: several workers need Redis, because without it neither"),
        (["--workers", "0"], "'0' is neither a whole number above zero nor auto"),
        (["--workers", "two"], "'two' is neither a whole number above zero nor auto"),
        (
            [*REDIS, "3", "--internal", "127.0.0.1:65534", "--cluster-secret-file", "x"],
            "--internal: port 65534 leaves no port for worker 3 of 3, as each takes the next one: "
            "choose 65533 or lower",
        ),
        (
            [*REDIS, "2", "--internal", "127.0.0.1:0", "--config", "advertise.toml"],
            "advertise.toml: [cluster] internal_advertise: port 65535 leaves no port for worker 2",
        ),
        (["--workers", "257", "--redis", "redis://127.0.0.1"], "--workers: must be 1 to 256"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "advertise.toml").write_text(
        '[cluster]\ninternal_advertise = "10.0.0.1:65535"\nsecret_files = ["x"]\n'
    )
    (tmp_path / "prefix.toml").write_text('[engine]\nsid_prefix = "abcd"\n')
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["serve", *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.req("WORK-40")
def test_a_file_with_workers_needs_redis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.cluster.workers.options.usable_cpus", lambda: 4)
    conf = tmp_path / "conf.toml"
    conf.write_text('[workers]\ncount = "auto"\n')
    assert main(["check-config", str(conf)]) == 2
    assert f"{conf}: [workers] count (auto is 4 here): several workers need Redis" in (
        capsys.readouterr().err
    )
    conf.write_text("[workers]\ncount = 1\n")
    assert main(["check-config", str(conf)]) == 0


@pytest.mark.req("WORK-50")
@pytest.mark.parametrize(("count", "is_idle"), [(1, True), (2, False)])
def test_a_place_has_an_effect_among_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, is_idle: bool
) -> None:
    conf = tmp_path / "conf.toml"
    workers = f"[workers]\ncount = {count}\n" if count > 1 else ""
    conf.write_text(f'[redis]\nurl = "redis://127.0.0.1"\n[cluster]\nplace = "least"\n{workers}')
    assert main(["check-config", str(conf)]) == 0
    told = capsys.readouterr()
    assert ("place has no effect" in told.out + told.err) is is_idle


@pytest.mark.req("WORK-46")
def test_a_name_has_room_for_the_number_of_a_worker() -> None:
    Parent("x" * 126, 9, [], {})
    with pytest.raises(ConfigurationError, match="each worker adds its number"):
        Parent("x" * 126, 10, [], {})


@pytest.mark.req("WORK-47")
def test_an_app_that_names_its_node_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "named_app.py"
    app.write_text(
        "from trio_socketio import Server\n"
        "from trio_socketio.im.presence import Presence\n"
        "sio = Server()\n"
        "presence = Presence(sio, node='mine')\n"
    )
    arguments = ["--app", str(app), "--workers", "2", "--redis", "redis://127.0.0.1"]
    assert main(["serve", *arguments]) == 2
    assert "names its node" in capsys.readouterr().err


@pytest.mark.req("WORK-52")
def test_an_app_that_gives_all_workers_one_prefix_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "prefixed_app.py"
    app.write_text(
        "from trio_socketio import Server, ServerOptions\n"
        "sio = Server(ServerOptions(sid_prefix='mine'))\n"
    )
    arguments = ["--app", str(app), "--workers", "2", "--redis", "redis://127.0.0.1"]
    assert main(["serve", *arguments]) == 2
    assert "the app sets sid_prefix" in capsys.readouterr().err


@pytest.mark.req("WORK-14")
@trio_test
async def test_workers_have_the_time_that_the_app_gives_them() -> None:
    fake = FakeWorkers()
    parent = Parent("a", 1, [], {}, starter=fake)
    server = Server(ServerOptions(stop_window_s=6000.0, stop_grace_s=50.0))
    with trio.fail_after(10):
        async with (
            fake.playing(),
            open_runtime() as runtime,
            trio.open_nursery() as nursery,
        ):

            async def serve(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                await parent.serve(server, runtime, [], task_status=task_status)

            await nursery.start(serve)
            assert parent.workers.stop_s > 6100.0
            server.stop(window_s=0.0)
    parent._shares.close()


@pytest.mark.req("LOG-26")
def test_the_lines_of_a_worker_tell_its_number() -> None:
    entry = Entry(0.0, "INFO", "trio_socketio.x", "hello", {"address": "::1"})
    assert format_for("text", 3)(entry).endswith(" INFO trio_socketio.x: worker 3: hello")
    assert format_for("text", None)(entry).endswith(" INFO trio_socketio.x: hello")
    shown = json.loads(format_for("json", 3)(entry))
    assert (shown["worker"], shown["message"], shown["address"]) == (3, "hello", "::1")
    assert "worker" not in json.loads(format_for("json", None)(entry))
    plain = Entry(0.0, "INFO", "trio_socketio.x", "hello")
    assert json.loads(format_for("json", 1)(plain))["worker"] == 1


@pytest.mark.req("WORK-23")
@trio_test
async def test_whoever_reloads_is_told_which_workers_have_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = Parent("a", 3, [], {})
    faults: list[str] = []

    async def reload() -> list[str]:
        await trio.lowlevel.checkpoint()
        return faults

    monkeypatch.setattr(parent.workers, "reload", reload)
    await parent.reload()
    faults += ["worker 2: FILE: is not TOML", "worker 3: it has ended"]
    with pytest.raises(ConfigurationError, match=r"worker 2: FILE: is not TOML; worker 3: it has"):
        await parent.reload()


@pytest.mark.req("WORK-50", "WORK-51")
def test_workers_listen_for_one_another() -> None:
    shared = Credentials((b"s" * 32,))
    asked = ClusterOptions(internal="[::1]:4100", secret_files=("any",))
    found = [find_internal(asked, shared, worker) for worker in (1, 2, 3)]
    assert [(one.host, one.port) for one in found if one] == [("::1", 4100 + n) for n in range(3)]
    told = ClusterOptions(internal="0.0.0.0:0", internal_advertise="h:9", secret_files=("any",))
    assert find_internal(told, shared, 2) == Internal("0.0.0.0", 0, shared, "h:10")
    assert find_internal(ClusterOptions(), None, 2) is None
    high = ClusterOptions(internal="127.0.0.1:65535", secret_files=("any",))
    with pytest.raises(OptionError, match="leaves no port for worker 2"):
        find_internal(high, shared, 2)
