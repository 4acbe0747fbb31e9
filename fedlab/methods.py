"""A scenario's method: which classes are its strategy and its client trainer."""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer
from fedlab.config import registry
from fedlab.config.misspelt import refuse_misspelt_hooks, refuse_without_hooks
from fedlab.config.signatures import refuse_other_signatures
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.strategies.base import Strategy


def strategy_class(scenario: Scenario) -> type[Strategy]:
    """The scenario's strategy.

    Raises:
        InputError: If the strategy's name stands for something else.
    """
    name = scenario.strategy.name
    strategy = registry.resolve("strategies", name)
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise InputError(
            f"strategy.name: '{name}' is no subclass of fedlab.strategies.Strategy; name the "
            "strategy, which has its parameters as its Parameters"
        )
    refuse_other_signatures(strategy, f"strategy.name: '{name}'")
    refuse_misspelt_hooks(strategy, f"strategy.name: '{name}'")
    refuse_without_hooks(strategy, f"strategy.name: '{name}'")
    return strategy


def _trainer_of_base(strategy: type[Strategy]) -> type[ClientTrainer]:
    """The client trainer of a strategy's base method, where it builds on one."""
    for base in strategy.__mro__[1:]:
        name = registry.registered_name("strategies", base)
        if name is not None and name in registry.names("clients"):
            return registry.resolve("clients", name)
    return ClientTrainer


def client_trainer_class(scenario: Scenario) -> type[ClientTrainer]:
    """The client trainer that goes with the scenario's strategy.

    A strategy that is named by its class and names no client trainer goes with that of the method
    it builds on.

    Raises:
        InputError: If there is none of that name, or the name stands for something else.
    """
    name = scenario.strategy.client_trainer
    try:
        trainer = registry.resolve("clients", name)
    except InputError as error:
        raise InputError(f"strategy.client: {error}") from error
    if (
        scenario.strategy.client is None
        and isinstance(trainer, type)
        and issubclass(trainer, Strategy)
    ):
        trainer = _trainer_of_base(trainer)
    if not (isinstance(trainer, type) and issubclass(trainer, ClientTrainer)):
        raise InputError(
            f"strategy.client: '{name}' is no subclass of fedlab.clients.ClientTrainer; name the "
            "client trainer that goes with the strategy"
        )
    refuse_other_signatures(trainer, f"strategy.client: '{name}'")
    refuse_misspelt_hooks(trainer, f"strategy.client: '{name}'")
    refuse_without_hooks(trainer, f"strategy.client: '{name}'")
    return trainer
