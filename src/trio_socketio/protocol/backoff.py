"""How long to wait before connecting again."""

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays that double from attempt to attempt, up to a bound, and are spread around it.

    The bound applies before the spread: the reference has it the other way round, so that after a
    few attempts all clients of a server that went away come back at the same moment.

    Args:
        first_s: the first delay.
        longest_s: the bound.
        jitter: how far a delay may be from its middle, 0 to 1.
        attempts: delays given since the last success.
    """

    first_s: float
    longest_s: float
    jitter: float
    attempts: int = 0

    def next_delay_s(self, chance: float) -> float:
        """The delay before the next attempt.

        Args:
            chance: random, 0 to 1.
        """
        # 2**63 seconds are beyond any bound that makes sense, and below what a float can hold.
        middle_s = min(self.longest_s, self.first_s * 2.0 ** min(self.attempts, 63))
        self.attempts += 1
        return middle_s * (1 + self.jitter * (2 * chance - 1))

    def succeeded(self) -> None:
        """Begin again with the first delay."""
        self.attempts = 0
