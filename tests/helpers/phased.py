"""A method with everything a local round may consist of, and a question before the first round."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.federation.round_strategy import Ask
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.training.task import Batch


class Curious(Strategy):
    """Counts the labels of all clients before the first round."""

    def before_rounds(self, ask: Ask) -> None:
        """Asks for label counts and keeps their sum; clients keep their own."""
        answers = ask("labels", {"scale": {"factor": torch.tensor(2.0)}}, offset=1)
        counts = torch.stack([answer.arrays["counts"]["labels"] for answer in answers])
        self.state["counts"] = {"labels": counts.sum(dim=0)}


class Phased(ClientTrainer):
    """The head first, then everything on strongly changed views, from where it started."""

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Label counts, scaled and shifted as the server wants it."""
        counts = samples.class_counts(self.task.classes) * received.arrays["scale"]["factor"]
        counts = counts + int(received.config["offset"])
        return Update({"counts": {"labels": counts}}, {"asked": {"labels": counts}})

    def phases(self) -> Sequence[Phase]:
        """Two of them."""
        return [
            Phase(trained=self.task.head.names),
            Phase("all", enter=self.restart, objective=self.on_views, strong_views=True),
        ]

    def restart(self, carry: Carry) -> Carry:
        """Keeps the trained head aside and starts with half of it."""
        head = {name: carry.parameters[name] for name in self.task.head.names}
        halved = {**carry.parameters, **{name: tensor / 2 for name, tensor in head.items()}}
        fresh = self.task.optimizer.start(halved)
        return carry._replace(parameters=halved, optimizer=fresh, extra={"head": head})

    def on_views(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss on both views, with the features kept small."""
        assert batch.strong is not None
        assert batch.labelled is not None
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        strong = self.task.outputs(parameters, carry.buffers, batch.strong)
        losses = self.loss(outputs, batch, carry) + self.loss(strong, batch, carry)
        known = (outputs.square().mean(dim=1) * batch.labelled).mean()
        return losses + known + features.square().mean(), outputs

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the head of the first phase as well, and the number of steps."""
        update = super().finish(carry, received, steps)
        arrays = {**update.arrays, "head": carry.extra["head"]}
        return update._replace(arrays=arrays, metrics={"counted": torch.tensor(float(steps))})
