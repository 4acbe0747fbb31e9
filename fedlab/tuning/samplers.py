"""Samplers of draws: random values, or Optuna's proposals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fedlab import rng
from fedlab.config.ranges import Integers, LogUniform, Range, Uniform, Values
from fedlab.errors import InputError
from fedlab.tuning.draws import draw

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

SamplerName = Literal["random", "tpe", "gp", "cmaes", "qmc"]
NAMES: tuple[SamplerName, ...] = ("random", "tpe", "gp", "cmaes", "qmc")


class Sampler(Protocol):
    """Proposes the values of a method's draws, one after the other."""

    def propose(self, number: int) -> dict[str, Any]:
        """The values of a draw; draw 0 changes nothing."""
        ...

    def tell(self, number: int, score: float) -> None:
        """Reports the score of a draw; the higher the better, NaN if it failed."""
        ...


class RandomSampler:
    """Independent draws (see `fedlab.tuning.draws.draw`).

    Args:
        shared: Ranges that all methods draw alike.
        own: Ranges of the method itself.
        method: Its name.
        seed: Seed of the tuning.
    """

    def __init__(
        self, shared: Mapping[str, Range], own: Mapping[str, Range], method: str, seed: int
    ) -> None:
        self.shared, self.own, self.method, self.seed = shared, own, method, seed

    def propose(self, number: int) -> dict[str, Any]:
        """See `Sampler.propose`."""
        return draw(self.shared, self.own, self.method, number, self.seed)

    def tell(self, number: int, score: float) -> None:
        """Does nothing: draws do not depend on scores."""


class OptunaSampler:
    """Draws that Optuna proposes, by ask and tell.

    If draws and scores come in the same order, a sampler with a seed proposes the same values, so
    that an interrupted tuning can go on. Another version of Optuna may propose others.

    Args:
        name: The sampler.
        ranges: What is drawn, by dotted key.
        method: The method.
        seed: Seed of the tuning.

    Raises:
        InputError: If Optuna, or what the sampler needs, is not installed.
    """

    def __init__(
        self, name: SamplerName, ranges: Mapping[str, Range], method: str, seed: int
    ) -> None:
        self.ranges = {key: _distribution(each) for key, each in ranges.items()}
        self.study = _study(name, rng.seed_of(seed, "tune", name, method) % 2**32)
        self.asked: dict[int, Trial] = {}

    def propose(self, number: int) -> dict[str, Any]:
        """See `Sampler.propose`."""
        if number == 0 or not self.ranges:
            return {}
        self.asked[number] = self.study.ask(self.ranges)
        return dict(self.asked[number].params)

    def tell(self, number: int, score: float) -> None:
        """See `Sampler.tell`."""
        from optuna.trial import TrialState

        if number in self.asked:
            failed = score != score
            self.study.tell(
                self.asked[number],
                None if failed else score,
                state=TrialState.FAIL if failed else TrialState.COMPLETE,
            )


def _distribution(each: Range) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(each, LogUniform):
        return FloatDistribution(each.low, each.high, log=True)
    if isinstance(each, Uniform):
        return FloatDistribution(each.low, each.high)
    if isinstance(each, Integers):
        return IntDistribution(each.low, each.high)
    assert isinstance(each, Values)
    return CategoricalDistribution(each.options)


def _study(name: SamplerName, seed: int) -> Study:
    try:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
            "cmaes": optuna.samplers.CmaEsSampler,
            "qmc": optuna.samplers.QMCSampler,
        }
        with warnings.catch_warnings():  # that a sampler is new is no news to who asks for it
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = samplers[name](seed=seed)
    except ImportError as error:
        raise InputError(
            f"sampler: {name} needs a package that is not installed ({error}); run "
            "pip install 'fedlab-sim[tune]', or use --sampler random"
        ) from error
    return optuna.create_study(direction="maximize", sampler=sampler)
