"""Training of a label-shift adapter by the clients of a finished run, in rounds of averaging.

With the adapter's outputs z for a prior π, and p for the shares of the classes among the samples,
it minimises

    CE(z_c + log p(c) - log π(c), y)

over samples (x, y) of the source and drawn priors. That is least where z_c = log p(x | c) +
log π(c) up to a constant: softmax(z + log p - log π) is then p(c | x). Loss and optimum are derived
here; the generalised form that the paper has of it was not seen (see
`fedlab.adaptation.label_shift_adapter`).

Clients take steps on features of their own samples, and the server averages adapters by the number
of samples, so that features and labels stay where they are. A client has its own shares as p: where
clients differ in shares alone, the optimum is the same for all, and their steps do not lead apart.
A class that it lacks is left out of its softmax. What the adapter reads, log(π / p), is of the
shares of all clients' samples, for which each sends its counts of classes once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.adaptation.client_features import ClientFeatures
from fedlab.adaptation.label_shift_adapter import LabelShiftAdapter
from fedlab.errors import InputError
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.records import Tensors, tensor_bytes

PURPOSE = "label-shift-adapter"
"""Random streams of the adapter: its first values, orders, and priors."""

PRIORS = 4
"""Priors that are drawn for a step."""

SPREAD = 2.0
"""Largest standard deviation of log π in a draw."""


class Training(NamedTuple):
    """How an adapter is trained.

    Attributes:
        hidden: Size of its hidden layer.
        rounds: Rounds of averaging.
        epochs: A client's passes over its samples in each.
        lr: Learning rate of Adam, whose moments start anew in every round.
        batch_size: Samples per step.
    """

    hidden: int = 32
    rounds: int = 20
    epochs: int = 1
    lr: float = 1e-3
    batch_size: int = 64


class TrainedAdapter(NamedTuple):
    """An adapter, and what it took.

    Attributes:
        adapter: The adapter.
        prior: p, the share of each class among all samples, float64 of shape (classes,).
        clients: Clients that trained it.
        samples: Samples that they have.
        bytes: Bytes that each of them is sent, and sends: an adapter in every round, and once p, or
            its counts of classes.
    """

    adapter: LabelShiftAdapter
    prior: Tensor
    clients: int
    samples: int
    bytes: int


def adjusted_loss(outputs: Tensor, labels: Tensor, priors: Tensor, source: Tensor) -> Tensor:
    """The mean of CE(z_c + log p(c) - log π(c), y) over priors and samples, in nats.

    Args:
        outputs: z for each π, shape (priors, n, classes).
        labels: y, int64 of shape (n,).
        priors: π, above 0, shape (priors, classes).
        source: p, above 0 for the labels that occur, shape (classes,). A class whose p is 0 is
            left out.
    """
    adjustment = (source.log() - priors.log()).to(outputs)
    adjusted = outputs + adjustment[:, None]
    return cross_entropy(adjusted.flatten(end_dim=1), labels.repeat(len(priors)))


def drawn_priors(source: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """π(c) ∝ p(c)^a exp(s ε_c), float64 of shape (number, classes).

    With a uniform in [-1, 1], s uniform in [0, 2] and ε standard normal. Where s is 0, a = 1 is the
    prior of the training samples, a = 0 the uniform one, and a = -1 the reverse of the former.

    Args:
        source: p, above 0, shape (classes,).
        number: How many.
        generator: Draws on the CPU.
    """
    numbers = torch.rand(2, number, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(number, len(source), generator=generator, dtype=torch.float64)
    degree, spread = 2 * numbers[0] - 1, SPREAD * numbers[1]
    return torch.softmax(degree * source.log() + spread * noise, dim=1)


def train_adapter(
    clients: Sequence[ClientFeatures],
    head: tuple[Tensor, Tensor],
    training: Training,
    seed: int,
) -> TrainedAdapter:
    """Trains an adapter by federated averaging.

    Args:
        clients: Each client's features; all classes occur among them.
        head: Weights (classes, features) and biases (classes,) of the last dense layer, on the
            device where the adapter is to be.
        training: How.
        seed: Seed of first values, order and priors.

    Raises:
        InputError: If the adapter is no longer finite.
    """
    weight, _ = head
    classes, features = weight.shape
    counts = sum(
        (torch.bincount(each.labels, minlength=classes) for each in clients),
        torch.zeros(classes, dtype=torch.int64),
    )
    prior = counts.double() / counts.sum()
    with rng.torch_seed(seed, PURPOSE):
        adapter = LabelShiftAdapter(classes, features, training.hidden).to(weight.device)
    for number in range(training.rounds):
        mean = WeightedSum()
        for client in clients:
            own = copy.deepcopy(adapter)
            generator = rng.torch_generator(seed, PURPOSE, client.client, number)
            _fit(own, client, head, prior, training, generator)
            sent = {name: tensor.detach() for name, tensor in own.state_dict().items()}
            mean.add([{"adapter": sent}], [float(len(client.labels))])
        adapter.load_state_dict(mean.mean("adapter"))
    found: Tensors = dict(adapter.state_dict())
    if not all(tensor.isfinite().all() for tensor in found.values()):
        raise InputError(
            f"--lr: with {training.lr:g} the adapter is no longer finite; use a smaller one"
        )
    adapter.requires_grad_(requires_grad=False)
    travels = training.rounds * tensor_bytes(found) + tensor_bytes({"p": prior})
    return TrainedAdapter(adapter, prior, len(clients), int(counts.sum()), travels)


def _fit(
    adapter: LabelShiftAdapter,
    client: ClientFeatures,
    head: tuple[Tensor, Tensor],
    source: Tensor,
    training: Training,
    generator: torch.Generator,
) -> None:
    """A client's passes over its samples, in place."""
    device = head[0].device
    shares = torch.bincount(client.labels, minlength=len(source)).double() / len(client.labels)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=training.lr)
    for _ in range(training.epochs):
        order = torch.randperm(len(client.labels), generator=generator)
        for rows in order.split(training.batch_size):
            features, labels = client.features[rows].to(device), client.labels[rows].to(device)
            priors = drawn_priors(source, PRIORS, generator)
            changes = adapter(ratios(priors, source).to(device))
            outputs = vmap(lambda change, features=features: change.outputs(*head, features))
            optimizer.zero_grad()
            adjusted_loss(outputs(changes), labels, priors, shares).backward()
            optimizer.step()


def ratios(prior: Tensor, source: Tensor) -> Tensor:
    """What an adapter reads: log(π / p), float32 of the shape of `prior`, (..., classes)."""
    return (prior.log() - source.log()).float()
