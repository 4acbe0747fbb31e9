"""Strategies: what is sent down and how updates are aggregated, one method a file.

A method of one's own subclasses `Strategy` and, for its parameters, `StrategyParameters`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if __name__ != "fedlab.strategies":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.strategies, not {__name__}")

if TYPE_CHECKING:
    from fedlab.federation.callbacks import Callback as Callback
    from fedlab.federation.callbacks import RoundReport as RoundReport
    from fedlab.federation.client_updates import ClientUpdate as ClientUpdate
    from fedlab.federation.round_strategy import Ask as Ask
    from fedlab.federation.server_config import ServerSettings as ServerSettings
    from fedlab.strategies.base import Strategy as Strategy
    from fedlab.strategies.families.server_update import ServerStep as ServerStep
    from fedlab.strategies.parameters import StrategyParameters as StrategyParameters

__all__ = [
    "Ask",
    "Callback",
    "ClientUpdate",
    "RoundReport",
    "ServerSettings",
    "ServerStep",
    "Strategy",
    "StrategyParameters",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Ask": "fedlab.federation.round_strategy",
        "Callback": "fedlab.federation.callbacks",
        "ClientUpdate": "fedlab.federation.client_updates",
        "RoundReport": "fedlab.federation.callbacks",
        "ServerSettings": "fedlab.federation.server_config",
        "ServerStep": "fedlab.strategies.families.server_update",
        "Strategy": "fedlab.strategies.base",
        "StrategyParameters": "fedlab.strategies.parameters",
    },
)
