"""The ``data`` block of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.data.class_names import normal
from fedlab.data.ids import Ids
from fedlab.data.input_kind import Stated
from fedlab.data.limits import Limits
from fedlab.data.source import Source
from fedlab.features.base import Extractor, NoExtractor
from fedlab.targets.base import Target


class Augmentation(ConfigBlock):
    """Random changes of training images, drawn anew for every batch on the device.

    Attributes:
        flip: Mirror half of the images left to right.
        rotation: Largest rotation in degrees, either way.
        crop_padding: Pixels of zero padding before a random crop back to size; fewer than an
            image has in a row.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
    """

    flip: bool = False
    rotation: float = Field(default=0.0, ge=0, le=180)
    crop_padding: int = Field(default=0, ge=0)
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0


class Normalisation(ConfigBlock):
    """Inputs become (x - mean) / std; images are first scaled to [0, 1].

    Attributes:
        mean: One number for all channels (features), or one each.
        std: Likewise.
    """

    mean: float | tuple[float, ...] = 0.5
    std: PositiveFloat | tuple[PositiveFloat, ...] = 0.5


class DataSpec(ConfigBlock):
    """Where samples come from and what shape they take.

    Attributes:
        sources: The sources; each yields one or more domains.
        target: What is learnt of a sample: its ``class``, which of several labels hold
            (``multi_label``), or numbers (``regression``).
        domains: Names of the domains to keep, in this order; all by default.
        unseen_domains: Domains that no client owns: the global model is only tested on them.
            Where `domains` is given, they are among them.
        root: Folder that relative paths of sources start from.
        download: Whether missing data sets may be fetched from the network.
        image_size: Height and width that images are brought to.
        channels: Channels that images are brought to.
        train_samples_per_domain: Training samples kept of each domain (stratified by class); all
            by default.
        test_samples_per_domain: Test samples kept of each domain; all by default.
        features: A frozen network whose features take the place of the images; ``none`` leaves
            the images.
        inputs: What the numbers of samples are. ``images`` are uint8 of 1 or 3 channels;
            ``numbers`` are measurements of any shape, channels first; ``ids`` (tokens, categories)
            are whole numbers that reach the network as they are. ``auto`` takes uint8 for images,
            what a source of texts yields for ids, and everything else for numbers, whole ones with
            ``normalisation: none`` for ids.
        ids: Vocabulary, padding and length of ids.
        normalisation: Applied on the device; ``auto`` is mean and std 0.5 for images and the
            pooled training mean and standard deviation of each feature for tables and for
            `features`, and of each channel for numbers of any other shape; ids are left alone.
            ``none`` leaves numbers as they are, and images in 0 to 1.
        augmentation: Applied on the device to training batches.
        limits: How much a reader of files may take.
        seed: Seed of splits and generated samples; data do not change with the run's seed.
    """

    sources: tuple[Chosen[Source], ...] = Field(min_length=1)
    target: Chosen[Target] = "class"  # type: ignore[assignment]
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    unseen_domains: tuple[str, ...] = ()
    root: Path = Path("data")
    download: bool = False
    image_size: PositiveInt = 28
    channels: Literal[1, 3] = 3
    train_samples_per_domain: PositiveInt | None = None
    test_samples_per_domain: PositiveInt | None = None
    features: Chosen[Extractor] = NoExtractor()
    inputs: Stated = "auto"
    ids: Ids = Ids()
    normalisation: Normalisation | Literal["auto", "none"] = "auto"
    augmentation: Augmentation = Augmentation()
    limits: Limits = Limits()
    seed: int = 0

    @field_validator("domains", "unseen_domains", mode="before")
    @classmethod
    def _a_single_word_will_do(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) and names else names

    @field_validator("domains", "unseen_domains")
    @classmethod
    def _in_normal_form(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and tuple(map(normal, names))

    @model_validator(mode="after")
    def _names_each_domain_once(self) -> DataSpec:
        for key in ("domains", "unseen_domains"):
            names = getattr(self, key) or ()
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{key} names '{name}' twice; name each domain once")
        return self

    @model_validator(mode="after")
    def _keeps_unseen_domains(self) -> DataSpec:
        if self.domains is not None:
            for name in self.unseen_domains:
                if name not in self.domains:
                    raise ValueError(
                        f"unseen_domains names '{name}', which domains leaves out; "
                        "add it to domains"
                    )
        return self

    @model_validator(mode="after")
    def _treats_ids_as_ids(self) -> DataSpec:
        if self.inputs != "ids":
            if self.ids != Ids():
                raise ValueError(
                    f"ids says what ids are, and inputs is '{self.inputs}'; set inputs to ids, or "
                    "leave ids out"
                )
            return self
        if isinstance(self.normalisation, Normalisation):
            raise ValueError(
                "normalisation has numbers, and ids are names that cannot be scaled; leave it out, "
                "or set inputs to numbers"
            )
        if not isinstance(self.features, NoExtractor):
            raise ValueError(
                f"features '{self.features.name}' are those of images, and inputs is 'ids'; leave "
                "one of them out"
            )
        return self

    @model_validator(mode="after")
    def _augments_images(self) -> DataSpec:
        if self.augmentation != Augmentation() and self.inputs in ("numbers", "ids"):
            raise ValueError(
                f"augmentation changes images, and inputs is '{self.inputs}'; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _does_not_augment_features(self) -> DataSpec:
        if self.augmentation != Augmentation() and not isinstance(self.features, NoExtractor):
            raise ValueError(
                f"augmentation changes images anew for every batch, but the features of "
                f"'{self.features.name}' are computed once, of images as they are; leave out "
                "augmentation or features"
            )
        return self
