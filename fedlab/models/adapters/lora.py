"""Low-rank adaptation.

LoRA: Low-Rank Adaptation of Large Language Models, Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang,
Chen, ICLR 2022, arXiv 2106.09685. With ``freeze_a``: Improving LoRA in Privacy-preserving Federated
Learning (FFA-LoRA), Sun, Li, Li, Ding, ICLR 2024, arXiv 2403.12313.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from fedlab.errors import InputError
from fedlab.models.adapters.base import Adapter
from fedlab.models.adapters.lora_layers import (
    A,
    B,
    add_factors,
    can_carry,
    has_weight,
    largest_rank,
)
from fedlab.models.anatomy.names import joined
from fedlab.models.pretrained.still import matching


class LoRA(Adapter):
    """The product of two narrow trainable matrices is added to each layer's weight.

    A layer of weight W computes (W + α/rank · B A) x; W stays, A (rank x inputs) and B (outputs x
    rank) learn, and B is zero at first. Averaging clients' A and B is not averaging what they add:
    the mean of products is not the product of means. With ``freeze_a``, where only B learns, it is.

    Attributes:
        rank: Width of the product.
        alpha: α; what is added is multiplied by α/rank.
        targets: Patterns of the paths of dense layers and ungrouped convolutions; by default all
            of them but the head, which learns whole.
        dropout: Probability with which inputs of A are dropped in training.
        freeze_a: Whether A keeps its initial values, the same everywhere, and only B learns.
        also_learn: Patterns of names of other parameters that learn, such as ``*norm*``.
    """

    name: Literal["lora"] = "lora"
    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    targets: tuple[str, ...] = Field(default=("*",), min_length=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    freeze_a: bool = False
    also_learn: tuple[str, ...] = ()

    def add_to(self, model: nn.Module, head: str | None) -> Sequence[str]:
        """See `Adapter.add_to`."""
        layers = {p: each for p, each in model.named_modules() if can_carry(each)}
        able = [path for path in layers if path and path != head]
        if not able:
            raise InputError(
                "model.adapt: the model has no dense layer or ungrouped convolution besides its "
                "head that adapters could be added to; leave model.adapt out"
            )
        paths = matching(
            self.targets,
            able,
            "model.adapt.targets",
            "dense layer or ungrouped convolution besides the head",
        )
        chosen = [path for path in able if path in paths]
        for path in chosen:
            if not has_weight(layers[path]):
                raise InputError(
                    f"model.adapt: the layer '{path}' computes its weight from other tensors in "
                    "every pass (pruned, or weight_norm), which nothing can be added to; make that "
                    "permanent (torch.nn.utils.prune.remove, remove_weight_norm), or leave the "
                    "layer out of model.adapt.targets"
                )
            if self.rank > (most := largest_rank(layers[path])):
                raise InputError(
                    f"model.adapt.rank: {self.rank} is above {most}, the rank of '{path}' itself; "
                    "lower it, or name other layers as model.adapt.targets"
                )
        known = [name for name, _ in model.named_parameters()]
        also = matching(self.also_learn, known, "model.adapt.also_learn", "parameter")
        factors = [B] if self.freeze_a else [A, B]
        for path in chosen:
            add_factors(layers[path], self.rank, self.alpha, self.dropout)
        return [*also, *(joined(path, factor) for path in chosen for factor in factors)]
