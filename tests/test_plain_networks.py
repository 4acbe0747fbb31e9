"""A network as PyTorch has it, without a word of fedlab, and what is said of one that fails."""

from __future__ import annotations

import pickle
from typing import Literal

import pytest
import torch
from torch import nn

import fedlab
from fedlab.config import catalogue, yaml_text
from fedlab.errors import InputError
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml
from helpers import toy


class Net(nn.Module):
    """Two layers.

    Args:
        width: Channels between them.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        width: int = 4,
        kind: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(input_shape[0], width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.kind = kind
        self.last = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(images)).relu().mean(dim=(2, 3)))


def flat(classes, scale=1.0):
    """A function may make the module."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def open_ended(*, weights=None, **others):
    """As torchvision's functions are written, which take the number of classes in what is open."""
    return flat(others["num_classes"])


def stripes(model: object, **fields: object) -> Scenario:
    return load_scenario(toy.scenario(**fields), model=model)


def test_the_arguments_of_a_module_are_the_keys_of_its_block():
    scenario = stripes({"name": f"{__name__}:Net", "width": 6})
    assert (scenario.model.width, scenario.model.kind, scenario.model.norm) == (6, "relu", "batch")
    model = prepare(scenario).model
    assert isinstance(model, Net)
    assert model.first.weight.shape == (6, 3, 3, 3)
    assert model.last.out_features == 4
    assert load_scenario(yaml_text.read(to_yaml(scenario), "")[0]) == scenario
    words, parameters = catalogue.describe("models", f"{__name__}:Net")
    assert words.endswith("Two layers.")
    width = next(parameter for parameter in parameters if parameter.name == "width")
    assert (width.kind, width.default, width.text) == ("int", "4", "Channels between them.")


def test_a_module_is_the_same_in_every_process_and_goes_there_with_its_class():
    scenario = stripes(Net)
    there = pickle.loads(pickle.dumps(scenario))
    assert there == scenario
    first, again = (prepare(each).model.state_dict() for each in (scenario, there))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_methods_do_with_a_plain_module_what_they_do_with_fedlabs_own():
    model = prepare(stripes(Net, strategy="fedwon")).model
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    normed = prepare(stripes({"name": Net, "norm": "group"})).model
    assert isinstance(normed.norm, nn.GroupNorm)


@pytest.mark.usefixtures("ray_here")
def test_a_module_of_a_notebook_runs_on_ray_with_the_same_bytes(tmp_path):
    class Cell(Net):
        """No other process can import it."""

    runs = [
        fedlab.simulate(
            stripes(Cell, resources={"backend": backend}), out=tmp_path / backend, progress=False
        )
        for backend in ("local", "ray")
    ]
    bytes_of = [(run.folder / "history.csv").read_bytes() for run in runs]
    assert bytes_of[0] == bytes_of[1]


def test_a_function_may_make_the_module():
    assert prepare(stripes(flat)).model[1].out_features == 4
    assert prepare(stripes(open_ended)).model[1].out_features == 4


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"widht": 3}, "model.widht: 3: unknown key; did you mean 'width'?"),
        ({"width": "wide"}, "model.width: wide: must be a valid integer"),
        ({"kind": "selu"}, "model.kind: selu: must be 'relu' or 'tanh'"),
    ],
)
def test_a_mistake_in_a_plain_modules_block_is_reported_like_any_other(block, message):
    with pytest.raises(InputError) as refused:
        load_scenario(toy.scenario(), {"model": {"name": f"{__name__}:Net", **block}})
    assert message in str(refused.value)


# ---------------------------------------------------------------------- networks that cannot work


def fails(make, message):
    """What is said of a plain function's network."""
    with pytest.raises(InputError) as refused:
        prepare(stripes(make))
    assert message in str(refused.value), str(refused.value)


def linear(outputs=4, **keywords):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, outputs, **keywords))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()

    def forward(self, images):
        return self.layer(images), images


def test_a_network_is_tried_before_anything_is_trained():
    fails(lambda: linear(7), "outputs of shape (2, 7) for 2 samples; there are 4 classes")
    fails(lambda: nn.Linear(5, 4), "fails on inputs of shape (2, 3, 8, 8): RuntimeError: ")
    fails(lambda: None, "makes an object of type NoneType; it has to return a torch.nn.Module")
    fails(lambda: nn.LazyLinear(4), "has lazy layers (weight)")
    fails(lambda: linear(dtype=torch.float64), "parameters of type torch.float64 (1.weight)")
    fails(lambda: nn.Flatten(), "has no parameter that learns")
    fails(lambda: linear().requires_grad_(False), "has no parameter that learns")
    fails(lambda: 1 / 0, "ZeroDivisionError: division by zero (test_plain_networks.py, line ")
    fails(Pair, "gives a tuple for a batch")

    def unset():
        model = linear()
        nn.init.constant_(model[1].weight, torch.nan)
        return model

    fails(unset, "'1.weight' has initial values that are not finite")


def test_trying_a_network_changes_nothing_of_it():
    drawn = torch.random.get_rng_state()
    model = prepare(stripes(Net)).model
    assert model.training
    assert model.norm.num_batches_tracked == 0
    assert torch.equal(torch.random.get_rng_state(), drawn)


class NoNetwork(ModelSpec):
    """Forgets the one thing it is for."""


class OwnConstructor(ModelSpec):
    """Has a constructor, as classes of PyTorch do."""

    def __init__(self, width): ...

    def network(self, input_shape, classes): ...


def takes_a_reserved_word(norm="batch"): ...


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{__name__}:NoNetwork", "lacks network, which every subclass of fedlab.models.spec.Mode"),
        (f"{__name__}:OwnConstructor", "cannot be made of its keys: TypeError: OwnConstructor.__i"),
        (f"{__name__}:takes_a_reserved_word", "the argument 'norm', which cannot be a key of the"),
        ("nets.Net", "there is no model 'nets.Net'; a class of your own is named module:Class, so"),
        ("my/nets.py:Net", "so 'my.nets:Net'"),
    ],
)
def test_a_model_that_cannot_be_one_says_why(name, message):
    with pytest.raises(InputError) as refused:
        stripes(name)
    assert message in str(refused.value), str(refused.value)
