"""What every method sends and is sent, counted in bytes.

Three are counted in tests of their own: GGEUR's and FedPLVM's depend on data, and NMTune needs a
network that reads features.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedlab.clients.base import Received
from fedlab.config import registry
from fedlab.engine.execution.runtime import Runtime
from fedlab.preparation import prepare
from fedlab.server_app import build_strategy
from helpers.method_rounds import size
from helpers.toy import CLASSES, scenario

FLOAT, INTEGER = 4, 8
CONVOLUTIONS = FLOAT * (3 * 3 * 3 * 4 + 3 * 3 * 4 * 8 + 3 * 3 * 8 * 8)
HEAD = FLOAT * (8 * CLASSES + CLASSES)
AFFINE = FLOAT * 2 * (4 + 8 + 8)
STATISTICS = AFFINE + 3 * INTEGER
"""Means and variances are as many as scales and shifts; each layer counts its batches."""

TRAINED = CONVOLUTIONS + HEAD + AFFINE
MODEL = TRAINED + STATISTICS
"""A small CNN of 4, 8 and 8 channels, on images of 8x8 pixels in three colours."""

WITHOUT_NORM = CONVOLUTIONS + HEAD + AFFINE
"""FedWon's: a gain and a bias for every channel take the place of scale and shift."""

PROJECTED = MODEL - HEAD + FLOAT * (8 * 8 + 8 + 8 * 6 + 6 + 6 * CLASSES + CLASSES)
"""MOON's, with a projection head of width 6."""

ETF = FLOAT * (8 * CLASSES + CLASSES + 1)
"""FedETF's dense layer before its fixed classifier, and the classifier's scale."""

GAUSSIAN = MODEL - HEAD + FLOAT * (8 * 10 + 10 + 5 * CLASSES + CLASSES)
"""FedSR's, with means and deviations of 5 numbers."""

LATENT = 4
GENERATOR = FLOAT * (8 * (LATENT + CLASSES + 1) + 8 * (8 + 1) + 2 * 4 * 8) + 2 * INTEGER
EXTRACTORS = FLOAT * (3 * 3 * (3 * 2 + 4 * 4 + 8 * 4) + 2 + 4 + 4 + 4 + 8 + 8)
ERASERS = FLOAT * (3 * 3 + 2) * (2 + 4 + 4)
"""FDSE's layers: half of the channels, and all biases; for the other half depth-wise kernels of
normalised channels."""

PROTOTYPES = CLASSES * (FLOAT * 8 + 2 * INTEGER)
"""FedProto's, of a client that has all classes: a mean, a class and a count."""

DEVICE = {"samples_per_second": 100, "download_mbps": 20, "upload_mbps": 5}
FEW = {"label_budget": {"share": 0.5}}
SENT: dict[str, tuple[dict[str, Any], int, int]] = {
    # strategy: (its block and more, bytes up, bytes down in the first round)
    **dict.fromkeys(
        ["fedavg", "fedprox", "feddyn", "fedavgm", "fedadam", "fedyogi", "fedadagrad"],
        ({}, MODEL, MODEL),
    ),
    **dict.fromkeys(
        ["fedntd", "fedsam", "fedlesam", "fixbn", "ditto", "centralised"], ({}, MODEL, MODEL)
    ),
    **dict.fromkeys(["fixmatch", "uda", "fedlabel"], ({"partition": FEW}, MODEL, MODEL)),
    "fedlabel, flute": ({"aggregation": "flute", "partition": FEW}, 2 * MODEL, MODEL),
    "fedsam, momentum": ({"own_share": 0.1}, MODEL, MODEL + TRAINED),
    "fedbn": ({}, CONVOLUTIONS + HEAD, CONVOLUTIONS + HEAD),
    "silobn": ({}, TRAINED, TRAINED),
    "fedwon": ({}, WITHOUT_NORM, WITHOUT_NORM),
    "moon": ({"projection": 6}, PROJECTED, PROJECTED),
    "scaffold": ({}, MODEL + TRAINED, MODEL + TRAINED),
    "feddc": ({}, MODEL + TRAINED, MODEL + TRAINED),
    "feddc, by share": ({"by_share": True}, MODEL + TRAINED, MODEL + TRAINED),
    "fednova": ({}, MODEL + INTEGER, MODEL),
    "fedper": ({}, MODEL - HEAD, MODEL - HEAD),
    "fedrep": ({"head_epochs": 1}, MODEL - HEAD, MODEL - HEAD),
    "lg_fedavg": ({}, HEAD, HEAD),
    "fedproto": ({}, PROTOTYPES, 0),
    "local_only": ({}, 0, 0),
    "fedbuff": ({"buffer_size": 2, "concurrency": 3}, MODEL, MODEL),
    "fpl": ({}, MODEL + CLASSES * (FLOAT * 8 + INTEGER), MODEL),
    "fedheal": ({}, MODEL + -(-TRAINED // FLOAT // 8), MODEL),
    "fedheal, fair": ({"consistent": False}, MODEL, MODEL),
    "fediir": ({}, MODEL, MODEL + HEAD),
    **dict.fromkeys(["ccst", "pardon"], ({}, MODEL, MODEL)),
    "fedsr": ({"width": 5}, GAUSSIAN, GAUSSIAN),
    "feddg_ga": ({"evaluation": {"validation": 0.2}}, MODEL, MODEL),
    "llp_bp": ({"partition": {"label_proportions": {"bag_size": 8}}}, MODEL, MODEL),
    "f2dc": ({}, MODEL, MODEL),
    "sla": ({}, MODEL + 4 * HEAD, MODEL + 4 * HEAD),
    "sla, single": ({"predict": "single", "colours": 3}, MODEL + 11 * HEAD, MODEL + 11 * HEAD),
    "fdse": ({}, *2 * (EXTRACTORS + ERASERS + AFFINE + STATISTICS + HEAD,)),
    "fraug": ({}, TRAINED + GENERATOR, TRAINED + GENERATOR),
    "fedetf": ({}, MODEL - HEAD + ETF, MODEL - HEAD + ETF),
    "fedbabu": ({}, MODEL - HEAD, MODEL - HEAD),
    "fedrod": ({}, MODEL, MODEL),
    "fedala": ({}, MODEL, MODEL),
    "qfedavg": ({}, MODEL + INTEGER, MODEL),
    "afl": ({}, MODEL + INTEGER, MODEL),
    "ifca": ({"clusters": 3}, MODEL + INTEGER, 3 * MODEL),
    "feddyn, by share": ({"by_share": True}, MODEL, MODEL),
    "fednova, momentum": ({"mu": 0.1, "server_momentum": 0.5}, MODEL + INTEGER, MODEL),
}


@pytest.mark.slow_for(
    "fdse",
    "llp_bp",
    "f2dc",
    "fedwon",
    "fedheal",
    "sla",
    "sla, single",
    "fraug",
    "pardon",
    "fedsam, momentum",
    "fedheal, fair",
    "feddc, by share",
    "uda",
    "fedetf",
)
@pytest.mark.parametrize("method", SENT)
def test_bytes_of_a_round_are_as_stated(method: str) -> None:
    more, up, down = SENT[method]
    beside = {key: more[key] for key in ("evaluation",) if key in more}
    block = {key: more[key] for key in more if key not in {"partition", *beside}}
    chosen = scenario(
        strategy={"name": method.partition(",")[0], **block},
        model={"name": "small_cnn", "widths": [4, 8, 8]},
        devices={"profiles": [DEVICE]},
        partition={"clients": 3, **more.get("partition", {})},
        **beside,
    )
    prepared = prepare(chosen)
    runtime = Runtime(chosen, prepared.data, prepared.partition, torch.device("cpu"))
    strategy = build_strategy(chosen, prepared.model)
    strategy.initialise(dict(prepared.model.state_dict()))
    strategy.rounds = 2
    assert strategy.upload_bytes(down) == up  # as the virtual clock foretells it
    sent = strategy.broadcast(1) | strategy.sent_to(0)
    update, _ = runtime.train(0, Received(sent, strategy.config(1)), {})
    assert size(list(sent.values())) == down
    assert size([dict(record) for record in update.arrays.values()]) == up


def test_every_method_is_counted() -> None:
    counted = {method.partition(",")[0] for method in SENT}
    elsewhere = {"ggeur", "fedplvm", "nmtune"}
    assert not counted & elsewhere
    assert counted | elsewhere == set(registry.BUILTIN["strategies"])
