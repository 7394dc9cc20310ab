"""The options of the log."""

from typing import Final

from msgspec import field

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
PARTS: Final = (
    "adapters", "app", "cli", "client", "cluster", "configuration", "control", "engine", "http",
    "im", "lobby", "net", "ops", "redis", "runtime", "services", "socketio", "standalone",
    "state_services", "storage",
)  # fmt: skip
"""The parts of this package whose levels can be set separately."""
OTHER: Final = "logger:"
"""Begins the name of a logger outside this package, such as one of the app."""


class LogOptions(OptionGroup, frozen=True, kw_only=True):
    """The levels, the format and the bounds of the log.

    Args:
        level: the lowest level that is logged: debug, info, warning or error.
        format: "text" for people, or "json" for one JSON object per line.
        levels: separate levels for parts: "engine", or a part of it, such as "engine.sessions";
            "logger:NAME" stands for any other logger, such as one of the app.
        queue_records: how many records may wait to be written. Further ones are dropped, and their
            number is logged.
        sessions_per_s: how many opened sessions, and how many ended ones, get a line per second.
            The number of further ones is logged every 10 s.
        refusals_per_s: how many refused clients get a line per second, for each reason.

    Raises:
        OptionError: a value cannot be used.
    """

    _reloadable = frozenset(
        ("level", "format", "levels", "queue_records", "sessions_per_s", "refusals_per_s")
    )

    level: str = "info"
    format: str = "text"
    levels: dict[str, str] = field(default_factory=dict)
    queue_records: int = 10_000
    sessions_per_s: int = 100
    refusals_per_s: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("level", self.level, LEVELS)
        _check_choice("format", self.format, FORMATS)
        if not isinstance(self.levels, dict):
            raise OptionError("levels", f"expected a level by part, not {self.levels!r}")
        for part, level in self.levels.items():
            logger_of(part)
            _check_choice(f"levels.{part}", level, LEVELS)


def logger_of(part: str) -> str:
    """Return the name of the logger whose level is set for a part.

    Raises:
        OptionError: there is no such part.
    """
    name = part.removeprefix(OTHER)
    if name != part and name:
        return name
    if part.partition(".")[0] not in PARTS:
        raise OptionError(
            "levels",
            f"{part!r} is not a part; the parts are {', '.join(PARTS)}, and {OTHER}NAME stands for "
            "any other logger",
        )
    return f"trio_socketio.{part}"


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(
            name, f"expected {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}"
        )
