"""Synthetic writers: owners of images, each with its own slant, width and height."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from fedlab import rng
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

SLANT = 0.45
"""Largest slant either way: so far the top of an image moves, as a share of its half height."""
SIZES = (0.75, 1.2)
"""Smallest and largest width and height, as a share of what it was."""
BUSY = 2.0
"""Shape of the Gamma distribution of a writer's number of images: a deviation of 0.7 means."""
BATCH = 1000


def written_by(domain: Domain, writers: int, context: LoadContext) -> Domain:
    """The same images, each changed by one of the writers; a function of the seed.

    Every writer has at least one image of each split.

    Args:
        domain: The images.
        writers: How many there are.
        context: Gives the seed.

    Raises:
        InputError: If there are more writers than images of a split.
    """
    drawing = rng.generator(context.seed, "digits-writers", domain.name)
    habits = np.stack(
        [drawing.uniform(-SLANT, SLANT, writers), *drawing.uniform(*SIZES, (2, writers))]
    )
    busy = drawing.gamma(BUSY, size=writers)
    changed: list[tuple[np.ndarray, np.ndarray]] = []
    for split, images in (("train", domain.train_inputs), ("test", domain.test_inputs)):
        if writers > len(images):
            raise InputError(
                f"{context.key}.writers: {writers} writers are more than the {len(images)} {split} "
                f"images of '{domain.name}'; use fewer, or raise {split}_per_domain"
            )
        dealing = rng.generator(context.seed, "digits-writers", domain.name, split)
        others = dealing.choice(writers, len(images) - writers, p=busy / busy.sum())
        owners = dealing.permutation(np.concatenate([np.arange(writers), others]))
        changed.append((_written(images, habits[:, owners]), owners))
    (train, train_owners), (test, test_owners) = changed
    width = len(str(writers - 1))
    return replace(
        domain,
        train_inputs=train,
        test_inputs=test,
        train_owners=train_owners,
        test_owners=test_owners,
        owner_names=tuple(f"{domain.name} {index:0{width}}" for index in range(writers)),
    )


def _written(images: np.ndarray, habits: np.ndarray) -> np.ndarray:
    """Images uint8 (n, channels, size, size), each changed by the habits (3, n) of its writer."""
    made = np.empty_like(images)
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        slant, width, height = torch.from_numpy(habits[:, part]).float()
        nothing = torch.zeros_like(slant)
        places = torch.stack([1 / width, slant, nothing, nothing, 1 / height, nothing], dim=1)
        some = torch.tensor(images[part]).float()
        grid = functional.affine_grid(places.view(-1, 2, 3), list(some.shape), align_corners=False)
        moved = functional.grid_sample(some, grid, padding_mode="border", align_corners=False)
        made[part] = moved.round().clamp(0, 255).to(torch.uint8).numpy()
    return made
