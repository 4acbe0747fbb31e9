"""Limits on the sizes of files, pictures and tables, each with a key."""

from __future__ import annotations

import os
import stat
from math import prod
from pathlib import Path

from pydantic import PositiveInt

from fedlab.config.component import ConfigBlock
from fedlab.errors import InputError


class Limits(ConfigBlock):
    """Limits that are checked before reading, since a file may be hostile or damaged.

    Attributes:
        file_bytes: Bytes of one file.
        array_bytes: Bytes that one array takes in memory: one out of a ``.npz`` file, all images of
            a folder together, all numbers of a table.
        pixels: Pixels of one picture, as its file states them, and of one image of the scenario.
        rows: Rows of one table.
        line_bytes: Bytes of one line of a table.
    """

    file_bytes: PositiveInt = 16 * 2**30
    array_bytes: PositiveInt = 4 * 2**30
    pixels: PositiveInt = 100_000_000
    rows: PositiveInt = 10_000_000
    line_bytes: PositiveInt = 4 * 2**20

    def check_file(self, path: Path, where: str) -> None:
        """Refuses all but ordinary files of a permitted size; a pipe would never end.

        Args:
            path: The file.
            where: What to call it in the error.

        Raises:
            InputError: If it is something else, or missing.
        """
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            raise InputError(
                f"{where} does not exist; correct the path, or data.root if the path is relative"
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"{where} cannot be read ({error}); correct the path") from error
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise InputError(f"{where} is {kind}, and no file; name a file")
        if found.st_size > self.file_bytes:
            raise InputError(
                f"{where} has {size(found.st_size)}, and data.limits.file_bytes allows "
                f"{size(self.file_bytes)}; set it to more if the file is meant"
            )

    def check_array(self, shape: tuple[int, ...], item_bytes: int, where: str) -> None:
        """Refuses an array that takes more memory than is allowed.

        Args:
            shape: Its shape.
            item_bytes: Bytes of one number.
            where: What it is, for the error.

        Raises:
            InputError: If it is larger.
        """
        needed = prod(map(int, shape)) * item_bytes
        if needed > self.array_bytes:
            raise InputError(
                f"{where} would take {size(needed)} of memory, and data.limits.array_bytes allows "
                f"{size(self.array_bytes)}; set it to more if that is meant and there is room"
            )

    def check_image_size(self, image_size: int) -> None:
        """Refuses a scenario whose single images are beyond the bound.

        Raises:
            InputError: If they are.
        """
        if image_size**2 > self.pixels:
            raise InputError(
                f"data.image_size: {image_size} makes images of {image_size**2:,} pixels, and "
                f"data.limits.pixels allows {self.pixels:,}; choose a smaller size"
            )


def size(count: int) -> str:
    """Bytes in readable units: ``3.2 GiB``."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.4g} {units[0]}"
