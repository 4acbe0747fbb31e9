"""Checks that a rehearsed round changes no shared state: a process has one client trainer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch

from fedlab.clients.base import Received
from fedlab.config.signatures import is_ours
from fedlab.engine.rehearsal.watched_trainer import HOOKS, HookError, WatchedTrainer
from fedlab.models.anatomy.kept import changed, kept_by
from fedlab.records import Tensors
from fedlab.training.lists import copied

LEFT_OUT = frozenset({*HOOKS, "task", "parameters", "shared", "local"})
"""Attributes that are not compared: those of every client trainer, and the watched hooks."""


class StaysBehindError(HookError):
    """State that would leak from one client to the next; not retried with other clients."""


@contextmanager
def nothing_stays(watched: WatchedTrainer, received: Received, initial: Tensors) -> Generator[None]:
    """Compares shared state before and after a client's round, which runs within the context.

    Args:
        watched: The client trainer.
        received: What came down, shared by all clients.
        initial: The tensors of the network that all clients start from.

    Raises:
        StaysBehindError: If the round has changed any of these.
    """
    trainer, loss = watched.trainer, watched.trainer.task.loss
    own_loss = not is_ours(type(loss))
    # The network's own state is checked in `fedlab.engine.model_check`.
    network = {id(module) for module in trainer.task.model.modules()}
    out = LEFT_OUT | {name for name, value in vars(trainer).items() if id(value) in network}
    before, kept = kept_by(trainer, out), kept_by(loss) if own_loss else {}
    down = {record: copied(tensors) for record, tensors in received.arrays.items()}
    yield
    if names := changed(before, kept_by(trainer, out)):
        raise StaysBehindError(
            f"{watched.who_sets(names[0])} keeps '{names[0]}' in an attribute, and all clients "
            "of a process share one instance: it would go from client to client, and be gone after "
            "a resume; keep it in carry.extra (within a round) or in client_state (between "
            "rounds). What is the same for all clients belongs into __init__ or a "
            "functools.cached_property"
        )
    if own_loss and (names := changed(kept, kept_by(loss))):
        raise StaysBehindError(
            f"{type(loss).__name__} keeps '{names[0]}' in an attribute, and all clients of a "
            "process share one instance; what a loss keeps for a client is what its `start` "
            "returns and its `value` is given"
        )
    for record, tensors in down.items():
        if name := first_difference(tensors, received.arrays[record]):
            raise StaysBehindError(
                f"{type(trainer).__name__} writes to '{name}' of what came down ('{record}'), "
                "which all clients are given; clone a tensor before it is changed, as "
                "super().begin(...) does"
            )
    if name := first_difference(initial, trainer.task.initial):
        raise StaysBehindError(
            f"{type(trainer).__name__} changes '{name}' of self.task.model, from which all clients "
            "start; what a client trains are the tensors of its carry (self.task.outputs)"
        )


def first_difference(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> str:
    """Name of the first tensor that has changed; empty if there is none."""
    for name, tensor in before.items():
        other = after[name].to(tensor.device) if name in after else None
        if other is None or other.shape != tensor.shape:
            return name
        same = torch.equal(tensor, other) or torch.equal(
            tensor.nan_to_num() if tensor.is_floating_point() else tensor,
            other.nan_to_num() if other.is_floating_point() else other,
        )
        if not same:
            return name
    return ""
