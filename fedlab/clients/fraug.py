"""FRAug, client trainer: trains the head on synthetic, client-specific representations, too.

See `fedlab.strategies.fraug` for the paper and what travels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.class_prototypes import (
    empty_memory,
    mark_seen,
    moved_means,
    next_labels,
)
from fedlab.clients.families.doubt import negative_entropy, non_saturating
from fedlab.clients.families.wanted_classes import (
    DRAWS,
    GENERATOR,
    HEAD,
    RTNET,
    Wanted,
    all_wanted,
    part_of,
)
from fedlab.losses.base import ClientStats
from fedlab.models.distances import DISTANCES
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.fraug_networks import one_hot, uncounted
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.fraug import FRAugParameters
from fedlab.training.gradients import Objective, forked
from fedlab.training.lists import advance, copied_records, descend
from fedlab.training.task import Batch, Task

MOST_SYNTHETIC = 0.5
"""Largest weight of synthetic representations in the loss."""


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
        extra = copied_records(records)
        if received.server_round >= self.method.first_round:
            ratio = self.method.ratio(received.server_round, received.rounds)
            share, like = min(ratio, MOST_SYNTHETIC), self.task.head.layer.weight
            weights = like.new_full((2,), share)
            weights[:1].fill_(1 - share)
            extra["schedule"] = {"ratio": like.new_full((), ratio), "weights": weights}
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

    def before_step(self, carry: Carry, batch: Batch, phase: Phase) -> Tensors:
        """Marks the batch's classes as seen, and deals those of synthetic representations.

        Returns:
            ``own_kinds``, the batch's classes as zeros and ones; once there are synthetic
            representations, `all_wanted` by names. Nothing for a batch of one sample.
        """
        size, memory, layer = len(batch.labels), carry.extra["memory"], self.task.head.layer
        if size < 2:
            return {}
        mark_seen(memory, batch.labels)
        if batch.noise is None:
            return {"own_kinds": one_hot(batch.labels, layer.out_features, layer.weight)}
        only_seen = self.method.unseen_classes == "skip"
        dealt = next_labels(memory, size, only_seen=only_seen)
        wanted = all_wanted(dealt, batch.labels, batch.noise, layer.out_features)
        return {"own_kinds": wanted.kinds[size : 2 * size], **wanted._asdict()}

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
            loss, outputs, means = self.weighted_loss(
                parameters, carry._replace(buffers=buffers), batch
            )
            return loss, (outputs, means)

        grads, loss, (outputs, means) = self.task.gradients(value, carry.parameters, carry.buffers)
        carry.extra["memory"]["means"].copy_(means)
        return self.task.optimizer.clip(grads), self.step_metrics(loss, outputs, batch)

    def weighted_loss(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The weighted sum of the batch's loss and that of synthetic representations.

        The latter has a gradient for the head's parameters only, and starts from class means that
        have the batch in them.

        Returns:
            The loss, the outputs, and the class means after the batch.
        """
        assert batch.prepared is not None
        real, of_head = (parameters,) * 2 if self.task.holds else forked(parameters)
        features, outputs = self.task.features_and_outputs(real, carry.buffers, batch.inputs)
        anchors, means = features.detach(), carry.extra["memory"]["means"]
        means = moved_means(means, anchors, batch.prepared["own_kinds"], self.method.memory_rate)
        loss = self.loss(outputs, batch, carry)
        if "schedule" in carry.extra:
            wanted = part_of(batch.prepared, HEAD)
            made = self.synthesise(carry, wanted, self.anchors(means, wanted, anchors))
            synthetic = cross_entropy(self.task.head.outputs(of_head, made), wanted.labels)
            loss = torch.stack([loss, synthetic]).dot(carry.extra["schedule"]["weights"])
        return loss, outputs, means

    def after_step(self, carry: Carry, batch: Batch, phase: Phase) -> None:
        """A step of the generator and one of RTNet, on representations as they are now."""
        if "schedule" not in carry.extra or not batch.prepared:
            return
        features, _ = self.as_tested(carry, batch)
        wanted = part_of(batch.prepared, RTNET)
        anchors = self.anchors(carry.extra["memory"]["means"], wanted, features)
        far_from = anchors[: len(features)] if self.method.generator_distance == "l2" else features
        self.teach_generator(carry, part_of(batch.prepared, GENERATOR), far_from)
        self.teach_rtnet(carry, wanted, anchors)
        counts = [carry.extra[record][name] for record, name, _ in self.counters]
        by = [batches for _, _, batches in self.counters]
        advance([*counts, carry.extra["memory"]["dealt"]], [*by, len(batch.labels)])

    def teach_generator(self, carry: Carry, wanted: Wanted, far_from: torch.Tensor) -> None:
        """A step of the generator: minimises the head's loss, maximises distance to local features.

        Args:
            carry: Only its generator is changed, in place.
            wanted: n classes.
            far_from: Class means of these, or the batch's representations, shape (n, features).
        """
        distance, weight = DISTANCES[self.method.generator_distance], self.method.lambda_generator

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            network = {**parameters, **buffers}
            made = functional_call(self.generator.train(), network, (wanted.rows,))
            outputs = self.task.head.outputs(carry.parameters, made)
            wrong = cross_entropy(outputs, wanted.labels)
            return torch.add(wrong, distance(made, far_from), alpha=-weight), outputs

        self.descend("generator", carry, objective, self.method.lr_generator)

    def teach_rtnet(self, carry: Carry, wanted: Wanted, anchors: torch.Tensor) -> None:
        """A step of RTNet: maximises the head's doubt, minimises distance to local features.

        Args:
            carry: Only its RTNet is changed, in place.
            wanted: n classes dealt in turn, then those of n samples.
            anchors: Their class means, then the representations of these samples.
        """
        made = self.generate(carry, wanted)

        def objective(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            network, arguments = {**parameters, **buffers}, (made, wanted.kinds)
            residuals = functional_call(self.rtnet.train(), network, arguments, {"halves": True})
            moved = anchors + residuals
            outputs = self.task.head.outputs(carry.parameters, moved)
            sure, far = self.certainty(outputs, wanted.labels), self.distance(moved, anchors)
            return torch.add(sure, far, alpha=self.method.lambda_rtnet), outputs

        self.descend("rtnet", carry, objective, self.method.lr_rtnet)

    def descend(self, record: str, carry: Carry, objective: Objective, lr: float) -> None:
        """One step of plain SGD of the generator or RTNet, in place."""
        network, tensors = getattr(self, record), carry.extra[record]
        parameters = {name: tensors[name] for name, _ in network.named_parameters()}
        buffers = {name: tensors[name] for name, _ in network.named_buffers()}
        grads, _, _ = self.task.differentiate(objective, parameters, buffers)
        descend(parameters, grads, lr)

    def distance(self, moved: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """That of RTNet's representations from their anchors, the mean of both halves'."""
        distance = DISTANCES[self.method.rtnet_distance]
        if self.method.rtnet_distance == "l2":  # one mean over rows is that of both halves
            return distance(moved, anchors)
        first, second = map(distance, moved.chunk(2), anchors.chunk(2))
        return (first + second) / 2

    def certainty(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What RTNet makes small, a scalar: minus the entropy, or the non-saturating one."""
        if self.method.criterion == "entropy":
            return negative_entropy(outputs)
        return non_saturating(outputs, labels)

    # ------------------------------------------------------------------ what the steps use

    @torch.no_grad()
    def as_tested(self, carry: Carry, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and outputs of the network in evaluation mode."""
        with evaluation_mode(self.task.model):
            return self.task.features_and_outputs(carry.parameters, carry.buffers, batch.inputs)

    def anchors(self, means: torch.Tensor, wanted: Wanted, features: torch.Tensor) -> torch.Tensor:
        """Where representations start: from means of n dealt classes, then from n features."""
        return torch.cat([means[wanted.labels[: len(features)]], features])

    @torch.no_grad()
    def generate(self, carry: Carry, wanted: Wanted) -> torch.Tensor:
        """Representations as the generator makes them, shape (n, features)."""
        return functional_call(
            self.generator.eval(), self.tensors("generator", carry), (wanted.rows,)
        )

    @torch.no_grad()
    def synthesise(self, carry: Carry, wanted: Wanted, anchors: torch.Tensor) -> torch.Tensor:
        """Client-specific representations of the wanted classes, shape (n, features)."""
        arguments = self.generate(carry, wanted), wanted.kinds
        residuals = functional_call(self.rtnet.eval(), self.tensors("rtnet", carry), arguments)
        if not self.method.interpolate:
            return anchors + residuals
        return torch.addcmul(anchors, residuals, carry.extra["schedule"]["ratio"])

    def tensors(self, record: str, carry: Carry) -> Tensors:
        """The tensors of the generator or RTNet without its counters."""
        counters = {name for of, name, _ in self.counters if of == record}
        return {name: t for name, t in carry.extra[record].items() if name not in counters}
