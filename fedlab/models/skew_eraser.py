"""Layers in two steps: an extractor that clients share, and an eraser that is local to each."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, fx, nn

from fedlab.models.head import find_head
from fedlab.models.normalisation import BATCH_NORMALISATION
from fedlab.models.surgery import replace_modules

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
PERSONAL = ("skew_norm", "eraser")
"""Modules of a `DecomposedLayer` of which each client has its own."""


class DecomposedLayer(nn.Module):
    """A convolution or dense layer with T outputs, in two steps.

        x₁ = BN_e(extractor(x))                                 ceil(T / G) channels
        x₂ = eraser(x₁)          depth-wise, 3x3 (or 1x1 for a dense layer), the other channels
        y  = BN_s(concat(x₁, x₂)[:T] + bias)

    Args:
        layer: The layer that it takes the place of, for its sizes; its weights are not used.
        ratio: G.
        norm: The batch normalisation that reads the layer's outputs, which becomes BN_s; a new one
            if there is none.
    """

    def __init__(
        self,
        layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear,
        ratio: int,
        norm: nn.Module | None,
    ) -> None:
        super().__init__()
        self.extractor: nn.Module
        dense = isinstance(layer, nn.Linear)
        self.outputs = layer.out_features if dense else layer.out_channels
        few = -(-self.outputs // ratio)
        if isinstance(layer, nn.Linear):
            self.extractor, kind, dimensions, kernel = (
                nn.Linear(layer.in_features, few),
                nn.Conv1d,
                1,
                1,
            )
        else:
            kind, dimensions, kernel = type(layer), len(layer.kernel_size), 3
            self.extractor = kind(
                layer.in_channels,
                few,
                layer.kernel_size,  # type: ignore[arg-type]
                stride=layer.stride,  # type: ignore[arg-type]
                padding=layer.padding,  # type: ignore[arg-type]
                dilation=layer.dilation,  # type: ignore[arg-type]
                padding_mode=layer.padding_mode,
            )
        self.skew_norm = NORMS[dimensions](few)
        self.eraser = kind(
            few, few * (ratio - 1), kernel, padding=kernel // 2, groups=few, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(self.outputs))
        self.norm = NORMS[dimensions](self.outputs) if norm is None else norm
        self.dense = dense

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of the layer to its outputs, normalised."""
        maps = self.extractor(inputs)
        shape = maps.shape
        if self.dense:
            maps = maps.reshape(-1, shape[-1], 1)
        first = self.skew_norm(maps)
        both = torch.cat([first, self.eraser(first)], dim=1)[:, : self.outputs]
        outputs = self.norm(both + self.bias.view(-1, *[1] * (maps.dim() - 2)))
        return outputs.reshape(*shape[:-1], self.outputs) if self.dense else outputs


def decompose(model: nn.Module, ratio: int) -> nn.Module:
    """Puts a `DecomposedLayer` in the place of each convolution and each dense layer but the head.

    Grouped convolutions, and layers that do not learn or have a single output, stay as they are.
    A batch normalisation that is the only reader of such a layer's outputs becomes part of
    the new layer.

    Args:
        model: The network; changed in place.
        ratio: G of the layers.

    Returns:
        The network: `model`, unless it is itself a single layer.
    """
    head, behind = find_head(model), _called_once(model)
    layers = {
        layer
        for layer in model.modules()
        if _fits(layer) and (head is None or layer is not head.layer)
        # Attention reads the weights of a dense layer that it does not call.
        if layer in behind or not isinstance(layer, nn.Linear)
    }
    taken = {behind.get(layer) for layer in layers}

    def replacement(module: nn.Module) -> nn.Module:
        if module in layers:
            return DecomposedLayer(module, ratio, behind.get(module))  # type: ignore[arg-type]
        return nn.Identity() if module in taken else module

    return replace_modules(model, replacement)


def decomposed_layers(model: nn.Module) -> dict[str, DecomposedLayer]:
    """A network's decomposed layers by their paths, in its order."""
    return {p: m for p, m in model.named_modules() if isinstance(m, DecomposedLayer)}


def personal_parameters(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters of erasers and the normalisation before them."""
    return tuple(
        f"{path}.{part}.{name}"
        for path, layer in decomposed_layers(model).items()
        for part in PERSONAL
        for name, _ in layer.get_submodule(part).named_parameters()
    )


@contextmanager
def listen_to_statistics(
    layers: Mapping[str, DecomposedLayer],
) -> Generator[dict[str, tuple[Tensor, Tensor]]]:
    """Mean and (biased) variance of what each layer's BN_s reads, by channel, of the last pass."""
    captured: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(path: str, _: nn.Module, inputs: tuple[Tensor]) -> None:
        maps = inputs[0]
        maps = maps.float() if maps.dtype == torch.bfloat16 else maps
        dims = [dim for dim in range(maps.dim()) if dim != 1]
        variance, mean = torch.var_mean(maps, dim=dims, correction=0)
        captured[path] = mean, variance

    handles = [
        layer.norm.register_forward_pre_hook(partial(listen, path))
        for path, layer in layers.items()
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def _fits(layer: nn.Module) -> bool:
    """Whether a layer can be decomposed."""
    if not all(parameter.requires_grad for parameter in layer.parameters()):
        return False
    if type(layer) is nn.Linear:
        return layer.out_features > 1
    return type(layer) in CONVOLUTIONS and layer.groups == 1 and layer.out_channels > 1  # type: ignore[operator,union-attr]


def _called_once(model: nn.Module) -> dict[nn.Module, nn.Module | None]:
    """The modules that a network calls once; for each, the normalisation behind it.

    That is a batch normalisation which is called once, reads the module's output as it is, and is
    the only one to do so; None where there is none. Empty if the data flow cannot be followed.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # tracing runs the network's own code, which may raise anything
        return {}
    calls: dict[nn.Module, list[fx.Node]] = {}
    called: dict[fx.Node, nn.Module] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            called[node] = model.get_submodule(str(node.target))
            calls.setdefault(called[node], []).append(node)
    found: dict[nn.Module, nn.Module | None] = {}
    for module, nodes in calls.items():
        if len(nodes) == 1:
            readers = list(nodes[0].users)
            norm = called.get(readers[0]) if len(readers) == 1 else None
            found[module] = norm if norm and _can_be_shared(norm, calls[norm]) else None
    return found


def _can_be_shared(norm: nn.Module, nodes: list[fx.Node]) -> bool:
    """Whether a module can be the normalisation of a `DecomposedLayer`."""
    tracks = isinstance(norm, BATCH_NORMALISATION) and norm.track_running_stats
    return tracks and len(nodes) == 1
