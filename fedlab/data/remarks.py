"""What a reader wants said of data: what it left out, and what it had to decide."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

log = logging.getLogger("fedlab")

SHOWN = 3


def tell(remarks: Iterable[str]) -> None:
    """Logs each remark once, as a warning."""
    for remark in dict.fromkeys(remarks):
        log.warning("%s", remark)


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
