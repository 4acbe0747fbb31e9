"""Unseen domains, which no client learns from, as marked in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedlab.comparison.compared import Compared
    from fedlab.comparison.group import Group

UNSEEN = "(unseen)"


def unseen_by(comparison: Compared, domain: str) -> list[bool]:
    """Whether a domain is unseen, by group; a group without runs is as the first that has one."""
    own = [unseen(group) for group in comparison.groups]
    first = next((names for names in own if names is not None), frozenset())
    return [domain in (first if names is None else names) for names in own]


def unseen(group: Group) -> frozenset[str] | None:
    """The unseen domains of a group's runs; None if there is no run."""
    return next((frozenset(run.scenario.data.unseen_domains) for run in group.runs.values()), None)


def untested(comparison: Compared) -> dict[str, list[str]]:
    """Unseen domains on which a group has no number, by the group's label.

    A method whose server has no whole model has none to test there.
    """
    found = {}
    for group in comparison.groups:
        names = unseen(group) or frozenset()
        tested = [one.domains.keys() for one in group.outcomes.values()]
        lacking = [
            domain
            for domain in comparison.domains
            if domain in names and tested and not any(domain in each for each in tested)
        ]
        if lacking:
            found[group.label] = lacking
    return found
