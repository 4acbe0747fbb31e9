"""Clustering by first neighbours (FINCH), without parameters.

Efficient Parameter-free Clustering Using First Neighbor Relations, Sarfraz, Sharma, Stiefelhagen,
CVPR 2019, arXiv 1902.11266. Written from the formula; the distance is that of cosines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedlab.records import Tensors

Level = Literal["coarsest", "first"]
"""Which partition of a hierarchy: the last one with more than one cluster, or the first."""


def finch(points: Tensor) -> list[Tensor]:
    """The hierarchy of partitions, the finest first.

    Two points are linked if one is the other's nearest, or if they have the same nearest point.
    Connected points are a cluster; the means of the clusters are then clustered in the same way,
    until there is one cluster.

    Args:
        points: Shape (n, features), n > 0.

    Returns:
        For each partition the cluster of every point, int64 of shape (n,), counted from 0 in the
        order of their first points; at least one partition.
    """
    values = points.detach().double().cpu()
    partitions: list[Tensor] = []
    means, labels = values, torch.arange(len(values))
    while True:
        labels = _connected(_nearest(means))[labels]
        if partitions and int(labels.max()) == int(partitions[-1].max()):
            return partitions  # nothing was merged
        partitions.append(labels)
        if not int(labels.max()):
            return partitions
        means = cluster_means(values, labels)


def cluster_labels(points: Tensor, level: Level = "coarsest") -> Tensor:
    """One partition of `finch`; the first one, if it is a single cluster.

    Args:
        points: Shape (n, features), n > 0.
        level: Which partition.

    Returns:
        The cluster of every point, int64 of shape (n,).
    """
    partitions = finch(points)
    several = [labels for labels in partitions if int(labels.max())]
    return several[-1] if several and level == "coarsest" else partitions[0]


def cluster_means(points: Tensor, labels: Tensor) -> Tensor:
    """The mean of every cluster, of the dtype of `points`, shape (clusters, features)."""
    counts = labels.bincount().to(points.dtype)
    sums = points.new_zeros(len(counts), points.shape[1]).index_add_(0, labels, points)
    return sums / counts[:, None]


def of_each_class(labels: Tensor, points: Tensor, means: Callable[[Tensor], Tensor]) -> Tensors:
    """The points that represent each class, e.g. its cluster means.

    Args:
        labels: Classes of the points, int64 of shape (n,).
        points: Shape (n, features).
        means: Makes of the points of one class those that stand for it, shape (rows, features).

    Returns:
        ``classes``, ascending, of shape (rows,), and ``features`` of shape (rows, features).
    """
    classes, rows = [labels[:0]], [points[:0]]
    for label in labels.unique():
        found = means(points[labels == label]).to(points.dtype)
        classes.append(label.repeat(len(found)))
        rows.append(found)
    return {"classes": torch.cat(classes), "features": torch.cat(rows)}


def _nearest(points: Tensor) -> list[int]:
    """The nearest other point of each, by cosine; of equally near ones the first."""
    if len(points) == 1:
        return [0]
    directions = normalize(points, dim=1)
    return (directions @ directions.T).fill_diagonal_(-torch.inf).numpy().argmax(axis=1).tolist()


def _connected(nearest: list[int]) -> Tensor:
    """The connected components of the links between each point and its nearest, int64.

    Points with the same nearest point are connected through it.
    """
    root = list(range(len(nearest)))

    def find(point: int) -> int:
        while root[point] != point:
            root[point] = root[root[point]]
            point = root[point]
        return point

    for point, other in enumerate(nearest):
        first, second = sorted((find(point), find(other)))
        root[second] = first
    found = [find(point) for point in range(len(nearest))]
    number = {each: place for place, each in enumerate(dict.fromkeys(found))}
    return torch.tensor([number[each] for each in found])
