"""Digits-Five out of public files, as five ``.npz`` files that the source ``npz`` reads.

    python -m benchmarks.prepare_digits_five DATA_ROOT OUT_DIR

Digits-Five is MNIST, USPS, MNIST-M, SynthDigits and SVHN (Peng et al., ICCV 2019,
arXiv:1812.01754); FedBN (Li et al., ICLR 2021, arXiv:2102.07623) gives each of five clients one of
them and 743 training images (``data.train_samples_per_domain: 743``). Two domains are stand-ins
here, so published accuracies of these two are a direction, not a target:

* ``synth`` is the computer fonts of Chars74K (de Campos et al., VISAPP 2009): 254 families of four
  styles each. A fifth of the families, drawn with a fixed seed, is held out for testing: no style
  of a test font is seen in training.
* ``svhn`` is the digits of Chars74K that were cropped from photographs of streets, good and bad
  ones together. A fifth of each class is the test split. That leaves 708 images to train on, so a
  client has all of them instead of 743. Digits of one sign may lie on both sides of the split,
  since the files do not tell which belong together.

MNIST-M is made from MNIST digits. Those that it uses are left out of ``mnist``, so that no two
domains show the same handwriting.

A folder ``even`` beside them has the same images with brightness and contrast evened out, image by
image: it tells whether these are what a method stumbles over.

DATA_ROOT holds ``MNIST/raw/*-ubyte(.gz)``, ``usps/usps.h5``, ``mnist_m/mnist_m_subset.zip`` and
``chars74k/chars74k_digits_32.npz``. Needs h5py (the ``dev`` group).
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from fedlab import rng
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split
from fedlab.data.torchvision_source import Torchvision

SEED = 0
TEST_SHARE = 0.2
STYLES = 4  # regular, bold, italic and bold italic of a font have consecutive ids, from 1
Arrays = dict[str, np.ndarray]

# MNIST-M's images carry the index of the MNIST digit that they were made of: these are there.
BLENDED_TRAIN = range(49001, 59001)
BLENDED_TEST = range(3000)


def mnist(root: Path) -> Arrays:
    """MNIST without the digits of which MNIST-M was made; (n, 28, 28)."""
    whole = _whole_mnist(root)
    keep_train = np.setdiff1d(np.arange(len(whole["y_train"])), BLENDED_TRAIN)
    keep_test = np.setdiff1d(np.arange(len(whole["y_test"])), BLENDED_TEST)
    return {
        "x_train": whole["x_train"][keep_train],
        "y_train": whole["y_train"][keep_train],
        "x_test": whole["x_test"][keep_test],
        "y_test": whole["y_test"][keep_test],
    }


def usps(root: Path) -> Arrays:
    """USPS, scaled from [0, 1] to uint8; (n, 16, 16)."""
    arrays = {}
    with h5py.File(root / "usps" / "usps.h5") as file:
        for name in ("train", "test"):
            pixels, labels = np.asarray(file[f"{name}/data"]), np.asarray(file[f"{name}/target"])
            arrays[f"x_{name}"] = np.round(255 * pixels).astype(np.uint8).reshape(-1, 16, 16)
            arrays[f"y_{name}"] = labels.astype(np.int64)
    return arrays


def mnist_m(root: Path) -> Arrays:
    """MNIST-M, digits blended over photographs; (n, 32, 32, 3).

    Raises:
        ValueError: If the images are not made of the MNIST digits that `mnist` leaves out.
    """
    arrays, original = {}, _whole_mnist(root)
    with zipfile.ZipFile(root / "mnist_m" / "mnist_m_subset.zip") as archive:
        for name, blended in (("train", BLENDED_TRAIN), ("test", BLENDED_TEST)):
            lines = archive.read(f"mnist_m_{name}_labels.txt").decode().splitlines()
            files = [line.split() for line in lines if line.strip()]
            labels = np.array([int(label) for _, label in files])
            indices = [int(Path(file).stem) for file, _ in files]
            expected = original[f"y_{name}"][blended]
            if indices != list(blended) or not np.array_equal(labels, expected):
                raise ValueError(f"the {name} images of MNIST-M are not MNIST's {blended}")
            arrays[f"x_{name}"] = np.stack(
                [
                    np.asarray(Image.open(io.BytesIO(archive.read(f"mnist_m_{name}/{file}"))))
                    for file, _ in files
                ]
            )
            arrays[f"y_{name}"] = labels
    return arrays


def synth(root: Path) -> Arrays:
    """Computer fonts, a fifth of the families held out; (n, 32, 32)."""
    with np.load(root / "chars74k" / "chars74k_digits_32.npz") as file:
        images, labels, fonts = file["x_fnt"], file["y_fnt"].astype(np.int64), file["font_id"]
    families = (fonts - 1) // STYLES
    drawn = rng.generator(SEED, "digits-five", "fonts").permutation(np.unique(families))
    held_out = np.isin(families, drawn[: round(TEST_SHARE * len(drawn))])
    return {
        "x_train": images[~held_out],
        "y_train": labels[~held_out],
        "x_test": images[held_out],
        "y_test": labels[held_out],
    }


def svhn(root: Path) -> Arrays:
    """Digits cropped from photographs of streets; (n, 32, 32, 3)."""
    with np.load(root / "chars74k" / "chars74k_digits_32.npz") as file:
        images = np.concatenate([file["x_good"], file["x_bad"]])
        labels = np.concatenate([file["y_good"], file["y_bad"]]).astype(np.int64)
    train, test = split(labels, TEST_SHARE, rng.generator(SEED, "digits-five", "street"))
    return {
        "x_train": images[train],
        "y_train": labels[train],
        "x_test": images[test],
        "y_test": labels[test],
    }


DOMAINS: dict[str, Callable[[Path], Arrays]] = {
    "mnist": mnist,
    "usps": usps,
    "mnist_m": mnist_m,
    "synth": synth,
    "svhn": svhn,
}


def evened(images: np.ndarray) -> np.ndarray:
    """Images whose pixels have, in each by itself, a mean of 127.5 and a standard deviation of 50.

    Values beyond 0 and 255 are cut off; an image of one colour becomes grey.

    Args:
        images: uint8, (n, height, width) or (n, height, width, 3).
    """
    rows = images.reshape(len(images), -1).astype(np.float64)
    spread = rows.std(axis=1, keepdims=True)
    even = (rows - rows.mean(axis=1, keepdims=True)) / np.where(spread == 0, 1, spread)
    return np.clip(np.round(50 * even + 127.5), 0, 255).astype(np.uint8).reshape(images.shape)


def _whole_mnist(root: Path) -> Arrays:
    context = LoadContext(root, channels=1, image_size=28, seed=SEED, download=False)
    (domain,) = Torchvision(dataset="MNIST").load(context)
    return {
        "x_train": domain.train_inputs[:, 0],
        "y_train": domain.train_labels,
        "x_test": domain.test_inputs[:, 0],
        "y_test": domain.test_labels,
    }


def main() -> None:
    """Writes the files and prints how many images of each digit they hold."""
    parser = argparse.ArgumentParser(description="Makes Digits-Five for the source `npz`.")
    parser.add_argument("data_root", type=Path, help="folder of the public files")
    parser.add_argument("out_dir", type=Path, help="folder for the five .npz files")
    arguments = parser.parse_args()
    (arguments.out_dir / "even").mkdir(parents=True, exist_ok=True)
    table = Table("domain", "split", "images", "shape", *map(str, range(10)))
    for name, make in DOMAINS.items():
        arrays = make(arguments.data_root)
        np.savez(arguments.out_dir / f"{name}.npz", allow_pickle=False, **arrays)
        even = {key: evened(of) if key[0] == "x" else of for key, of in arrays.items()}
        np.savez(arguments.out_dir / "even" / f"{name}.npz", allow_pickle=False, **even)
        for part in ("train", "test"):
            images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
            shape = "x".join(map(str, images.shape[1:]))
            counts = np.bincount(labels, minlength=10)
            table.add_row(name, part, str(len(labels)), shape, *map(str, counts))
    Console().print(table)


if __name__ == "__main__":
    main()
