"""The section on features: maps of test samples."""

from __future__ import annotations

import logging

from fedlab.comparison.comparison import Comparison
from fedlab.errors import InputError
from fedlab.report.figures.feature_map import feature_map
from fedlab.report.html.feature_chart import feature_chart
from fedlab.report.html.figure import Figure, PageSection

MOST = 8
"""Methods that are shown."""
log = logging.getLogger("fedlab")


def features(comparison: Comparison) -> PageSection:
    """The section with a map for each method, of its first seed."""
    figures, problems = [], []
    for group in comparison.groups[:MOST]:
        seed = min(group.runs, default=None)
        if seed is None:
            continue
        log.info("features of %s, seed %d", group.label, seed)
        try:
            found = feature_map(group.runs[seed])
        except (InputError, OSError, KeyError) as error:  # a method may want more than the model
            problems.append(f"{group.label}: {error}")
            continue
        near = (
            f"Of a sample's ten nearest neighbours {found.same_class:.0%} are of its class, "
            f"{found.same_domain:.0%} of its domain"
        )
        label = f"{len(found.labels)} test samples in two dimensions under {group.label}. {near}."
        figures.append(Figure(group.label, feature_chart(found, label=label), near))
    say = (
        "Test samples as the clients' final models see them: what the last layer is given, laid "
        "out by t\N{NON-BREAKING HYPHEN}SNE. Where skew is overcome, samples lie together by class "
        "and not by domain. Near means alike; distances between clusters mean nothing."
    )
    if len(comparison.groups) > MOST:
        say += f" The first {MOST} methods are shown."
    missing = "" if figures else "There are no features to show. " + " ".join(problems)
    return PageSection("features", "Features", say if figures else "", figures, missing)
