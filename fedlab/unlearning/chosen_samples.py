"""Which of a client's training samples are to be forgotten."""

from __future__ import annotations

import numpy as np

from fedlab import rng
from fedlab.adaptation.trained import Trained
from fedlab.errors import InputError

FORMS = "a share such as 0.2, indices such as 12,40, or a class such as class=seven"


def chosen_samples(trained: Trained, client: int, words: str, seed: int) -> np.ndarray:
    """Indices into the training pool, ascending, int64.

    Args:
        trained: The run with its data.
        client: Whose samples.
        words: A share of the client's samples, which are drawn; indices into the training pool,
            with commas between them; or ``class=`` and the name that the client's labels give.
        seed: Seed of the draw.

    Raises:
        InputError: If the words mean nothing, no sample or all of them, or samples of others.
    """
    split, names = trained.runtime.partition[client], trained.runtime.data.class_names
    own, kind = split.train, words.partition("=")
    if kind[0].strip() == "class" and kind[1]:
        name = kind[2].strip()
        if name not in names:
            raise InputError(
                f"--samples: there is no class '{name}'; choose from {', '.join(names)}"
            )
        found = own[split.labelled & (split.labels == names.index(name))]
        if not len(found):
            raise InputError(f"--samples: client {client} has no labelled sample of '{name}'")
    elif "." in words:
        found = _drawn(own, _number(words), rng.generator(seed, "forget", "samples", client))
    else:
        found = np.array([int(_number(each, whole=True)) for each in words.split(",")], np.int64)
        strange = np.setdiff1d(found, own)
        if len(strange):
            raise InputError(
                f"--samples: sample {strange[0]} is none of client {client}'s training samples "
                f"({own[0]}, ..., {own[-1]}); `fedlab audit --out` lists them"
            )
    found = np.unique(found)
    if len(found) == len(own):
        raise InputError(
            f"--samples: these are all training samples of client {client}; leave --samples out"
        )
    return found


def _drawn(own: np.ndarray, share: float, drawing: np.random.Generator) -> np.ndarray:
    size = round(share * len(own))
    if not 0 < share < 1 or not size:
        raise InputError(
            f"--samples: a share of {share:g} of {len(own)} samples is {max(size, 0)}; use a share "
            "between 0 and 1 that is at least one of them"
        )
    return drawing.choice(own, size=size, replace=False)


def _number(text: str, whole: bool = False) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError as error:
        raise InputError(f"--samples: '{text.strip()}' is not clear; write {FORMS}") from error
