"""Variance gains of activations, and the activation that each convolution reads.

A standard normal signal leaves an activation with another variance; the factor that restores it is
the gain γ = 1 / std(act(z)), z ~ N(0, 1) (Brock, De and Smith, "Characterizing signal propagation
to close the performance gap in unnormalized ResNets", ICLR 2021, arXiv 2101.08692).
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from fedlab.errors import InputError
from fedlab.models.adapters.lora_layers import is_adapted
from fedlab.models.norms import LINEAR_MAPS
from fedlab.models.pretrained.still import STILL

log = logging.getLogger("fedlab")


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


GATES = (nn.Sigmoid, nn.Hardsigmoid)
"""Activations whose product with a signal weighs it: the signal is the other factor."""

KINDS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid),
    *(nn.Tanh, nn.Hardtanh, nn.Tanhshrink, nn.Softsign, nn.Softshrink, nn.Hardshrink),
    nn.Threshold,
)
"""Activations as layers; their gain is computed with their own parameters."""

NAMES = frozenset(kind.__name__.lower() for kind in KINDS) - {"prelu", "rrelu"} | {
    *("leaky_relu", "relu_", "sigmoid_", "tanh_", "clamp", "clamp_", "abs", "square"),
}
"""Activations as functions of `torch` and `torch.nn.functional`, or as methods of a tensor."""

SCALE_FREE = frozenset({"relu", "relu_", "leakyrelu", "leaky_relu", "prelu"})
"""Activations with act(c z) = c act(z) for every c > 0."""

PASSING = frozenset(
    {
        *("add", "iadd", "sub", "isub", "cat", "concat", "mul", "imul", "getitem", "getattr"),
        *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool2d", "adaptive_avg_pool2d"),
        *("adaptive_max_pool2d", "boolean_dispatch", "dropout", "dropout2d", "alpha_dropout"),
        *("flatten", "view", "reshape", "permute", "transpose", "contiguous", "mean", "pad"),
        *("interpolate", "chunk", "split", "unsqueeze", "squeeze", "size", "clone", "to", "float"),
        *("add_", "mul_", "pixel_shuffle", "channel_shuffle", "stochastic_depth", "batch_norm"),
        *("group_norm", "layer_norm", "instance_norm"),
    }
)
"""Functions that lie between an activation and the convolution that reads it, and do not matter."""


def gains_of_inputs(model: nn.Module) -> dict[nn.Module, float]:
    """γ of the activation that each two-dimensional convolution reads, found on the data flow.

    Kernels are standardised such that unit variance in gives unit variance out; an activation
    between two of them shrinks the signal by its γ, which the second has to make up for. What else
    lies between them (normalisation, pooling, dropout, sums of residual branches, gates) does not
    matter. A convolution that reads another layer's output as it is (the one behind the linear
    bottleneck of a MobileNetV2) gets 1. Where several signals meet, the activation that lies
    nearest counts.

    A convolution that reads the network's input gets 1, too, unless all activations are of the
    `SCALE_FREE`: they pass a factor on, so that all convolutions may have the same constant.

    Args:
        model: The network.

    Raises:
        InputError: If the data flow depends on values and so cannot be read.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise InputError(
            "strategy.gamma 'auto' needs to follow the network's data flow, and torch.fx cannot "
            f"({error}); give it a number instead, such as strategy.gamma="
            f"{activation_gain(nn.ReLU()):.4f}, the one for ReLU"
        ) from error
    modules = dict(model.named_modules(remove_duplicate=False))
    first = _constant_of_all(graph, modules)
    return {
        modules[str(node.target)]: _gain_of_input(node, modules, first)
        for node in graph.nodes
        if node.op == "call_module" and isinstance(modules[str(node.target)], nn.Conv2d)
    }


class _Tracer(fx.Tracer):
    """Takes fedlab's forms of PyTorch's layers for one step, as it does these."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        ours = is_adapted(m) or isinstance(m, tuple(STILL.values()))
        return ours or super().is_leaf_module(m, module_qualified_name)


def _constant_of_all(graph: fx.Graph, modules: dict[str, nn.Module]) -> float:
    """γ of the first activation where all of them are `SCALE_FREE`, otherwise 1."""
    gains = []
    for node in graph.nodes:
        activation = _activation(node, modules)
        if activation is not None:
            if _name_of(node, modules) not in SCALE_FREE:
                return 1.0
            gains.append(activation_gain(activation))
    return gains[0] if gains else 1.0


def _gain_of_input(
    convolution: fx.Node, modules: dict[str, nn.Module], of_the_input: float
) -> float:
    behind, seen = deque(convolution.all_input_nodes), set[fx.Node]()
    while behind:
        node = behind.popleft()
        if node in seen:
            continue
        seen.add(node)
        activation = _activation(node, modules)
        if activation is not None:
            return activation_gain(activation)
        if node.op == "call_module" and isinstance(modules[str(node.target)], LINEAR_MAPS):
            return 1.0
        if node.op in ("call_function", "call_method") and _name(node) not in PASSING:
            log.warning(
                "strategy.gamma 'auto': the convolution '%s' reads '%s', whose effect on a "
                "signal's variance is not known and taken for none; give strategy.gamma a number "
                "if that is wrong",
                convolution.target,
                _name(node),
            )
        behind.extend(n for n in node.all_input_nodes if not _gates(n, node, modules))
    return of_the_input


def _activation(node: fx.Node, modules: dict[str, nn.Module]) -> Callable[[Tensor], Tensor] | None:
    """The activation that a node is, as a function of one tensor, or None if it is none."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.PReLU):  # its slopes may differ by channel
            return partial(functional.leaky_relu, negative_slope=module.weight.mean().item())
        return copy.deepcopy(module).double().eval() if isinstance(module, KINDS) else None
    if node.op in ("call_function", "call_method") and _name(node) in NAMES:
        target: Any = node.target if callable(node.target) else getattr(Tensor, node.target)
        settings = {key: value for key, value in node.kwargs.items() if key != "input"}
        return lambda values: target(values, *node.args[1:], **settings)
    return None


def _gates(factor: fx.Node, product: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node multiplies the other factor by a gate, as in squeeze and excitation."""
    if _name(product) not in ("mul", "mul_", "imul"):
        return False
    if factor.op == "call_module":
        return isinstance(modules[str(factor.target)], GATES)
    return _name(factor) in ("sigmoid", "hardsigmoid")


def _name_of(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """The name of a node's function, method or type of layer."""
    if node.op == "call_module":
        return type(modules[str(node.target)]).__name__.lower()
    return _name(node)


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
