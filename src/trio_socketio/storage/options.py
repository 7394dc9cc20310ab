"""The options of what a node keeps on its own disk."""

from pathlib import Path

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup


class StateOptions(OptionGroup, frozen=True, kw_only=True):
    """What outlives the program on a single node: namespaces and deliveries.

    With Redis, nodes keep it there together, and need no folder.

    Args:
        folder: where it is kept, on a disk of this machine. It belongs to this program alone, and
            is made if it does not exist. None means the folder that systemd makes for
            StateDirectory=, and if there is none, that nothing is kept.
    """

    folder: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folder is not None and not str(self.folder).strip("."):
            raise OptionError("folder", f"expected the path of a folder, not {str(self.folder)!r}")
