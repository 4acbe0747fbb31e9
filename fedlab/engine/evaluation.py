"""How well a model does on test samples, domain by domain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from fedlab.data.preprocess import Preprocess
from fedlab.models.layout import channels_last
from fedlab.records import Tensors


@dataclass(frozen=True)
class DomainScore:
    """A model's result on the test samples of one domain.

    Attributes:
        domain: Domain index.
        examples: Number of samples.
        accuracy: Share that was classified correctly.
        loss: Mean cross-entropy.
    """

    domain: int
    examples: int
    accuracy: float
    loss: float


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module,
    state: Tensors,
    preprocess: Preprocess,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    domains: torch.Tensor,
    batch_size: int,
) -> list[DomainScore]:
    """Tests a model.

    Args:
        model: The network, whose own values are not used.
        state: Its state dict.
        preprocess: Normalises batches.
        inputs: Raw inputs of shape (n, ...).
        labels: int64 of shape (n,).
        domains: Domain index of each sample, int64 of shape (n,).
        batch_size: Samples per forward pass.

    Returns:
        One score for each domain that occurs, in the order of domain indices.
    """
    if len(labels) == 0:
        return []
    model.eval()
    state = {name: channels_last(tensor) for name, tensor in state.items()}
    losses, hits = [], []
    for start in range(0, len(labels), batch_size):
        rows = slice(start, start + batch_size)
        batch = channels_last(preprocess.inputs(inputs[rows]))
        outputs = torch.func.functional_call(model, state, (batch,))
        losses.append(functional.cross_entropy(outputs, labels[rows], reduction="none"))
        hits.append(outputs.argmax(dim=1) == labels[rows])
    size = int(domains.max()) + 1
    examples = torch.bincount(domains, minlength=size)
    loss = torch.bincount(domains, torch.cat(losses).double(), minlength=size)
    correct = torch.bincount(domains, torch.cat(hits).double(), minlength=size)
    return [
        DomainScore(
            domain=domain,
            examples=int(examples[domain]),
            accuracy=float(correct[domain] / examples[domain]),
            loss=float(loss[domain] / examples[domain]),
        )
        for domain in range(size)
        if examples[domain]
    ]
