"""The mean of the other clients' last local models, which ascent starts from.

Federated Unlearning: How to Efficiently Erase a Client in FL?, Halimi, Kadhe, Rawat, Baracaldo,
2022, arXiv 2207.05521. Of N clients with equal weights, w_ref = (N w - w_i) / (N - 1); with weights
p_k, w_ref = (w - p_i w_i) / (1 - p_i), where w is the global model and w_i the client's last local
one.
"""

from __future__ import annotations

from typing import NamedTuple

from fedlab.clients.base import Received
from fedlab.errors import InputError
from fedlab.records import Tensors
from fedlab.runs.checkpoint import Checkpoint
from fedlab.runs.run_folder import RunFolder
from fedlab.unlearning.forgetting_cost import client_rounds
from fedlab.unlearning.request import RETRAIN, Request, saved


class Reference(NamedTuple):
    """Where ascent starts.

    Attributes:
        model: w_ref, by first names.
        local: w_i, likewise.
        share: The client's share p_i of the mean.
        exact: Whether w_i went into w, so that w_ref is the mean of the others' last local models.
        steps: Steps that the client took for w_i beside those of the run; 0 if exact.
    """

    model: Tensors
    local: Tensors
    share: float
    exact: bool
    steps: int


def without_local(mean: Tensors, local: Tensors, share: float) -> Tensors:
    """(mean - share local) / (1 - share), tensor by tensor; those of whole numbers stay."""
    return {
        name: (tensor - share * local[name]) / (1 - share)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in mean.items()
    }


def reference_model(asked: Request, checkpoint: Checkpoint) -> Reference:
    """The reference model of a run.

    A client that trained in the round of the run's model has its local model still: it is computed
    again from the checkpoint before. Otherwise the client trains one round from the run's model,
    and w_ref is what the mean would be without that; running statistics stay as they are.

    Args:
        asked: What is to be forgotten.
        checkpoint: The state of the server at the run's model.

    Raises:
        InputError: If the server's model is no mean of the clients' models.
    """
    run, last = asked.run, asked.model_round
    _refuse_other_means(asked, checkpoint)
    rounds = client_rounds(run.history)
    of_last = rounds[rounds["round"] == last]
    before = None
    if asked.client in of_last["client"].to_numpy():
        before = _before(asked, last)
    exact = before is not None
    server_round = last if exact else run.rounds + 1
    strategy = asked.strategy(before if before is not None else checkpoint.server)
    device, runtime = asked.trained.runtime.device, asked.trained.runtime
    sent = {
        record: {name: tensor.to(device) for name, tensor in tensors.items()}
        for record, tensors in strategy.broadcast(server_round).items()
    }
    standard = {"server-round": server_round, "rounds": run.rounds}
    received = Received(sent, {**standard, **strategy.config(server_round)})
    update, metrics = runtime.train(asked.client, received, {})
    local = dict(update.arrays["arrays"])
    mean = {name: tensor.to(device) for name, tensor in checkpoint.server["arrays"].items()}
    examples = (of_last if exact else rounds.drop_duplicates("client", keep="last"))["examples"]
    if strategy.parameters.weighting == "examples":
        share = float(metrics["num-examples"]) / float(examples.sum())
    else:
        share = 1 / len(examples)
    learnt = set(runtime.trainer.task.anatomy.learning)
    kept = set(runtime.trainer.task.anatomy.kept_whole)
    moved = {n: t for n, t in mean.items() if (exact or n in learnt) and n not in kept}
    model = {**mean, **without_local(moved, local, share)}
    return Reference(model, local, share, exact, 0 if exact else int(metrics["steps"]))


def _before(asked: Request, last: int) -> dict[str, Tensors] | None:
    """The server's state before the last round; None where its checkpoint is gone."""
    if last > 1:
        found = saved(RunFolder(asked.run.folder).checkpoints, last - 1)
        return None if found is None else found.server
    strategy = asked.strategy({})
    strategy.initialise(dict(asked.trained.runtime.trainer.task.model.state_dict()))
    return strategy.state


def _refuse_other_means(asked: Request, checkpoint: Checkpoint) -> None:
    scenario, strategy = asked.run.scenario, asked.strategy(checkpoint.server)
    if not scenario.updates.is_plain:
        what = f"updates: {scenario.updates.rule.name}, {scenario.updates.compression.name}"
    elif strategy.overrides("aggregate", "weight", "weighted_mean", "aggregate_train"):
        what = scenario.strategy.name
    else:
        return
    raise InputError(
        "--method: projected_ascent takes the client's model out of a mean of models, and this run "
        f"makes the next model in another way ({what}); use --method label_agnostic, or {RETRAIN}"
    )
