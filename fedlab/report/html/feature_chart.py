"""A chart of test samples in two dimensions."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from fedlab.report.figures.feature_map import FeatureMap
from fedlab.report.html.svg import element, number, picture

SIDE, MARGIN = 320.0, 10.0


def feature_chart(features: FeatureMap, *, label: str) -> Markup:
    """A dot for each sample; the page's style sheet colours it by domain or by class.

    Args:
        features: The samples.
        label: What the picture shows, for those who cannot see it.
    """
    low, high = features.points.min(axis=0), features.points.max(axis=0)
    scaled = (features.points - low) / np.maximum(high - low, 1e-12)
    places = MARGIN + scaled * (SIDE - 2 * MARGIN)
    groups: dict[tuple[int, int], list[str]] = {}
    for (x, y), domain, kind in zip(places, features.domains, features.labels, strict=True):
        key = (int(domain) % 10, int(kind) % 10)
        groups.setdefault(key, []).append(f"M{number(x)} {number(y)}h0")
    dots = [
        element("path", d="".join(group), class_=f"d{domain} c{kind}")
        for (domain, kind), group in sorted(groups.items())
    ]
    return picture(SIDE, SIDE, label, *dots, kind="features")
