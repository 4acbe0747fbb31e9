"""The base of everything that samples can come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedlab.component import Component
from fedlab.data.samples import Domain


@dataclass(frozen=True)
class LoadContext:
    """What a source is told about the scenario it is loaded for.

    Attributes:
        root: Folder that relative paths of the scenario start from.
        channels: Channels that every image is brought to (1 or 3).
        image_size: Height and width that every image is brought to.
        seed: Seed of the splits and generated samples; the same data for every run seed.
        download: Whether missing data sets may be fetched from the network.
    """

    root: Path
    channels: int
    image_size: int
    seed: int
    download: bool


class Source(Component):
    """A place that samples come from; it yields one or more domains."""

    group: ClassVar[str] = "sources"

    @abstractmethod
    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads or makes the samples, decoded once to uint8 (images) or float32 (features).

        Raises:
            InputError: If the data are missing or cannot be read; the text names the file and
                the remedy.
        """
