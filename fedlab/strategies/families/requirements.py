"""Checks that refuse meaningless combinations of a method and a scenario before training."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedlab.errors import InputError
from fedlab.features.base import NoExtractor
from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import parts
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.head import CALL_ONE, find_head, why_no_head, why_unclear
from fedlab.models.normalisation import normalises
from fedlab.models.norms import NormPolicy, Removed, has_batch_norm, local_names
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


log = logging.getLogger("fedlab")


def refuse_if_nothing_stays(
    scenario: Experiment, model: nn.Module, policy: NormPolicy, kept: str
) -> None:
    """Refuses a network without the tensors that a method keeps local: it would be FedAvg.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        policy: Which tensors stay with the client.
        kept: What they are, in words.

    Raises:
        InputError: If no tensor stays.
    """
    if not local_names(model, policy):
        norm = scenario.model.norm
        layers = [module for module in model.modules() if normalises(module)]
        if policy is NormPolicy.SHARE_AFFINE:  # groups and layers have no statistics that could
            layers = [layer for layer in layers if list(layer.buffers())]
        if layers:
            raise InputError(
                f"strategy.name: {scenario.strategy.name} keeps {kept} local, and those of the "
                f"model '{scenario.model.name}' do not change in training; leave them out of what "
                "model.freeze and model.adapt hold still (adapt.also_learn), or use "
                "strategy.name=fedavg"
            )
        had = norm != "none" or any(isinstance(module, Removed) for module in model.modules())
        back = "model.norm=batch, or " * (norm != "batch" and had)
        raise InputError(
            f"strategy.name: {scenario.strategy.name} keeps {kept} local and the model "
            f"'{scenario.model.name}' with norm '{norm}' has none; use {back}a model "
            "that has some, such as small_cnn for images or cnn1d for signals (model.norm=batch), "
            "or strategy.name=fedavg"
        )


def refuse_base_with_a_base(base: StrategyParameters) -> None:
    """Refuses a method that goes in front of another one as the base of a third.

    Raises:
        InputError: With the remedy.
    """
    below = getattr(base, "base", None)
    if isinstance(below, StrategyParameters):
        raise InputError(
            f"strategy.base: '{base.name}' goes in front of '{below.name}' itself, and one method "
            "can stand before another, not two; choose a base such as fedavg or scaffold"
        )


def refuse_if_all_is_labelled(scenario: Experiment) -> None:
    """Refuses a semi-supervised method where every training sample has a label.

    Raises:
        InputError: If no sample is unlabelled, or the loss is one that needs all labels.
    """
    name = scenario.strategy.name
    if scenario.partition.label_budget.share == 1:
        raise InputError(
            f"strategy.name: {name} learns from unlabelled samples and "
            "partition.label_budget.share is 1, which leaves none; use a smaller share, such as "
            "partition.label_budget.share=0.2, or strategy.name=fedavg"
        )
    refuse_other_losses(scenario)


def refuse_other_losses(scenario: Experiment) -> None:
    """Refuses a `training.loss` beside a method that minimises its own loss.

    Raises:
        InputError: If the scenario's loss is not the default.
    """
    name, loss = scenario.strategy.name, scenario.training.loss.name
    if loss != "cross_entropy":
        raise InputError(
            f"strategy.name: {name} has its own loss, to which training.loss '{loss}' would "
            "make no difference; leave training.loss out"
        )


def refuse_without_head(scenario: Experiment, model: nn.Module, does: str) -> None:
    """Refuses a network whose outputs are not those of a dense layer.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        does: What the method does with that layer, in words ("replaces").

    Raises:
        InputError: If there is none.
    """
    if not gives_outputs(model):
        raise InputError(
            f"strategy.name: {scenario.strategy.name} {does} the last dense layer, and the model "
            f"'{scenario.model.name}' {why_no_outputs(model)}"
        )


def refuse_without_features(scenario: Experiment, model: nn.Module) -> None:
    """Refuses a network without layers before its head, whose features are the samples themselves.

    Raises:
        InputError: With the remedy.
    """
    none = find_head(model) is None
    if none or len(parts(model)) < 2:
        why = f"{why_no_head(model)}, or" if none else "has none;"
        raise InputError(
            f"strategy.name: {scenario.strategy.name} needs features, what a last dense layer is "
            f"given by the layers before it, and the model '{scenario.model.name}' {why} choose "
            "another model, such as mlp or small_cnn"
        )


def refuse_unclear_outputs(scenario: Experiment, model: nn.Module, does: str) -> None:
    """Refuses a network of which it is not known what its last layer is.

    Args:
        scenario: Names the strategy and the model.
        model: The network.
        does: What the method does with that layer, in words ("keeps local").

    Raises:
        InputError: With the reason and the remedies.
    """
    why = why_unclear(model)
    if why is not None:
        raise InputError(
            f"strategy.name: {scenario.strategy.name} {does} the last layer, and the model "
            f"'{scenario.model.name}' {why}, so that it is not known which that is; name it as "
            f"model.head, or {CALL_ONE}"
        )


def refuse_images(scenario: Experiment, model: nn.Module, does: str) -> None:
    """Refuses images for a method that works on the features of a frozen network.

    Args:
        scenario: Names the strategy and the data.
        model: The network.
        does: What the method does with features, in words ("draws new features").

    Raises:
        InputError: If the network runs on images, with the remedy.
    """
    data = scenario.data
    shape = data.channels, data.image_size, data.image_size
    if isinstance(data.features, NoExtractor) and runs_on(model, shape):
        raise InputError(
            f"strategy.name: {scenario.strategy.name} {does}, and the samples are images; set "
            "data.features (warm_up needs no download) and model=linear"
        )


def gives_outputs(model: nn.Module) -> bool:
    """Whether the outputs of the last dense layer are the network's, with no layer behind it."""
    head, observed = find_head(model), anatomy_of(model).observed
    if head is None or observed is None:
        return head is not None
    return observed.head_is_last and observed.head == head.path


def why_no_outputs(model: nn.Module) -> str:
    """Why `gives_outputs` is false, and the remedy, in words that follow "the model 'x'"."""
    head = find_head(model)
    if head is None:
        return why_no_head(model)
    return (
        f"computes its outputs from those of '{head.path}' by further steps, or of other layers; "
        "use a model that ends with that layer"
    )


def runs_on(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a network runs on a sample of that shape."""
    try:
        with torch.no_grad(), evaluation_mode(model):
            model(torch.zeros(1, *shape, dtype=next(model.parameters()).dtype))
    except (RuntimeError, ValueError, IndexError):
        return False
    return True


def refuse_batches_of_one(scenario: Experiment, model: nn.Module) -> None:
    """Refuses batches of a single sample where the network normalises over batches.

    Raises:
        InputError: With the remedies, of which FedWon is one.
    """
    if scenario.training.batch_size == 1 and has_batch_norm(model):
        raise InputError(
            f"training.batch_size: batches of 1 sample have no statistics, and the model "
            f"'{scenario.model.name}' has batch normalisation; use 2 or more, model.norm=group, or "
            "strategy.name=fedwon, which does without normalisation"
        )


def refuse_unless_plain_sgd(scenario: Experiment) -> None:
    """Refuses local optimisers whose steps do not determine a client's mean gradient.

    Raises:
        InputError: If the optimiser is not SGD, or has momentum.
    """
    optimizer, name = scenario.training.optimizer, scenario.strategy.name
    if optimizer.name != "sgd":
        wrong, remedy = f"name: '{optimizer.name}'", "name=sgd"
    elif optimizer.momentum:
        wrong, remedy = f"momentum: {optimizer.momentum:g}", "momentum=0"
    else:
        return
    raise InputError(
        f"training.optimizer.{wrong} does not go with {name}, which takes a client's mean gradient "
        f"from how far plain SGD went; use training.optimizer.{remedy}, or strategy.name=feddyn"
    )
