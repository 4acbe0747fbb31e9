"""Earlier values of many tensors, which can be put back without asking the device whether to.

Where a step is not to be taken, everything that it has changed gets its values back. The values of
one client travel as one tensor of 32-bit words, in a number of launches that does not depend on how
many tensors there are.
"""

# `torch.optim` uses the same foreach operations, which PyTorch does not export by name.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedlab.training.lists import Lists, in_memory_order, run

WORD = 4
"""Bytes of a word."""


class Snapshot:
    """The values of some tensors, as they are now.

    Args:
        tensors: All of one client, or all of a stack.
        stacked: Whether they are those of a stack, outside of `torch.func.vmap`.
    """

    def __init__(self, tensors: Sequence[Tensor], stacked: bool = False) -> None:
        self.tensors = list(tensors)
        self._one = not stacked and all(map(_is_words, self.tensors))
        self._before = list(run(_copies, [self.tensors], self._one)) if self.tensors else []

    def put_back(self, kept: Tensor) -> None:
        """Gives the tensors these values where the present ones are not kept, in place.

        Args:
            kept: A bool, or one for each stacked client.
        """
        if self.tensors:
            run(_put_back, [self.tensors, self._before], self._one, kept)


def _copies(lists: Lists, stacked: int, one: bool) -> Sequence[Tensor]:
    (tensors,) = lists
    if one and not stacked:
        return [torch.cat(_words(tensors))]
    return [tensor.clone() for tensor in tensors]


def _put_back(lists: Lists, stacked: int, one: bool, kept: Tensor) -> Sequence[Tensor]:
    tensors, before = lists
    if one and not stacked:
        words = _words(tensors)
        chosen = torch.where(kept, torch.cat(words), before[0])
        torch._foreach_copy_(words, chosen.split([len(each) for each in words]))
        return []
    for new, old in zip(tensors, before, strict=True):
        new.copy_(torch.where(kept.view(kept.shape + (1,) * (new.dim() - kept.dim())), new, old))
    return []


def _words(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [in_memory_order(tensor).view(torch.int32) for tensor in tensors]


def _is_words(tensor: Tensor) -> bool:
    """Whether a tensor can be seen as words without a copy."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.element_size() % WORD == 0 and (last or tensor.is_contiguous())
