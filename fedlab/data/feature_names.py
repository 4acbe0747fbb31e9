"""Features of tables of several sources, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedlab.data.remarks import log_remarks
from fedlab.data.samples import Domain


def common_names(domains: Sequence[Domain]) -> tuple[str, ...]:
    """The names of the features, where all domains have the same; else none."""
    first, *others = {domain.feature_names for domain in domains}
    return () if others else first


def in_one_order(domains: Sequence[Domain]) -> list[Domain]:
    """The same domains, features of the same names in the order of the first domain.

    A source orders the columns of its own files. Where another source has features of other names,
    they stay in their order, and a remark says so.
    """
    first, *others = domains
    wanted, ordered = first.feature_names, [first]
    for domain in others:
        own = domain.feature_names
        if own and wanted and own != wanted:
            if sorted(own) == sorted(wanted):
                domain = _ordered(domain, wanted)
            else:
                odd = ", ".join(sorted({*own} ^ {*wanted})[:5])
                log_remarks(
                    [
                        f"data.sources: the features of domain '{domain.name}' are not called as "
                        f"those of '{first.name}' (they differ in {odd}), and are taken by their "
                        "position; give the same feature one name in all tables"
                    ]
                )
        ordered.append(domain)
    return ordered


def _ordered(domain: Domain, names: tuple[str, ...]) -> Domain:
    places = [domain.feature_names.index(name) for name in names]
    return replace(
        domain,
        train_inputs=domain.train_inputs[:, places],
        test_inputs=domain.test_inputs[:, places],
        feature_names=names,
    )
