"""Runs the beginning of a local round with a user's own method before training.

Otherwise an error in it would fail every client of the first round, after all other preparation.
The first round's message must be known in advance: methods that query clients before the first
round, or whose strategy overrides `configure_train`, are not rehearsed.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from flwr.app import MetricRecord

from fedlab import accelerator
from fedlab.clients.base import ClientTrainer, Received, Update
from fedlab.config.signatures import is_ours
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.batch_schedule import Portion
from fedlab.engine.execution.client_samples import training_samples
from fedlab.engine.execution.sequential import train_one
from fedlab.engine.rehearsal.answer_checks import AnswerChecks
from fedlab.engine.rehearsal.left_behind import StaysBehindError, nothing_stays
from fedlab.engine.rehearsal.sent_forms import taken_by
from fedlab.engine.rehearsal.watched_trainer import WatchedTrainer, own_files, place_of
from fedlab.errors import InputError, format_error, is_own_frame
from fedlab.federation.record_layout import Layout
from fedlab.losses.base import Loss
from fedlab.methods import client_trainer_class, strategy_class
from fedlab.models.anatomy.observed import same_chance
from fedlab.models.copies import copy_of
from fedlab.partition.partition import Partition
from fedlab.records import to_record
from fedlab.scenario import Scenario
from fedlab.server_app import server_settings
from fedlab.strategies.base import Strategy
from fedlab.training.lists import copied

FEW = Portion(steps=2, rows=8)
"""The part of each phase that is run first, as it is fast."""

WHOLE = Portion(steps=2)
"""The part that has to fail, too: a method may need full batches."""

CLIENTS = 3
"""Number of clients for which it has to fail: a method may refuse one."""


def rehearse(
    scenario: Scenario, data: FederatedData, partition: Partition, trainer: ClientTrainer
) -> None:
    """Runs the beginning of a first local round, if the method or the loss is a user's own.

    Checks the return values of hooks (see `answer_checks`) and the trainer's attributes (see
    `left_behind`). The results are discarded, and no random generator is advanced.

    Args:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        trainer: The method's client trainer; not changed.

    Raises:
        InputError: If it fails for every client that was tried, or if state would leak from one
            client to the next.
    """
    own = not (is_ours(type(trainer)) and is_ours(type(scenario.training.loss)))
    # A trainer that was written for another strategy may lack what this one sends or expects.
    own = own or scenario.strategy.client not in (None, scenario.strategy.name)
    # On a cluster, the method may need resources that this machine lacks.
    if not own or scenario.resources.address is not None:
        return
    trained = np.flatnonzero(np.diff(partition.train_offsets))
    clients = np.setdiff1d(trained, partition.held_out)[:CLIENTS].tolist()
    first: BaseException | None = None
    message = ""
    for client, portion, device in _attempts(clients):
        tried = _own_trainer(scenario, trainer, device)
        server = _server(scenario, tried, len(partition) - len(partition.held_out))
        if server is None:
            return
        checks = AnswerChecks(tried, taken_by(*server), type(server[0]).__name__)
        looks = ("begin", "objective", "gradients", "step", "finish")
        watched = WatchedTrainer(tried, {name: getattr(checks, name) for name in looks})
        try:
            with same_chance():
                preprocess = Preprocess(scenario.data, data).to(device)
                samples = training_samples(data, partition[client], preprocess, device)
                with nothing_stays(watched, server[1], trainer.task.initial):
                    update = _round(
                        watched.trainer, preprocess, server[1], samples, scenario, client, portion
                    )
            _check_records(scenario, taken_by(*server), update)
        except StaysBehindError:
            raise
        except MemoryError:
            return
        except (Exception, SystemExit) as error:  # a user's own code may raise anything
            if first is None or isinstance(first, InputError):
                first, message = error, _described(watched, error)
            continue
        return
    if isinstance(first, InputError):
        raise first
    if first is not None:
        raise InputError(message) from first


def _check_records(scenario: Scenario, wanted: tuple[Layout, bool] | None, update: Update) -> None:
    """Refuses a shipped trainer that does not send what the strategy reads."""
    missing = [record for record in (wanted[0] if wanted else ()) if record not in update.arrays]
    if missing:
        raise InputError(
            f"strategy.client: {scenario.strategy.client} does not send up {', '.join(missing)}, "
            f"which {scenario.strategy.name} needs from every client; leave strategy.client out, "
            "or choose another strategy"
        )


def _attempts(clients: list[int]) -> Iterator[tuple[int, Portion, torch.device]]:
    """The attempts in order, until one succeeds; usually the first does."""
    cpu = torch.device("cpu")
    if clients:
        yield clients[0], FEW, cpu
    for client in clients:
        yield client, WHOLE, cpu
    if clients and (kind := accelerator.current()):  # the method may require one
        yield clients[0], WHOLE, kind


def _own_trainer(scenario: Scenario, trainer: ClientTrainer, device: torch.device) -> ClientTrainer:
    """A new instance of the trainer, with a copy of the network."""
    model = copy_of(trainer.task.model).to(device)
    task = replace(trainer.task, model=model)
    return client_trainer_class(scenario)(scenario.strategy, task)


def _server(
    scenario: Scenario, trainer: ClientTrainer, clients: int
) -> tuple[Strategy, Received] | None:
    """The strategy and its first message to a client; None if that is not known."""
    cls = strategy_class(scenario)
    if cls.overrides("before_rounds", "before_training", "configure_train"):
        return None
    try:
        model = trainer.task.model
        strategy = cls(model, scenario.strategy, server_settings(scenario))
        strategy.rounds, strategy.population = scenario.rounds, clients
        strategy.initialise({n: t.detach().clone() for n, t in model.state_dict().items()})
        sent = strategy.broadcast(1) | strategy.sent_to(0)
        down = {record: copied(tensors) for record, tensors in sent.items()}
        return strategy, Received(down, strategy.config(1))
    except Exception:  # a user's strategy may need objects that exist only in a run
        return None


def _round(
    trainer: ClientTrainer,
    preprocess: Preprocess,
    received: Received,
    samples: ClientData,
    scenario: Scenario,
    client: int,
    portion: Portion,
) -> Update:
    """Runs the round and creates the records of its results."""
    update, metrics = train_one(
        trainer,
        preprocess,
        received,
        {},
        samples,
        batch_size=scenario.training.batch_size,
        seed=scenario.seed,
        client=client,
        portion=portion,
    )
    for tensors in (*update.arrays.values(), *update.client_state.values()):
        to_record(tensors)
    MetricRecord(dict(metrics))
    return update


def _described(watched: WatchedTrainer, error: BaseException) -> str:
    """The class, the method and the error, with file and line."""
    files = own_files(type(watched.trainer))
    own = [
        frame.f_code
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename in files or is_own_frame(frame.f_code.co_filename)
    ]
    # The innermost hook; the error's own text names the other functions of the user.
    known = [
        code for code in own if hasattr(ClientTrainer, code.co_name) or hasattr(Loss, code.co_name)
    ]
    places = [code.co_qualname.rpartition("<locals>.")[2] for code in (*known[-1:], *own)]
    if not places:  # raised in fedlab or PyTorch, by a hook's return value
        last = watched.last_asked()
        places = [place_of(last) if last else type(watched.trainer).__name__]
    return (
        f"{places[0]} fails in a client's first round, of which a step or two were tried before "
        f"anything is trained: {format_error(error, files)}; mend it (fedlab --debug shows the "
        "whole way there)"
    )
