"""Mistakes of FDSE, and of what one client alone is sent."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FDSE = ("tests/test_fdse.py",)
LAYER = "fedlab/models/skew_eraser.py"
SERVER = "fedlab/strategies/fdse.py"
CLIENT = "fedlab/clients/fdse.py"
SHORTEST = "fedlab/federation/least_norm.py"

MUTANTS = (
    Mutant(
        "fdse-erases-before-it-normalises",
        LAYER,
        "torch.cat([first, self.eraser(first)], dim=1)",
        "torch.cat([first, self.eraser(maps)], dim=1)",
        FDSE,
    ),
    Mutant(
        "fdse-has-no-bias-behind-the-eraser",
        LAYER,
        "self.norm(both + self.bias.view",
        "self.norm(both + 0 * self.bias.view",
        FDSE,
    ),
    Mutant(
        "fdse-leaves-the-networks-normalisation-behind-its-own",
        LAYER,
        "NORMS[dimensions](self.outputs) if norm is None else norm",
        "NORMS[dimensions](self.outputs)",
        FDSE,
    ),
    Mutant(
        "fdse-takes-a-normalisation-that-reads-a-sum",
        LAYER,
        "called.get(readers[0]) if len(readers) == 1 else None",
        "next((called[each] for each in readers if each in called), None)",
        FDSE,
    ),
    Mutant(
        "fdse-decomposes-what-does-not-learn",
        LAYER,
        "if not all(parameter.requires_grad for parameter in layer.parameters()):",
        "if False:",
        FDSE,
    ),
    Mutant(
        "fdse-decomposes-the-head",
        LAYER,
        "if _fits(layer) and (head is None or layer is not head.layer)",
        "if _fits(layer)",
        FDSE,
    ),
    Mutant(
        "fdse-variance-is-unbiased",
        LAYER,
        "correction=0",
        "correction=1",
        FDSE,
    ),
    Mutant(
        "fdse-divergence-is-the-other-way-round",
        CLIENT,
        "(found.log() - wanted.log() + ratio - 1)",
        "(wanted.log() - found.log() + ratio - 1)",
        FDSE,
    ),
    Mutant(
        "fdse-divergence-is-not-halved",
        CLIENT,
        "ratio - 1).mean() / 2",
        "ratio - 1).mean()",
        FDSE,
    ),
    Mutant(
        "fdse-pulls-in-the-first-round",
        CLIENT,
        "if received.server_round < 2:",
        "if received.server_round < 1:",
        FDSE,
    ),
    Mutant(
        "fdse-layers-count-the-same",
        CLIENT,
        "self.parameters.beta * depth",
        "0 * depth",
        FDSE,
    ),
    Mutant(
        "fdse-ignores-lambda",
        CLIENT,
        "loss + self.parameters.lam * (weights",
        "loss + (weights",
        FDSE,
    ),
    Mutant(
        "fdse-clients-go-on-with-the-erasers-they-sent",
        CLIENT,
        '{**model, **received.arrays.get("erasers", {})}',
        "model",
        FDSE,
    ),
    Mutant(
        "fdse-sends-everybody-the-erasers-of-one-client",
        SERVER,
        "self.state.get(_record(client))",
        "self.state.get(_record(0))",
        FDSE,
    ),
    Mutant(
        "fdse-shares-the-statistics-before-erasers",
        SERVER,
        "(*dict(model.named_parameters()), *dict(model.named_buffers()))",
        "dict(model.named_parameters())",
        FDSE,
    ),
    Mutant(
        "fdse-steps-by-the-sum-of-lengths",
        SERVER,
        "step = agreed_step(sent.double() - model[name].double(), weights / weights.sum())",
        "step = agreed_step(sent.double() - model[name].double(), weights)",
        FDSE,
    ),
    Mutant(
        "fdse-step-goes-back",
        SERVER,
        "(model[name].double() + step)",
        "(model[name].double() - step)",
        FDSE,
    ),
    Mutant(
        "fdse-averages-what-it-should-step",
        SERVER,
        "for name in self.trainable:",
        "for name in ():",
        FDSE,
    ),
    Mutant(
        "fdse-an-idle-client-stops-the-others",
        SERVER,
        "moved = lengths > 0",
        "moved = lengths >= 0",
        FDSE,
    ),
    Mutant(
        "fdse-cosines-are-not-divided",
        SERVER,
        "torch.softmax(cosines / tau, dim=1)",
        "torch.softmax(cosines, dim=1)",
        FDSE,
    ),
    Mutant(
        "fdse-mixes-the-wrong-way",
        SERVER,
        "torch.softmax(cosines / tau, dim=1)",
        "torch.softmax(-cosines / tau, dim=1)",
        FDSE,
    ),
    Mutant(
        "fdse-counts-clients-without-samples",
        SERVER,
        "super().weight(update) * (update.examples > 0)",
        "super().weight(update)",
        FDSE,
    ),
    Mutant(
        "shortest-mean-lets-weights-become-negative",
        SHORTEST,
        "if (wanted > 0).all():",
        "if True:",
        FDSE,
    ),
    Mutant(
        "shortest-mean-takes-the-farthest",
        SHORTEST,
        "nearest = int(along.argmin())",
        "nearest = int(along.argmax())",
        FDSE,
    ),
    Mutant(
        "own-tensors-are-not-sent-to-tests",
        "fedlab/federation/message_rounds.py",
        "nodes, MessageType.EVALUATE, grid)",
        "nodes, MessageType.EVALUATE)",
        FDSE,
    ),
    Mutant(
        "compressed-own-tensors-are-added-to-nothing",
        "fedlab/updates/server_side.py",
        "self.down | self.sent_to(update.client)",
        "self.down | {}",
        FDSE,
    ),
)
