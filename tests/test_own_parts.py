"""A source, a skew or a transform of one's own that gives something else than it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedlab.data.samples import Domain
from fedlab.data.source import Source
from fedlab.data.transform import Transform
from fedlab.errors import InputError
from fedlab.partition.base import DomainSkew, LabelSkew, QuantitySkew
from fedlab.preparation import prepare
from helpers import toy

FEATURES, LABELS = np.zeros((12, 2), np.float32), np.arange(12) % 2
GOOD = Domain("d", FEATURES, LABELS, FEATURES, LABELS, ("a", "b"))
GIVEN: dict[str, Any] = {}
"""What the parts below give."""


class Given(Source):
    def load(self, context):
        return GIVEN["load"]


class Divided(LabelSkew):
    def divide(self, pool, shares, rng):
        return GIVEN["divide"]


class Shared(DomainSkew):
    def shares(self, clients, domains, rng):
        return GIVEN["shares"]


class Weighed(QuantitySkew):
    def weights(self, clients, rng):
        return GIVEN["weights"]


class Changed(Transform):
    def change(self, images, generator):
        return GIVEN["change"](images)


def said(**changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        prepare(toy.scenario(**changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        (None, "'.load has returned a NoneType; it has to be a list of fedlab.data.samples.Domain"),
        (GOOD, "Given'.load has returned a Domain; it has to be a list"),
        ([("d", FEATURES)], "Given'.load has returned a list with a tuple in it; it has to be a l"),
        (
            [Domain("d", torch.zeros(12, 2), LABELS, FEATURES, LABELS, ("a", "b"))],  # type: ignore
            "Given'.load: train_inputs of domain 'd' is a Tensor; it has to be a numpy array",
        ),
    ],
)
def test_a_source_gives_domains_of_arrays(loaded, words):
    GIVEN["load"] = loaded
    text = said(data={"sources": [f"{__name__}:Given"]}, model="linear")
    assert text.startswith("data.sources.0: ")
    assert words in text


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        (None, "has returned a NoneType; it has to be a numpy array of integers"),
        (np.zeros(7, int), "of shape (7,) and type int64; it has to be an integer for each of 120"),
        (
            np.zeros(120),
            "of shape (120,) and type float64; it has to be an integer for each of 120",
        ),
        (np.full(120, 3), "has returned owners from 3 to 3; clients go from 0 to 2, and -1 is no"),
    ],
)
def test_a_label_skew_gives_an_owner_for_each_sample(owners, words):
    GIVEN["divide"] = owners
    text = said(partition={"clients": 3, "labels": f"{__name__}:Divided"})
    assert text.startswith(f"partition.labels: '{__name__}:Divided'.divide has returned ")
    assert words in text


@pytest.mark.parametrize("numbers", [np.ones(2), -np.ones(3), np.full(3, np.nan), [1, 1, 1]])
def test_weights_and_shares_are_numbers_for_each_client(numbers):
    GIVEN["weights"] = numbers
    text = said(partition={"clients": 3, "quantity": f"{__name__}:Weighed"})
    assert text.startswith(f"partition.quantity: '{__name__}:Weighed'.weights has returned ")
    GIVEN["shares"] = np.outer(numbers, np.ones(3)) if isinstance(numbers, np.ndarray) else numbers
    text = said(partition={"clients": 3, "domains": f"{__name__}:Shared"})
    assert text.startswith(f"partition.domains: '{__name__}:Shared'.shares has returned ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda images: None,
            "has returned a NoneType; it has to be a torch.Tensor of shape (12, ",
        ),
        (lambda images: images.numpy(), "has returned a ndarray; it has to be a torch.Tensor"),
        (lambda images: images[:, :1], "has returned images of shape (12, 1, 8, 8)"),
    ],
)
def test_a_transform_gives_images_of_the_same_shape(change, words, tmp_path):
    GIVEN["change"] = change
    images = np.zeros((15, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "dots.npz", x_train=images, y_train=np.arange(15) % 3)
    made = [{"name": "changed", "transforms": [f"{__name__}:Changed"]}]
    source = {"name": "npz", "path": str(tmp_path / "dots.npz"), "make_domains": made}
    assert words in said(data={"sources": [source], "image_size": 8})
