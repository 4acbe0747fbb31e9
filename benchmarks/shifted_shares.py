"""Test-time adaptation where the shares of classes change, and where the look does, too.

    python -m benchmarks.shifted_shares
    python -m benchmarks.shifted_shares --seeds 1 --rounds 5 --train 500 --test 300

Five clients train on embedded digits whose classes are long-tailed, each with its own shares. The
run is tested on other samples with the shares of the training (forward), with equal ones (uniform)
and with the reverse (backward), of handwriting as in training and with half of its contrast (dim),
which no client has.
Prints a table of accuracies, and of each look the difference of the mean to re-weighting, paired by
seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedlab.adaptation.adapt_test import adapt_test
from fedlab.comparison.statistics import estimate, paired_difference
from fedlab.data.digits import Digits
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.scenario import Scenario
from fedlab.simulation import simulate

CLASSES = 10
RATIO = 10.0
"""Samples of the first class for one of the last."""

LOOKS = ("plain", "dim")
POWERS = {"forward": 1, "uniform": 0, "backward": -1}
"""Shares of a test: of class c, RATIO^(-power c / 9)."""

REFERENCE = "label_shift, em"
METHODS: dict[str, dict[str, Any]] = {
    "none": {},
    "label_shift, rlls": {"method": "label_shift", "estimator": "rlls"},
    REFERENCE: {"method": "label_shift", "estimator": "em"},
    "batch_statistics": {"method": "batch_statistics", "batch_size": 64},
    "tent": {"method": "tent"},
    "adapter": {"method": "label_shift_adapter"},
    "adapter, em": {"method": "label_shift_adapter", "estimator": "em"},
    "adapter, tent": {"method": "label_shift_adapter", "base": "tent"},
}


class LongTailedDigits(Source):
    """Handwriting in two looks, whose classes have other shares in training and in tests.

    Attributes:
        train: Training samples of handwriting before classes are thinned out.
        test: Likewise, test samples of either look.
    """

    name: str = "benchmarks.shifted_shares:LongTailedDigits"
    train: int = 3000
    test: int = 1500

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Thins the classes of embedded digits out, in the same way for every seed of a run."""
        (plain,) = Digits(
            train_per_domain=self.train, test_per_domain=self.test, domains=("handwritten",)
        ).load(context)
        dim = (plain.test_inputs // 2 + 60).astype(np.uint8)
        generator = np.random.default_rng([context.seed, 17])
        kept = _thinned(plain.train_labels, 1, generator)
        inputs, labels = plain.train_inputs[kept], plain.train_labels[kept]
        domains = []
        for look, tests in zip(LOOKS, (plain.test_inputs, dim), strict=True):
            for name, power in POWERS.items():
                tested = _thinned(plain.test_labels, power, generator)
                domains.append(
                    replace(
                        plain,
                        name=f"{look}, {name}",
                        train_inputs=inputs,
                        train_labels=labels,
                        test_inputs=tests[tested],
                        test_labels=plain.test_labels[tested],
                    )
                )
        return domains


def _thinned(labels: np.ndarray, power: int, generator: np.random.Generator) -> np.ndarray:
    """Samples of which class c has a share ∝ RATIO^(-power c / 9), as many for any power.

    Args:
        labels: int64 of shape (n,).
        power: 1, 0 or -1.
        generator: Draws them.

    Returns:
        Their places in order, int64.
    """
    tail = RATIO ** (-np.arange(CLASSES) / (CLASSES - 1))
    shares = tail[::-1] if power < 0 else tail if power else np.full(CLASSES, tail.mean())
    most = np.bincount(labels, minlength=CLASSES).min()
    kept = [
        generator.permutation(np.flatnonzero(labels == label))[: round(most * shares[label])]
        for label in range(CLASSES)
    ]
    return np.sort(np.concatenate(kept))


def scenario(seed: int, rounds: int, train: int, test: int) -> Scenario:
    """The run that is adapted."""
    unseen = [f"{look}, {shares}" for look in LOOKS for shares in POWERS][1:]
    return Scenario.model_validate(
        {
            "name": "label-shift",
            "seed": seed,
            "rounds": rounds,
            "data": {
                "sources": [{"name": LongTailedDigits(train=1).name, "train": train, "test": test}],
                "image_size": 16,
                "channels": 1,
                "unseen_domains": unseen,
            },
            "partition": {"clients": 5, "labels": {"name": "dirichlet", "alpha": 1.0}},
            "model": {"name": "small_cnn", "widths": [16, 32, 32]},
            "strategy": "fedavg",
            "training": {"batch_size": 32, "optimizer": {"lr": 0.1}},
            "evaluation": {"validation": 0.2, "every": rounds},
            "resources": {"backend": "local"},
        }
    )


def measured(seed: int, rounds: int, train: int, test: int) -> dict[str, dict[str, float]]:
    """Accuracy by method and domain."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = scenario(seed, rounds, train, test)
        run = simulate(chosen, out=Path(folder) / "run", progress=False)
        for name, options in METHODS.items():
            adapted = adapt_test(run, **(options or METHODS[REFERENCE]), seed=seed)
            table = adapted.table[adapted.table["metric"] == "accuracy"].set_index("domain")
            column = table["after" if options else "before"]
            found[name] = {str(domain): float(value) for domain, value in column.items()}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all seeds, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--test", type=int, default=1500)
    given = parser.parse_args(arguments)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    results = {seed: measured(seed, given.rounds, given.train, given.test) for seed in seeds}
    domains = list(results[seeds[0]]["none"])
    for result in results.values():
        for own in result.values():
            for look in LOOKS:
                scores = [own[domain] for domain in domains if domain.startswith(look)]
                own[look] = sum(scores) / len(scores)
    print("|".join(["", "method", *domains, *(f"{look}, difference" for look in LOOKS), ""]))
    for name in METHODS:
        cells = []
        for domain in domains:
            found = estimate([100 * results[seed][name][domain] for seed in seeds])
            cells.append(f"{found.mean:.1f} ± {found.deviation:.1f}")
        for look in LOOKS:
            own, other = (
                {seed: 100 * results[seed][each][look] for seed in seeds}
                for each in (name, REFERENCE)
            )
            gap = paired_difference(own, other)
            words = f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"
            cells.append(words * (name != REFERENCE))
        print("|".join(["", name, *cells, ""]))


if __name__ == "__main__":
    main()
