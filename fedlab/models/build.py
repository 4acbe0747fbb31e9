"""Builds a scenario's network, with the same initial values in every process."""

from __future__ import annotations

import torch
from torch import nn

from fedlab import rng
from fedlab.data.trial_samples import placeholder
from fedlab.errors import FedlabError, InputError, format_error
from fedlab.models.adapters.adapter_checks import adapted_layers, refuse_lost_adapters
from fedlab.models.anatomy import anatomy_of, study
from fedlab.models.anatomy.observed import Observed
from fedlab.models.norms import convert_normalisation, has_batch_norm
from fedlab.models.output_check import check_module, head_of
from fedlab.models.pretrained.starting_point import prepare_start, starts_plainly
from fedlab.models.pretrained.transfer import keep_transfer
from fedlab.models.spec import ModelSpec
from fedlab.strategies.parameters import StrategyParameters


def build_model(
    spec: ModelSpec,
    strategy: StrategyParameters,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    samples: torch.Tensor | None = None,
    observed: Observed | None = None,
) -> nn.Module:
    """Builds, initialises, adapts and analyses a network.

    Trained weights, frozen parameters and adapters come before the strategy adapts it (see
    `fedlab.models.pretrained.starting_point`): what a method adds starts anew, and learns.

    Layers that two choices of ``norm`` or of the strategy have in common start from the same
    values; PyTorch's global generators are neither read nor advanced.

    Args:
        spec: The network.
        strategy: The method, which may adapt the network.
        input_shape: Shape of one sample, with its vocabulary where it is one of ids
            (`fedlab.data.sample_shape.SampleShape`).
        classes: Number of outputs.
        seed: The scenario's seed.
        samples: Two samples for a trial run, shape (2, ...), as clients read them; by default
            `placeholder`.
        observed: Observations of the same network in another process, which replace the trial run;
            not used for the run before the strategy adapts the network.

    Raises:
        InputError: If the network cannot be built, does not accept inputs of that shape, or has no
            normalisation layer that ``norm`` could replace.
    """
    with rng.torch_seed(seed, "model"):
        try:
            model = check_module(spec, spec.network(input_shape, classes))
        except FedlabError:
            raise
        except Exception as error:  # a user's class may raise anything
            raise InputError(
                f"model '{spec.name}' cannot be made for samples of shape {input_shape} and "
                f"{classes} classes: {format_error(error)}; mend it, or the parameters that it is "
                "given"
            ) from error
        if spec.norm in ("group", "layer") and not has_batch_norm(model):
            raise InputError(
                f"model.norm '{spec.norm}' cannot be had: model '{spec.name}' has no normalisation "
                "layer to replace; leave model.norm out"
            )
        few = placeholder(input_shape) if samples is None else samples
        model, head = convert_normalisation(model, spec.norm), head_of(spec, model)
        adapts = type(strategy).adapt is not StrategyParameters.adapt
        if not starts_plainly(spec):
            known = None if adapts else observed
            prepare_start(spec, model, anatomy_of(study(model, few, head, known)).head, seed)
        if not adapts:
            return study(model, few, head, observed)
        layers = adapted_layers(model)
        adapted = strategy.adapt(study(model, few, head))
        refuse_lost_adapters(layers, adapted, strategy.name)
        keep_transfer(model, adapted)
        return study(adapted, few, _adapted_head(adapted, head))


def _adapted_head(adapted: nn.Module, head: str | None) -> str | None:
    """The path of a stated head after a method has put layers in front of it, or in its place.

    None if what is in its place does not end with a dense layer: the network is then looked at.
    """
    layers = dict(adapted.named_modules())
    while isinstance(layers.get(head or ""), nn.Sequential) and head:
        head = f"{head}.{len(layers[head]) - 1}"  # type: ignore[arg-type]
    return head if head and isinstance(layers.get(head), nn.Linear) else None
