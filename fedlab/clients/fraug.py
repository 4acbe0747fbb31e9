"""FRAug, client trainer: trains the head on synthetic, client-specific representations, too.

See `fedlab.strategies.fraug` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.class_prototypes import empty_memory, next_labels, remember
from fedlab.losses.base import ClientStats
from fedlab.models.distances import DISTANCES
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.fraug import FRAugParameters
from fedlab.training.gradients import Objective, value_and_gradients
from fedlab.training.lists import copied
from fedlab.training.task import Batch, Task

LEAST = 1e-12
"""Added to probabilities whose logarithms are taken, as in the authors' code."""

SMOOTHING = 0.1
"""Share of a label that the non-saturating criterion deals to all classes alike."""

MOST_SYNTHETIC = 0.5
"""Largest weight of synthetic representations in the loss."""


class FRAug(ClientTrainer[FRAugParameters]):
    """Three steps a batch: of the network, of the shared generator, of the client's RTNet.

    The carry has the generator and RTNet as state dicts, and the ``memory`` of class means
    (`fedlab.clients.families.class_prototypes`). Noise and RTNet's first values come from PyTorch's
    global generator, which the engine seeds for the client and the round.
    """

    norm_policy = NormPolicy.SHARE_AFFINE

    def __init__(self, parameters: FRAugParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.method = parameters
        with torch.device("meta"):  # their tensors are always those of a carry
            self.generator = self.method.generator(task.head)
            self.rtnet = self.method.rtnet(task.head)

    # ------------------------------------------------------------------ a round

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Takes the shared generator, and RTNet and memory from where the last round left them."""
        carry = super().begin(received, client_state, stats)
        kept = client_state if "rtnet" in client_state else self.first_state()
        generator = {**kept.get("generator", {}), **received.arrays["generator"]}
        records = {"generator": generator, "rtnet": kept["rtnet"], "memory": kept["memory"]}
        extra = {key: copied(tensors) for key, tensors in records.items()}
        ratio = self.task.head.layer.weight.new_tensor(
            self.method.ratio(received.server_round, received.rounds)
        )
        if received.server_round >= self.method.first_round:
            extra["schedule"] = {"ratio": ratio, "share": ratio.clamp(max=MOST_SYNTHETIC)}
        return carry._replace(extra={**carry.extra, **extra})

    def first_state(self) -> ClientState:
        """The client's state at the start of its first round."""
        head = self.task.head
        like = head.layer.weight
        return {
            "generator": self.method.generator(head).to(like).state_dict(),
            "rtnet": self.method.rtnet(head).to(like).state_dict(),
            "memory": empty_memory(head.layer.out_features, head.features, like),
        }

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends network and generator; keeps RTNet, the memory and the other local tensors."""
        update = super().finish(carry, received, steps)
        shared, extra = self.method.shared_of(self.generator), carry.extra
        generator = {name: extra["generator"][name] for name in shared}
        own = {n: t for n, t in extra["generator"].items() if n not in generator}
        kept = {"rtnet": extra["rtnet"], "memory": extra["memory"]}
        if own:
            kept["generator"] = own
        return Update({**update.arrays, "generator": generator}, {**update.client_state, **kept})

    # ------------------------------------------------------------------ a batch

    def step(
        self, carry: Carry, batch: Batch, phase: Phase, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        """The three steps. A batch of one sample changes nothing: it cannot be normalised."""
        if len(batch.labels) < 2:
            _, outputs = self.as_tested(carry, batch)
            return carry, self.step_metrics(self.loss(outputs, batch, carry), outputs, batch)
        carry, metrics = super().step(carry, batch, phase, server_round)
        if "schedule" not in carry.extra:
            return carry, metrics
        labels = self.synthetic_labels(carry, len(batch.labels))
        features, _ = self.as_tested(carry, batch)
        self.teach_generator(carry, labels, features)
        self.teach_rtnet(carry, labels, batch.labels, features)
        carry.extra["memory"]["dealt"] += len(labels)
        return carry, metrics

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted sum of the batch's loss and that of synthetic representations.

        The latter has a gradient for the head's parameters only. Class means are updated first.
        """
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        anchors = features.detach()
        memory = carry.extra["memory"]
        remember(memory, anchors, batch.labels, self.method.memory_rate)
        if "schedule" not in carry.extra:
            return self.loss(outputs, batch, carry), outputs
        labels = self.synthetic_labels(carry, len(anchors))
        synthetic = sum(
            cross_entropy(
                self.task.head.outputs(parameters, self.synthesise(carry, wanted, near)), wanted
            )
            for wanted, near in ((labels, memory["means"][labels]), (batch.labels, anchors))
        )
        share = carry.extra["schedule"]["share"]
        loss = (1 - share) * self.loss(outputs, batch, carry) + share * synthetic / 2
        return loss, outputs

    def teach_generator(self, carry: Carry, labels: torch.Tensor, features: torch.Tensor) -> None:
        """A step of the generator: minimises the head's loss, maximises distance to local features.

        Args:
            carry: Only its generator is changed, in place.
            labels: Wanted classes, shape (n,).
            features: The batch's representations, shape (n, features).
        """
        distance = DISTANCES[self.method.generator_distance]
        means = carry.extra["memory"]["means"][labels]
        target = means if self.method.generator_distance == "l2" else features
        noise = self.noise(len(labels), features)

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, None]:
            network = {**parameters, **buffers}
            made = functional_call(self.generator.train(), network, (noise, labels))
            outputs = self.task.head.outputs(carry.parameters, made)
            away = self.method.lambda_generator * distance(made, target)
            return cross_entropy(outputs, labels) - away, None

        descend(self.generator, carry.extra["generator"], objective, self.method.lr_generator)

    def teach_rtnet(
        self,
        carry: Carry,
        labels: torch.Tensor,
        batch_labels: torch.Tensor,
        features: torch.Tensor,
    ) -> None:
        """A step of RTNet: maximises the head's doubt, minimises distance to local features.

        Args:
            carry: Only its RTNet is changed, in place.
            labels: Wanted classes, anchored at class means, shape (n,).
            batch_labels: The batch's classes, anchored at its representations, shape (n,).
            features: The batch's representations, shape (n, features).
        """
        distance = DISTANCES[self.method.rtnet_distance]
        means = carry.extra["memory"]["means"][labels]
        kinds = [
            (self.generate(carry, wanted), wanted, anchors)
            for wanted, anchors in ((labels, means), (batch_labels, features))
        ]

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, None]:
            total = features.new_zeros(())
            for made, wanted, anchors in kinds:
                network = {**parameters, **buffers}
                moved = functional_call(self.rtnet.train(), network, (made, wanted, anchors))
                outputs = self.task.head.outputs(carry.parameters, moved)
                away = self.method.lambda_rtnet * distance(moved, anchors)
                total = total + away - self.doubt(outputs, wanted)
            return total / len(kinds), None

        descend(self.rtnet, carry.extra["rtnet"], objective, self.method.lr_rtnet)

    def doubt(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What RTNet makes large, a scalar: entropy, or the share of other classes."""
        if self.method.criterion == "entropy":
            return entropy(outputs)
        return -non_saturating(outputs, labels)

    # ------------------------------------------------------------------ what the steps use

    @torch.no_grad()
    def as_tested(self, carry: Carry, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and outputs of the network in evaluation mode."""
        self.task.model.eval()
        found = self.task.features_and_outputs(carry.parameters, carry.buffers, batch.inputs)
        self.task.model.train()
        return found

    def synthetic_labels(self, carry: Carry, size: int) -> torch.Tensor:
        """Classes of the synthetic representations of a batch of that size, shape (size,)."""
        only_seen = self.method.unseen_classes == "skip"
        return next_labels(carry.extra["memory"], size, only_seen=only_seen)

    def noise(self, size: int, like: torch.Tensor) -> torch.Tensor:
        """Noise for `size` representations, shape (size, latent)."""
        draw = torch.rand if self.method.noise == "uniform" else torch.randn
        latent = self.method.latent_of(self.task.head)
        return draw(size, latent, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def generate(self, carry: Carry, labels: torch.Tensor) -> torch.Tensor:
        """Representations as the generator makes them, shape (n, features)."""
        noise = self.noise(len(labels), self.task.head.layer.weight)
        return functional_call(self.generator.eval(), carry.extra["generator"], (noise, labels))

    @torch.no_grad()
    def synthesise(self, carry: Carry, labels: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Client-specific representations of the labels' classes, shape (n, features)."""
        made = self.generate(carry, labels), labels, anchors
        moved = functional_call(self.rtnet.eval(), carry.extra["rtnet"], made)
        if not self.method.interpolate:
            return moved
        return torch.lerp(anchors, moved, carry.extra["schedule"]["ratio"])


def entropy(outputs: torch.Tensor) -> torch.Tensor:
    """Mean entropy in nats of the predictions that logits of shape (n, classes) stand for."""
    return -(outputs.softmax(dim=1) * outputs.log_softmax(dim=1)).sum(dim=1).mean()


def non_saturating(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-Σ_c t_c log(1 - p_c), averaged over a batch; t is the smoothed label.

    Args:
        outputs: Logits of p, shape (n, classes).
        labels: Shape (n,).
    """
    classes = outputs.shape[1]
    wanted = one_hot(labels, classes) * (1 - SMOOTHING) + SMOOTHING / classes
    others = (1 - outputs.softmax(dim=1) + LEAST).log()
    return -(wanted * others).sum(dim=1).mean()


def descend(network: nn.Module, tensors: Tensors, objective: Objective, lr: float) -> None:
    """One step of plain SGD, in place.

    Args:
        network: Defines which tensors are parameters and which are running statistics.
        tensors: Its state dict, whose values are used and changed instead of the network's own.
        objective: What to minimise.
        lr: Learning rate.
    """
    parameters = {name: tensors[name] for name, _ in network.named_parameters()}
    buffers = {name: tensors[name] for name, _ in network.named_buffers()}
    grads, _, _ = value_and_gradients(objective, parameters, buffers)
    for name, grad in grads.items():
        parameters[name].sub_(grad, alpha=lr)
