"""Remarks of a reader about its data: what it left out, and what it had to decide."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

from fedlab.errors import visible

log = logging.getLogger("fedlab")

SHOWN = 3


def log_remarks(remarks: Iterable[str]) -> None:
    """Logs each remark once, as a warning."""
    for remark in dict.fromkeys(remarks):
        log.warning("%s", visible(remark))


@contextmanager
def already_logged() -> Generator[None]:
    """Within it, this thread's warnings are dropped: a run has logged them when it began."""
    thread = threading.get_ident()

    def is_new(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING or record.thread != thread

    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)


def counted(counts: Mapping[str, int]) -> str:
    """Numbers of things in one phrase: ``{"file{s} (.txt)": 3}`` is ``3 files (.txt)``."""
    return ", ".join(
        f"{count:,} {what.replace('{s}', 's' * (count != 1))}"
        for what, count in counts.items()
        if count
    )


def listed(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first few of several names, the most frequent first."""
    frequent = [name for name, _ in Counter(names).most_common()]
    return ", ".join(frequent[:shown]) + ", ..." * (len(frequent) > shown)
