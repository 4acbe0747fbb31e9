"""Recognises networks that are chains of dense layers with activations between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.norms import Removed

ELEMENTWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    Removed,
)
"""Element-wise modules without parameters."""


@dataclass(frozen=True)
class Chain:
    """A network divided at its dense layers.

    Attributes:
        names: The names of each dense layer's weight and bias (None without a bias).
        before: Modules before the first dense layer.
        between: Modules between each dense layer and the next one.
        after: Modules after the last dense layer.
    """

    names: list[tuple[str, str | None]]
    before: list[nn.Module]
    between: list[list[nn.Module]]
    after: list[nn.Module]

    def __len__(self) -> int:
        """Number of dense layers."""
        return len(self.names)

    @classmethod
    def of(cls, model: nn.Module) -> Chain | None:
        """The network as a chain, or None if it is not one.

        Only modules of exactly the known types are accepted, as a subclass may behave differently.
        """
        names: list[tuple[str, str | None]] = []
        passed: list[list[nn.Module]] = [[]]
        for path, module in model.named_modules(remove_duplicate=False):
            if has_hooks(module):
                return None
            if type(module) is nn.Linear:
                prefix = f"{path}." if path else ""
                bias = None if module.bias is None else f"{prefix}bias"
                names.append((f"{prefix}weight", bias))
                passed.append([])
            elif _flattens(module) and names:
                pass  # outputs of dense layers are flat already
            elif _flattens(module) or type(module) in ELEMENTWISE:
                passed[-1].append(module)
            elif type(module) is not nn.Sequential:
                return None
        anatomy = anatomy_of(model)
        odd = anatomy.aliases or anatomy.frozen or anatomy.buffers
        hooked = any(parameter._backward_hooks for parameter in model.parameters())
        if odd or hooked or not names:
            return None
        return cls(names, passed[0], passed[1:-1], passed[-1])


def _flattens(module: nn.Module) -> bool:
    """Whether the module flattens all dimensions but the first."""
    return type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)


def has_hooks(module: nn.Module) -> bool:
    """Whether the module has forward or backward hooks."""
    return any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
