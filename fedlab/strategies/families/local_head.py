"""Parameters of methods that share a network's first layers and keep its last ones local."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt
from torch import nn

from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import last_parts, parts
from fedlab.models.norms import NormPolicy
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
        InputError: If there are no other layers, or nothing of the one part or the other learns.
    """
    found = len(parts(model))
    if layers < found:
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
