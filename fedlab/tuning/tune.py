"""Tuning with equal budgets for all methods, selection on validation, tests on fresh seeds.

tuning.yaml         what was asked for
draws/<run>/        a run for each method, draw and seed
ledger.csv          the score and cost of each of them
tuned.yaml          what was chosen for each method
comparison/         the chosen settings on fresh seeds (a folder of `fedlab.compare`)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from fedlab.comparison.arguments import split
from fedlab.comparison.compare import (
    check_groups,
    refuse_untested,
    run_all,
    shown,
    tasks_of,
)
from fedlab.comparison.comparison_folder import write_failures, write_plan
from fedlab.comparison.launch import memory_of_data
from fedlab.comparison.plan import checked_seeds, refuse_other_runs
from fedlab.comparison.run_worker import RunTask
from fedlab.comparison.tuned import Tuned
from fedlab.config import yaml_text
from fedlab.engine.start import check_resources
from fedlab.errors import InputError
from fedlab.files import write_whole
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.tracking.observer import check_trackers
from fedlab.tuning import left_out
from fedlab.tuning.final_runs import final_runs
from fedlab.tuning.halving import refuse_unmeasured
from fedlab.tuning.ledger import best_draws, ledger, write_ledger
from fedlab.tuning.plan_file import keep_plan, refuse_another_plan
from fedlab.tuning.result import COMPARISON, TUNED, Tuning
from fedlab.tuning.samplers import SamplerName
from fedlab.tuning.scores import rule_of
from fedlab.tuning.space import Space, default_space, read_space
from fedlab.tuning.trial_runs import is_finished, planned_run, run_trials, runs_of, score_of_draw
from fedlab.tuning.trials import Trial, TuningRequest, samplers_of, trials_of, value_of

FIRST_TUNING_SEED = 1000
"""Seeds of the draws count from here, so that none of them is a seed of the comparison."""

SHARE = 0.2
"""What is set aside for validation where the scenario says nothing of it."""

log = logging.getLogger("fedlab.comparison")

Select = Literal["validation", "leave_one_domain_out", "oracle"]


def tune(
    source: str | Path | Mapping[str, Any] | Scenario,
    strategies: Sequence[Any] | Any = (),
    budget: int = 20,
    seeds: int | Sequence[int] = 3,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    space: str | Path | Space | None = None,
    tuning_seeds: int = 1,
    select: Select = "validation",
    metric: str | None = None,
    halving: bool = False,
    sampler: SamplerName = "random",
    before: bool = False,
    out: str | Path | None = None,
    max_parallel: int | None = None,
    progress: bool | Console = True,
    **fields: Any,
) -> Tuning:
    """Tunes methods with the same budget, and compares them with their chosen values.

    Every method gets as many draws, each of as many rounds; draw 0 is the scenario as it stands.
    The draw with the best validation is chosen for each method and trained on fresh seeds. The same
    call again goes on where it was stopped, and comes to the same bytes.

    Args:
        source: A scenario, its file, or the name of one that comes with fedlab.
        strategies: Methods, as `fedlab.compare` takes them.
        budget: Draws for each method.
        seeds: Seeds of the comparison: how many (from 0), or which.
        overrides: Changes for all runs.
        space: What is drawn, or a YAML file that says so (`fedlab.tuning.space.read_space`); by
            default the learning rate, and what each method declares.
        tuning_seeds: Seeds of each draw, from 1000 on; a draw's score is the mean over them.
        select: ``validation``; ``leave_one_domain_out``, by domains that no client has trained on
            (`fedlab.tuning.left_out`), at the cost of a run for each domain that clients own; or
            ``oracle``, which chooses on test data, and is no result.
        metric: What is chosen by; by default the first of the scenario's metrics.
        halving: Whether the worse half of a method's draws is given up after a quarter, and again
            after half, of the rounds.
        sampler: ``random``, whose draws are the same for all methods in what they share; or one of
            Optuna's (``tpe``, ``gp``, ``cmaes``, ``qmc``; extra ``tune``), which propose from the
            scores of each method's earlier draws.
        before: Whether every method is also compared as the scenario has it.
        out: Folder of the tuning; by default one inside ``output.dir``, named after the scenario.
        max_parallel: Runs at the same time, at most.
        progress: Whether to show how it goes, or the console to show it on.
        **fields: Changes of top-level fields for all runs, such as ``rounds=10``.

    Raises:
        InputError: If anything asked for cannot be done; nothing was started.
    """
    own, final = _seeds(tuning_seeds, seeds)
    if budget < 1:
        raise InputError(f"budget: {budget} draws are none; give at least 1")
    if max_parallel is not None and max_parallel < 1:
        raise InputError(f"max_parallel: {max_parallel} is no number of runs; give at least 1")
    given = list(strategies) if isinstance(strategies, list | tuple) else [strategies]
    listed = [s for one in given for s in (split(one) if isinstance(one, str) else [one])]
    asked = TuningRequest(source, listed, overrides, fields)
    first = asked.scenario(listed[0] if listed else None, {}, own[0])
    if select == "validation" and first.evaluation.validation is None:
        log.info(
            "%g of every client's training samples are set aside to choose by "
            "(evaluation.validation.share)",
            SHARE,
        )
        asked = replace(asked, standard={"evaluation.validation.share": SHARE})
        first = asked.scenario(listed[0] if listed else None, {}, own[0])
    _refuse_unscored(first, select)
    rule = rule_of(first, metric, select == "oracle")
    chosen_space = _space(space, first)
    if sampler != "random" and halving:
        raise InputError(
            f"halving: {sampler} proposes from what whole runs came to, and halving ends runs "
            "before; leave one of the two out"
        )
    if halving and select != left_out.NAME:
        refuse_unmeasured(first, rule.split)
    if select == left_out.NAME and halving:
        raise InputError(
            f"halving: {select} judges finished runs, and halving ends runs before; leave one of "
            "the two out"
        )
    load = memory_of_data()
    without: dict[str, Mapping[str, Any]] = {}
    if select == left_out.NAME:
        rule = left_out.LeftOutRule(rule.score, load=load)
        names = left_out.domains_to_leave_out(first, load(first.data))
        without = {name: left_out.changes_without(first, name) for name in names}
    methods = samplers_of(asked, chosen_space, sampler, own[0])

    def drawn(numbers: Iterable[int]) -> list[Trial]:
        return [
            trial
            for number in numbers
            for strategy, method, proposes in methods
            for trial in trials_of(
                asked,
                chosen_space,
                strategy,
                method,
                number,
                proposes.propose(number),
                own,
                without,
            )
        ]

    # What a sampler proposes depends on earlier scores, except for the first draw.
    every = drawn(range(budget) if sampler == "random" else [0])
    folder = Path(out) if out else first.output.dir / f"{first.name}-tuning"
    check_resources(first)
    check_trackers(first)
    plan = {
        "methods": list(dict.fromkeys(trial.method for trial in every)),
        "budget": budget,
        "tuning_seeds": own,
        "select": select,
        "metric": rule.score.name,
        "sign": rule.score.sign,
        "halving": halving,
        "sampler": sampler,
        "space": chosen_space.to_yaml(),
    }
    if without:
        keys = next(iter(without.values()))
        plan["left_out"] = list(without)
        plan["kept"] = {key: value_of(first, key) for key in keys}
    refuse_another_plan(folder, plan)  # before its runs, whose values differ for that reason
    refuse_other_runs([planned_run(trial) for trial in every], folder)
    begun = [trial for trial in every if trial.number == 0 and not is_finished(trial, folder)]
    firsts = [planned_run(trial) for trial in begun]
    with shown(progress, len(firsts), len(firsts)):
        if without:
            check_groups(firsts, load, left_out.refuse_without_global_model)
        elif select == "oracle":
            check_groups(firsts, load, refuse_untested)
        else:
            check_groups(firsts, load)
    keep_plan(folder, plan)

    def train(tasks: Sequence[RunTask]) -> dict[str, str]:
        with shown(progress, len(tasks), len(tasks)) as watch:
            return run_all(tasks, load, watch, max_parallel)

    reasons = run_trials(every, folder, train, rule, halving)
    for number in range(1, budget if sampler != "random" else 1):
        for _, method, proposes in methods:
            proposes.tell(number - 1, score_of_draw(every, folder, method, number - 1, rule))
        new = drawn([number])
        refuse_other_runs([planned_run(trial) for trial in new], folder)
        every += new
        reasons |= run_trials(new, folder, train, rule, halving=False)
    every.sort(key=lambda trial: [method for _, method, _ in methods].index(trial.method))
    frame = ledger(every, runs_of(every, folder), reasons, rule)
    write_ledger(frame, folder)
    best = best_draws(frame, "oracle" if select == "oracle" else "score", rule.score.sign)
    values = {t.method: dict(t.values) for t in every if t.number == best[t.method]}
    write_whole(folder / TUNED, yaml_text.write(values))
    winners = final_runs(asked, values, final, before)
    target = folder / COMPARISON
    refuse_other_runs(winners, target)
    left = [one for one in winners if not RunFolder(target / one.entry.folder).finished]
    check_groups(left, load, refuse_untested)
    how = Tuned(budget, select, rule.score.name)
    write_plan(target, [one.entry for one in winners], None, tuned=how)
    write_failures(target, train(tasks_of(left, target)))
    return Tuning.open(folder)


def _refuse_unscored(scenario: Scenario, select: Select) -> None:
    """Refuses runs that would end without a number to choose by."""
    evaluation = scenario.evaluation
    if select == "validation" and evaluation.fraction == 0:
        raise InputError(
            "evaluation.fraction: 0 lets no client validate, and the best draw is chosen by "
            "clients' validation; set evaluation.fraction=1, or choose by --select "
            "leave_one_domain_out"
        )
    if select == left_out.NAME and evaluation.fraction == 0 and not evaluation.domains:
        raise InputError(
            "evaluation.fraction: 0 and evaluation.domains=false test nothing, and what is chosen "
            "is compared by tests; set evaluation.domains=true"
        )


def _seeds(tuning_seeds: int, seeds: int | Sequence[int]) -> tuple[list[int], list[int]]:
    """The seeds of the draws and those of the comparison, which are disjoint."""
    if tuning_seeds < 1:
        raise InputError(f"tuning_seeds: {tuning_seeds} is no number of seeds; give at least 1")
    own = [FIRST_TUNING_SEED + number for number in range(tuning_seeds)]
    final = checked_seeds(seeds)
    if both := set(own) & set(final):
        raise InputError(
            f"seeds: {min(both)} is a seed of the tuning, which would be tested on what it was "
            f"tuned with; choose seeds below {FIRST_TUNING_SEED}"
        )
    return own, final


def _space(space: str | Path | Space | None, scenario: Scenario) -> Space:
    if space is None:
        return default_space(scenario)
    return space if isinstance(space, Space) else read_space(space, scenario)
