"""Logs, at growing intervals, what a process has been waiting for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fedlab.report.units import duration

log = logging.getLogger("fedlab")

FIRST_SECONDS = 15.0
"""Seconds of waiting before the first reminder; each further interval is twice as long."""

LONGEST_SECONDS = 300.0
"""Longest interval, in seconds: a service may wait for days, and its journal shall stay short."""


class Reminder:
    """Reminds of what is waited for; a wait without a word looks like a process that hangs.

    Args:
        first: Seconds before the first reminder.
        clock: The time in seconds.
    """

    def __init__(
        self, first: float = FIRST_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.began = clock()
        self._interval = first
        self._due = self.began + first

    def remind(self, of: Callable[[], str]) -> None:
        """Logs what is waited for, and for how long by now, if a reminder is due.

        Args:
            of: What is waited for; only called where a reminder is due. Empty for nothing.
        """
        now = self.clock()
        if now < self._due:
            return
        self._interval = min(2 * self._interval, LONGEST_SECONDS)
        self._due = now + self._interval
        if text := of():
            log.info("%s (for %s by now)", text, duration(now - self.began))
