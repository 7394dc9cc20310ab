"""What the workers of a program share: how many connections each one has, and a secret."""

import mmap
import os
import secrets
import tempfile
from typing import Final

from trio_socketio.errors import ConfigurationError

AWAY: Final = -1
"""Stands for a worker not to wait for: it is dead, starting, draining or blocked."""
_CELL_BYTES: Final = 8
_SECRET_BYTES: Final = 32


class Shares:
    """An array of one 64-bit number for each worker, and a secret behind it.

    Each worker writes only its own cell; the parent writes that of a worker that has died or is
    blocked. A blocked worker is alive, and may write at the same time. Whichever number remains,
    the next one that it publishes corrects it. The processor writes a number with a single store,
    so no one ever reads half of one.

    Args:
        fileno: the descriptor of the file that all of them have mapped; it is closed in the end.
        count: how many workers there are.

    Attributes:
        secret: by which the workers know one another; another one at each start of the program.
    """

    def __init__(self, fileno: int, count: int) -> None:
        self.fileno = fileno
        size = count * _CELL_BYTES
        self._map = mmap.mmap(fileno, size + _SECRET_BYTES)
        self._view = memoryview(self._map)
        self._cells = self._view[:size].cast("q")
        self.secret = bytes(self._view[size:])

    @classmethod
    def create(cls, count: int) -> "Shares":
        """Make the array, with all workers away."""
        with tempfile.TemporaryFile() as file:  # it has no name, and is gone with its descriptors
            file.write(bytes(count * _CELL_BYTES) + secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            made = cls(os.dup(file.fileno()), count)
        for index in range(1, count + 1):
            made.reset(index)
        return made

    @classmethod
    def attach(cls, fileno: int, count: int) -> "Shares":
        """Map the array that the parent has made.

        Raises:
            ConfigurationError: this is not the descriptor of one.
        """
        try:
            return cls(fileno, count)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the array of the workers cannot be mapped: {error}"
            ) from None

    def reset(self, index: int) -> None:
        """Note that a worker is away (WORK-33).

        A worker that was only blocked is back with the next number that it publishes.
        """
        self._cells[index - 1] = AWAY

    def write(self, index: int, number: int) -> None:
        """Note how many connections a worker has."""
        self._cells[index - 1] = number

    def least(self) -> int:
        """Return the least number of those that are there; AWAY if none is."""
        return min((number for number in self._cells if number >= 0), default=AWAY)

    def close(self) -> None:
        """Unmap it."""
        self._cells.release()
        self._view.release()
        self._map.close()
        os.close(self.fileno)


class Share:
    """The cell of one worker, as its accept loops use it; see runtime.fair_accept.Balance.

    Args:
        shares: the array.
        index: of the worker.
    """

    def __init__(self, shares: Shares, index: int) -> None:
        self._shares = shares
        self._index = index
        self._is_leaving = False

    def publish(self, count: int) -> None:
        """Tell the other workers how many connections this one has."""
        if not self._is_leaving:
            self._shares.write(self._index, count)

    def leave(self) -> None:
        """Have the others take new connections from now on, as long as one of them is there."""
        self._is_leaving = True
        self._shares.reset(self._index)

    def is_ahead(self, count: int) -> bool:
        """Return whether another worker is to take the next connection (WORK-30)."""
        least = self._shares.least()
        if self._is_leaving:
            return least >= 0
        return count - least > max(4, least // 50)
