"""How much an activation shrinks a signal, and which activation a convolution feeds.

A standard normal signal leaves an activation with another variance; the factor that restores it is
the gain γ = 1 / std(act(z)), z ~ N(0, 1) (Brock, De and Smith, "Characterizing signal propagation
to close the performance gap in unnormalized ResNets", ICLR 2021, arXiv 2101.08692).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from fedlab.errors import InputError
from fedlab.models.norms import LINEAR_MAPS


def activation_gain(activation: Callable[[Tensor], Tensor]) -> float:
    """The gain γ of any element-wise activation, by quadrature.

    The closed form for the ReLU is sqrt(2 / (1 - 1/π)) = 1.712859; the quadrature is right to
    seven digits, also at its kink.
    """
    # An even number of intervals, so that a kink at 0 falls on a point of the grid.
    points = torch.linspace(-10, 10, 100_001, dtype=torch.float64)
    weights = torch.exp(-points.square() / 2)
    weights /= weights.sum()
    with torch.no_grad():
        values = activation(points.clone())
    mean = (weights * values).sum()
    return float((weights * (values - mean).square()).sum().rsqrt())


GAMMA: dict[type[nn.Module], float] = {
    kind: activation_gain(kind())
    for kind in (
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Hardswish,
        nn.Softplus,
        nn.Sigmoid,
        nn.Tanh,
    )
}
"""The gain of each activation that surgery knows, with its default parameters."""

FUNCTIONS: dict[object, type[nn.Module]] = {
    functional.relu: nn.ReLU,
    functional.relu6: nn.ReLU6,
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    functional.mish: nn.Mish,
    functional.hardswish: nn.Hardswish,
    functional.sigmoid: nn.Sigmoid,
    functional.tanh: nn.Tanh,
    torch.relu: nn.ReLU,
    torch.sigmoid: nn.Sigmoid,
    torch.tanh: nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
"""Activations written as functions or as methods of a tensor."""


def gains_after_convolutions(model: nn.Module) -> dict[nn.Module, float]:
    """γ of the activation that each two-dimensional convolution feeds, read off the data flow.

    What lies between them (normalisation, pooling, dropout, sums of residual branches) does not
    matter. Where the next layer comes before any activation, as after the linear bottleneck of a
    MobileNetV2, γ is 1.

    Args:
        model: The network.

    Raises:
        InputError: If the data flow depends on values and so cannot be read.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise InputError(
            "gamma 'auto' needs to follow the network's data flow, and torch.fx cannot "
            f"({error}); give gamma a number instead, {GAMMA[nn.ReLU]:.4f} for ReLU"
        ) from error
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        modules[str(node.target)]: _gain_after(node, modules)
        for node in graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Conv2d)
    }


def _gain_after(convolution: fx.Node, modules: dict[str, nn.Module]) -> float:
    ahead, seen = deque(convolution.users), set[fx.Node]()
    while ahead:
        node = ahead.popleft()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "call_module":
            module = modules[str(node.target)]
            if isinstance(module, tuple(GAMMA)):
                return activation_gain(module)
            if isinstance(module, LINEAR_MAPS):
                continue
        elif node.target in FUNCTIONS:
            return GAMMA[FUNCTIONS[node.target]]
        ahead.extend(node.users)
    return 1.0
