"""The common style of figures: colours of text, and a faint grid."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes

INK, FAINT = "#333333", "#DDDDDD"


def quiet(axes: Axes, *, grid: Literal["x", "y"] | None = "y", size: int = 8) -> None:
    """Hides frame and ticks, and draws a faint grid behind the data.

    Args:
        axes: The axes.
        grid: The axis whose values have lines; None for no grid.
        size: Of the labels at the ticks, in points.
    """
    if grid is not None:
        axes.set_axisbelow(True)
        axes.grid(axis=grid, color=FAINT, linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=size, colors=INK)
