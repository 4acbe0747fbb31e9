"""The starting point of training: trained values, adapters, frozen parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fedlab import rng
from fedlab.errors import InputError
from fedlab.models.adapters.base import Adapter, NoAdapter
from fedlab.models.pretrained.spec import WeightsFile
from fedlab.models.pretrained.still import freeze, hold
from fedlab.models.pretrained.transfer import transfer, without_prefix
from fedlab.models.pretrained.weight_files import read_weights_file
from fedlab.models.spec import ModelSpec


def starts_plainly(spec: ModelSpec) -> bool:
    """Whether a network starts from random values and learns as a whole."""
    said = spec.said("weights"), spec.said("freeze"), spec.said("adapt")
    return said[:2] == ("none", "none") and isinstance(said[2], NoAdapter)


def prepare_start(spec: ModelSpec, model: nn.Module, head: str | None, seed: int) -> None:
    """Adds adapters, freezes parameters and copies trained weights, as a scenario says.

    Args:
        spec: The scenario's ``model`` block.
        model: The network; changed in place.
        head: The path of its head; None if it has none.
        seed: The scenario's seed.

    Raises:
        InputError: If any of it cannot be done.
    """
    weights, adapter = spec.said("weights"), spec.said("adapt")
    of_head: list[str] = []
    if head is not None:
        layer = model.get_submodule(head)
        of_head = [f"{head}.{n}" if head else n for n, _ in layer.named_parameters()]
    before = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if isinstance(adapter, NoAdapter):
        freeze(model, spec.said("freeze"), of_head)
    else:
        _adapt(adapter, model, head, of_head, seed)
    if weights != "none":
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        _load(spec, model, of_head, [name for name in names if name not in before])


def _adapt(
    adapter: Adapter, model: nn.Module, head: str | None, of_head: Sequence[str], seed: int
) -> None:
    """Adds adapters; they and the head are all that learns."""
    with rng.torch_seed(seed, "adapters"):
        learn = {*adapter.add_to(model, head), *of_head}
    if not of_head:
        raise InputError(
            "model.adapt: adapters learn together with the head, and the model has no dense layer "
            "that its outputs come from; name it as model.head"
        )
    rest = [name for name, _ in model.named_parameters() if name not in learn]
    hold(model, rest, everything_else=True)


def _load(spec: ModelSpec, model: nn.Module, head: Sequence[str], own: Sequence[str]) -> None:
    """Copies trained weights into a network.

    Args:
        spec: The scenario's ``model`` block.
        model: The network.
        head: Names of the head's parameters.
        own: Names of the adapters' parameters.
    """
    weights = spec.said("weights")
    if not isinstance(weights, WeightsFile):
        tensors = spec.pretrained_weights()
        transfer(model, tensors, f"the pretrained weights of '{spec.name}'", head=head, own=own)
        return
    source = f"'{weights.file}'"
    tensors = read_weights_file(weights.file, weights.digest)
    if weights.prefix:
        tensors = without_prefix(tensors, weights.prefix, source)
    transfer(model, tensors, source, head=head, own=own, strict=weights.strict)
