"""F2DC, client trainer: the loss, and terms that divide and calibrate features.

See `fedlab.strategies.f2dc` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, linear, one_hot

from fedlab.clients.base import Carry, ClientTrainer
from fedlab.models.feature_split import find_split, listen_to_parts
from fedlab.records import Tensors
from fedlab.strategies.f2dc import F2DCParameters
from fedlab.training.task import Batch, Task


class F2DC(ClientTrainer[F2DCParameters]):
    """Minimises the loss and λ₁ (ℓ⁺ + ℓ⁻ + ℓ_cos) + λ₂ ℓ*.

    An auxiliary head judges pooled parts: ℓ⁺ of the robust ones for the sample's class, ℓ⁻ of the
    others for the wrong class with the largest output of the network, ℓ* of the calibrated ones
    for the sample's class; ℓ_cos is the mean cosine of the first two, divided by τ.
    """

    def __init__(self, parameters: F2DCParameters, task: Task) -> None:
        super().__init__(parameters, task)
        found = find_split(task.model)
        assert found is not None  # `F2DCParameters.check` refuses other networks
        self.path, self.split = found

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the terms added."""
        with listen_to_parts(self.split) as captured:
            outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        robust, rest, restored = captured[-1].to(outputs.dtype)
        weight, bias = (parameters[f"{self.path}.auxiliary.{n}"] for n in ("weight", "bias"))
        own = self.parameters

        def judged(features: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(linear(features, weight, bias), labels)

        cosine = cosine_similarity(robust, rest, dim=1).mean() / own.tau
        divided = judged(robust, batch.labels) + cosine
        divided = divided + judged(rest, largest_wrong(outputs, batch.labels))
        loss = self.loss(outputs, batch, carry) + own.split * divided
        return loss + own.calibration * judged(restored, batch.labels), outputs


def largest_wrong(outputs: Tensor, labels: Tensor) -> Tensor:
    """The class other than a sample's own with its largest output, int64 of shape (batch,)."""
    right = one_hot(labels, outputs.shape[1]).bool()
    return outputs.detach().masked_fill(right, -torch.inf).argmax(dim=1)
