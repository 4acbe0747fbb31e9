"""The stem of networks for sequences: a vector for every step of ids or of a series."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedlab.data.sample_shape import ids_in
from fedlab.models.input_shape import known_ids, series_shape


class Tokens(nn.Module):
    """Vectors of ids.

    Args:
        vocabulary: Number of ids.
        width: Numbers of a vector.
        pad: The id that only fills up, whose vector is zero; None if there is none.
    """

    def __init__(self, vocabulary: int, width: int, pad: int | None) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, width)
        self.pad = pad

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors, and the mask of steps that are not padding.

        Args:
            ids: int64 of shape (batch, length).

        Returns:
            Vectors of shape (batch, length, width), and float32 of shape (batch, length): 1, and 0
            where a step only fills up.
        """
        vectors = self.vectors(ids)
        there = torch.ones_like(ids) if self.pad is None else ids != self.pad
        there = there.to(vectors.dtype)
        return vectors * there[..., None], there


class Steps(nn.Module):
    """The values of a series' channels at every time, as vectors.

    Args:
        channels: Channels of a series.
        width: Numbers of a vector; None leaves the values as they are.
    """

    def __init__(self, channels: int, width: int | None) -> None:
        super().__init__()
        self.project = nn.Identity() if width is None else nn.Linear(channels, width)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """As `Tokens.forward`, of a series of shape (batch, channels, length)."""
        vectors = self.project(series.transpose(1, 2))
        return vectors, torch.ones_like(vectors[..., 0])


def stem(
    model: str, input_shape: tuple[int, ...], width: int, projects: bool
) -> tuple[nn.Module, int, int]:
    """The stem for samples of a shape.

    Args:
        model: The network's registered name, for messages.
        input_shape: Shape of one sample.
        width: Numbers of a vector.
        projects: Whether a series is brought to `width` as well.

    Returns:
        The module, the numbers of a vector, and the length of a sequence.

    Raises:
        InputError: If samples are neither ids nor series.
    """
    if ids_in(input_shape) is not None or len(input_shape) == 1:
        length, vocabulary, pad = known_ids(model, input_shape)
        return Tokens(vocabulary, width, pad), width, length
    channels, length = series_shape(model, input_shape)
    if projects:
        return Steps(channels, width), width, length
    return Steps(channels, None), channels, length


def mean_of_steps(vectors: Tensor, there: Tensor) -> Tensor:
    """The mean over steps that are not padding, shape (batch, width); zero without any."""
    weights = there[..., None]
    return (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
