"""Image files in folders: ``<path>/<domain>/<class>/<image>``."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import PIL
from PIL import ImageColor
from pydantic import Field, FiniteFloat, field_validator, model_validator

from fedlab import rng
from fedlab.data.class_names import normal, refuse_spellings
from fedlab.data.image_source import ImageSource
from fedlab.data.image_tree import SPLITS, Folder, Tree, find
from fedlab.data.picture import Picture, Reading, decoding, read_picture
from fedlab.data.picture_error import PictureError
from fedlab.data.remarks import counted
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

log = logging.getLogger("fedlab")

BLACK = 1 / 255  # deep pictures that reach no further are black when they are bytes
NARROW = 1 / 4  # and those that reach no further are dark


class ImageFolder(ImageSource):
    """Photographs in folders, a folder for each domain and in it one for each class.

    A domain's folder may instead hold the two folders ``train`` and ``test`` with the class
    folders in them; the split is then theirs. The classes are those of all domains together,
    sorted by name. Every format that Pillow decodes by itself is read, and what is left out is
    counted. Images are decoded once, in threads, and kept in the cache.

    Attributes:
        path: The folder of the domains; with `domain`, the folder of that one domain.
        domains: The domains to read, by the names of their folders; all by default.
        test_share: Share of the samples that become the test split, stratified by class.
        resize: ``squash`` scales both sides on their own; ``crop`` keeps the proportions and cuts
            off what is beyond the central square.
        background: Colour behind what is transparent: a name or ``#rrggbb``.
        value_range: The values that are black and white in grey pictures of more than 8 bits, such
            as ``[0, 4095]``; by default 0 and what their depth allows, for floats 0 and 1.
        frames: ``one`` refuses files of several pictures (pages, animations); ``first`` takes the
            first of each.
    """

    name: Literal["image_folder"] = "image_folder"
    cached: ClassVar[bool] = True
    version: ClassVar[int] = 2
    path: Path
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    resize: Literal["squash", "crop"] = "squash"
    background: str = "white"
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None
    frames: Literal["one", "first"] = "one"

    @field_validator("background")
    @classmethod
    def _a_colour(cls, background: str) -> str:
        try:
            ImageColor.getrgb(background)
        except ValueError as error:
            raise ValueError(
                f"'{background}' is no colour; write a name such as white, or #rrggbb"
            ) from error
        return background

    @field_validator("value_range")
    @classmethod
    def _black_is_not_white(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        if span is not None and span[0] == span[1]:
            raise ValueError(f"{list(span)} is no range; give the values of black and of white")
        return span

    @field_validator("domains")
    @classmethod
    def _in_normal_form(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and tuple(map(normal, names))

    @model_validator(mode="after")
    def _domain_or_domains(self) -> ImageFolder:
        if self.domain and self.domains:
            raise ValueError("domain makes path the folder of one domain; leave out domains")
        return self

    def recipe(self) -> dict[str, Any]:
        """The parameters, and the version of Pillow, whose decoders may change."""
        return {**super().recipe(), "pillow": PIL.__version__}

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """All image files.

        Raises:
            InputError: As `load`, but for files that cannot be decoded.
        """
        return self._tree(context).files()

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        return self._made_names(list(self._tree(context).folders))

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """What is left out, by domain and reason."""
        tree = self._tree(context)
        if system := sum(left.system for left in tree.left_out.values()):
            log.info("%s.path: skipped %d hidden or system files", context.key, system)
        return tree.remarks(f"{context.key}.path")

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Decodes all images.

        Raises:
            InputError: If a folder is missing or empty, or an image cannot be decoded.
        """
        found = self._tree(context).folders
        class_names = sorted(
            {name for own in found.values() for each in own for name in each.images}
        )
        refuse_spellings(class_names, f"{context.key}.path: there are class folders")
        domains = []
        for name, folders in found.items():
            decoded = [self._decode(folder, class_names, context) for folder in folders]
            where = f"{context.key}.path: domain '{name}'"
            remarks = _remarks([each for _, _, own in decoded for each in own], where)
            splits = [(images, labels) for images, labels, _ in decoded]
            if len(splits) == len(SPLITS):
                domain = Domain(name, *splits[0], *splits[1], tuple(class_names))
            else:
                split = rng.generator(context.seed, "split", name)
                domain = split_domain(name, *splits[0], tuple(class_names), self.test_share, split)
            domains.append(domain.with_remarks(remarks))
        return domains

    def _tree(self, context: LoadContext) -> Tree:
        return find(context.locate(self.path), self.domain, self.domains, context.key)

    def _decode(
        self, folder: Folder, class_names: list[str], context: LoadContext
    ) -> tuple[np.ndarray, np.ndarray, list[Picture]]:
        """Images uint8 (n, channels, size, size), labels int64 (n,), and what was read, bare."""
        paths = [path for paths in folder.images.values() for path in paths]
        sizes = [len(paths) for paths in folder.images.values()]
        labels = np.repeat([class_names.index(name) for name in folder.images], sizes)
        shape = (len(paths), context.channels, context.image_size, context.image_size)
        where = f"{context.key}.path: the {len(paths):,} images of '{folder.path}'"
        context.limits.check_array(shape, 1, where)
        images = np.empty(shape, np.uint8)
        reading = Reading(
            context.channels,
            context.image_size,
            self.resize,
            ImageColor.getrgb(self.background)[:3],
            self.value_range,
            self.frames,
            context.limits.pixels,
        )

        def decode(index: int) -> Picture:
            picture = _read(paths[index], reading, context)
            images[index] = picture.pixels
            return Picture(np.empty(0), picture.remarks, picture.reach)

        with decoding(reading.pixels), ThreadPoolExecutor(os.cpu_count()) as threads:
            bare = list(threads.map(decode, range(len(paths))))  # an error of a thread is raised
        return images, labels.astype(np.int64), bare


def _read(path: Path, reading: Reading, context: LoadContext) -> Picture:
    where = f"{context.key}.path: the image '{path}'"
    context.limits.check_file(path, where)
    try:
        return read_picture(path, reading)
    except PictureError as error:
        said, _, remedy = str(error).rpartition("; ")
        raise InputError(f"{where} cannot be decoded ({said}); {remedy}") from error


def _remarks(pictures: Sequence[Picture], where: str) -> list[str]:
    """What had to be decided for a domain's pictures, each with its number."""
    counts = Counter(remark for picture in pictures for remark in picture.remarks)
    remarks = [f"{where}: {counted({what: count})}" for what, count in counts.items()]
    reach = max((picture.reach for picture in pictures if picture.reach is not None), default=1.0)
    remedy = "say with the source's value_range which values are black and white, e.g. [0, 4095]"
    if 0 < reach < BLACK:
        raise InputError(
            f"{where} would be black: its pictures of more than 8 bits use {reach:.2%} of the "
            f"values that their depth allows; {remedy}"
        )
    if BLACK <= reach < NARROW:
        remarks.append(
            f"{where} is dark: its pictures of more than 8 bits use the lowest {reach:.1%} of the "
            f"values that their depth allows; if that is not meant, {remedy}"
        )
    return remarks
