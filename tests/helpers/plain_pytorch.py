"""A round of FedAvg written in plain PyTorch, to hold fedlab against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlab.data.preprocess import Preprocess
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.training.spec import OptimizerSpec


def round_of_fedavg(
    scenario: Scenario, built: Callable[[], nn.Module] | None = None
) -> dict[str, Tensor]:
    """The state dict after one round of full batches.

    Args:
        scenario: With ``batch_size: full`` and ``local_steps``; clients count by their examples.
        built: Makes the initial network; by default fedlab does.
    """
    prepared = prepare(scenario)
    inputs_of = Preprocess(scenario.data, prepared.data).inputs
    spec, steps = scenario.training.optimizer, scenario.training.local_steps
    assert steps is not None
    states, weights = [], []
    for client in range(len(prepared.partition)):
        net = built() if built else prepare(scenario).model
        split = prepared.partition[client]
        x = inputs_of(torch.from_numpy(prepared.data.train.inputs[split.train]))
        y = torch.from_numpy(split.labels)
        net.train()  # which may freeze parameters
        optimizer = _optimizer([p for p in net.parameters() if p.requires_grad], spec)
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            if spec.clip_norm is not None:
                nn.utils.clip_grad_norm_(net.parameters(), spec.clip_norm)
            optimizer.step()
        states.append({name: t.detach().clone() for name, t in net.state_dict().items()})
        weights.append(len(y))
    return {name: _mean([state[name] for state in states], weights) for name in states[0]}


def _optimizer(parameters: list[nn.Parameter], spec: OptimizerSpec) -> torch.optim.Optimizer:
    if spec.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            nesterov=spec.nesterov,
        )
    adam = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return adam(parameters, lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay)


def _mean(values: list[Tensor], weights: list[int]) -> Tensor:
    if values[0].is_complex():
        return values[0]
    if not values[0].is_floating_point():
        return torch.stack(values).amax(dim=0)
    total = sum((w * v.double() for w, v in zip(weights, values, strict=True)), torch.zeros(()))
    return (total / sum(weights)).to(values[0].dtype)
