"""A reliability diagram: accuracy by confidence."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from fedlab.report.html.scales import Scale
from fedlab.report.html.svg import Element, element, line, picture, text

WIDTH, HEIGHT, LEFT, TOP = 300.0, 240.0, 34.0, 8.0


def reliability_chart(
    samples: np.ndarray, right: np.ndarray, confidence: np.ndarray, *, label: str
) -> Markup:
    """Draws a bar for each bin of confidence, a line at its mean confidence, and the diagonal.

    Args:
        samples: Samples by bin, shape (bins,).
        right: Those that are classified rightly.
        confidence: Sum of their confidences.
        label: What the picture shows, for those who cannot see it.
    """
    across, up = Scale(0, 1, LEFT, LEFT + WIDTH), Scale(0, 1, TOP + HEIGHT, TOP)
    drawn: list[Element] = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawn.append(line(across.start, up(value), across.end, up(value), "grid"))
        drawn.append(text(f"{100 * value:.0f}", LEFT - 7, up(value) + 4, "end"))
        drawn.append(text(f"{100 * value:.0f}", across(value), up.start + 15, "middle"))
    wide = WIDTH / len(samples)
    most = max(float(samples.max()), 1.0)
    for place in np.flatnonzero(samples):
        count = float(samples[place])
        share, sure = float(right[place]) / count, float(confidence[place]) / count
        x = LEFT + wide * place
        words = f"{count:,.0f} samples: {sure:.1%} sure on average, {share:.1%} right"
        drawn.append(
            element(
                "rect",
                element("title", words),
                x=x + 1,
                y=up(share),
                width=wide - 2,
                height=up(0) - up(share),
                class_="area k4",
                opacity=f"{0.25 + 0.75 * count / most:.2f}",
            )
        )
        drawn.append(line(x + 1, up(sure), x + wide - 1, up(sure), "median"))
    drawn.append(line(across(0), up(0), across(1), up(1), "axis"))
    drawn.append(text("confidence in %", across.end, up.start + 30, "end", "axis-title"))
    return picture(LEFT + WIDTH + 8, TOP + HEIGHT + 36, label, *drawn, kind="reliability")
