"""A scenario's method: which classes its two halves are."""

from __future__ import annotations

from fedlab.clients.base import LocalHalf
from fedlab.config import registry
from fedlab.config.signatures import refuse_other_signatures
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.strategies.base import Strategy


def strategy_class(scenario: Scenario) -> type[Strategy]:
    """The scenario's server half.

    Raises:
        InputError: If the strategy's name stands for something else.
    """
    name = scenario.strategy.name
    strategy = registry.resolve("strategies", name)
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise InputError(
            f"strategy.name: '{name}' is no subclass of fedlab.strategies.base.Strategy; name the "
            "strategy, which has its parameters as its Parameters"
        )
    refuse_other_signatures(strategy, f"strategy.name: '{name}'")
    return strategy


def _half_of_base(strategy: type[Strategy]) -> type[LocalHalf]:
    """The local half of the method that a server half builds on, which it does not say itself."""
    for base in strategy.__mro__[1:]:
        name = registry.registered_name("strategies", base)
        if name is not None and name in registry.names("clients"):
            return registry.resolve("clients", name)
    return LocalHalf


def local_half_class(scenario: Scenario) -> type[LocalHalf]:
    """The local half that goes with the scenario's strategy.

    A server half that is named by its class and names no local half goes with that of the method
    it builds on.

    Raises:
        InputError: If there is none of that name, or the name stands for something else.
    """
    name = scenario.strategy.local_half
    try:
        half = registry.resolve("clients", name)
    except InputError as error:
        raise InputError(f"strategy.client: {error}") from error
    if scenario.strategy.client is None and isinstance(half, type) and issubclass(half, Strategy):
        half = _half_of_base(half)
    if not (isinstance(half, type) and issubclass(half, LocalHalf)):
        raise InputError(
            f"strategy.client: '{name}' is no subclass of fedlab.clients.base.LocalHalf; name the "
            "local half that goes with the strategy"
        )
    refuse_other_signatures(half, f"strategy.client: '{name}'")
    return half
