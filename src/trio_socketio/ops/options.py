"""The options of the log."""

from trio_socketio.errors import OptionError
from trio_socketio.ops.log import FORMATS, LEVELS
from trio_socketio.option_checks import OptionGroup


class LogOptions(OptionGroup, frozen=True, kw_only=True):
    """What is logged, and how.

    Args:
        level: the lowest level that is logged: debug, info, warning or error.
        format: "text" for lines of text, or "json" for a JSON object a line.
    """

    _reloadable = frozenset(("level", "format"))

    level: str = "info"
    format: str = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("level", LEVELS), ("format", FORMATS)):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(name, f"expected {', '.join(known)}, not {value!r}")
