"""Combinations that make no sense, refused with a reason before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedlab.errors import InputError
from fedlab.models.norms import NormPolicy, local_names

if TYPE_CHECKING:
    from fedlab.scenario import Scenario


def refuse_if_nothing_stays(
    scenario: Scenario, model: nn.Module, policy: NormPolicy, kept: str
) -> None:
    """Refuses a network without the tensors that a method keeps local: it would be FedAvg.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        policy: Which tensors stay with the client.
        kept: What they are, in words.

    Raises:
        InputError: If no tensor stays.
    """
    if not local_names(model, policy):
        raise InputError(
            f"strategy.name: {scenario.strategy.name} keeps {kept} local and the model "
            f"'{scenario.model.name}' with norm '{scenario.model.norm}' has none; "
            "use model.norm=batch, or strategy.name=fedavg"
        )
