"""A progress bar for counted work without rounds."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@contextmanager
def counting(console: Console, what: str) -> Generator[Callable[[int, int], None]]:
    """Shows a bar on a terminal, and nothing elsewhere.

    Args:
        console: Where to show it.
        what: What is counted.

    Yields:
        A function of the number of items done, and of all items.
    """
    columns = (TextColumn(what), BarColumn(bar_width=16), MofNCompleteColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
