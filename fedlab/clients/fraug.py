"""FRAug, client trainer: trains the head on synthetic, client-specific representations, too.

See `fedlab.strategies.fraug` for the paper and what travels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.class_prototypes import empty_memory, next_labels, remembered
from fedlab.clients.families.doubt import entropy, non_saturating
from fedlab.losses.base import ClientStats
from fedlab.models.distances import DISTANCES
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.fraug_networks import one_hot, uncounted
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.fraug import FRAugParameters
from fedlab.training.gradients import Objective
from fedlab.training.lists import advance, copied, descend
from fedlab.training.task import Batch, Task

MOST_SYNTHETIC = 0.5
"""Largest weight of synthetic representations in the loss."""


DRAWS = 5
"""Noise vectors that a step takes for each sample: two for the head, one for the generator's step,
two for RTNet's."""


class Wanted(NamedTuple):
    """What representations are made for.

    Attributes:
        labels: Classes, int64 of shape (n,).
        kinds: The same as zeros and ones, shape (n, classes).
        anchors: The client's own representations that they start from, shape (n, features).
    """

    labels: torch.Tensor
    kinds: torch.Tensor
    anchors: torch.Tensor

    def first(self) -> Wanted:
        """The first half."""
        return Wanted(*(tensor[: len(tensor) // 2] for tensor in self))


class FRAug(ClientTrainer[FRAugParameters]):
    """Three steps a batch: of the network, of the shared generator, of the client's RTNet.

    The carry has the generator and RTNet as state dicts, and the ``memory`` of class means
    (`fedlab.clients.families.class_prototypes`). RTNet's first values come from PyTorch's global
    generator, which the engine seeds for the client and the round, and noise goes on from there.
    """

    norm_policy = NormPolicy.SHARE_AFFINE

    def __init__(self, parameters: FRAugParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.method = parameters
        with torch.device("meta"):  # their tensors are always those of a carry
            self.generator = self.method.generator(task.head)
            self.rtnet = self.method.rtnet(task.head)
        self.sent = self.method.shared_of(self.generator)
        # Layers count their batches one by one, each in a launch; `after_step` counts for all.
        self.counters = [
            (record, name, batches)
            for record, network, batches in (
                ("generator", self.generator, 1),
                ("rtnet", self.rtnet, 2),
            )
            for name in uncounted(network)
        ]

    # ------------------------------------------------------------------ a round

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Takes the shared generator, and RTNet and memory from where the last round left them."""
        carry = super().begin(received, client_state, stats)
        kept = client_state if "rtnet" in client_state else self.first_state()
        generator = {**kept.get("generator", {}), **received.arrays["generator"]}
        records = {"generator": generator, "rtnet": kept["rtnet"], "memory": kept["memory"]}
        extra = {key: copied(tensors) for key, tensors in records.items()}
        now = self.method.ratio(received.server_round, received.rounds)
        ratio = self.task.head.layer.weight.new_full((), now)
        if received.server_round >= self.method.first_round:
            share = ratio.clamp(max=MOST_SYNTHETIC)
            extra["schedule"] = {"ratio": ratio, "share": share, "rest": 1 - share}
        return carry._replace(extra={**carry.extra, **extra})

    def draw(
        self, received: Received, samples: int, generator: torch.Generator
    ) -> torch.Tensor | None:
        """Noise, shape (`DRAWS`, samples, latent); none before synthetic representations begin."""
        if samples < 2 or received.server_round < self.method.first_round:
            return None
        draw = torch.rand if self.method.noise == "uniform" else torch.randn
        size = samples, self.method.latent_of(self.task.head)
        dtype = self.task.head.layer.weight.dtype
        return torch.stack([draw(size, generator=generator, dtype=dtype) for _ in range(DRAWS)])

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
        extra = carry.extra
        generator = {name: extra["generator"][name] for name in self.sent}
        own = {n: t for n, t in extra["generator"].items() if n not in generator}
        kept = {"rtnet": extra["rtnet"], "memory": extra["memory"]}
        if own:
            kept["generator"] = own
        return Update({**update.arrays, "generator": generator}, {**update.client_state, **kept})

    # ------------------------------------------------------------------ a batch

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Those of `weighted_loss`; class means are updated on the way.

        A batch of one sample has none: it cannot be normalised.
        """
        if len(batch.labels) < 2:
            _, outputs = self.as_tested(carry, batch)
            return {}, self.step_metrics(self.loss(outputs, batch, carry), outputs, batch)

        def value(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, Any]:
            loss, outputs, memory = self.weighted_loss(
                parameters, carry._replace(buffers=buffers), batch
            )
            return loss, (outputs, memory)

        grads, loss, (outputs, memory) = self.task.gradients(value, carry.parameters, carry.buffers)
        for name, tensor in memory.items():
            carry.extra["memory"][name].copy_(tensor)
        return self.task.optimizer.clip(grads), self.step_metrics(loss, outputs, batch)

    def weighted_loss(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, Tensors]:
        """The weighted sum of the batch's loss and that of synthetic representations.

        The latter has a gradient for the head's parameters only, and starts from class means that
        have the batch in them.

        Returns:
            The loss, the outputs, and the memory after the batch.
        """
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        anchors, head, memory = features.detach(), self.task.head, carry.extra["memory"]
        kinds = one_hot(batch.labels, head.layer.out_features, anchors)
        memory = {**memory, **remembered(memory, anchors, kinds, self.method.memory_rate)}
        loss = self.loss(outputs, batch, carry)
        if "schedule" in carry.extra:
            assert batch.noise is not None
            wanted = self.wanted(memory, batch, anchors)
            made = self.synthesise(carry, wanted, batch.noise[:2].flatten(0, 1))
            synthetic = cross_entropy(head.outputs(parameters, made), wanted.labels)
            schedule = carry.extra["schedule"]
            loss = schedule["rest"] * loss + schedule["share"] * synthetic
        return loss, outputs, {name: memory[name] for name in ("means", "seen")}

    def after_step(self, carry: Carry, batch: Batch, phase: Phase) -> None:
        """A step of the generator and one of RTNet, on representations as they are now."""
        if "schedule" not in carry.extra or batch.noise is None:
            return
        features, _ = self.as_tested(carry, batch)
        wanted = self.wanted(carry.extra["memory"], batch, features)
        self.teach_generator(carry, wanted.first(), features, batch.noise[2])
        self.teach_rtnet(carry, wanted, batch.noise[3:].flatten(0, 1))
        counts = [carry.extra[record][name] for record, name, _ in self.counters]
        by = [batches for _, _, batches in self.counters]
        advance([*counts, carry.extra["memory"]["dealt"]], [*by, len(batch.labels)])

    def teach_generator(
        self, carry: Carry, wanted: Wanted, features: torch.Tensor, noise: torch.Tensor
    ) -> None:
        """A step of the generator: minimises the head's loss, maximises distance to local features.

        Args:
            carry: Only its generator is changed, in place.
            wanted: n classes, anchored at class means.
            features: The batch's representations, shape (n, features).
            noise: Shape (n, latent).
        """
        distance = DISTANCES[self.method.generator_distance]
        target = wanted.anchors if self.method.generator_distance == "l2" else features

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            network = {**parameters, **buffers}
            made = functional_call(self.generator.train(), network, (noise, wanted.kinds))
            outputs = self.task.head.outputs(carry.parameters, made)
            away = self.method.lambda_generator * distance(made, target)
            return cross_entropy(outputs, wanted.labels) - away, outputs

        self.descend("generator", carry, objective, self.method.lr_generator)

    def teach_rtnet(self, carry: Carry, wanted: Wanted, noise: torch.Tensor) -> None:
        """A step of RTNet: maximises the head's doubt, minimises distance to local features.

        Args:
            carry: Only its RTNet is changed, in place.
            wanted: n classes anchored at class means, then n at the batch's representations.
            noise: Shape (2n, latent).
        """
        distance = DISTANCES[self.method.rtnet_distance]
        made = self.generate(carry, wanted, noise)
        # Differences row by row have one mean over both halves.
        parts = 1 if self.method.rtnet_distance == "l2" else 2

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            network, arguments = {**parameters, **buffers}, (made, wanted.kinds, wanted.anchors)
            moved = functional_call(self.rtnet.train(), network, arguments, {"parts": 2})
            outputs = self.task.head.outputs(carry.parameters, moved)
            pairs = zip(moved.chunk(parts), wanted.anchors.chunk(parts), strict=True)
            far = sum((distance(*pair) for pair in pairs), start=0.0) / parts
            return self.method.lambda_rtnet * far - self.doubt(outputs, wanted.labels), outputs

        self.descend("rtnet", carry, objective, self.method.lr_rtnet)

    def descend(self, record: str, carry: Carry, objective: Objective, lr: float) -> None:
        """One step of plain SGD of the generator or RTNet, in place."""
        network, tensors = getattr(self, record), carry.extra[record]
        parameters = {name: tensors[name] for name, _ in network.named_parameters()}
        buffers = {name: tensors[name] for name, _ in network.named_buffers()}
        grads, _, _ = self.task.differentiate(objective, parameters, buffers)
        descend(parameters, grads, lr)

    def doubt(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What RTNet makes large, a scalar: entropy, or the share of other classes."""
        if self.method.criterion == "entropy":
            return entropy(outputs)
        return -non_saturating(outputs, labels)

    # ------------------------------------------------------------------ what the steps use

    @torch.no_grad()
    def as_tested(self, carry: Carry, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and outputs of the network in evaluation mode."""
        with evaluation_mode(self.task.model):
            return self.task.features_and_outputs(carry.parameters, carry.buffers, batch.inputs)

    def wanted(self, memory: Tensors, batch: Batch, features: torch.Tensor) -> Wanted:
        """The next classes in turn with their means, then the batch's with its representations."""
        only_seen = self.method.unseen_classes == "skip"
        dealt = next_labels(memory, len(batch.labels), only_seen=only_seen)
        labels = torch.cat([dealt, batch.labels])
        kinds = one_hot(labels, self.task.head.layer.out_features, features)
        return Wanted(labels, kinds, torch.cat([memory["means"][dealt], features]))

    @torch.no_grad()
    def generate(self, carry: Carry, wanted: Wanted, noise: torch.Tensor) -> torch.Tensor:
        """Representations as the generator makes them, shape (n, features)."""
        tensors = self.tensors("generator", carry)
        return functional_call(self.generator.eval(), tensors, (noise, wanted.kinds))

    @torch.no_grad()
    def synthesise(self, carry: Carry, wanted: Wanted, noise: torch.Tensor) -> torch.Tensor:
        """Client-specific representations of the wanted classes, shape (n, features)."""
        arguments = self.generate(carry, wanted, noise), wanted.kinds, wanted.anchors
        moved = functional_call(self.rtnet.eval(), self.tensors("rtnet", carry), arguments)
        if not self.method.interpolate:
            return moved
        return torch.lerp(wanted.anchors, moved, carry.extra["schedule"]["ratio"])

    def tensors(self, record: str, carry: Carry) -> Tensors:
        """The tensors of the generator or RTNet without its counters."""
        counters = {name for of, name, _ in self.counters if of == record}
        return {name: t for name, t in carry.extra[record].items() if name not in counters}
