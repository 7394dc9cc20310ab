"""``trio-socketio size``: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
from tests.sizing.guide_tables import GUIDE, written

from trio_socketio.cli import main
from trio_socketio.sizing.calculation import size
from trio_socketio.sizing.costs import default_costs
from trio_socketio.sizing.load import Load, Machines, Sticky

CHAT = [
    "size", "--connections", "100000", "--messages-per-second", "5000", "--receivers", "10",
    "--seats", "1",
]  # fmt: skip


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.req("SIZE-08")
def test_a_size_is_a_table_with_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(CHAT, capsys)
    table, _, rest = out.partition("\n\n")
    found = size(
        Load(
            connections=100_000, messages_per_second=5000, receivers=10, seats_share=1,
            connects_per_second=100_000 / 1800,
        ),
        Machines(),
        default_costs(),
    )  # fmt: skip
    lines = dict(line.split("  ", 1) for line in table.splitlines())
    assert list(lines) == [
        "workers", "machines", "decides", "CPU", "memory", "network", "open files", "passed on",
        "Redis", f"a {found.loss.what} is lost",
    ]  # fmt: skip
    assert lines["workers"].strip().startswith(f"{found.workers}, each with ")
    assert f"{found.demand.descriptors_per_worker:,} for each" in lines["open files"]
    assert f"{found.largest} ({found.largest_share:.0%})" in lines["decides"]
    assert f"{found.loss.disconnected:,.0f} clients" in lines[f"a {found.loss.what} is lost"]
    assert f"after {found.loss.back_s:.0f} s" in lines[f"a {found.loss.what} is lost"]
    for assumed in ("AMD EPYC", "55.6 clients connect", "takes 0 us", "after 11 s", "TLS"):
        assert assumed in rest


@pytest.mark.req("SIZE-08")
def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed([*CHAT, "--sticky", "machine", "--cores", "4", "--json"], capsys))
    load, place = Load(**told["load"]), Machines(cores=4, sticky=Sticky.MACHINE)
    found = size(load, place, told["costs"])
    assert told["costs"] == default_costs()
    assert told["machine"]["sticky"] == "machine"
    assert told["size"]["workers"] == found.workers
    assert told["size"]["demand"]["cpu"] == found.demand.cpu.parts()
    assert told["size"]["loss"]["back_s"] == found.loss.back_s
    assert len(told["assumed"]) > 5


@pytest.mark.req("SIZE-08")
def test_each_option_counts(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*more: str) -> object:
        return json.loads(printed([*CHAT, "--json", *more], capsys))["size"]

    before = told()
    for more in (
        "--connections=90000", "--messages-per-second=4000", "--receivers=9", "--bytes=300",
        "--polling=0.1", "--upgrading=0.9", "--joined=0.1", "--connects-per-second=90",
        "--seats=0.9", "--handler-us=10", "--ping-interval-s=20", "--cores=3", "--memory-gib=2",
        "--gbit=0.1", "--spare=0.6", "--connections-per-worker=9000", "--sticky=machine",
        "--reconnect-s=600",
    ):  # fmt: skip
        if more == "--sticky=machine":  # on one machine it is the same as none
            assert told("--cores=3") != told("--cores=3", more)
        else:
            assert told(more) != before, more


@pytest.mark.req("SIZE-05", "SIZE-08")
def test_what_cannot_be_done_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["size", "--connections", "1000000", "--messages-per-second", "20000"]
    out = printed([*asked, "--receivers", "10"], capsys, code=1)
    assert "It cannot be done like this: Redis would take " in out
    assert "clusters can carry it, each with a Redis of its own" in out
    assert "Note: a worker has more than 10,000 connections" in out
    told = json.loads(printed([*asked, "--receivers", "10", "--json"], capsys, code=1))
    assert told["size"]["faults"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--connections", "1000"], "nothing serves them until it is back"),
        (["--connections", "1000"], "not needed with one worker"),
        (
            [
                "--connections",
                "1000",
                "--messages-per-second",
                "1000",
                "--handler-us",
                "1500",
                "--spare",
                "0.1",
            ],
            "the others and Redis cannot carry them",
        ),
        (["--connections", "1000", "--cores", "1"], "the kernel has the same core"),
        (["--connections", "100000", "--bytes", "1e9", "--messages-per-second", "1e6"], " TB/s "),
    ],
)
def test_small_and_large_things_are_told(
    asked: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["size", *asked])
    assert says in capsys.readouterr().out


@pytest.mark.req("SIZE-02")
def test_costs_are_printed_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(printed(["size", "--print-costs"], capsys))
    own = json.loads(printed([*CHAT, "--costs", str(file), "--json"], capsys))
    ours = json.loads(printed([*CHAT, "--json"], capsys))
    assert own["size"] == ours["size"]
    assert own["assumed"][0] == "costs were measured on your machines"
    file.write_text("delivery_us = 80")
    more = json.loads(printed([*CHAT, "--costs", str(file), "--json"], capsys))
    assert more["size"]["demand"]["cpu"]["deliveries"] == pytest.approx(
        10 * ours["size"]["demand"]["cpu"]["deliveries"]
    )


@pytest.mark.req("SIZE-02", "SIZE-10")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read FILE: No such file or directory"),
        (b"event_us = -1", "FILE: event_us: expected a number (0 to 1e+12), not -1"),
        (b"event_ms = 1", "FILE: event_ms is not a cost; the costs are connect_us, token_us"),
        (b"event_us =", "FILE: not TOML: "),
        (b"\xff", "FILE: not TOML: "),
        (b"a = " + b"[" * 5000, "FILE: not TOML: "),
        (b"#" * 65_537, "FILE: larger than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(
    content: bytes | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "costs.toml"
    if content is not None:
        file.write_bytes(content)
    assert main([*CHAT, "--costs", str(file)]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith(f"trio-socketio: {says.replace('FILE', str(file))}")


@pytest.mark.req("SIZE-10")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "size needs --connections N"),
        (["--connections", "0"], "'0' is not a whole number above zero"),
        (["--connections", "1000000001"], "--connections: expected at most 1,000,000,000"),
        (["--polling", "1.5"], "'1.5' is not a share (0 to 1)"),
        (["--polling", "nan"], "'nan' is not a share (0 to 1)"),
        (["--bytes", "-1"], "'-1' is not a number (0 to 1,000,000,000)"),
        (["--bytes", "inf"], "'inf' is not a number (0 to 1,000,000,000)"),
        (["--gbit", "0"], "'0' is not a number (above 0, at most 1,000,000,000)"),
        (["--connections", "1", "--spare", "1"], "--spare: expected a share below 1"),
        (["--sticky", "cookie"], "invalid choice: 'cookie'"),
        (["--ping-interval-s", "0"], "'0' is not a number of seconds (above 0"),
    ],
)
def test_an_argument_that_cannot_be_used_is_told_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["size", *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.req("SIZE-10")
@pytest.mark.parametrize("connections", ["1", "1000000000"])
def test_the_smallest_and_the_largest_are_computed(
    connections: str, capsys: pytest.CaptureFixture[str]
) -> None:
    most = ["--messages-per-second=1e9", "--receivers=1e9", "--bytes=1e9"]
    for more in ([], most, ["--memory-gib=1e-9", "--gbit=1e-9"]):
        assert main(["size", "--connections", connections, *more]) in (0, 1)
        assert "Traceback" not in capsys.readouterr().out


@pytest.mark.req("SIZE-09")
def test_the_guide_has_what_is_computed() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert text == written(text), "write it anew: python -m tests.sizing.guide_tables"


@pytest.mark.req("SIZE-09")
def test_the_commands_of_the_guide_compute_something(capsys: pytest.CaptureFixture[str]) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("trio-socketio size --conn")]
    assert len(lines) == 2
    for line in lines:
        assert printed(line.split()[1:], capsys)
