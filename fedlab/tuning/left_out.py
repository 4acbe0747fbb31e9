"""Leave one domain out: draws are judged by domains that no client has trained on.

In Search of Lost Domain Generalization, Gulrajani, Lopez-Paz, ICLR 2021, arXiv 2007.01434. Each
draw is trained once for each domain that clients own, without that domain. Its score is the mean
over these runs of the global model's metric on all training samples of the left-out domain.
Test samples, and domains that are unseen in the comparison, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedlab.adaptation.trained import open_trained
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.client_samples import samples_at
from fedlab.errors import InputError
from fedlab.preparation import Prepared
from fedlab.row import Split
from fedlab.runs.run import Run
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy
from fedlab.tuning.scores import Rule

NAME = "leave_one_domain_out"

UNTESTED: Mapping[str, Any] = {"evaluation.fraction": 0.0, "evaluation.domains": False}
"""What keeps a run from testing anything."""


@dataclass(frozen=True)
class LeftOutRule(Rule):
    """The global model of a run's last round, scored on the run's left-out domain.

    Attributes:
        load: Gives the samples of a run.
    """

    load: Callable[[DataSpec], FederatedData] = load_data

    def of_run(self, run: Run, split: Split | None = None) -> float:
        """The score on the left-out domain; NaN for tests, which are not done."""
        if split == "test" or not run.finished:
            return float("nan")
        trained = open_trained(run, self.load)
        runtime, name = trained.runtime, self.score.name
        domain = runtime.data.domain_names.index(run.scenario.data.unseen_domains[-1])
        rows = (runtime.data.train.domains == domain).nonzero()[0]
        samples = samples_at(runtime.data.train, rows, runtime.device)
        metrics = [metric for metric in runtime.metrics if metric.title == name]
        ((found,),) = runtime.score(trained.model(None), [samples], metrics)
        scores = dict(zip(runtime.data.target.always, (found.score, found.loss), strict=True))
        for metric in metrics:
            scores |= metric.compute(dict(found.counts[name]))
        return scores[name]


def domains_to_leave_out(scenario: Scenario, data: FederatedData) -> list[str]:
    """The domains that clients own, each of which is left out in turn.

    Raises:
        InputError: If the scenario does not go with the rule.
    """
    evaluation = scenario.evaluation
    if evaluation.select == "validation" or evaluation.patience is not None:
        key = "patience" if evaluation.select == "last" else "select"
        raise InputError(
            f"evaluation.{key}: {NAME} judges the last round on a domain that no client has, and "
            f"this chooses rounds by clients' own samples; use evaluation.{key}="
            f"{'null' if key == 'patience' else 'last'}, or --select validation"
        )
    names = [data.domain_names[index] for index in data.seen_domains]
    if len(names) < 2:
        raise InputError(
            f"select: {NAME} needs at least 2 domains that clients own, and here it is "
            f"{', '.join(names)} alone; choose by --select validation"
        )
    return names


def changes_without(scenario: Scenario, domain: str) -> dict[str, Any]:
    """The changes of a scenario that leave a domain out and skip tests.

    The left-out domain is the last of the unseen ones.
    """
    return {**UNTESTED, "data.unseen_domains": [*scenario.data.unseen_domains, domain]}


def restored(scenario: Scenario, kept: Mapping[str, Any]) -> Scenario:
    """A draw's scenario with all domains and tests.

    Args:
        scenario: The draw's.
        kept: What stood under the keys of `changes_without`.
    """
    values = scenario.model_dump(mode="json")
    for key, value in kept.items():
        block, _, name = key.partition(".")
        values[block][name] = value
    return Scenario.model_validate(values)


def refuse_without_global_model(prepared: Prepared) -> None:
    """Refuses a method without a global model to test on an unseen domain.

    Raises:
        InputError: With the remedy.
    """
    scenario = prepared.scenario
    if not build_strategy(scenario, prepared.model).has_global_model:
        raise InputError(
            f"select: {scenario.strategy.name} keeps tensors with its clients, so that it has no "
            "global model to test on a left-out domain; leave the method out, or choose by "
            "--select validation"
        )
