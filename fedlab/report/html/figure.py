"""The parts of a section: figures, and their numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Numbers:
    """A table of words and numbers.

    Attributes:
        head: Titles of the columns; the first is that of the row titles.
        rows: Cells of each row, the row's title first.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A figure with its caption.

    Attributes:
        title: What it shows.
        chart: The picture.
        words: How to read it.
        numbers: The same as a table, for those who cannot see it or want more digits.
        wide: Whether it takes the page's whole width, and is scrolled where there is less.
        narrow: The picture for a narrow screen, if it is another one.
    """

    title: str
    chart: Markup
    words: str = ""
    numbers: Numbers | None = None
    wide: bool = False
    narrow: Markup | None = None


@dataclass(frozen=True)
class Sign:
    """An entry of a legend.

    Attributes:
        label: The method, domain or class.
        style: Number of its colour, and of a method's sign.
        shape: The path of a method's sign; empty for a square of colour.
    """

    label: str
    style: int
    shape: str = ""


@dataclass(frozen=True)
class PageSection:
    """A part of the page.

    Attributes:
        name: Its anchor, and what the navigation calls it.
        title: Its heading.
        say: Its message, in a sentence or two.
        figures: Its pictures.
        missing: Why there is nothing to see, if so.
    """

    name: str
    title: str
    say: str | Markup = ""
    figures: Sequence[Figure] = field(default_factory=tuple)
    missing: str = ""
