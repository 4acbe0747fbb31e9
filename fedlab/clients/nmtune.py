"""NMTune, client trainer: the base's loss and three terms on transformed features.

See `fedlab.strategies.nmtune` for the paper and what travels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from fedlab.clients.base import Carry
from fedlab.clients.families.one_objective import OneObjective
from fedlab.models.feature_transform import (
    dominant_share,
    find_transform,
    off_diagonal_covariance,
)
from fedlab.records import Tensors
from fedlab.strategies.nmtune import NMTuneParameters
from fedlab.training.task import Batch, Task


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
        assert transform is not None  # `NMTuneParameters.check` refuses other networks
        self.transform = transform

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the terms added."""
        own = self.nmtune
        with self.transform.listen() as heard:
            transformed, outputs = self.task.features_and_outputs(
                parameters, carry.buffers, batch.inputs
            )
        loss = self.loss(outputs, batch, carry)
        if own.consistency:
            kept = normalize(heard[-1].detach().to(outputs.dtype), dim=-1)
            loss = loss + own.consistency * mse_loss(normalize(transformed, dim=-1), kept)
        if own.covariance:
            loss = loss + own.covariance * off_diagonal_covariance(transformed)
        if own.singular:
            loss = loss - own.singular * dominant_share(transformed, own.largest)
        return loss, outputs
