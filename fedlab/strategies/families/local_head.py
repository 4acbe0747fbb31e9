"""Parameters of methods that share a network's first layers and keep its last ones local."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt
from torch import nn

from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import last_parts, parts
from fedlab.models.norms import NormPolicy
from fedlab.strategies.families.requirements import refuse_unclear_outputs
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class LocalHeadParameters(StrategyParameters):
    """Parameters of a method that keeps the last layers of the network local.

    Attributes:
        layers: Layers at the end of the network that stay with the client, each with the
            normalisation that follows it; a residual block counts as one.
    """

    layers: PositiveInt = 1

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """The tensors of the last layers, beside those of the method's rule."""
        own = {*super().local_parameter_names(model, policy), *last_parts(model, self.layers)}
        return anatomy_of(model).among(own)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network of which nothing would be shared."""
        refuse_few_layers(
            scenario, model, self.layers, "keeps local", "shared", "strategy.name=local_only"
        )


def refuse_few_layers(
    scenario: Experiment, model: nn.Module, layers: int, does: str, nothing: str, instead: str
) -> None:
    """Refuses a network that a method cannot divide into two parts that both learn.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        layers: How many of its last layers the method treats differently.
        does: What it does with them, in words.
        nothing: What no layer would be, in words ("shared").
        instead: The equivalent method, to use instead.

    Raises:
        InputError: If there are no other layers, nothing of the one part or the other learns, or
            it is not known which layers are the last.
    """
    found = len(parts(model))
    if layers < found:
        if layers:
            refuse_unknown_layers(scenario, model, layers, does)
        last, learning = set(last_parts(model, layers)), set(anatomy_of(model).learning)
        if not layers or (learning & last and learning - last):
            return
        frozen = "the rest" if learning & last else "these"
        raise InputError(
            f"strategy.layers: {scenario.strategy.name} {does} the last {layers} layer(s) of the "
            f"model '{scenario.model.name}', and all of {frozen} is frozen, so that nothing would "
            "be learnt in two parts; choose other layers, or another strategy"
        )
    fewer = f"use at most {found - 1}" if found > 1 else "use a network with several layers"
    raise InputError(
        f"strategy.layers: {scenario.strategy.name} {does} the last {layers} layer(s) and the "
        f"model '{scenario.model.name}' has {found}, so that nothing would be {nothing}; "
        f"{fewer}, or {instead}"
    )


def refuse_unknown_layers(scenario: Experiment, model: nn.Module, layers: int, does: str) -> None:
    """Refuses a network of which the last layers are not known, or not apart from the others.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        layers: How many of its last layers the method treats differently.
        does: What it does with them, in words ("keeps local").

    Raises:
        InputError: With the reason and the remedy.
    """
    refuse_unclear_outputs(scenario, model, does)
    _refuse_uncalled_parts(scenario, model, layers)
    _refuse_tied_parts(scenario, model, layers, does)


def _refuse_uncalled_parts(scenario: Experiment, model: nn.Module, layers: int) -> None:
    """Refuses a network whose order of layers is not known, as it reads the weights of some.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        layers: How many of its last layers the method treats differently. A single one is the head,
            which may be stated.

    Raises:
        InputError: With the first such layer.
    """
    anatomy = anatomy_of(model)
    read = [] if anatomy.observed is None else list(anatomy.observed.read)
    if anatomy.head is not None:  # which is last in any case
        read = [part for part in read if not f"{anatomy.head}.".startswith(f"{part}.")]
    if layers > 1 and read:
        raise InputError(
            f"strategy.layers: which are the last {layers} layers of the model "
            f"'{scenario.model.name}' is not known, as it reads the weights of its layer "
            f"'{read[0]}' without calling the layer; call it, or use strategy.layers=1"
        )


def _refuse_tied_parts(scenario: Experiment, model: nn.Module, layers: int, does: str) -> None:
    """Refuses a network whose last layers have a tensor in common with the others.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        layers: How many of its last layers the method treats differently.
        does: What it does with them, in words.

    Raises:
        InputError: With the first such tensor.
    """
    last = set(last_parts(model, layers))
    for name, first in anatomy_of(model).aliases.items():
        if (name in last) != (first in last):
            inside, outside = (name, first) if name in last else (first, name)
            raise InputError(
                f"strategy.layers: {scenario.strategy.name} {does} the last {layers} layer(s) of "
                f"the model '{scenario.model.name}', whose '{inside}' is tied to '{outside}', one "
                "tensor of both parts; give each layer its own weights, choose layers such that "
                "both are among them, or use another strategy"
            )
