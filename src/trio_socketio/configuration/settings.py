"""What was given, and where: the values of one source, and how sources override one another."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from trio_socketio.configuration.kinds import join_names, suggestion
from trio_socketio.configuration.tables import Place, Tables, options_of
from trio_socketio.errors import ConfigurationError

MAX_FILE_BYTES: Final = 1 << 20
"""The greatest size of a configuration file; a larger one is some other file."""

MAX_DEPTH: Final = 16
"""The depth to which tables may be nested."""


_TABLE_OF_TOMLLIB: Final = re.compile(r"\('(?:[^'\\]|\\.)*',?(?: '(?:[^'\\]|\\.)*',?)*\)")


class Setting(NamedTuple):
    """A value that was given to an option.

    Args:
        value: as TOML can hold it, of any type.
        where: names the option where it was given, for errors: ``FILE: [engine] path``, the name of
            a variable, or a flag.
        origin: names the source alone: the file, the variable, or the flag.
    """

    value: Any
    where: str
    origin: str

    def beside(self, other: "Setting") -> str:
        """Name the option after another one, leaving out a file that they share."""
        return (
            self.where.removeprefix(f"{self.origin}: ")
            if self.origin == other.origin
            else self.where
        )


def in_table(table: str, name: str) -> str:
    """Name an option as a file does: one within another, as webhook.url, stands in a table too."""
    above, _, last = f"{table}.{name}".rpartition(".")
    return f"[{above}] {last}"


Settings = dict[Place, Setting]
"""What was given, by its place. A value that is a table has an entry for each of its values.

A table of the file has an entry of its own only if it is empty, and should not be.
"""


class Faults(ConfigurationError):
    """A configuration cannot be used.

    Args:
        faults: all errors, each in one line.
        hint: follows the first error in the message when there are others.
    """

    def __init__(self, faults: Sequence[str], hint: str = "") -> None:
        more = f" (and {len(faults) - 1} more{hint})" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)
        self.faults = tuple(faults)


def read_bounded(path: Path, most_bytes: int) -> str:
    """Read a small text file.

    Raises:
        ConfigurationError: it cannot be read, is larger, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # the name has a null character
        raise ConfigurationError(f"{str(path)!r} is not the name of a file") from error
    if len(data) > most_bytes:
        raise ConfigurationError(f"{path}: is larger than {most_bytes} bytes")
    try:
        return data.decode("utf-8-sig")  # editors on Windows begin a file with this mark
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not text in UTF-8") from error


def read_file(path: Path, tables: Tables) -> tuple[Settings, list[str]]:
    """Read a configuration file.

    Returns:
        What it gives, and an error for each thing that stands outside the tables that exist.
    Raises:
        ConfigurationError: it cannot be read, or is not TOML.
    """
    text = read_bounded(path, MAX_FILE_BYTES)
    try:
        return _read_document(path, tomllib.loads(text), tables)
    except tomllib.TOMLDecodeError as error:
        told = _TABLE_OF_TOMLLIB.sub(_in_brackets, str(error))
        raise ConfigurationError(f"{path}: is not TOML: {told}") from error
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deeply") from None


def _in_brackets(table: re.Match[str]) -> str:
    """Write the name of a table as a file does; tomllib writes it as a tuple of Python."""
    return f"[{'.'.join(ast.literal_eval(table[0]))}]"


def _read_document(
    path: Path, document: dict[str, Any], tables: Tables
) -> tuple[Settings, list[str]]:
    settings: Settings = {}
    faults: list[str] = []
    for table, content in document.items():
        if not isinstance(content, dict):
            faults.append(f"{path}: {_misplaced(table, content, tables)}")
        elif table not in tables:
            faults.append(f"{path}: unknown table [{table}]{suggestion(table, tables, '[{}]')}")
        elif not content and tables[table]._one_of:
            settings[(table,)] = Setting({}, f"{path}: [{table}]", str(path))
        else:
            for place, value in flatten(content, (table,)):
                where = f"{path}: [{'.'.join(place[:-1])}] {place[-1]}"
                settings[join_names(place, tables)] = Setting(value, where, str(path))
    return settings, faults


def _misplaced(name: str, value: object, tables: Tables) -> str:
    if name in tables and isinstance(value, list):
        return f"there is one table {name}: write [{name}], not [[{name}]]"
    if name in tables:
        return f"{name} is a table, so its options stand below a line that reads [{name}]"
    homes = [table for table, kind in tables.items() if name in options_of(table, kind)]
    if homes:
        return f"{name} stands outside the tables; it belongs in [{homes[0]}]"
    return f"unknown option {name} outside the tables{suggestion(name, tables, '[{}]')}"


def flatten(content: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield the values of a table and of the tables in it, each with its place.

    A table within it that is empty is a value, because it turns something on.

    Raises:
        RecursionError: they are nested too deeply.
    """
    if len(place) > MAX_DEPTH:
        raise RecursionError
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, (*place, name))
        else:
            yield (*place, name), value


def turns_on(value: object) -> bool:
    """Whether a value turns a group on, and leaves its options as they are."""
    return value is True or value == {}


def merge(*sources: Settings) -> Settings:
    """Merge sources; later ones override earlier ones, option by option (CFG-01).

    The options of a group within a group are overridden one by one, too, unless a source replaces
    the whole group.
    """
    merged: Settings = {}
    for source in sources:
        for place in sorted(source):
            setting = source[place]
            for length in range(2, len(place)):
                above = merged.get(place[:length])
                if above is not None and not turns_on(above.value):
                    del merged[place[:length]]
            if not turns_on(setting.value):
                below = [other for other in merged if other[: len(place)] == place]
                for other in below:
                    del merged[other]
            merged[place] = setting
    return merged
