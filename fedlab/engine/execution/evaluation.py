"""Evaluation of a model on test samples, by domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from fedlab.accelerator import exact
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.unread import TestInputs, joined
from fedlab.metrics.base import Counts, Metric
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.targets.base import Target


@dataclass(frozen=True)
class DomainScore:
    """A model's result on the test samples of one domain.

    Attributes:
        domain: Domain index.
        examples: Number of samples.
        score: Mean score of the target: of classes the accuracy.
        loss: The mean of its default loss: of classes the cross-entropy.
        counts: Counts of the other metrics, by their titles.
    """

    domain: int
    examples: int
    score: float
    loss: float
    counts: Mapping[str, Counts] = field(default_factory=dict)


class TestSamples(NamedTuple):
    """Test samples of a client or a domain.

    Attributes:
        inputs: Raw inputs of shape (n, ...), which may still be in files.
        labels: As stored, int64 of shape (n,) where classes are learnt; numbers (float64) are on
            the CPU where the device has no double precision.
        domains: Domain index of each sample, int64 of shape (n,).
    """

    inputs: TestInputs
    labels: torch.Tensor
    domains: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take; inputs that are still in files take none."""
        return sum(each.nbytes for each in self)


@torch.no_grad()  # inference mode would refuse a network that takes gradients in its forward pass
def evaluate(
    model: torch.nn.Module,
    state: Tensors,
    preprocess: Preprocess,
    tests: Sequence[TestSamples],
    batch_size: int,
    target: Target,
    metrics: Sequence[Metric] = (),
) -> list[list[DomainScore]]:
    """Tests a model on the samples of one or many clients, in batches across clients.

    Args:
        model: The network; its own values are not used.
        state: Its state dict.
        preprocess: Normalises batches.
        tests: The samples of each client.
        batch_size: Samples per forward pass.
        target: What is learnt, as fitted.
        metrics: Metrics besides the two means of every test.

    Returns:
        For each client one score for each domain that occurs, in the order of domain indices.
    """
    inputs = joined([test.inputs for test in tests])
    labels = torch.cat([test.labels for test in tests])
    domains = torch.cat([test.domains for test in tests])
    if len(labels) == 0:
        return [[] for _ in tests]
    model.eval()
    # A copy, as a network may write to its tensors in a test (an embedding with a largest norm).
    state = {name: channels_last(tensor).clone() for name, tensor in state.items()}
    losses, hits, logits = [], [], []
    wanted = target.to_learn(labels).to(inputs.device)
    with with_tensors(model, state):
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            outputs = model(channels_last(preprocess.inputs(inputs[rows])))
            losses.append(target.losses(outputs, wanted[rows]))
            hits.append(target.scores(outputs, wanted[rows]))
            if metrics:
                logits.append(target.readable(outputs.float()))
    sizes = torch.tensor([len(test.labels) for test in tests], device=domains.device)
    clients = torch.arange(len(tests), device=domains.device).repeat_interleave(sizes)
    width = int(domains.max()) + 1
    group, groups = clients * width + domains, len(tests) * width

    def totals(values: torch.Tensor | None = None) -> list[list[float]]:
        return torch.bincount(group, values, minlength=groups).view(-1, width).tolist()

    counts: dict[int, dict[str, Counts]] = {}
    if metrics:
        outputs = torch.cat(logits).cpu()  # one wait for all batches
        counts = counts_by_group(metrics, outputs, labels.cpu(), group.cpu())
    group = exact(group)
    summed = (totals(exact(torch.cat(each)).double()) for each in (hits, losses))
    counted = totals(), *summed
    return [
        [
            DomainScore(
                domain,
                int(examples),
                score / examples,
                loss / examples,
                counts.get(place * width + domain, {}),
            )
            for domain, (examples, score, loss) in enumerate(zip(*client, strict=True))
            if examples
        ]
        for place, client in enumerate(zip(*counted, strict=True))
    ]


def mean_loss(scores: Sequence[DomainScore]) -> float:
    """The loss over the samples of all domains, of which there is at least one."""
    examples = sum(score.examples for score in scores)
    return sum(score.loss * score.examples for score in scores) / examples


def counts_by_group(
    metrics: Sequence[Metric], outputs: torch.Tensor, labels: torch.Tensor, group: torch.Tensor
) -> dict[int, dict[str, Counts]]:
    """The metrics' counts for each group of samples.

    Each group is counted in one call, and on the CPU, where sums have a fixed order: a client's
    counts then do not depend on batches or on the clients tested with it.

    Args:
        metrics: The metrics.
        outputs: Logits of shape (n, classes), or what `Target.readable` makes of outputs.
        labels: As stored, int64 of shape (n,) where classes are learnt.
        group: The group of each sample, int64 of shape (n,).

    Returns:
        Counts by group, and by the metric's title.
    """
    order = group.argsort(stable=True)
    groups, sizes = group.unique(return_counts=True)
    cut = sizes.tolist()
    parts = zip(outputs[order].split(cut), labels[order].split(cut), strict=True)
    return {
        int(number): {metric.title: metric.count(*part) for metric in metrics}
        for number, part in zip(groups, parts, strict=True)
    }
