"""Mistakes of the label-shift adapter."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

ADAPTER = ("tests/test_label_shift_adapter.py",)
NETWORK = "fedlab/adaptation/label_shift_adapter.py"
TRAINING = "fedlab/adaptation/adapter_training.py"
USE = "fedlab/adaptation/prior_following.py"

MUTANTS = (
    Mutant(
        "adapter-shifts-before-it-scales",
        NETWORK,
        "self.scale * features + self.shift",
        "self.scale * (features + self.shift)",
        ADAPTER,
    ),
    Mutant(
        "adapter-folds-the-shift-into-the-old-weights",
        NETWORK,
        "whole @ self.shift",
        "weight @ self.shift",
        ADAPTER,
    ),
    Mutant(
        "adapter-folds-without-the-scale",
        NETWORK,
        "return whole * self.scale,",
        "return whole,",
        ADAPTER,
    ),
    Mutant(
        "adapter-does-not-begin-as-the-network",
        NETWORK,
        "nn.init.zeros_(self.change.weight)",
        "nn.init.ones_(self.change.weight)",
        ADAPTER,
    ),
    Mutant(
        "adapter-scales-by-its-output-alone",
        NETWORK,
        "HeadChange(1 + scale,",
        "HeadChange(scale,",
        ADAPTER,
    ),
    Mutant(
        "adapter-weights-are-not-divided",
        NETWORK,
        "weight.unflatten(-1, (classes, features)) / features",
        "weight.unflatten(-1, (classes, features))",
        ADAPTER,
    ),
    Mutant(
        "adapter-keeps-its-first-change",
        NETWORK,
        "changes[-1].outputs",
        "changes[0].outputs",
        ADAPTER,
    ),
    Mutant(
        "adapter-stays-in-the-network",
        NETWORK,
        "handle.remove()",
        "pass",
        ADAPTER,
    ),
    Mutant(
        "adapter-loss-is-adjusted-the-other-way-round",
        TRAINING,
        "(source.log() - priors.log())",
        "(priors.log() - source.log())",
        ADAPTER,
    ),
    Mutant(
        "adapter-loss-forgets-the-source-prior",
        TRAINING,
        "(source.log() - priors.log())",
        "(-priors.log())",
        ADAPTER,
    ),
    Mutant(
        "adapter-clients-have-the-shares-of-all",
        TRAINING,
        "adjusted_loss(outputs(changes), labels, priors, shares)",
        "adjusted_loss(outputs(changes), labels, priors, source)",
        ADAPTER,
    ),
    Mutant(
        "adapter-never-sees-the-reverse",
        TRAINING,
        "2 * numbers[0] - 1",
        "numbers[0]",
        ADAPTER,
    ),
    Mutant(
        "adapter-priors-do-not-spread",
        TRAINING,
        "degree * source.log() + spread * noise",
        "degree * source.log() + spread",
        ADAPTER,
    ),
    Mutant(
        "adapter-reads-the-prior-and-not-its-ratio",
        TRAINING,
        "(prior.log() - source.log()).float()",
        "prior.log().float()",
        ADAPTER,
    ),
    Mutant(
        "adapter-clients-count-the-same",
        TRAINING,
        "[float(len(client.labels))]",
        "[1.0]",
        ADAPTER,
    ),
    Mutant(
        "adapter-is-that-of-the-last-client",
        TRAINING,
        "        mean = WeightedSum()\n        for client in clients:\n",
        "        for client in clients:\n            mean = WeightedSum()\n",
        ADAPTER,
    ),
    Mutant(
        "adapter-clients-go-on-from-one-another",
        TRAINING,
        "own = copy.deepcopy(adapter)",
        "own = adapter",
        ADAPTER,
    ),
    Mutant(
        "adapter-average-is-the-wrong-way-round",
        USE,
        "self.momentum * self.now + (1 - self.momentum) * mean",
        "self.momentum * mean + (1 - self.momentum) * self.now",
        ADAPTER,
    ),
    Mutant(
        "adapter-average-does-not-begin-anew",
        USE,
        "        self.now = self.learnt.prior\n        if",
        "        if",
        ADAPTER,
    ),
    Mutant(
        "adapter-average-is-of-logits",
        USE,
        "before.double().softmax(dim=1).mean(dim=0)",
        "before.double().mean(dim=0).softmax(dim=0)",
        ADAPTER,
    ),
    Mutant(
        "adapter-has-no-floor",
        USE,
        "(1 - FLOOR) * self.now + FLOOR * source",
        "self.now",
        ADAPTER,
    ),
    Mutant(
        "adapter-leaves-the-last-layer-as-it-was",
        USE,
        "return outputs, {**state, **dict(zip((weight, bias), folded, strict=True))}",
        "return outputs, state",
        ADAPTER,
    ),
    Mutant(
        "adapter-meets-another-batch",
        "fedlab/adaptation/domain_by_domain.py",
        "self.meet(before[torch.from_numpy(part)])",
        "self.meet(before[: len(part)])",
        ADAPTER,
    ),
)
