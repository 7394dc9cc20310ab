"""Loads a configuration: reads its sources again, merges them, and checks the result."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trio_socketio.configuration.checks import find_collisions, find_contradictions
from trio_socketio.configuration.conversion import convert
from trio_socketio.configuration.environment import PREFIX, read_environment
from trio_socketio.configuration.settings import Faults, Settings, in_table, merge, read_file
from trio_socketio.configuration.surroundings import find_faults_around
from trio_socketio.configuration.tables import TABLES, Configuration, Place
from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.socketio.options import FLAT_NAMES


class Sources(NamedTuple):
    """Where a configuration comes from. Later sources override earlier ones (CFG-01).

    Args:
        file: a TOML file; None means that there is none.
        environment: the variables of the process.
        command_line: what the flags give.
        flags: the flag of each option that has one.
        inherited: the tables for which systemd has opened sockets; those listen without an address
            of their own.
    """

    file: Path | None
    environment: Mapping[str, str]
    command_line: Settings
    flags: Mapping[Place, str]
    inherited: Collection[str] = ()

    def name_of(self, table: str, name: str) -> str:
        """Name an option as the source that sets it spells it (CFG-19).

        Args:
            table: of the option.
            name: its name, such as ``certfile``, ``webhook.secret_file`` or ``jwt.keys[0]``.
        """
        path, bracket, item = name.partition("[")
        place = (table, *path.split("."))
        given = self.command_line.get(place)
        if given is not None:
            return f"{given.where}{bracket}{item}"
        for length in range(len(place), 1, -1):
            variable = f"{PREFIX}{'__'.join(place[:length])}".upper()
            if variable in self.environment:
                return f"{variable}{bracket}{item}"
        return f"{'' if self.file is None else f'{self.file}: '}{in_table(table, name)}"

    def name_to_set(self, table: str, name: str) -> str:
        """Name an option the way users set it; without a file, that is its flag."""
        found = self.name_of(table, name)
        if self.file is None and found == in_table(table, name):
            return self.flags.get((table, name), found)
        return found

    def within(self, table: str, error: OptionError) -> ConfigurationError:
        """Replace the name of an option within its table by the name in its source."""
        return ConfigurationError(f"{self.name_of(table, error.option)}: {error.reason}")

    def explain(self, error: OptionError) -> ConfigurationError:
        """Replace the flat name of the option in an error by the name in its source."""
        for table, names in FLAT_NAMES.items():
            for name, flat in names.items():
                if flat == error.option:
                    return ConfigurationError(f"{self.name_of(table, name)}: {error.reason}")
        return error


class Loaded(NamedTuple):
    """A configuration, and what was given for it.

    Args:
        configuration: all options; those that were not given have their defaults.
        settings: what was given.
    """

    configuration: Configuration
    settings: Settings

    def given(self) -> dict[str, Any]:
        """The options of the server that were given, by their names in ServerOptions.

        An app keeps the options that it sets itself, unless they are given (CFG-06).
        """
        places = {place[:2] for place in self.settings}
        return {
            flat: getattr(getattr(self.configuration, table), name)
            for table, names in FLAT_NAMES.items()
            for name, flat in names.items()
            if (table, name) in places
        }


def load(sources: Sources, *, with_surroundings: bool = False) -> Loaded:
    """Load a configuration.

    Args:
        sources: where it comes from.
        with_surroundings: whether to check the files, folders and hosts that options name, too. A
            program that serves opens them by itself.
    Raises:
        Faults: there are errors; it holds all of them.
    """
    from_file: Settings = {}
    faults: list[str] = []
    if sources.file is not None:
        try:
            from_file, faults = read_file(sources.file, TABLES)
        except ConfigurationError as error:
            faults.append(str(error))
    from_environment, more = read_environment(sources.environment, TABLES)
    faults += more
    settings = merge(from_file, from_environment, sources.command_line)
    configuration = Configuration(**convert(settings, TABLES, faults))
    faults += find_contradictions(configuration, settings, sources.inherited)
    faults += find_collisions(configuration, settings)
    if with_surroundings:
        faults += find_faults_around(configuration, settings)
    if faults:
        file = sources.file if sources.file is not None else "FILE"
        raise Faults(faults, f"; trio-socketio check-config {file} lists all")
    return Loaded(configuration, settings)
