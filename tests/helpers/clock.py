"""A clock whose time a test makes pass: a busy machine cannot miss a deadline."""

from __future__ import annotations


class Clock:
    """Stands in for the module ``time`` where a deadline is kept.

    Args:
        tick: Seconds that pass with each look at it.
    """

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def monotonic(self) -> float:
        """The seconds that have passed."""
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets time pass at once."""
        self.now += seconds
