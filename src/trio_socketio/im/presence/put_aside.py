"""What the store cannot do at the moment, although it answers, and when it is asked again."""

import logging
from dataclasses import dataclass
from math import inf
from typing import Final

import trio

log = logging.getLogger(__name__)

PAUSE_S: Final = 2.0
"""How long nothing is asked about what was put aside."""


@dataclass(slots=True)
class _Trouble:
    why: str
    until: float  # on trio's clock; nothing is asked about it before
    is_on_trial: bool = False


class PutAside:
    """Namespaces, or boots, whose records the store cannot use (LEASE-32).

    What waits for one of them must not hold up what concerns the others. After PAUSE_S it is on
    trial: it may be asked about again, and is forgotten if nothing fails for as long.

    Args:
        what: they are, for the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._troubles: dict[str, _Trouble] = {}
        self._noted = trio.Event()

    def __contains__(self, name: object) -> bool:
        """Whether nothing is to be asked about it now."""
        trouble = self._troubles.get(name) if isinstance(name, str) else None
        return trouble is not None and not trouble.is_on_trial

    def __len__(self) -> int:
        return len(self._troubles)

    @property
    def fault(self) -> str:
        """What cannot be used, and why; empty if there is nothing."""
        if not self._troubles:
            return ""
        name, trouble = next(iter(self._troubles.items()))
        others = len(self._troubles) - 1
        more = f", and {others} more" if others else ""
        return f"{self._what} {name}{more} cannot be used: {trouble.why}"

    def note(self, name: str, error: Exception) -> None:
        """Note that the store cannot use the records of one; the log tells it once."""
        if name not in self._troubles:
            log.error(
                "presence: %s %r cannot be used, and is tried again every %g s; others are not "
                "concerned: %s",
                self._what,
                name,
                PAUSE_S,
                error,
            )
        self._troubles[name] = _Trouble(str(error), trio.current_time() + PAUSE_S)
        self._noted.set()

    def put_on_trial(self, name: str) -> None:
        """Let it be asked about again."""
        if name in self:
            trouble = self._troubles[name]
            trouble.is_on_trial, trouble.until = True, trio.current_time() + PAUSE_S

    def forget(self, name: str) -> None:
        """Note that it can be used."""
        if self._troubles.pop(name, None) is not None:
            log.info("presence: %s %r can be used again", self._what, name)

    async def wait_due(self) -> list[str]:
        """Wait until the pause of some of them is over, or their trial; return them."""
        while True:
            now = trio.current_time()
            due = [name for name, trouble in self._troubles.items() if trouble.until <= now]
            if due:
                return due
            self._noted = trio.Event()
            first = min((trouble.until for trouble in self._troubles.values()), default=inf)
            with trio.move_on_at(first):
                await self._noted.wait()
