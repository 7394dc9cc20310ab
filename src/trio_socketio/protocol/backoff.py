"""How long a client waits before it connects again."""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays that double from attempt to attempt up to a bound, and are then spread at random.

    The reference applies its bound after the spread. Most delays are then exactly the bound after
    a few attempts, and all clients of a server that was down come back at the same moment.

    Args:
        first_s: the first delay, before it is spread.
        longest_s: the longest delay, before it is spread.
        jitter: by which part of itself a delay may be shorter or longer, 0 to 1.
        attempts: the number of delays since the last success.
    """

    first_s: float
    longest_s: float
    jitter: float
    attempts: int = 0

    def next_delay_s(self, chance: float) -> float:
        """Return the delay before the next attempt, in seconds.

        Args:
            chance: a random number, 0 to 1.
        """
        # CLI-21. The exponent is bounded because 2.0 ** 1024 overflows; 2**63 seconds are more
        # than any bound.
        middle_s = min(self.longest_s, self.first_s * 2.0 ** min(self.attempts, 63))
        self.attempts += 1
        return middle_s * (1 + self.jitter * (2 * chance - 1))

    def succeeded(self) -> None:
        """Note a success: the next delay is the first one again."""
        self.attempts = 0
