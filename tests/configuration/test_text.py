"""The example and the effective configuration, as they are written."""

import re
from pathlib import Path

import msgspec
import pytest
from tests.guides.guide import shown_tables

from trio_socketio.configuration.loading import Sources, load
from trio_socketio.configuration.settings import Faults
from trio_socketio.configuration.tables import TABLES, Configuration, options_of
from trio_socketio.configuration.text import describe_options, effective_text, example_text
from trio_socketio.engine.options import Cookie, EngineOptions
from trio_socketio.http.options import HttpCompression
from trio_socketio.option_checks import OptionGroup


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)


def read(folder: Path, text: str) -> Configuration:
    path = folder / "conf.toml"
    path.write_text(text, encoding="utf-8")
    return load(Sources(path, {}, {}, {})).configuration


@pytest.mark.req("CFG-11")
def test_the_example_gives_the_defaults_with_and_without_its_comments(tmp_path: Path) -> None:
    example = example_text(TABLES)
    assert read(tmp_path, example) == Configuration()
    assert load(Sources(tmp_path / "conf.toml", {}, {}, {})).settings == {}
    plain = uncommented(example)
    assert plain != example
    assert read(tmp_path, plain) == Configuration()
    given = {place[:2] for place in load(Sources(tmp_path / "conf.toml", {}, {}, {})).settings}
    assert given == {
        (table, name) for table, kind in TABLES.items() for name in options_of(table, kind)
    }


@pytest.mark.req("CFG-11")
def test_every_line_of_the_example_can_be_uncommented_alone(tmp_path: Path) -> None:
    lines = example_text(TABLES).splitlines()
    identity = range(lines.index("#[identity]"), lines.index("[presence]"))
    for number, line in enumerate(lines):
        if re.match(r"#\S", line) and number not in identity:
            changed = [*lines[:number], line[1:], *lines[number + 1 :]]
            assert read(tmp_path, "\n".join(changed)) == Configuration()


@pytest.mark.req("CFG-11", "CFG-33")
def test_identity_in_the_example_takes_its_header_and_a_method(tmp_path: Path) -> None:
    example = example_text(TABLES)
    set_up = example.replace("#backend = false", "backend = true").replace(
        "#listen = []", 'listen = ["unix:control.sock"]', 1
    )
    with pytest.raises(Faults, match="unknown option"):
        read(tmp_path, set_up)
    assert read(tmp_path, set_up.replace("#[identity]", "[identity]")).identity.backend
    with pytest.raises(Faults, match="has no method"):
        read(tmp_path, example.replace("#[identity]", "[identity]"))


def test_every_option_has_a_meaning() -> None:
    kinds: list[type[msgspec.Struct]] = [*TABLES.values(), Cookie, HttpCompression]
    for kind in kinds:
        summary, meanings = describe_options(kind)
        assert summary
        assert not [name for name in kind.__struct_fields__ if not meanings.get(name)], kind


def test_the_lines_of_the_example_are_short() -> None:
    example = example_text(TABLES)
    assert [line for line in example.splitlines() if len(line) > 100] == []
    assert "None" not in example
    assert "`" not in example.replace("`trio-socketio check-config FILE`", "")


@pytest.mark.req("CFG-10")
def test_an_effective_configuration_says_where_its_values_come_from(tmp_path: Path) -> None:
    path = tmp_path / "conf.toml"
    path.write_text('[engine]\nping_interval_s = 9\ncookie.name = "seat"\n')
    environment = {"TRIO_SOCKETIO__LISTEN__HOST": "all"}
    configuration, settings = load(Sources(path, environment, {}, {}))
    text = effective_text(configuration, settings, TABLES)
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    assert 'host = ["all"] # TRIO_SOCKETIO__LISTEN__HOST' in lines
    assert f"ping_interval_s = 9.0 # {path}" in lines
    assert f'cookie.name = "seat" # {path}' in lines
    assert "cookie.http_only = true # default" in lines
    assert "ping_timeout_s = 20.0 # default" in lines
    path.write_text(text)
    assert load(Sources(path, {}, {}, {})).configuration == configuration


def test_a_group_that_is_on_by_default_is_written_option_by_option() -> None:
    assert "#http_compression.threshold_bytes = 1024\n" in example_text(TABLES)
    assert msgspec.structs.asdict(EngineOptions())["http_compression"] == HttpCompression()


class Entry(OptionGroup, frozen=True, kw_only=True):
    """An entry of a list.

    Args:
        name: what it is called.
        weight: how much
            it counts.
    """

    name: str
    weight: int = 1


class Inner(OptionGroup, frozen=True, kw_only=True):
    """A part.

    Args:
        entries: which entries.
    """

    entries: tuple[Entry, ...] = ()


class Outer(OptionGroup, frozen=True, kw_only=True):
    """A whole.

    It has 3 attributes, because this is said to those who read the code.

    Args:
        inner: what is inside.
        levels: a level for each; None is none.
        entries: these as well.
    """

    inner: Inner = Inner()
    levels: dict[str, str] = msgspec.field(default_factory=dict)
    entries: tuple[Entry, ...] = ()


def test_groups_within_groups_are_explained() -> None:
    assert (
        example_text({"outer": Outer}).partition("next start.\n")[2]
        == """
# A whole.
[outer]

# What is inside.
# It has:
#   inner.entries = []: which entries.
#       A list of tables with:
#         name: what it is called.
#         weight = 1: how much it counts.
#inner.entries = []

# A level for each; false is none.
# A line for each: levels.NAME = VALUE, with the name in quotes if need be.
#levels = {}

# These as well.
# A list of tables with:
#   name: what it is called.
#   weight = 1: how much it counts.
#entries = []
"""
    )


def test_the_examples_of_the_guides_can_be_read(tmp_path: Path) -> None:
    configuration = read(tmp_path, "".join(shown_tables()))
    assert configuration.listen.host == ("all",)
    assert configuration.control.backends.forward[0].events == ("order",)
    assert configuration.engine.cookie == Cookie(name="seat")
