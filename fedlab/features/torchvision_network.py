"""Features of torchvision's classification networks with their published weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor
from torchvision import models
from torchvision.transforms import functional

from fedlab import rng
from fedlab.errors import InputError
from fedlab.features.base import ExtractionContext
from fedlab.features.frozen import Backbone, FrozenNetwork, normalise


class TorchvisionNetwork(FrozenNetwork):
    """A classification network of torchvision without its last dense layer.

    Images are resized, cropped and normalised as the weights were trained. Weights are looked for
    where PyTorch keeps them (``$TORCH_HOME/hub/checkpoints``).

    Attributes:
        model: The network's name in torchvision, e.g. ``resnet18``.
        weights: Name of its weights, e.g. ``IMAGENET1K_V1``; the best ones by default; null for
            random values, as a baseline.
    """

    name: Literal["torchvision"] = "torchvision"
    model: str = "resnet18"
    weights: str | None = "DEFAULT"

    def depends_on(self, context: ExtractionContext) -> Any:
        """The version of torchvision, and the seed of random values."""
        return [torchvision.__version__, context.scenario.data.seed]

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """See `FrozenNetwork.backbone`."""
        known = models.list_models(module=models)
        if self.model not in known:
            raise InputError(
                f"data.features.model: torchvision has no classification network '{self.model}'; "
                f"choose from {', '.join(known)}"
            )
        published = models.get_model_weights(self.model)
        if self.weights is not None and self.weights not in published.__members__:
            raise InputError(
                f"data.features.weights: torchvision has no weights '{self.weights}' of "
                f"{self.model}; choose from {', '.join(published.__members__)}"
            )
        chosen = published[self.weights or "DEFAULT"]
        if self.weights is not None:
            _fetch(chosen.url, context.scenario.data.download)
        with rng.torch_seed(context.scenario.data.seed, "random weights"):
            network = models.get_model(self.model, weights=chosen if self.weights else None)
        return Backbone(_preparation(chosen.transforms()), network)


def _preparation(preset: Any) -> Callable[[Tensor], Tensor]:
    """The preprocessing of a torchvision preset, also for grey images, in an exportable form."""

    def prepare(images: Tensor) -> Tensor:
        resized = functional.resize(
            images.expand(-1, 3, -1, -1),
            preset.resize_size,
            preset.interpolation,
            antialias=preset.antialias,
        )
        cropped = functional.center_crop(resized, preset.crop_size)
        return normalise(cropped.to(torch.float32) / 255, preset.mean, preset.std)

    return prepare


def _fetch(url: str, download: bool) -> None:
    """Makes sure that a file of weights is in PyTorch's cache.

    Raises:
        InputError: If it is not there and may not, or cannot, be downloaded.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if file.is_file():
        return
    if not download:
        raise InputError(
            f"data.features: the weights '{file}' are not there; set data.download=true, or put "
            f"{url} there"
        )
    try:
        torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True)
    except OSError as error:
        raise InputError(
            f"data.features: the weights {url} cannot be downloaded ({error}); check the network, "
            f"or put them at '{file}'"
        ) from error
