"""Which cases of a parametrised test are slow, by a word on the test."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def mark_slow(cases: Sequence[pytest.Item]) -> None:
    """Marks cases of one test as slow, as its marks ``slow_except`` and ``slow_for`` say.

    Both marks name cases by their ids, as pytest shows them in brackets, or by whole parts of ids
    between dashes: ``slow_for("resnet20")`` moves ``fedavg-resnet20`` and ``fedbn-resnet20``.

    Args:
        cases: All cases of the test, without which a name that fits none could not be found.
    """
    for mark, kept in (("slow_except", True), ("slow_for", False)):
        names = {name for case in cases for found in case.iter_markers(mark) for name in found.args}
        if not names:
            continue
        fits = {case: {name for name in names if _is_part(name, _id(case))} for case in cases}
        if idle := names.difference(*fits.values()):
            raise pytest.UsageError(f"{cases[0].nodeid}: {mark} fits no case: {sorted(idle)}")
        for case, fitting in fits.items():
            if bool(fitting) != kept:
                case.add_marker(pytest.mark.slow)


def _id(case: pytest.Item) -> str:
    """What stands in the brackets."""
    return case.nodeid.partition("[")[2].removesuffix("]")


def _is_part(name: str, whole: str) -> bool:
    """Whether a name is an id, or some of its parts between dashes."""
    return f"-{name}-" in f"-{whole}-"
