"""Charts of a partition: each client's classes, and its samples by domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from fedlab.report.html.scales import Scale, ticks
from fedlab.report.html.svg import Element, element, line, number, picture, text
from fedlab.report.units import short

LEFT, TOP, BOTTOM = 96.0, 6.0, 40.0
FEW = 60  # clients up to which bubbles and numbers are readable
MOST = 160  # clients that are drawn at most
ROW = 20.0
LEVELS = 6  # depths of colour of a heat map


def pick(classes: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Indices of the clients to draw, sorted: all, or evenly spaced ones of many."""
    if len(classes) <= FEW:
        return np.arange(len(classes))
    order = np.lexsort((-classes.sum(axis=1), classes.argmax(axis=1), domains.argmax(axis=1)))
    return order[np.linspace(0, len(order) - 1, min(len(order), MOST)).round().astype(int)]


def class_chart(
    counts: np.ndarray, domains: np.ndarray, names: Sequence[str], *, label: str
) -> Markup:
    """Clients by class: bubbles for a few clients, and a heat map for many.

    Args:
        counts: Samples of the clients to draw by class, shape (clients, classes).
        domains: Main domain of each of these clients.
        names: The classes.
        label: What the picture shows, for those who cannot see it.
    """
    row = ROW if len(names) <= 30 else max(600.0 / len(names), 2.0)
    column = _column(len(counts))
    bottom = TOP + row * len(names)
    right = LEFT + column * len(counts)
    drawn: list[Element] = []
    for index, name in enumerate(names):
        y = TOP + row * (index + 0.5)
        if row == ROW:
            drawn.append(line(LEFT, y, right, y, "grid"))
            drawn.append(text(short(name, 14), LEFT - 10, y + 4, "end"))
    if len(counts) <= FEW:
        drawn += _bubbles(counts, domains, row, column)
    else:
        drawn += _cells(counts, domains, row, column)
    drawn += _clients(len(counts), column, bottom)
    return picture(right + 12, bottom + BOTTOM, label, *drawn, kind="partition")


def domain_chart(counts: np.ndarray, height: float, *, label: str) -> Markup:
    """Clients by domain: stacked bars of samples.

    Args:
        counts: Samples of the clients to draw by domain, shape (clients, domains).
        height: Height of the largest bar.
        label: What the picture shows, for those who cannot see it.
    """
    column = _column(len(counts))
    bottom, right = TOP + height, LEFT + column * len(counts)
    up = Scale(0, max(int(counts.sum(axis=1).max()), 1), bottom, TOP + 4)
    drawn: list[Element] = []
    for value in ticks(0, up.high, 4):
        drawn.append(line(LEFT, up(value), right, up(value), "grid"))
        drawn.append(text(f"{value:,.0f}", LEFT - 10, up(value) + 4, "end"))
    wide = column * (0.72 if len(counts) <= FEW else 1.0)
    for client, own in enumerate(counts):
        base = bottom
        for domain in np.flatnonzero(own):
            tall = bottom - up(float(own[domain]))
            bar = element(
                "rect",
                x=LEFT + column * (client + 0.5) - wide / 2,
                y=base - tall,
                width=wide,
                height=tall,
                class_=f"area k{domain % 10}",
            )
            drawn.append(bar)
            base -= tall
    drawn.append(line(LEFT, bottom, right, bottom, "axis"))
    drawn += _clients(len(counts), column, bottom)
    return picture(right + 12, bottom + BOTTOM, label, *drawn, kind="partition")


def _column(clients: int) -> float:
    """Width of a client's column."""
    return float(np.clip(660.0 / clients, 4.0, 46.0))


def _bubbles(counts: np.ndarray, domains: np.ndarray, row: float, column: float) -> list[Element]:
    """Areas in proportion to counts."""
    largest = 0.46 * min(row, column)
    return [
        element(
            "circle",
            cx=LEFT + column * (client + 0.5),
            cy=TOP + row * (kind + 0.5),
            r=max(largest * float(np.sqrt(counts[client, kind] / counts.max())), 0.7),
            class_=f"area k{domains[client] % 10}",
        )
        for client, kind in zip(*np.nonzero(counts), strict=True)
    ]


def _cells(counts: np.ndarray, domains: np.ndarray, row: float, column: float) -> list[Element]:
    """Shades in proportion to a class's share of a client; a path for each shade."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    depths = np.ceil(LEVELS * shares / shares.max()).astype(int)
    paths: dict[tuple[int, int], list[str]] = {}
    for client, kind in zip(*np.nonzero(depths), strict=True):
        x, y = number(LEFT + column * client), number(TOP + row * kind)
        cell = f"M{x} {y}h{number(column)}v{number(row)}h-{number(column)}z"
        key = (int(domains[client]) % 10, int(depths[client, kind]))
        paths.setdefault(key, []).append(cell)
    return [
        element("path", d="".join(cells), class_=f"area k{domain}", opacity=f"{depth / LEVELS:.2f}")
        for (domain, depth), cells in sorted(paths.items())
    ]


def _clients(shown: int, column: float, bottom: float) -> list[Element]:
    """Labels of a few clients, and the title of the axis."""
    right = LEFT + column * shown
    if shown > FEW:
        return [text("clients, by main domain and class", right, bottom + 18, "end", "axis-title")]
    every = max(1, round(22 / column))
    numbers = [
        text(str(client), LEFT + column * (client + 0.5), bottom + 16, "middle")
        for client in range(0, shown, every)
    ]
    return [*numbers, text("client", right, bottom + 32, "end", "axis-title")]
