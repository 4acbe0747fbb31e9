"""The base of transforms of images, which make new domains."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlab.config.component import Component
from fedlab.errors import InputError

BATCH = 1000  # images changed at once: bounds the memory of the intermediate results


class Transform(Component):
    """A change of appearance that makes a domain out of the images of any source.

    A domain is what its images have in common: a transform changes all of them alike, up to what
    it draws at random for each. A user's own transform is a subclass named by its Python path,
    ``my_module:Fog``, that gives `change`.
    """

    group: ClassVar[str] = "transforms"

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Changes images.

        Args:
            images: uint8 of shape (n, channels, height, width).
            generator: Source of what is drawn for each image.

        Returns:
            uint8 of the same shape, in a new array.

        Raises:
            InputError: If the transform cannot be applied to such images.
        """
        changed = np.empty_like(images, order="C")
        for start in range(0, len(images), BATCH):
            batch = torch.tensor(images[start : start + BATCH]).float() / 255
            made = self._checked(self.change(batch, generator), batch.shape)
            made = (255 * made).round().clamp(0, 255)
            changed[start : start + BATCH] = made.to(torch.uint8).numpy()
        return changed

    def _checked(self, made: Any, shape: torch.Size) -> Tensor:
        """The result of `change`, after a check of its shape."""
        if isinstance(made, Tensor) and made.shape == shape:
            return made
        kind = (
            f"images of shape {tuple(made.shape)}"
            if isinstance(made, Tensor)
            else f"a {type(made).__name__}"
        )
        raise InputError(
            f"transforms: '{self.name}'.change has returned {kind}; it has to be a "
            f"torch.Tensor of shape {tuple(shape)}, as they were given"
        )

    @abstractmethod
    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Changes one batch.

        Args:
            images: float32 in [0, 1], shape (n, channels, height, width).
            generator: Source of what is drawn for each image.

        Returns:
            The same shape; values beyond [0, 1] are clipped afterwards.

        Raises:
            InputError: If the transform cannot be applied to such images.
        """
