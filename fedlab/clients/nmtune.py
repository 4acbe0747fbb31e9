"""NMTune, client trainer: the base's loss and three terms on transformed features.

See `fedlab.strategies.nmtune` for the paper and what travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from fedlab.clients.base import Carry
from fedlab.clients.families.one_objective import OneObjective
from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.feature_transform import (
    dominant_share,
    find_transform,
    off_diagonal_covariance,
)
from fedlab.models.head import find_head
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import why_no_outputs
from fedlab.strategies.nmtune import NMTuneParameters
from fedlab.training.task import Batch, Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class NMTune(OneObjective):
    """Minimises the loss + λ_c MSE(ĝ, φ̂) + λ_v (1/D) Σ_{i≠j} Cov(g)_ij² - λ_s mean_{k≤K} s_k/Σs.

    Hats are features divided by their length, s the singular values of the batch of g.
    """

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: NMTuneParameters, task: Task
    ) -> None:
        super().__init__(parameters, task)
        self.nmtune = parameters
        transform = find_transform(task.model)
        assert transform is not None  # `check` refuses other networks
        self.transform = transform

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks that learn features themselves, or have no head.

        Raises:
            InputError: With the remedy.
        """
        super().check(scenario, model)
        transform, head = find_transform(model), find_head(model)
        found = transform is not None and head is not None
        own = {*transform.parameters(), *head.layer.parameters()} if transform and head else set()
        learning = anatomy_of(model).learning
        others = [n for n, p in model.named_parameters() if n in learning and p not in own]
        if others or not found:
            does = f"learns more ({others[0]})" if found else why_no_outputs(model)
            raise InputError(
                "strategy.name: nmtune transforms what a frozen network gives to a last dense "
                f"layer, and the model '{scenario.model.name}' {does}; use model=linear"
            )

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the terms added."""
        own = self.nmtune
        with self.transform.listen() as captured:
            transformed, outputs = self.task.features_and_outputs(
                parameters, carry.buffers, batch.inputs
            )
        loss = self.loss(outputs, batch, carry)
        if own.consistency:
            kept = normalize(captured[-1].detach().to(outputs.dtype), dim=-1)
            loss = loss + own.consistency * mse_loss(normalize(transformed, dim=-1), kept)
        if own.covariance:
            loss = loss + own.covariance * off_diagonal_covariance(transformed)
        if own.singular:
            loss = loss - own.singular * dominant_share(transformed, own.largest)
        return loss, outputs
