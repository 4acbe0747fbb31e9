"""Features of a frozen network: computed once, in batches, and cached on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fedlab.data.mapped_pool import Inputs, pieces
from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.features import feature_cache
from fedlab.features.base import ExtractionContext, Extractor
from fedlab.models.head import find_head
from fedlab.models.memory_format import channels_last
from fedlab.records import as_tensor

LOG_EVERY = 10.0
"""Seconds between lines that say how far a long extraction has come."""

log = logging.getLogger("fedlab.features")


class FrozenNetwork(Extractor):
    """Base of the extractors that run every image through a network.

    The features are kept on disk under a hash of the images, the extractor and the kind of device,
    so that every run after the first finds them there.

    Attributes:
        unit_length: Whether each sample's features are divided by their Euclidean norm.
        version: To be raised whenever the same parameters yield other features than before.
        batch_size: Images in one forward pass.
    """

    version: ClassVar[int] = 1
    batch_size: ClassVar[int] = 64
    unit_length: bool = False

    @abstractmethod
    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """The network, on the device.

        Raises:
            InputError: If it is not available, or cannot take these images.
        """

    def depends_on(self, context: ExtractionContext) -> Any:
        """What the features depend on besides the images and the parameters, as a JSON value."""
        return None

    def apply(self, context: ExtractionContext) -> FederatedData:
        """The data with features for inputs; see `Extractor.apply`."""
        data = context.data
        if data.train.inputs.dtype != np.uint8:
            raise InputError(
                f"data.features: '{self.name}' takes images, but the sources yield features "
                "already; leave data.features out"
            )
        device = _device(context)
        key = self._key(context, device)
        features = feature_cache.read(key)
        origin = "found on disk"
        if features is None:
            start = time.perf_counter()
            features = self._extract(context)
            feature_cache.write(key, features)
            origin = f"{time.perf_counter() - start:.1f} s on {device.type}"
        images, size = len(data.train) + len(data.test), features.train.shape[1]
        log.info("%s: %d features of each of %d images (%s)", self.name, size, images, origin)
        return dataclasses.replace(
            data,
            train=dataclasses.replace(data.train, inputs=features.train),
            test=dataclasses.replace(data.test, inputs=features.test),
        )

    def _extract(self, context: ExtractionContext) -> feature_cache.Features:
        """Features of both pools, all of them finite."""
        pools = context.data.train, context.data.test
        network = self.extractor(context)
        with _as_everywhere(), torch.inference_mode():
            features = feature_cache.Features(*(self._run(network, pool.inputs) for pool in pools))
        if not (np.isfinite(features.train).all() and np.isfinite(features.test).all()):
            raise InputError(
                f"data.features: '{self.name}' yields features that are not finite; use another "
                "network or, where it is trained here, a lower learning rate"
            )
        return features

    def extractor(self, context: ExtractionContext) -> nn.Module:
        """A function from batches of stored images to features, on its own device.

        Args:
            context: The scenario, its images and its partition.

        Raises:
            InputError: If the network is not available, or cannot take these images.
        """
        device = _device(context)
        with _as_everywhere():
            backbone = self.backbone(context, device).to(device)
        return _Extraction(backbone, self.unit_length).eval()

    def _key(self, context: ExtractionContext, device: torch.device) -> str:
        digest = hashlib.blake2b(digest_size=12)
        depends_on = {
            "class": f"{type(self).__module__}:{type(self).__qualname__}",
            "version": self.version,
            "parameters": self.model_dump(mode="json"),
            "more": self.depends_on(context),
            "torch": [torch.__version__, device.type],
            "shapes": [context.data.train.inputs.shape, context.data.test.inputs.shape],
        }
        digest.update(json.dumps(depends_on, sort_keys=True).encode())
        for split in (context.data.train, context.data.test):
            for piece in pieces(split.inputs):
                digest.update(np.ascontiguousarray(piece).data)
        return f"{type(self).__name__.lower()}-{digest.hexdigest()}"

    def _run(self, network: nn.Module, images: Inputs) -> np.ndarray:
        """Features of all images, float32 of shape (n, features)."""
        device = next(network.parameters()).device
        parts: list[np.ndarray] = []
        logged = time.perf_counter()
        for start in range(0, len(images), self.batch_size):
            batch = as_tensor(images[start : start + self.batch_size]).to(device)
            parts.append(network(batch).cpu().numpy())
            if time.perf_counter() - logged > LOG_EVERY:
                logged = time.perf_counter()
                log.info("%s: %d of %d images", self.name, start + len(batch), len(images))
        return np.concatenate(parts)


class Backbone(nn.Module):
    """A module from batches of stored images to features.

    Args:
        prepare: Turns uint8 images of shape (n, channels, height, width) into the network's input.
        network: The network.
        encode: Features of a batch of inputs; by default what the network's head is given.

    Raises:
        InputError: If the network has no head and `encode` is not given.
    """

    def __init__(
        self,
        prepare: Callable[[Tensor], Tensor],
        network: nn.Module,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.network = network
        self.encode = encode
        self.head = find_head(network)
        if encode is None and self.head is None:
            raise InputError(
                f"data.features: the network {type(network).__name__} ends in no dense layer, "
                "whose inputs would be the features; use another network"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (n, features)."""
        inputs = channels_last(self.prepare(images))
        if self.encode is not None:
            return self.encode(inputs)
        assert self.head is not None
        with self.head.listen() as captured:
            self.network(inputs)
        return captured[0]


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std by channel, shape (n, channels, height, width).

    The same numbers as torchvision's, without its look at values, which torch.export cannot follow.
    """
    centre, scale = (images.new_tensor(numbers).view(-1, 1, 1) for numbers in (mean, std))
    return (images - centre) / scale


class _Extraction(nn.Module):
    """A backbone's features in their stored form: float32 of shape (n, features)."""

    def __init__(self, backbone: Backbone, unit_length: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.unit_length = unit_length

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images).float().flatten(1)
        return nn.functional.normalize(features, dim=1) if self.unit_length else features


def _device(context: ExtractionContext) -> torch.device:
    return context.scenario.resources.device_here()


@contextmanager
def _as_everywhere() -> Generator[None]:
    """Fixes threads and kernels, so that every process on this machine gets the same bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(before)
