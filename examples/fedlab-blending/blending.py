"""Blending: clients go on from a mixture of the average and their own last model.

Up: the whole model. Down: the whole model and the round's share. Stays: the client's last model.
"""

import torch
from pydantic import Field

from fedlab import ClientTrainer, Strategy
from fedlab.strategies import StrategyParameters


class BlendingParameters(StrategyParameters):
    """What the scenario may say.

    Attributes:
        most: Share of a client's own model in the last round; it grows from 0.
    """

    most: float = Field(default=0.8, ge=0, le=1)


class Blending(Strategy):
    """Averages as FedAvg does, and sends the round's share along."""

    Parameters = BlendingParameters
    has_global_model = False  # clients are tested with what they mix

    def config(self, server_round):
        share = self.parameters.most * (server_round - 1) / max(self.rounds - 1, 1)
        return {**super().config(server_round), "share": share}


class BlendingClient(ClientTrainer):
    """Trains from a mixture of the received model and its own last one."""

    def personal_model(self, received, client_state):
        model, own = super().personal_model(received, client_state), client_state.get("last")
        if own is None:
            return model
        share = received.config["share"]
        return {
            name: torch.lerp(tensor, own[name], share) if tensor.is_floating_point() else tensor
            for name, tensor in model.items()
        }

    def finish(self, carry, received, steps):
        update = super().finish(carry, received, steps)
        return update._replace(
            client_state={**update.client_state, "last": update.arrays["arrays"]}
        )
