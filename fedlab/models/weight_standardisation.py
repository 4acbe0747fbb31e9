"""Networks without normalisation: scaled weight standardisation in its place.

Zhuang and Lyu, "FedWon: Triumphing Multi-domain Federated Learning Without Normalization",
ICLR 2024, arXiv 2306.05879; the standardisation is of Brock, De and Smith, "Characterizing signal
propagation to close the performance gap in unnormalized ResNets", ICLR 2021, arXiv 2101.08692.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedlab import rng
from fedlab.errors import InputError
from fedlab.models.activations import gains_of_inputs
from fedlab.models.norms import add_bias, remove_normalisation
from fedlab.models.surgery import replace_modules
from fedlab.records import Tensors

EPS = 1e-4
"""Least sum of squares, around its mean, that a kernel is divided by."""


class WSConv2d(nn.Conv2d):
    """A convolution whose kernels are standardised before use; the raw kernels are trained.

    For each output channel i, with μ_i and σ_i² the mean and the (biased) variance of its N
    weights, the kernel is

        Ŵ_i = γ · gain_i · (W_i - μ_i) / sqrt(max(N · σ_i², 1e-4))

    Without γ and gain it has sum 0 and sum of squares 1, so that unit variance in gives unit
    variance out. N counts the inputs of one output: kernel area times channels of a group.

    Args:
        gamma: The constant γ.
        *args: As of `torch.nn.Conv2d`.
        **kwargs: As of `torch.nn.Conv2d`.

    Attributes:
        gain: Learnable, shape (out_channels,), 1 at first.
        gamma: The constant γ.
    """

    def __init__(self, *args: Any, gamma: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        self.gain = nn.Parameter(self.weight.new_ones(self.out_channels))

    @classmethod
    def of(cls, convolution: nn.Conv2d, gamma: float) -> WSConv2d:
        """The standardised form of a convolution: same raw weights, and a bias in any case."""
        with rng.torch_seed(0, "thrown away"):  # the values drawn here are thrown away
            new = cls(
                convolution.in_channels,
                convolution.out_channels,
                convolution.kernel_size,
                stride=convolution.stride,
                padding=convolution.padding,
                dilation=convolution.dilation,
                groups=convolution.groups,
                padding_mode=convolution.padding_mode,
                gamma=gamma,
            )
        new.weight = convolution.weight
        new.bias = convolution.bias
        add_bias(new)
        new.gain = nn.Parameter(new.weight.new_ones(new.out_channels))
        return new

    def standardised_weight(self) -> Tensor:
        """Ŵ, shape (out_channels, in_channels / groups, height, width)."""
        return standardised(self.weight, self.gamma * self.gain[:, None, None, None])

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h', w')."""
        return self._conv_forward(input, self.standardised_weight(), self.bias)

    def extra_repr(self) -> str:
        """The convolution's description and γ."""
        return f"{super().extra_repr()}, gamma={self.gamma:.4f}"


def standardised(weight: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """Each output channel's kernel with its mean taken off, over the root of its sum of squares.

    Args:
        weight: Shape (out_channels, in_channels / groups, height, width).
        factor: What kernels are multiplied by, a number or of shape (out_channels, 1, 1, 1).
    """
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    scale = torch.rsqrt(torch.clamp(variance * weight[0].numel(), min=EPS))
    return (weight - mean) * (factor * scale)


def standardised_kernels(model: nn.Module, tensors: Tensors) -> Tensors:
    """A network's tensors with the raw weights of each `WSConv2d` replaced by standardised ones.

    They make the same kernels, as standardising twice is standardising once, except for kernels
    whose variance is below the least.
    """
    layers = (path for path, each in model.named_modules() if isinstance(each, WSConv2d))
    names = {f"{path}.weight" if path else "weight" for path in layers}
    return {n: standardised(tensor) if n in names else tensor for n, tensor in tensors.items()}


def without_normalisation(
    model: nn.Module, gamma: float | Literal["auto"] = "auto", nf_residual: bool = False
) -> nn.Module:
    """Replaces the normalisation of any network by scaled weight standardisation.

    Every normalisation layer goes, nothing takes its place; every two-dimensional convolution
    (depthwise and grouped ones, too) becomes a `WSConv2d` with a bias and keeps its raw initial
    weights; dense layers stay as they are. No random number is drawn.

    γ is folded into the kernels, as in the paper's Ŵ, and not multiplied into the activations: on
    a residual network that would also amplify the shortcuts, by γ in every block. With ``auto``
    a convolution gets the γ of the activation that it reads, so that what it writes has the
    variance that it would have without the activation, for any activation. On networks of
    ReLUs that is one constant for all convolutions, as FedWon is reported to have it (see
    `fedlab.models.activations.gains_of_inputs`).

    Args:
        model: The network; changed in place.
        gamma: One γ for all convolutions, or ``auto``.
        nf_residual: Whether residual blocks take the normaliser-free form (see
            `fedlab.models.nf_residual`).

    Returns:
        The network: `model`, unless it is itself a single layer.

    Raises:
        InputError: If γ cannot be found out, a convolution's weight is computed from others, or
            `nf_residual` is asked of a network without residual blocks.
    """
    gains = gains_of_inputs(model) if gamma == "auto" else {}

    def standardised(module: nn.Module) -> nn.Module:
        if not isinstance(module, nn.Conv2d) or isinstance(module, WSConv2d):
            return module
        if "weight" not in dict(module.named_parameters(recurse=False)):
            raise InputError(
                f"the weight of {module} is computed anew in every pass (spectral_norm, "
                "weight_norm or another parametrization), and standardising it would take its "
                "place; leave one of the two out"
            )
        # A convolution that the data never pass reads no activation.
        return WSConv2d.of(module, gains.get(module, 1.0) if gamma == "auto" else gamma)

    model = replace_modules(remove_normalisation(model), standardised)
    if nf_residual:
        # Not at the top: importing torchvision takes seconds, and other networks do without.
        from fedlab.models.nf_residual import without_normalised_residuals

        model = without_normalised_residuals(model)
    return model
