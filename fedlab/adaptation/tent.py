"""Test-time adaptation by entropy minimisation.

Tent: Fully Test-Time Adaptation by Entropy Minimization, Wang, Shelhamer, Liu, Olshausen, Darrell,
ICLR 2021, arXiv 2006.10726. Batch normalisation uses the statistics of the test batch alone, and
scales and shifts of all normalisation layers take steps of Adam on the mean entropy of the
predictions, online: nothing is reset between batches, and a batch's predictions are those before
its (last) step, as in the authors' code. Group and layer normalisation have no statistics, so that
only their scales and shifts adapt.

Unlike the authors' code, which puts the whole network into training mode, dropout stays off.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fedlab.adaptation.batch_statistics import Stream, batch_statistics, replaced
from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.names import joined
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.normalisation import normalises
from fedlab.records import Tensors


def entropy(outputs: Tensor) -> Tensor:
    """The mean over samples of -Σ_c p_c log p_c, in nats; equation 1 of the paper.

    Args:
        outputs: Logits of shape (n, classes).
    """
    logs = outputs.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1).mean()


def affine_names(model: nn.Module) -> list[str]:
    """First names of the scale and shift of all normalisation layers."""
    aliases = anatomy_of(model).aliases
    names = [
        joined(path, name)
        for path, module in model.named_modules()
        if normalises(module)
        for name, _ in module.named_parameters(recurse=False)
    ]
    return list(dict.fromkeys(aliases.get(name, name) for name in names))


def tent(
    model: nn.Module, state: Tensors, batches: Iterable[Tensor], *, lr: float, steps: int
) -> Stream:
    """Adapts a model to test batches by entropy minimisation while it predicts them.

    Args:
        model: The network; its own tensors are not changed.
        state: A full state dict.
        batches: What the network is fed with, one after another.
        lr: Learning rate of Adam (betas 0.9 and 0.999, no weight decay).
        steps: Steps per batch, at least 1.

    Raises:
        InputError: If outputs are no longer finite.
    """
    names = affine_names(model)
    own = {name: state[name].detach().clone().requires_grad_() for name in names}
    optimizer = torch.optim.Adam(own.values(), lr=lr)
    found: list[Tensor] = []
    with (
        evaluation_mode(model),
        with_tensors(model, {**state, **own}),
        batch_statistics(model) as used,
    ):
        for batch in batches:
            for step in range(steps):
                outputs = model(batch).float()
                optimizer.zero_grad()
                entropy(outputs).backward()  # within the context: parts may run once more
                optimizer.step()
                if step == steps - 1:
                    found.append(outputs.detach().cpu())
    adapted = torch.cat(found)
    if not adapted.isfinite().all():
        raise InputError(
            f"--lr: with {lr:g} and {steps} steps per batch the outputs are no longer finite; use "
            "a smaller one"
        )
    learnt = {name: tensor.detach() for name, tensor in own.items()}
    return Stream(adapted, replaced(model, state, {**used, **learnt}))
