"""Quantises changes to 8 bits with stochastic, unbiased rounding.

A form of QSGD with the largest magnitude as its scale: QSGD: Communication-Efficient SGD via
Gradient Quantization and Encoding, Alistarh, Grubic, Li, Tomioka, Vojnovic, NeurIPS 2017, arXiv
1610.02132.
"""

from __future__ import annotations

import torch

from fedlab.records import Tensors
from fedlab.updates.base import Compression

LEVELS = 127


class Int8(Compression):
    """⌊v / s + u⌋ with s = max |v| / 127 and u uniform on [0, 1), for each tensor.

    The expectation of the decoded change is v. A tensor of d numbers takes d + 4 bytes.
    """

    name: str = "int8"

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> Tensors:
        """``levels`` int8 of the change's shape, and ``scale`` float32 of shape (1,)."""
        values = change.float()
        most = values.abs().max() if values.numel() else values.new_zeros(())
        scale = most / LEVELS
        chance = torch.rand(values.shape, generator=generator).to(values.device)
        levels = (values / scale.clamp(min=torch.finfo(torch.float32).tiny) + chance).floor()
        return {"levels": levels.clamp(-LEVELS, LEVELS).to(torch.int8), "scale": scale.view(1)}

    def decode(self, encoded: Tensors, shape: torch.Size) -> torch.Tensor:
        """Levels times the scale."""
        return encoded["levels"].float() * encoded["scale"]
