"""FedALA, client trainer: learns how much of the average to take, then trains from the mixture.

See `fedlab.strategies.fedala` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.eval_mode import evaluation_mode
from fedlab.records import Tensors
from fedlab.strategies.fedala import FedALAParameters
from fedlab.training.task import Batch, Task


class FedALA(ClientTrainer[FedALAParameters]):
    """θ = θ_old + (w - θ_old) ⊙ W, with W ← clip(W - η ∂F/∂θ ⊙ (w - θ_old), 0, 1).

    W starts at ones, which is the received model w, and goes on from round to round. It learns in
    evaluation mode: running statistics are those that came down. A client that has not trained
    before has nothing to mix, and only measures w in that pass. A client is tested with the mixture
    of what came down by its W of the last time, before it trains on. How many passes the first
    mixing takes depends on losses, so that clients train one by one.
    """

    def __init__(self, parameters: FedALAParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.mixed = parameters.mixed(task.model)

    def phases(self) -> Sequence[Phase]:
        """Mixing, then training."""
        mixing = Phase(
            trained=self.mixed, share=self.parameters.share, step=self.mix, again=self.unsettled
        )
        return [mixing, *super().phases()]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts from the mixture by the client's W."""
        carry = super().begin(received, client_state, stats)
        passes = {"passes": torch.zeros((), dtype=torch.int64)}
        extra = {**carry.extra, "progress": passes}
        if old := client_state.get("last"):
            towards = {name: carry.parameters[name] - old[name] for name in self.mixed}
            weights = client_state.get("weights")
            passes["first"] = torch.tensor(weights is None)
            device = exact(stats.class_counts).device  # where steps write to it without a wait
            passes["losses"] = torch.zeros(
                self.parameters.window, dtype=torch.float64, device=device
            )
            weights = weights or {name: torch.ones_like(value) for name, value in old.items()}
            weights = {name: tensor.clone() for name, tensor in weights.items()}
            extra |= {"old": old, "towards": towards, "weights": weights}
            self.put_mixture(carry.parameters, old, towards, weights)
        return carry._replace(extra=extra)

    def put_mixture(
        self, parameters: Tensors, old: Tensors, towards: Tensors, weights: Tensors
    ) -> None:
        """Writes the mixture into the parameters, in place."""
        for name in self.mixed:
            parameters[name].copy_(old[name] + towards[name] * weights[name])

    def mix(
        self, carry: Carry, batch: Batch, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        """One step of W, and the mixture by it."""

        def objective(some: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            every = {**carry.parameters, **some}
            outputs = self.task.outputs(every, buffers, batch.inputs)
            return self.loss(outputs, batch, carry), outputs

        extra = carry.extra
        with evaluation_mode(self.task.model):
            if "old" in extra:
                mixture = {name: carry.parameters[name] for name in self.mixed}
                grads, loss, outputs = self.task.gradients(objective, mixture, dict(carry.buffers))
            else:
                with torch.no_grad():
                    loss, outputs = objective({}, dict(carry.buffers))
                grads = {}
        with torch.no_grad():
            for name, grad in grads.items():
                step = self.parameters.eta * grad * extra["towards"][name]
                extra["weights"][name].sub_(step).clamp_(0, 1)
            if "old" in extra:
                extra["progress"]["losses"][-1] = exact(loss).double()
                self.put_mixture(carry.parameters, extra["old"], extra["towards"], extra["weights"])
        return carry, self.step_metrics(loss, outputs, batch)

    def unsettled(self, carry: Carry) -> bool:
        """Whether a client's first mixing goes on after a pass, by its recent losses."""
        progress, own = carry.extra["progress"], self.parameters
        if "first" not in progress:
            return False
        passes = int(progress["passes"].add_(1))
        if not progress["first"] or passes >= own.most_passes:
            return False
        settled = passes > own.window and progress["losses"].std(correction=0) < own.threshold
        progress["losses"].copy_(progress["losses"].roll(-1))
        return not bool(settled)

    def evaluated_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The mixture of the received model by the client's W; without W, that model."""
        model = self.personal_model(received, client_state)
        return {**model, **self.parameters.client_model(model, client_state)}

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, keeps its last layers and W."""
        update = super().finish(carry, received, steps)
        kept = {"last": {name: carry.parameters[name] for name in self.mixed}}
        passes = carry.extra["progress"]["passes"]
        if passes:
            kept["weights"] = carry.extra["weights"]
        return update._replace(
            client_state={**update.client_state, **kept}, metrics={"mixing_passes": passes}
        )
