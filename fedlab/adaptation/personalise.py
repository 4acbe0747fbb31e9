"""Personalisation after training: a client, or an unseen domain, fine-tunes with few labels.

Three ways: all layers at once (``fine_tune``), the head alone (``head``), or the head alone first
and then all layers (``lp_ft``), which distorts features less: Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution, Kumar, Raghunathan, Jones, Ma, Liang, ICLR 2022,
arXiv 2202.10054.
Few-shot fine-tuning of large pretrained networks commonly takes Adam with 1e-4 for the head, 1e-5
for all layers and 1000 steps of 32 samples; the small networks trained here need larger steps and
fewer of them, which the defaults are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn.functional import one_hot

from fedlab import rng
from fedlab.adaptation.choice import above_zero, still_finite
from fedlab.adaptation.trained import Trained, open_trained, refuse_without_labels
from fedlab.clients.base import ClientTrainer, Phase, Received
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.client_samples import training_samples
from fedlab.engine.execution.evaluation import TestSamples
from fedlab.engine.execution.sequential import train_one
from fedlab.errors import InputError
from fedlab.partition.partition import ClientSplit
from fedlab.records import Tensors
from fedlab.runs.client_names import with_owners
from fedlab.runs.run import Run
from fedlab.strategies.fedavg import FedAvg
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec

if TYPE_CHECKING:
    import pandas

Method = Literal["fine_tune", "lp_ft", "head"]


class FineTuning(ClientTrainer):
    """Optimiser steps on some of the parameters."""

    trained: Collection[str] | None = None

    def set_train_mode(self, received: Received) -> None:
        """Keeps the body in evaluation mode while the head alone is trained."""
        self.task.model.train(self.trained is None)

    def phases(self) -> Sequence[Phase]:
        """One phase over the labelled samples."""
        return [Phase(steps=self.task.local_steps, trained=self.trained)]


def personalise(
    run: Run,
    *,
    method: Method = "lp_ft",
    shots: int | None = 5,
    steps: int = 100,
    lr: float = 1e-4,
    head_lr: float = 1e-3,
    batch_size: int = 32,
    domain: str | None = None,
    seed: int = 0,
) -> pandas.DataFrame:
    """Fine-tunes a run's model for every client, or for one domain, and tests it before and after.

    Args:
        run: A finished run.
        method: ``fine_tune``, ``lp_ft`` or ``head``.
        shots: Labelled training samples per class, as far as there are so many, or altogether where
            no classes are learnt; None takes all.
        steps: Optimiser steps of each stage.
        lr: Learning rate of all layers.
        head_lr: Learning rate of the head alone.
        batch_size: Samples per step.
        domain: A domain to adapt the server's model to, for instance one that no client had,
            instead of every client's model to its client.
        seed: Seed of the shots and of the order of samples.

    Returns:
        One row per client (-1 is the server's model) and domain: ``client``, ``domain``,
        ``shots`` (samples learnt from), ``before``, ``after`` (accuracy of classes, else the score
        of the target: hamming accuracy, MAE) and ``examples`` (test
        samples). Where clients are owners with names, ``owner`` stands behind ``client``.

    Raises:
        InputError: If the run has not finished, or has no such domain, or no global model to
            adapt to a domain, a number is not above 0, or a tuned model is no longer finite.
    """
    import pandas

    numbers = {"lr": lr, "head_lr": head_lr, "steps": steps, "batch_size": batch_size}
    for name, number in (numbers | {"shots": 1 if shots is None else shots}).items():
        above_zero(number, f"--{name.replace('_', '-')}")
    refuse_without_labels(run, "fine-tuning is on labelled samples")
    trained = open_trained(run)
    rows = []
    for client in _whom(trained, domain):
        samples, tests = _samples(trained, client, domain)
        samples = _few(samples, shots, (seed, client))
        before = trained.model(None if client < 0 else client)
        after = before
        for trainer in _stages(trained, method, steps, lr, head_lr):
            after = _tuned(trained, trainer, after, samples, batch_size, seed, client)
            rate = trainer.task.optimizer.spec.lr
            flag = "--lr" if trainer.trained is None else "--head-lr"
            still_finite(after, f"{flag}: with {rate:g} the model is")
        scores = (trained.runtime.score(state, [tests])[0] for state in (before, after))
        for old, new in zip(*scores, strict=True):
            name = trained.runtime.data.domain_names[old.domain]
            learnt_from = int(samples.labelled.sum())
            rows.append((client, name, learnt_from, old.score, new.score, old.examples))
    columns = ["client", "domain", "shots", "before", "after", "examples"]
    return with_owners(pandas.DataFrame(rows, columns=columns), run.client_names)


def _whom(trained: Trained, domain: str | None) -> Sequence[int]:
    """The clients to fine-tune, or -1 for the server's model on a domain."""
    if domain is None:
        return range(len(trained.runtime.partition))
    trained.domains(domain)
    missing = set(trained.runtime.trainer.task.model.state_dict()) - set(trained.run.model_state())
    if missing:
        raise InputError(
            f"--domain: {trained.run.scenario.strategy.name} keeps {len(missing)} tensors with its "
            "clients, so there is no global model to adapt; leave --domain out, or take a run of "
            "another method"
        )
    return [-1]


def _samples(trained: Trained, client: int, domain: str | None) -> tuple[ClientData, TestSamples]:
    """A client's, or a domain's, samples to learn from and to be tested on."""
    runtime = trained.runtime
    if domain is None:
        return runtime.client_data(client), runtime.client_tests(client)
    pool = runtime.data.train
    rows = (pool.domains == runtime.data.domain_names.index(domain)).nonzero()[0]
    known = np.ones(len(rows), dtype=np.bool_)
    split = ClientSplit(rows, pool.labels[rows], known, rows[:0], rows[:0])
    samples = training_samples(runtime.data, split, runtime.preprocess, runtime.device)
    return samples, runtime.domain_tests(domain)


def _few(samples: ClientData, shots: int | None, key: tuple[int, int]) -> ClientData:
    """The same samples with a limited number of labelled ones of each class."""
    if shots is None:
        return samples
    seed, client = key
    order = torch.randperm(
        len(samples.labels), generator=rng.torch_generator(seed, "shots", client)
    )
    order = order[samples.labelled[order]]
    labels = samples.labels.cpu()[order]
    member = one_hot(labels) if labels.dim() == 1 else torch.ones(len(order), 1)
    place_in_class = (member.cumsum(dim=0) * member).sum(dim=1)  # from 1
    chosen = torch.zeros_like(samples.labelled)
    chosen[order[place_in_class <= shots]] = True
    return replace(samples, labelled=chosen)


def _stages(
    trained: Trained, method: Method, steps: int, lr: float, head_lr: float
) -> list[FineTuning]:
    """The stages of fine-tuning, one after another."""
    rates: list[tuple[float, Collection[str] | None]] = []
    if method != "fine_tune":
        rates.append((head_lr, trained.runtime.trainer.task.head.names))
    if method != "head":
        rates.append((lr, None))
    stages = []
    for rate, names in rates:
        optimizer = Optimizer(OptimizerSpec(name="adam", lr=rate))
        task = replace(trained.runtime.trainer.task, optimizer=optimizer, local_steps=steps)
        stage = FineTuning(FedAvg.Parameters(), task)
        stage.trained = names
        stages.append(stage)
    return stages


def _tuned(
    trained: Trained,
    trainer: FineTuning,
    state: Tensors,
    samples: ClientData,
    batch_size: int,
    seed: int,
    client: int,
) -> Tensors:
    with rng.preserved():
        update, _ = train_one(
            trainer,
            trained.runtime.preprocess,
            Received({"arrays": state}),
            {},
            samples,
            batch_size=batch_size,
            seed=rng.seed_of(seed, "personalise"),
            client=client,
        )
    return {**state, **update.arrays["arrays"]}
