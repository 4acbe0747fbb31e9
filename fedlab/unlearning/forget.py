"""Forgetting: a finished run's model loses what one client has taught it.

Two ways change the model and let the remaining clients train on from there:
`fedlab.unlearning.projected_ascent` and `fedlab.unlearning.label_agnostic`. The reference is a run
from the first round on without the client (``retrain``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from fedlab.adaptation.choice import above_zero, one_of
from fedlab.adaptation.trained import Trained
from fedlab.errors import InputError
from fedlab.records import Tensors, tensor_bytes
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.simulation import simulate
from fedlab.unlearning import label_agnostic
from fedlab.unlearning import projected_ascent as ascent
from fedlab.unlearning.forgetting_cost import Cost, expected_cost, training_cost
from fedlab.unlearning.forgetting_scores import Scores, score
from fedlab.unlearning.reference_model import reference_model
from fedlab.unlearning.request import Request, changeable, request
from fedlab.unlearning.unlearnt_run import recover, recovery, retraining, steps_left

if TYPE_CHECKING:
    import pandas

Method = Literal["projected_ascent", "label_agnostic", "retrain"]

OPTIONS: dict[Method, type[Any]] = {
    "projected_ascent": ascent.Options,
    "label_agnostic": label_agnostic.Options,
}


class Forgotten(NamedTuple):
    """A run without a client.

    Attributes:
        run: The new run.
        stages: Scores by stage: ``before`` (the old run), ``unlearnt`` (before recovery), ``after``
            (the new run) and, where it was asked for, ``retrained``.
        cost: What forgetting has cost, recovery included.
        retraining: What retraining costs; what is expected of it where it was not done.
        retrained: The run that was trained without the client; None where it was not asked for.
        remarks: What else is to be said, in words.
    """

    run: Run
    stages: dict[str, Scores]
    cost: Cost
    retraining: Cost
    retrained: Run | None
    remarks: list[str]

    @property
    def shares(self) -> tuple[float, float]:
        """Steps and bytes, as shares of those of retraining."""
        done, again = self.cost, self.retraining
        return done.steps / again.steps, done.bytes / again.bytes

    @property
    def table(self) -> pandas.DataFrame:
        """One row per stage and score: ``stage``, ``score``, ``value``, ``low``, ``high``.

        The scores: ``forgotten``, ``client_tests``, ``others_tests`` (accuracy) and ``membership``
        (area under the ROC curve, with its 95 % interval), ``steps`` and ``bytes``.
        """
        import pandas

        nan, rows = float("nan"), list[tuple[str, str, float, float, float]]()
        for stage, found in self.stages.items():
            for name in ("forgotten", "client_tests", "others_tests"):
                rows.append((stage, name, getattr(found, name), nan, nan))
            rows.append((stage, "membership", *found.membership[:3]))
        for stage, cost in (("after", self.cost), ("retrained", self.retraining)):
            rows += [(stage, name, float(getattr(cost, name)), nan, nan) for name in COSTS]
        return pandas.DataFrame(rows, columns=["stage", "score", "value", "low", "high"])


COSTS = ("steps", "bytes")


def forget(
    run: Run,
    client: int,
    *,
    samples: str | None = None,
    method: Method = "projected_ascent",
    recovery_rounds: int | None = None,
    against_retraining: bool = False,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Forgotten:
    """Makes a run whose model has forgotten a client, and tests what it still knows.

    Args:
        run: A finished run.
        client: The client's index.
        samples: Some of its training samples alone (`fedlab.unlearning.chosen_samples`):
            a share of them, indices into the training pool, or a class.
        method: ``projected_ascent``, ``label_agnostic`` or ``retrain``.
        recovery_rounds: Rounds of the remaining clients after the model was changed; 2 by default.
        against_retraining: Whether to train without the client from the first round on, too, in the
            folder ``<out>-retrained``.
        out: Folder of the new run; by default beside the old one, with ``-without-<client>`` (or
            ``-without-<client>-samples``) at the end of its name.
        seed: Seed of everything that the method draws.
        progress: Whether to show how rounds go.
        **options: Of the method, None for its default
            (`fedlab.unlearning.projected_ascent.Options`,
            `fedlab.unlearning.label_agnostic.Options`).

    Raises:
        InputError: If the client cannot be forgotten so (`fedlab.unlearning.request`), an option is
            not the method's or out of range, or the folder cannot be used.
        RunError: If a round fails.
    """
    one_of(method, get_args(Method), "--method")
    chosen = _options(method, options, recovery_rounds, against_retraining)
    asked = request(run, client, samples, seed)
    target = Path(out) if out else run.folder.with_name(run.folder.name + asked.suffix)
    beside = target.with_name(f"{target.name}-retrained")
    for folder in (target, beside)[: 1 + against_retraining]:
        RunFolder.refuse_used(folder)
    stages = {"before": score(asked, asked.trained.model(None))}
    again, down = retraining(asked), _bytes_down(asked)
    cohort = _cohort(asked)
    if method == "retrain":
        done = simulate(again, out=target, progress=progress)
        cost = training_cost(done, down)
        stages["after"] = _scored(asked, done)
        return Forgotten(done, stages, cost, cost, None, [])
    rounds = 2 if recovery_rounds is None else recovery_rounds
    scenario = recovery(asked, method, rounds)
    state, cost, remarks = _change(asked, method, chosen, seed)
    stages["unlearnt"] = score(asked, {**asked.trained.model(None), **state})
    note = {
        "run": str(run.folder),
        "client": client,
        "samples": None if asked.samples is None else asked.samples.tolist(),
        "method": method,
        **chosen._asdict(),
        "recovery_rounds": rounds,
        "seed": seed,
    }
    done = recover(asked, state, scenario, target, note, progress)
    cost += training_cost(done, down)
    stages["after"] = _scored(asked, done)
    left = steps_left(asked)
    expected, retrained = expected_cost(run, asked.remaining, cohort, down, left), None
    if against_retraining:
        retrained = simulate(again, out=beside, progress=progress)
        expected = training_cost(retrained, down)
        stages["retrained"] = _scored(asked, retrained)
    return Forgotten(done, stages, cost, expected, retrained, remarks)


def _change(
    asked: Request, method: Method, options: Any, seed: int
) -> tuple[Tensors, Cost, list[str]]:
    """The server's tensors without the client, what that costs, and what is to be said of it."""
    checkpoint = changeable(asked)
    if method == "label_agnostic":
        device = asked.trained.runtime.device
        sent = {name: tensor.to(device) for name, tensor in checkpoint.server["arrays"].items()}
        changed = label_agnostic.forget_features(asked, sent, options, seed)
        remarks = [f"features: {changed.steps} steps of the layers before the head"]
        return changed.model, changed.cost, remarks
    model = tensor_bytes(checkpoint.server["arrays"])
    reference = reference_model(asked, checkpoint)
    found = ascent.ascend(asked, reference, options, seed)
    origin = "took part in the last round" if reference.exact else "trained one round more for that"
    remarks = [
        f"reference: the model without the client's share of {reference.share:.3f}; it {origin}",
        f"ascent: {found.steps} steps, distance {found.distance:.3g} of at most {found.radius:.3g} "
        "from the mean of the others",
    ]
    return found.model, Cost(found.steps + reference.steps, 2 * model), remarks


def _scored(asked: Request, run: Run) -> Scores:
    return score(asked, Trained(run, asked.trained.runtime).model(None))


def _bytes_down(asked: Request) -> int:
    """Bytes that go down to a client that trains."""
    strategy = asked.strategy({})
    strategy.initialise(dict(asked.trained.runtime.trainer.task.model.state_dict()))
    return sum(tensor_bytes(tensors) for tensors in strategy.broadcast(1).values())


def _cohort(asked: Request) -> int:
    """Clients of a round without the client."""
    return round(asked.scenario.participation.fraction * len(asked.remaining))


def _options(
    method: Method, given: dict[str, Any], recovery_rounds: int | None, against: bool
) -> Any:
    """The method's options, defaults filled in.

    Raises:
        InputError: If one is another method's, or out of range.
    """
    stated = {name: value for name, value in given.items() if value is not None}
    own = OPTIONS[method]._fields if method in OPTIONS else ()
    for name, value in stated.items():
        flag = f"--{name.replace('_', '-')}"
        if name not in own:
            owners = [each for each, kind in OPTIONS.items() if name in kind._fields]
            raise InputError(
                f"{flag}: {method} has no such option, {' and '.join(owners) or 'no method'} has; "
                "leave it out"
            )
        above_zero(value, flag)
    if method == "retrain":
        if recovery_rounds is not None or against:
            flag = "--against-retraining" if against else "--recovery-rounds"
            raise InputError(f"{flag}: retrain is the reference and has no recovery; leave it out")
        return ()
    if recovery_rounds is not None and recovery_rounds < 1:
        raise InputError(
            f"--recovery-rounds: {recovery_rounds} must be 1 or more: a changed model is no good "
            "before the remaining clients have trained it"
        )
    return OPTIONS[method](**stated)
