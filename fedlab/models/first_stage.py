"""The first stage of a convolutional network, whose maps are its early features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.division import CONTAINERS
from fedlab.models.captured import changed_outputs
from fedlab.models.normalisation import BATCH_NORMALISATION


@dataclass(frozen=True)
class FirstStage:
    """The module at the end of a network's first stage, which gives its early features.

    Attributes:
        path: Its path within the network.
        module: The module.
        channels: Channels of its maps.
        untrained: Whether maps are normalised on the way to it by running statistics that are
            still 0 and 1, those of a network that was never trained.
    """

    path: str
    module: nn.Module
    channels: int
    untrained: bool

    def changed(self, change: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        """Within the context, the layers behind the stage read ``change(maps)``."""
        return changed_outputs(self.module, change)


def find_first_stage(model: nn.Module) -> FirstStage | None:
    """The first stage of a network that was run on images, or None.

    In a network of blocks (modules of several convolutions, such as residual ones) it ends with the
    first block, or the last of those right behind it whose maps have the same shape: with
    ``layer1`` of a ResNet. In a plain network it is the first convolution and the layers up to the
    next one: normalisation, activation and pooling. Maps of one pixel have no deviation: the stage
    then ends before them.

    Functions that are no modules (``torch.relu``) are not seen, and neither are layers that are
    called more than once.
    """
    observed = anatomy_of(model).observed
    if observed is None:
        return None
    maps = {path: shape for path, shape in observed.maps if shape[1] * shape[2] > 1}
    modules, called = dict(model.named_modules()), list(observed.maps)
    order = {path: place for place, (path, _) in enumerate(called)}
    units = sorted(_units(model, maps, _convolutions(model)), key=order.__getitem__)
    blocks = [path for path in units if not isinstance(modules[path], nn.Conv2d)]
    if blocks:
        first = units.index(blocks[0])
        last = first
        while last + 1 < len(units) and maps[units[last + 1]] == maps[units[first]]:
            last += 1
        path = units[last]
    elif units:
        end = order[units[1]] if len(units) > 1 else len(called)
        channels = maps[units[0]][0]
        inside = [path for path, _ in called[order[units[0]] : end] if path in maps]
        path = [each for each in inside if maps[each][0] == channels][-1]
    else:
        return None
    before = observed.order[: observed.order.index(path) + 1]
    untrained = any(_untrained(modules[each]) for each in before if each in modules)
    return FirstStage(path, modules[path], maps[path][0], untrained)


def _units(
    model: nn.Module, maps: Mapping[str, tuple[int, ...]], every: int, prefix: str = ""
) -> Iterator[str]:
    """Paths of convolutions and of blocks of them that give maps.

    A module that has all convolutions of the network is its body, and no block.
    """
    for name, child in model.named_children():
        path, inside = f"{prefix}{name}", _convolutions(child)
        if isinstance(child, nn.Conv2d):
            if path in maps:
                yield path
        elif isinstance(child, CONTAINERS) or path not in maps or inside in (1, every):
            yield from _units(child, maps, every, f"{path}.")
        elif inside:
            yield path


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(each, nn.Conv2d) for each in module.modules())


def _untrained(module: nn.Module) -> bool:
    if not isinstance(module, BATCH_NORMALISATION) or module.running_mean is None:
        return False
    mean, variance = module.running_mean, module.running_var
    return not bool(mean.any()) and variance is not None and bool(torch.all(variance == 1))
