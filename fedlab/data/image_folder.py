"""Image files in folders: ``<path>/<domain>/<class>/<image>``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field, model_validator

from fedlab import rng
from fedlab.data.image_source import ImageSource
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
SPLITS = ("train", "test")
LAYOUT = "images lie in <path>/<domain>/<class>/ or <path>/<domain>/{train,test}/<class>/"


@dataclass(frozen=True)
class Folder:
    """The image files of one domain, or of one split of it, by class."""

    path: Path
    images: dict[str, list[Path]]


class ImageFolder(ImageSource):
    """Photographs in folders, a folder for each domain and in it one for each class.

    A domain's folder may instead hold the two folders ``train`` and ``test`` with the class
    folders in them; the split is then theirs. The classes are those of all domains together,
    sorted by name. Images are decoded once, in threads, and kept in the cache.

    Attributes:
        path: The folder of the domains; with `domain`, the folder of that one domain.
        domains: The domains to read, by the names of their folders; all by default.
        test_share: Share of the samples that become the test split, stratified by class.
        resize: ``squash`` scales both sides on their own; ``crop`` keeps the proportions and cuts
            off what is beyond the central square.
    """

    name: Literal["image_folder"] = "image_folder"
    cached: ClassVar[bool] = True
    path: Path
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    resize: Literal["squash", "crop"] = "squash"

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
        return [
            path
            for folders in self._domain_folders(context).values()
            for folder in folders
            for paths in folder.images.values()
            for path in paths
        ]

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Decodes all images.

        Raises:
            InputError: If a folder is missing or empty, or an image cannot be decoded.
        """
        found = self._domain_folders(context)
        class_names = sorted(
            {name for own in found.values() for each in own for name in each.images}
        )
        _refuse_spellings(class_names, context)
        domains = []
        for name, folders in found.items():
            decoded = [self._decode(folder, class_names, context) for folder in folders]
            if len(decoded) == len(SPLITS):
                domains.append(Domain(name, *decoded[0], *decoded[1], tuple(class_names)))
            else:
                split = rng.generator(context.seed, "split", name)
                domains.append(
                    split_domain(name, *decoded[0], tuple(class_names), self.test_share, split)
                )
        return domains

    def _domain_folders(self, context: LoadContext) -> dict[str, list[Folder]]:
        """For each domain its folder, or those of its train and its test split."""
        path = context.locate(self.path)
        if not path.is_dir():
            raise InputError(
                f"{context.key}.path: there is no folder '{path}'; correct the path, or data.root "
                "if the path is relative"
            )
        if self.domain:
            folders = {self.domain: path}
        else:
            folders = {each.name: each for each in _subfolders(path)}
            for name in self.domains or ():
                if name not in folders:
                    raise InputError(
                        f"{context.key}.domains names '{name}', but '{path}' has only the folders "
                        f"{', '.join(folders) or '(none)'}; correct the name"
                    )
            folders = {name: folders[name] for name in self.domains or folders}
        if not folders:
            raise InputError(
                f"{context.key}.path: '{path}' has no folders; it must hold one for each domain, "
                "with one for each class in it"
            )
        if not self.domain and not folders.keys() - {*SPLITS, "val"}:
            raise InputError(
                f"{context.key}.path: '{path}' holds {' and '.join(folders)}, which are no "
                f"domains; {LAYOUT}, or set {context.key}.domain to the name of its one domain"
            )
        return {name: _splits(folder, context) for name, folder in folders.items()}

    def _decode(
        self, folder: Folder, class_names: list[str], context: LoadContext
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (n, channels, size, size) and labels int64 (n,)."""
        paths = [path for paths in folder.images.values() for path in paths]
        sizes = [len(paths) for paths in folder.images.values()]
        labels = np.repeat([class_names.index(name) for name in folder.images], sizes)
        images = np.empty(
            (len(paths), context.channels, context.image_size, context.image_size), np.uint8
        )

        def decode(index: int) -> None:
            images[index] = self._decode_one(paths[index], context)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(decode, range(len(paths))):
                pass  # an error of a thread is raised here
        return images, labels.astype(np.int64)

    def _decode_one(self, path: Path, context: LoadContext) -> np.ndarray:
        """One image, uint8 (channels, size, size)."""
        size = (context.image_size, context.image_size)
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB" if context.channels == 3 else "L")
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            unknown = isinstance(error, UnidentifiedImageError)
            reason = "damaged, or of no format that Pillow knows" if unknown else error
            raise InputError(
                f"{context.key}.path: the image '{path}' cannot be decoded ({reason}); replace "
                "the file or remove it"
            ) from error
        if self.resize == "crop":
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        else:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return pixels.transpose(2, 0, 1) if context.channels == 3 else pixels[None]


def _subfolders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".")


def _splits(path: Path, context: LoadContext) -> list[Folder]:
    """A domain's folder, or its train and its test folder where it holds just these."""
    names = {each.name for each in _subfolders(path)}
    if names == set(SPLITS):
        return [_classes(path / split, context) for split in SPLITS]
    return [_classes(path, context)]


def _classes(path: Path, context: LoadContext) -> Folder:
    """The images below a folder by class; each class folder must hold some."""
    images: dict[str, list[Path]] = {}
    for folder in _subfolders(path):
        images[folder.name] = _images(folder)
        if not images[folder.name]:
            further = ", ".join(each.name for each in _subfolders(folder)[:5])
            raise InputError(
                f"{context.key}.path: the class folder '{folder}' has no image "
                f"({', '.join(sorted(ENDINGS))}); "
                + (
                    f"it has the folders {further}, but {LAYOUT}"
                    if further
                    else "add some or remove the folder"
                )
            )
    if not images:
        raise InputError(
            f"{context.key}.path: '{path}' has no class folders; "
            + (
                f"its images would be of one class, but {LAYOUT}; where there is one domain, set "
                f"{context.key}.domain to its name"
                if _images(path)
                else "it must hold one for each class"
            )
        )
    return Folder(path, images)


def _images(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in ENDINGS)


def _refuse_spellings(class_names: list[str], context: LoadContext) -> None:
    """Refuses names that only differ in their capitals: one class, spelt in two ways."""
    spellings: dict[str, str] = {}
    for name in class_names:
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"{context.key}.path: there are class folders '{other}' and '{name}'; give one "
                "class one name in all domains"
            )
