"""From stored samples to a network's inputs, batch by batch, on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fedlab.accelerator import has_float64
from fedlab.data.augment import change, draw
from fedlab.data.input_kind import kind_of
from fedlab.data.samples import FederatedData
from fedlab.data.spec import Augmentation, DataSpec, Normalisation
from fedlab.errors import InputError
from fedlab.records import as_tensor

if TYPE_CHECKING:
    from fedlab.data.randaugment import StrongPlan


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
        stored = data.train.inputs.dtype
        are_ids = data.ids is not None
        kind = kind_of(spec.inputs, stored, spec.normalisation != "none", are_ids)
        self.images, self.ids = kind == "images", kind == "ids"
        self.shape = data.train.inputs.shape[1:]
        if self.augments and not self.images:
            raise InputError(
                "data.augmentation changes images, but the sources yield features; leave it out"
            )
        padding = self.augmentation.crop_padding
        if self.images and padding >= min(self.shape[1:]):
            raise InputError(
                f"data.augmentation.crop_padding: {padding} is no less than the {self.shape[1]}x"
                f"{self.shape[2]} pixels of an image, so that a crop may show none of it; use a "
                "smaller one, such as an eighth of data.image_size"
            )
        normalisation = "none" if self.ids else spec.normalisation
        mean, std = _statistics(normalisation, data, self.images)
        # Numbers that would be equal in float32 are standardised in float64 first.
        exact = stored in (np.int64, np.float64)
        self._exact = exact and not self.ids
        self.mean, self.std = (mean, std) if exact else (mean.float(), std.float())
        self._as_they_are = not mean.any() and bool((std == 1).all())

    def to(self, device: torch.device | str) -> Preprocess:
        """The same on `device`, so that mean and std are not copied for every batch.

        Single numbers stay on the CPU: they travel with the kernels that use them.

        Raises:
            InputError: If samples need float64, which the device does not have.
        """
        device = torch.device(device)
        if self._exact and not has_float64(device.type):
            raise InputError(
                f"resources.device: the samples are numbers in double precision, or whole ones "
                f"that are standardised in it, and '{device.type}' has no float64; set "
                "resources.device=cpu, or store them as float32"
            )
        moved = copy.copy(self)
        if self.mean.dim() or self.std.dim():
            moved.mean, moved.std = self.mean.to(device), self.std.to(device)
        return moved

    def inputs(self, batch: Tensor, own: bool = False) -> Tensor:
        """Normalises stored samples.

        Args:
            batch: uint8 images of shape (..., channels, height, width), numbers of shape
                (..., features) or (..., channels, ...), or ids of shape (..., length); any number
                of leading dimensions.
            own: Whether the batch is the caller's to write to, and may be what is returned.

        Returns:
            float32 of the same shape: (x - mean) / std, images being scaled to [0, 1] before.
            Ids stay int64.
        """
        if self.ids:
            return batch
        mean, std = self._statistics_for(batch)
        if self.images:  # the mean and the std of bytes, so that no other step scales
            made = None
            if batch.dim() == 4 and batch.shape[1] > 1 and not self.augments:
                # In the format that networks are fed with, which saves a copy.
                form = {"dtype": mean.dtype, "device": batch.device}
                made = torch.empty(batch.shape, memory_format=torch.channels_last, **form)
            return torch.sub(batch, 255 * mean, out=made).div_(255 * std)
        if self._as_they_are:
            return batch.to(torch.float32, copy=not own)
        return batch.to(mean.dtype, copy=not own).sub_(mean).div_(std).to(torch.float32)

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
        """As `augment`, for the batches of many clients, each with its own generator.

        Args:
            batches: What `inputs` has made, shape (clients, n, channels, height, width).
            generators: One for each client.
        """
        return self.augmented(batches, self.draw(batches.shape[1], generators))

    def draw(self, count: int, generators: Sequence[torch.Generator]) -> Tensor | None:
        """Random numbers for `count` images of each client, on the host.

        Returns:
            Shape (clients, count, `fedlab.data.augment.DRAWS`); None where nothing is changed.
        """
        if not self.augments:
            return None
        return torch.stack([draw(count, generator) for generator in generators])

    def augmented(self, batch: Tensor, draws: Tensor | None) -> Tensor:
        """Images of shape (..., channels, height, width), augmented by drawn numbers."""
        if draws is None:
            return batch
        flat = draws.flatten(0, -2)
        return self._changed(
            batch, lambda pixels: change(pixels, flat, augmentation=self.augmentation)
        )

    def strong(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Augments a batch strongly (see `fedlab.data.randaugment`).

        Args:
            batch: What `inputs` has made, shape (n, channels, height, width).
            generator: Source of everything random.

        Raises:
            InputError: If the samples are no images.
        """
        return self.strong_stack(batch.unsqueeze(0), [generator])[0]

    def strong_stack(self, batches: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """As `strong`, for the batches of many clients, each with its own generator."""
        planned = self.plan_strong(batches.shape[1], generators)
        crops, back, kinds = (tensor.to(batches.device) for tensor in planned[:3])
        return self.strong_views(batches, planned._replace(crops=crops, back=back, kinds=kinds))

    def plan_strong(self, count: int, generators: Sequence[torch.Generator]) -> StrongPlan:
        """The operations for `count` images of each client, on the host.

        Raises:
            InputError: If the samples are no images.
        """
        if not self.images:
            raise InputError(
                "strategy: the method trains on strongly changed views of images, but the sources "
                "yield features; choose a source of images"
            )
        # Few methods need it, and torchvision's functions take long to import.
        from fedlab.data.randaugment import draw_strong, plan

        draws = torch.cat([draw_strong(count, generator) for generator in generators])
        height, width = self.shape[-2:]
        return plan(draws, height, width, mirrors=self.augmentation.flip)

    def strong_views(self, batch: Tensor, planned: StrongPlan) -> Tensor:
        """Images of shape (..., channels, height, width), augmented by one plan."""
        from fedlab.data.randaugment import apply

        return self._changed(batch, lambda pixels: apply(pixels, planned))

    def _changed(self, batch: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalised images of shape (..., channels, height, width), changed in pixel values."""
        mean, std = self._statistics_for(batch)
        pixels = (batch * std + mean).flatten(0, -4)
        return ((change(pixels) - mean) / std).view(batch.shape)

    def _statistics_for(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std on the batch's device; a single number serves on every device as it is."""
        if self.mean.dim() == 0 and self.std.dim() == 0:
            return self.mean, self.std
        return self.mean.to(batch.device), self.std.to(batch.device)


def _statistics(
    normalisation: Normalisation | str, data: FederatedData, images: bool
) -> tuple[Tensor, Tensor]:
    """Mean and std in float64, of shape (), (features,) or (channels, 1, ...)."""
    if isinstance(normalisation, Normalisation):
        return (
            _given(normalisation.mean, "mean", data, images),
            _given(normalisation.std, "std", data, images),
        )
    if normalisation == "none":
        return torch.tensor(0.0).double(), torch.tensor(1.0).double()
    if images:
        return torch.tensor(0.5).double(), torch.tensor(0.5).double()
    mean, std = data.moments
    kind = np.float64 if data.train.inputs.dtype != np.float32 else np.float32
    with np.errstate(over="ignore"):
        stored = std.astype(kind)
    odd = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(stored) & (stored > 0)))
    if len(odd):
        raise InputError(
            f"data.normalisation: feature {odd[0]} has numbers too large or too close together to "
            "be standardised; scale it in the file"
        )
    shape = (-1, *[1] * (data.train.inputs.ndim - 2))
    return as_tensor(mean).view(shape), as_tensor(std).view(shape)


def _given(value: float | tuple[float, ...], key: str, data: FederatedData, images: bool) -> Tensor:
    """A number, or one number for each channel or feature, in float64."""
    if not isinstance(value, tuple):
        return torch.tensor(value, dtype=torch.float64)
    size = data.input_shape[0]
    if len(value) != size:
        raise InputError(
            f"data.normalisation.{key} has {len(value)} numbers, but the samples have {size} "
            f"{'channels' if len(data.input_shape) > 1 else 'features'}; give one for each, or one "
            "for all"
        )
    return torch.tensor(value, dtype=torch.float64).view(-1, *[1] * (len(data.input_shape) - 1))
