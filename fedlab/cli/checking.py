"""The verb that shows how fedlab reads a network: check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedlab.cli.app import Changing, Overrides, app, out
from fedlab.errors import InputError

if TYPE_CHECKING:
    from fedlab.scenario import Scenario


@app.command(cls=Changing, rich_help_panel="Look before you train")
def check(
    source: Annotated[str, typer.Argument(metavar="SCENARIO")] = "smoke",
    overrides: Overrides = None,
) -> None:
    """Show what is understood of a scenario's network, and compare a step with plain PyTorch.

    SCENARIO is a file or a name; left out, the network meets the samples of smoke. Nothing is
    trained; a network that would go wrong is refused.

    [dim]fedlab check domain_skew
    fedlab check domain_skew model=torchvision.models:resnet18
    fedlab check model=nets:Net[/dim]
    """
    from fedlab.scenario_file import load_scenario

    if "=" in source:
        source, overrides = "smoke", [source, *(overrides or ())]
    table = Table(show_header=False, box=None)
    for what, found in _rows(load_scenario(source, overrides or ())):
        table.add_row(what, found)
    out.print(table)


def _rows(scenario: Scenario) -> Iterator[tuple[str, str]]:
    from fedlab.data.preprocess import Preprocess
    from fedlab.data.trial_samples import trial_samples
    from fedlab.engine.execution.build_trainer import client_trainer_of, tried_trainer
    from fedlab.engine.execution.mode import from_rule
    from fedlab.engine.step_trial import StepTrial
    from fedlab.models.adapters.adapter_checks import adapted_layers
    from fedlab.models.anatomy import anatomy_of
    from fedlab.models.head import find_head
    from fedlab.models.normalisation import normalises
    from fedlab.models.pretrained.transfer import transfer_of
    from fedlab.preparation import prepare

    if len(scenario.networks) > 1:
        raise InputError(
            "model.per_client: `fedlab check` looks at one network; give it one of them, such as "
            f"model={scenario.networks[0].model.name}"
        )
    prepared = prepare(scenario)
    scenario = prepared.scenario
    model, data = prepared.model, prepared.data
    anatomy, head = anatomy_of(model), find_head(model)
    samples = trial_samples(data, Preprocess(scenario.data, data))
    trainer = client_trainer_of(scenario, model, len(data.class_names), data.target)
    trainer, _ = tried_trainer(trainer, scenario, samples)
    sizes = {name: tensor.numel() for name, tensor in model.named_parameters()}
    layers = [path for path, module in model.named_modules() if normalises(module)]
    seen = anatomy.observed
    yield "learn", _count(anatomy.learning, sizes)
    yield "frozen", _count(anatomy.frozen, sizes)
    yield "starts from", str(transfer_of(model) or "random values")
    yield "adapters", _some(list(adapted_layers(model)))
    yield "tied", _some([f"{name} = {first}" for name, first in anatomy.aliases.items()])
    yield "buffers", _some([f"{name}: {role}" for name, role in anatomy.buffers.items()])
    yield "head", head.path or "the network itself" if head else "none"
    yield "normalisation", _some(layers)
    yield "draws random numbers", _answer(seen and seen.random)
    yield "mixes samples in training", _answer(seen and seen.mixes_in_training)
    yield "mixes samples in tests", _answer(seen and seen.mixes_in_tests)
    yield "training", str(from_rule(scenario.engine, trainer, "cpu", scenario.cohort_size))
    trial = StepTrial(trainer.task, samples, scenario.model.name)
    difference = trial.compare(trial.clients(trainer.task))
    yield "one step and plain PyTorch", str(difference or "nothing to compare")


def _count(names: tuple[str, ...], sizes: dict[str, int]) -> str:
    return f"{len(names)} tensors, {sum(sizes[name] for name in names):,} numbers"


def _some(found: list[str], most: int = 6) -> str:
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more or "none"


def _answer(found: bool | None) -> str:
    return "not known" if found is None else "yes" if found else "no"
