"""Label-agnostic forgetting: features that no longer look like those of the forgotten samples.

Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models, ICLR 2024; formulas as in
the authors' code. Two autoencoders (`fedlab.unlearning.feature_autoencoder`) learn how the old
model's features of the remaining (r) and of the forgotten samples (u) are distributed. Then, for
each pair of batches, the layers before the head take two steps of Adam:

    extraction    sum_r g(V_r(e_r), e_r) - sum_u g(V_u(e_u), e_u)
    alignment     sum_r log(exp(d_r) / sum_u exp(d_u / T))

with features e, g(a, b) = exp(s / (s + 1)) for s = |a - b|^2, and d = 1 - cos(e, e of the old
model). An epoch has as many pairs as the forgotten samples have batches. No label is read; what the
paper calls repair (the head trained on labelled remaining samples) are the recovery rounds here.

The paper has all samples in one place. Both objectives are sums of a part of the forgotten samples
and a part of the remaining ones (of the alignment's denominator, which the forgotten samples make,
only the number of r is read), so that here the server takes the steps: for each, the client that
leaves and one that remains send their gradients. V_r is trained by federated averaging, V_u by the
client that leaves. Where a client forgets some of its samples, the remaining ones are its others,
and it takes all steps by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from fedlab import rng
from fedlab.errors import InputError
from fedlab.records import Tensors, tensor_bytes
from fedlab.unlearning.changing_features import Adam, Features, Part
from fedlab.unlearning.feature_autoencoder import FeatureAutoencoder, fit, fit_together
from fedlab.unlearning.forgetting_cost import Cost
from fedlab.unlearning.request import Request


class Options(NamedTuple):
    """How the features are changed.

    Attributes:
        epochs: Passes over the forgotten samples.
        extraction_lr: Learning rate of Adam for the extraction steps.
        alignment_lr: Likewise, for the alignment steps.
        temperature: T of the alignment.
        latent: Size of the autoencoders' codes.
        autoencoder_rounds: Rounds of federated averaging for V_r.
        autoencoder_epochs: A client's passes in each; V_u gets as many passes altogether.
    """

    epochs: int = 20
    extraction_lr: float = 5e-5
    alignment_lr: float = 1e-4
    temperature: float = 5.0
    latent: int = 8
    autoencoder_rounds: int = 10
    autoencoder_epochs: int = 5


class Changed(NamedTuple):
    """A model with other features.

    Attributes:
        model: The tensors that travel.
        cost: What it took; steps of autoencoders are no steps of the network.
        steps: Steps of Adam.
    """

    model: Tensors
    cost: Cost
    steps: int


def gap(made: Tensor, features: Tensor) -> Tensor:
    """g(a, b) = exp(s / (s + 1)) with s = |a - b|^2, row by row; between 1 and e.

    Args:
        made: Shape (n, features).
        features: Likewise.
    """
    squares = (made - features).square().sum(dim=1)
    return (squares / (squares + 1)).exp()


def extraction_loss(remaining: tuple[Tensor, Tensor], forgotten: tuple[Tensor, Tensor]) -> Tensor:
    """What the extraction step minimises.

    Args:
        remaining: V_r(e_r) and e_r.
        forgotten: V_u(e_u) and e_u.
    """
    return gap(*remaining).sum() - gap(*forgotten).sum()


def alignment_loss(
    remaining: tuple[Tensor, Tensor], forgotten: tuple[Tensor, Tensor], temperature: float
) -> Tensor:
    """What the alignment step minimises.

    Args:
        remaining: Features of the model and of the old one, for remaining samples.
        forgotten: Likewise, for forgotten samples.
        temperature: T.
    """
    near, far = (1 - cosine_similarity(*pair, dim=1) for pair in (remaining, forgotten))
    return (near - (far / temperature).logsumexp(dim=0)).sum()


def forget_features(asked: Request, state: Tensors, options: Options, seed: int) -> Changed:
    """Changes a model's features so that they forget a client's samples.

    Args:
        asked: What is to be forgotten.
        state: The server's tensors, on the device.
        options: How.
        seed: Seed of the autoencoders and of the order of samples.

    Raises:
        InputError: If the network has no dense layer at its end, or the model is no longer finite.
    """
    work = Features(asked, state)
    size = asked.run.scenario.training.batch_size
    size = size if isinstance(size, int) else max(map(len, work.old.values()))
    own, rest_of = work.old[asked.client], _remaining(asked, work)
    gone_rows = torch.from_numpy(asked.chosen).nonzero().flatten()
    own = own[gone_rows.to(own.device)]
    others = {c: work.old[c][rows.to(own.device)] for c, rows in rest_of.items()}
    with rng.torch_seed(seed, "forget", "autoencoders"):
        of_rest, of_own = (FeatureAutoencoder(own.shape[1], options.latent) for _ in range(2))
    of_rest, of_own = of_rest.to(own.device), of_own.to(own.device)
    rounds, epochs = options.autoencoder_rounds, options.autoencoder_epochs
    fit_together(of_rest, others, rounds=rounds, epochs=epochs, batch_size=size, seed=seed)
    drawing = rng.torch_generator(seed, "forget", "autoencoder", asked.client)
    fit(of_own, own, epochs=rounds * epochs, batch_size=size, generator=drawing)
    for model in (of_rest, of_own):
        model.requires_grad_(False)

    extraction, alignment = (Adam(work, lr) for lr in (options.extraction_lr, options.alignment_lr))
    steps = 0
    drawn = Part(asked.client, gone_rows), rest_of, size, options.epochs, seed
    for rest, gone in _pairs(*drawn):

        def extracted(body: Tensors, rest: Part = rest, gone: Part = gone) -> Tensor:
            kept, left = work.features(body, *rest), work.features(body, *gone)
            return extraction_loss((of_rest(kept), kept), (of_own(left), left))

        def aligned(body: Tensors, rest: Part = rest, gone: Part = gone) -> Tensor:
            kept, left = (
                (work.features(body, *part), work.old[part.client][part.rows.to(own.device)])
                for part in (rest, gone)
            )
            return alignment_loss(kept, left, options.temperature)

        extraction.step(extracted)
        alignment.step(aligned)
        steps += 2
    model = {**state, **work.body}
    if not all(torch.isfinite(tensor).all() for tensor in model.values()):
        raise InputError(
            f"--extraction-lr: with {options.extraction_lr:g} (and --alignment-lr "
            f"{options.alignment_lr:g}) the model is no longer finite; use smaller ones"
        )
    return Changed(model, Cost(2 * steps, _travels(asked, options, work, of_rest, steps)), steps)


def _remaining(asked: Request, work: Features) -> dict[int, Tensor]:
    """Rows of the remaining samples by client: those of others, or the client's own others."""
    if asked.samples is not None:
        return {asked.client: torch.from_numpy(~asked.chosen).nonzero().flatten()}
    rows = {client: torch.arange(len(work.old[client])) for client in asked.remaining}
    return {client: each for client, each in rows.items() if len(each)}


def _travels(
    asked: Request, options: Options, work: Features, autoencoder: FeatureAutoencoder, steps: int
) -> int:
    """Bytes of tensors, down and up; a client that keeps samples does everything by itself."""
    model = tensor_bytes(work.state)
    if asked.samples is not None:
        return 2 * model
    others, code = len(asked.remaining), tensor_bytes(autoencoder.state_dict())
    of_autoencoder = (2 * options.autoencoder_rounds + 1) * others * code
    gradients = 2 * 2 * steps * tensor_bytes(work.body)  # to two clients a step, and back
    return (1 + others) * model + of_autoencoder + gradients


def _pairs(
    gone: Part, remaining: dict[int, Tensor], size: int, epochs: int, seed: int
) -> Iterator[tuple[Part, Part]]:
    """Batches of remaining and of forgotten samples, in a new order in each epoch."""
    for epoch in range(epochs):
        drawing = rng.torch_generator(seed, "forget", "pairs", epoch)
        own = _shuffled(gone.rows, drawing).split(size)
        rest = [
            Part(client, rows)
            for client, every in remaining.items()
            for rows in _shuffled(every, drawing).split(size)
        ]
        order = torch.randperm(len(rest), generator=drawing).tolist()
        for place, rows in zip(order, own, strict=False):  # the shorter one ends the epoch
            yield rest[place], Part(gone.client, rows)


def _shuffled(rows: Tensor, drawing: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=drawing)]
