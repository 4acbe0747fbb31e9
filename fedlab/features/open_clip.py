"""Features of a CLIP image encoder, through OpenCLIP.

Learning Transferable Visual Models From Natural Language Supervision, Radford et al., ICML 2021,
arXiv 2103.00020. Needs the extra ``clip`` (the package ``open_clip_torch``).
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torchvision.transforms import v2

from fedlab.errors import InputError
from fedlab.features.base import ExtractionContext
from fedlab.features.frozen import Backbone, FrozenNetwork, normalise

WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What repositories of OpenCLIP call their weights."""

PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
"""What a set of weights says about its inputs."""


class OpenClip(FrozenNetwork):
    """A CLIP image encoder; the embeddings are not normalised unless ``unit_length`` says so.

    Images are resized, cropped and normalised as the weights were trained. Methods on CLIP
    embeddings usually take them as they are: set ``data.normalisation: {mean: 0, std: 1}``.

    Attributes:
        model: The architecture's name in OpenCLIP.
        pretrained: Name of its weights in OpenCLIP, or the path of a checkpoint.
    """

    name: Literal["open_clip"] = "open_clip"
    model: str = "ViT-B-16"
    pretrained: str = "openai"

    def depends_on(self, context: ExtractionContext) -> Any:
        """The version of OpenCLIP, and a checkpoint's size and time."""
        _library()
        file = Path(self.pretrained)
        checkpoint = [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else None
        return [version("open_clip_torch"), checkpoint]

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """See `FrozenNetwork.backbone`."""
        library = _library()
        if self.model not in library.list_models():
            raise InputError(
                f"data.features.model: OpenCLIP has no model '{self.model}'; choose from "
                f"{', '.join(library.list_models())}"
            )
        weights = library.get_pretrained_cfg(self.model, self.pretrained)
        file = self._file(library, weights, context.scenario.data.download)
        with _root_logger_kept():
            network = library.create_model(
                self.model,
                pretrained=str(file),
                force_quick_gelu=weights.get("quick_gelu", False),
                force_preprocess_cfg={key: weights[key] for key in PREPROCESSING if key in weights},
            )
        prepare = _preparation(network.visual.preprocess_cfg)
        return Backbone(prepare, network, encode=network.encode_image)

    def _file(self, library: ModuleType, weights: dict[str, Any], download: bool) -> Path:
        """The path of the weights, after a download where that is allowed.

        Raises:
            InputError: If they are not there.
        """
        if Path(self.pretrained).is_file():
            return Path(self.pretrained)
        if not weights:
            tags = ", ".join(library.list_pretrained_tags_by_model(self.model))
            raise InputError(
                f"data.features.pretrained: '{self.pretrained}' is neither a file nor weights of "
                f"OpenCLIP's {self.model}; choose from {tags}"
            )
        kept = _kept(weights)
        if kept is not None:
            return kept
        where = weights.get("hf_hub") or weights.get("url")
        if not download:
            raise InputError(
                f"data.features: the weights '{self.pretrained}' of {self.model} are not on this "
                f"machine; set data.download=true, or download {where} and give its path as "
                "data.features.pretrained"
            )
        try:
            return Path(library.download_pretrained(weights))
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"data.features: the weights '{self.pretrained}' of {self.model} cannot be "
                f"downloaded from {where}; check the network, or give the path of a checkpoint as "
                "data.features.pretrained"
            ) from error


@contextmanager
def _root_logger_kept() -> Generator[None]:
    """Removes the handler that OpenCLIP's `logging.warning` adds to the root logger.

    With it, all later log records of fedlab would be shown twice.
    """
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        root.handlers[:] = before


def _library() -> ModuleType:
    try:
        import open_clip  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError(
            'data.features: open_clip is not installed; run pip install "fedlab-sim[clip]"'
        ) from error
    return open_clip


def _kept(weights: dict[str, Any]) -> Path | None:
    """The file that OpenCLIP has downloaded before, or None."""
    from huggingface_hub import try_to_load_from_cache  # type: ignore[import-not-found]

    if weights.get("hf_hub"):
        repository, _, file = weights["hf_hub"].rpartition("/")
        for name in [file] if file else WEIGHT_FILES:
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
    if weights.get("url"):
        kept = Path.home() / ".cache" / "clip" / weights["url"].rpartition("/")[2]
        return kept if kept.is_file() else None
    return None


def _preparation(config: dict[str, Any]) -> v2.Compose:
    """OpenCLIP's preprocessing of PIL images, for batches of bytes on any device."""
    size = config["size"]
    # Our images are square, and so all of OpenCLIP's ways to resize are this one.
    steps = [
        v2.Lambda(lambda images: images.expand(-1, 3, -1, -1)),
        v2.Resize(
            (size, size) if isinstance(size, int) else size,
            v2.InterpolationMode(config["interpolation"]),
            antialias=True,
        ),
        v2.ToDtype(torch.float32, scale=True),
        v2.Lambda(lambda images: normalise(images, config["mean"], config["std"])),
    ]
    return v2.Compose(steps)
