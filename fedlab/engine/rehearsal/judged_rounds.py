"""Remarks on how a scenario lets validation judge its rounds, known before the first one."""

from __future__ import annotations

from fedlab.scenario import Scenario


def judging_remarks(scenario: Scenario) -> list[str]:
    """What a reader of ``evaluation.select`` and ``evaluation.patience`` would not expect.

    Args:
        scenario: The experiment.
    """
    spec = scenario.evaluation
    asks = ["select=validation"] * (spec.select == "validation")
    asks += [f"patience={spec.patience}"] * (spec.patience is not None)
    remarks = []
    if asks and spec.fraction < 1:
        remarks.append(
            f"evaluation.fraction={spec.fraction:g} lets other clients judge each round, so that a "
            f"round may be better by its clients alone (evaluation.{' and '.join(asks)}); set "
            "evaluation.fraction=1"
        )
    evaluated = -(-scenario.rounds // spec.every)
    if spec.patience is not None and spec.patience >= evaluated - 1:
        remarks.append(
            f"evaluation.patience={spec.patience} cannot end the run early, for {scenario.rounds} "
            f"rounds are evaluated {evaluated} time{'s' * (evaluated > 1)} (evaluation.every="
            f"{spec.every}); use a smaller patience or every, or leave it out"
        )
    return remarks
