"""From stored samples to what a network is fed, batch by batch, on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedlab.data.augment import change, draw
from fedlab.data.samples import FederatedData
from fedlab.data.spec import Augmentation, DataSpec, Normalisation
from fedlab.errors import InputError


class Preprocess:
    """Normalises and augments batches; pure functions of their arguments.

    Holds tensors only and never the data, so that it can be sent to other processes.

    Args:
        spec: The scenario's ``data`` block.
        data: The pooled data; features are normalised by their training samples, those of unseen
            domains left out.

    Raises:
        InputError: If mean or std do not fit the data, or features are to be augmented.
    """

    def __init__(self, spec: DataSpec, data: FederatedData) -> None:
        self.augmentation = spec.augmentation
        self.augments = spec.augmentation != Augmentation()
        self.images = data.train.inputs.dtype == np.uint8
        if self.augments and not self.images:
            raise InputError(
                "data.augmentation changes images, but the sources yield features; leave it out"
            )
        mean, std = _statistics(spec.normalisation, data, self.images)
        self.mean, self.std = mean, std
        self._as_they_are = not mean.any() and bool((std == 1).all())

    def to(self, device: torch.device | str) -> Preprocess:
        """The same on `device`, which saves a copy of mean and std with every batch."""
        moved = copy.copy(self)
        moved.mean, moved.std = self.mean.to(device), self.std.to(device)
        return moved

    def inputs(self, batch: Tensor, own: bool = False) -> Tensor:
        """Normalises stored samples.

        Args:
            batch: uint8 images of shape (..., channels, height, width), or float32 features of
                shape (..., features); any number of leading dimensions.
            own: Whether the batch is the caller's to write to, and may be what is returned.

        Returns:
            float32 of the same shape: (x - mean) / std, images being scaled to [0, 1] before.
        """
        mean, std = self._statistics_for(batch)
        if self.images:  # the mean and the std of bytes, so that nothing else need be scaled
            return batch.to(torch.float32).sub_(255 * mean).div_(255 * std)
        values = batch.to(torch.float32, copy=not own)
        return values if self._as_they_are else values.sub_(mean).div_(std)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Changes a batch at random, as ``data.augmentation`` says.

        Args:
            batch: What `inputs` has made, shape (n, channels, height, width).
            generator: Source of everything random; it is advanced by n draws.

        Returns:
            A batch like the one given, or that very batch where nothing is to be changed.
        """
        if not self.augments:
            return batch
        return self.augment_stack(batch.unsqueeze(0), [generator])[0]

    def augment_stack(self, batches: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As `augment`, for the batches of many clients, each with a generator of its own.

        Args:
            batches: What `inputs` has made, shape (clients, n, channels, height, width).
            generators: One for each client.
        """
        if not self.augments:
            return batches
        draws = torch.stack([draw(batches.shape[1], generator) for generator in generators])
        return self._changed(batches, draws, partial(change, augmentation=self.augmentation))

    def strong(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Changes a batch strongly, as `fedlab.data.strong_views` says.

        Args:
            batch: What `inputs` has made, shape (n, channels, height, width).
            generator: Source of everything random.

        Raises:
            InputError: If the samples are no images.
        """
        return self.strong_stack(batch.unsqueeze(0), [generator])[0]

    def strong_stack(self, batches: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As `strong`, for the batches of many clients, each with a generator of its own."""
        if not self.images:
            raise InputError(
                "strategy: the method trains on strongly changed views of images, but the sources "
                "yield features; choose a source of images"
            )
        # Few methods need it, and torchvision's functions take long to import.
        from fedlab.data.strong_views import draw_strong, strong_view

        draws = torch.stack([draw_strong(batches.shape[1], generator) for generator in generators])
        view = partial(strong_view, mirrors=self.augmentation.flip)
        return self._changed(batches, draws, view)

    def _changed(
        self, batch: Tensor, draws: Tensor, change: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Normalised images of shape (..., channels, height, width), changed as pixels."""
        mean, std = self._statistics_for(batch)
        pixels = (batch * std + mean).flatten(0, -4)
        changed = change(pixels, draws.flatten(0, -2))
        return ((changed - mean) / std).view(batch.shape)

    def _statistics_for(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std on the batch's device; a single number serves on every device as it is."""
        if self.mean.dim() == 0 and self.std.dim() == 0:
            return self.mean, self.std
        return self.mean.to(batch.device), self.std.to(batch.device)


def _statistics(
    normalisation: Normalisation | str, data: FederatedData, images: bool
) -> tuple[Tensor, Tensor]:
    """Mean and std, each of shape (), (channels, 1, 1) or (features,)."""
    if isinstance(normalisation, Normalisation):
        return (
            _given(normalisation.mean, "mean", data, images),
            _given(normalisation.std, "std", data, images),
        )
    if images:
        return torch.tensor(0.5), torch.tensor(0.5)
    seen = np.isin(data.train.domains, data.seen_domains)
    features = data.train.inputs[seen].astype(np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0)
    std[np.ptp(features, axis=0) == 0] = 1  # a constant feature becomes 0
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def _given(value: float | tuple[float, ...], key: str, data: FederatedData, images: bool) -> Tensor:
    """A number, or one number for each channel or feature."""
    if not isinstance(value, tuple):
        return torch.tensor(value)
    size = data.input_shape[0]
    if len(value) != size:
        raise InputError(
            f"data.normalisation.{key} has {len(value)} numbers, but the samples have {size} "
            f"{'channels' if images else 'features'}; give one for each, or one for all"
        )
    given = torch.tensor(value)
    return given.view(-1, 1, 1) if images else given
