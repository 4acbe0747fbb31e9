"""A figure of a partition: each client's classes above, its samples by domain below."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedlab.data.samples import FederatedData
from fedlab.partition.partition import Partition
from fedlab.report.colours import domain_colours
from fedlab.report.figures.quiet import FAINT, INK, quiet
from fedlab.report.partition_measures import class_counts, domain_counts, label_distances
from fedlab.report.units import short

FEW_CLIENTS = 60  # up to which bubbles and client numbers are readable
FEW_CLASSES = 30  # up to which bubbles and class names are readable
MOST_COLUMNS = 400  # clients that fit side by side
FEW_NAMES = 40  # clients up to which their names are readable
LONGEST_NAME = 14


def partition_figure(partition: Partition, data: FederatedData) -> Figure:
    """Draws bubbles for a few clients and classes, and a heat map for many.

    More than 60 clients are sorted by domain; of more than 400, evenly spaced ones are shown.
    """
    classes, domains = class_counts(partition, data), domain_counts(partition, data)
    present, noun = np.flatnonzero(domains.any(axis=0)), data.target.strata_nouns[0]
    distance = label_distances(classes).mean()
    few = len(partition) <= FEW_CLIENTS
    picked = np.arange(len(partition)) if few else _spaced(_sorted(classes, domains))
    classes, domains = classes[picked], domains[picked]

    width = float(np.clip(2.2 + 0.34 * len(picked), 6.5, 13))
    upper = float(np.clip(0.7 + 0.28 * classes.shape[1], 1.5, 6.0))
    figure = Figure(figsize=(width, upper + 2.8), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[upper, 1.8])
    colours = domain_colours(domains.shape[1])
    mine = [colours[domain] for domain in domains.argmax(axis=1)]
    if few and classes.shape[1] <= FEW_CLASSES:
        _bubbles(top, classes, mine, 0.85 * width / len(picked), noun)
    else:
        _heat_map(top, classes, mine, noun)
    _name_classes(top, data.strata_names, noun)
    _bars(bottom, domains, colours)
    _name_clients(bottom, len(picked), len(partition), partition.names)
    figure.suptitle(
        f"{len(partition):,} client{'s' * (len(partition) != 1)}, "
        f"{len(partition.train):,} training samples, "
        + f"{len(partition.validation):,} validation samples, " * bool(len(partition.validation))
        + f"mean label skew {distance:.2f}",
        color=INK,
        fontsize=12,
    )
    if len(present) > 1:
        figure.legend(
            handles=[
                Patch(color=colours[d], label=short(data.domain_names[d], LONGEST_NAME))
                for d in present
            ],
            loc="outside lower center",
            ncols=min(len(present), 6),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
        )
    return figure


def _sorted(classes: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Clients by main domain, then by main class, then by size."""
    return np.lexsort((-classes.sum(axis=1), classes.argmax(axis=1), domains.argmax(axis=1)))


def _spaced(clients: np.ndarray) -> np.ndarray:
    """Evenly spaced clients, as many as fit."""
    number = min(len(clients), MOST_COLUMNS)
    return clients[np.linspace(0, len(clients) - 1, number).round().astype(int)]


def _bubbles(axes: Axes, counts: np.ndarray, colours: list[str], spacing: float, noun: str) -> None:
    """Areas in proportion to counts; at most touching, with clients `spacing` inches apart."""
    clients, labels = np.nonzero(counts)
    numbers = counts[clients, labels]
    largest = 72 * min(spacing, 0.28)
    areas = np.maximum(numbers / counts.max() * largest**2, 1.0)
    axes.scatter(clients, labels, s=areas, c=[colours[k] for k in clients], linewidths=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    _frame(axes, f"Samples by {noun}: area of the bubbles (largest: {counts.max():,})")


def _heat_map(axes: Axes, counts: np.ndarray, colours: list[str], noun: str) -> None:
    """Shares of classes as shades of the domain's colour; white is 0."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    depth = (shares / shares.max()).T[:, :, None]
    full = np.array([to_rgb(colour) for colour in colours])
    axes.imshow(1 - depth * (1 - full), aspect="auto", interpolation="nearest")
    most = f"white 0%, deepest {shares.max():.0%}"
    _frame(axes, f"Share of each {noun} in a client's samples: {most}")


def _bars(axes: Axes, counts: np.ndarray, colours: list[str]) -> None:
    base = np.zeros(len(counts), dtype=np.int64)
    wide = 0.75 if len(counts) <= FEW_CLIENTS else 1.0
    for colour, numbers in zip(colours, counts.T, strict=True):
        axes.bar(np.arange(len(counts)), numbers, wide, base, color=colour, linewidth=0)
        base += numbers
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    _frame(axes, "Samples by domain")


def _name_classes(axes: Axes, names: tuple[str, ...], noun: str) -> None:
    """Labels of the classes, the first on top: names where they fit, else indices."""
    if len(names) <= FEW_CLASSES:
        axes.set_yticks(range(len(names)), [short(name, LONGEST_NAME) for name in names])
    else:
        axes.set_ylabel(noun, color=INK, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _name_clients(axes: Axes, shown: int, clients: int, names: tuple[str, ...]) -> None:
    """Labels of a few clients; of many, a caption of those that are shown."""
    axes.set_xlim(-0.6, shown - 0.4)
    if names and clients <= FEW_NAMES:
        axes.set_xticks(
            range(clients), [short(name, LONGEST_NAME) for name in names], rotation=90, fontsize=8
        )
        label = "client"
    elif clients <= FEW_CLIENTS:
        axes.xaxis.set_major_locator(MaxNLocator(20, integer=True, min_n_ticks=1))
        label = "client"
    else:
        axes.set_xticks([])
        some = f" ({shown} of {clients:,} shown)" if shown < clients else ""
        label = f"clients, sorted by main domain and main class{some}"
    axes.set_xlabel(label, color=INK, fontsize=9)


def _frame(axes: Axes, title: str) -> None:
    """Sets a title and hides the frame."""
    axes.set_title(title, loc="left", color=INK, fontsize=9)
    quiet(axes, grid=None, size=9)
