"""Rows about a method in the tables of pages with results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import tables
from repository import ROOT

DOCS = ROOT / "docs"
ELSEWHERE = ("system_heterogeneity.md", "label_proportions.md")
"""Pages about one subject, with a table that compares methods in it."""
SHOWN = 2
"""Tables of a method that the table of all methods links to; its page has all."""


class Section(NamedTuple):
    """A section of a page with rows about a method.

    Attributes:
        page: The file in docs/.
        title: The heading.
        tables: The method's rows and those of FedAvg, as Markdown.
    """

    page: str
    title: str
    tables: list[str]

    @property
    def link(self) -> str:
        """Where it is, seen from docs/methods."""
        anchor = re.sub(r"[^\w\s-]", "", self.title.lower()).strip().replace(" ", "-")
        return f"../{self.page}#{anchor}"

    @property
    def short(self) -> str:
        """The heading without what follows a colon; a claim by its letter."""
        letter = re.match(r"\((\w)\) ", self.title)
        return f"claim ({letter[1]})" if letter else self.title.partition(":")[0]


def in_results(name: str) -> list[Section]:
    """The sections of docs/results.md with rows about the method, and of FedAvg beside them."""
    found: dict[str, Section] = {}
    for title, head, rows in tables.result_tables((DOCS / "results.md").read_text("utf-8")):
        own = [row for row in rows if row[0].split(",")[0].strip("` *").lower() == name]
        if not own or head[0] != "method":
            continue
        beside = [row for row in rows if row[0] == "fedavg" and row not in own]
        shown = [[f"**{cell}**" if cell else cell for cell in row] for row in own]
        section = found.setdefault(title, Section("results.md", title, []))
        section.tables.append(tables.table(head, [*beside, *shown]))
    return list(found.values())


def elsewhere(*names: str) -> Iterator[Section]:
    """The sections of `ELSEWHERE` with a row whose first cell has one of a method's names."""
    wanted = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    for page in ELSEWHERE:
        for title, head, rows in tables.result_tables((DOCS / page).read_text("utf-8")):
            if own := [row for row in rows if wanted.search(row[0])]:
                yield Section(page, title, [tables.table(head, own)])


def where(name: str, title: str) -> str:
    """Links to the sections with rows about a method; ``none yet`` without one."""
    own = in_results(name)
    links = [f"[{each.short}]({each.link})" for each in (own or elsewhere(name, title))]
    if more := len(links[SHOWN:]):
        links = [*links[:SHOWN], f"[{more} more]({name}.md#results)"]
    return ", ".join(links) or "none yet"
