# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write your own strategy
#
# A method is two classes. The *strategy* says what goes down and how updates combine; the
# *client trainer* says what one client does, in plain PyTorch. Each overrides only its idea, in
# thirty lines altogether.
#
# The idea here: under domain skew, a client should not throw away what it has learnt each time a
# new average comes down. So it starts every round from a mixture of the received model and its
# own last one, and it is tested with such a mixture, too. Early on the average counts for
# everything; how much a client keeps of its own grows from round to round, and the server says
# how much.

# %%
# %matplotlib inline
import torch
from pydantic import Field

import fedlab
from fedlab.strategies import StrategyParameters

# %% [markdown]
# ## The strategy
#
# Its parameters are typed fields, so that a scenario that says `most: 2` is refused with the
# reason. `config` sends plain values down. Averaging stays FedAvg's: nothing to write.


# %%
class BlendingParameters(StrategyParameters):
    """What a scenario may say.

    Attributes:
        most: Share of a client's own model in the last round; it grows from 0.
    """

    most: float = Field(default=0.8, ge=0, le=1)


class Blending(fedlab.Strategy):
    """Averages as FedAvg does, and sends the round's share along."""

    Parameters = BlendingParameters
    has_global_model = False  # clients are tested with what they mix

    def config(self, server_round):
        share = self.parameters.most * (server_round - 1) / max(self.rounds - 1, 1)
        return {**super().config(server_round), "share": share}


# %% [markdown]
# ## The client trainer
#
# `personal_model` says what a client trains from and is tested with. `finish` says what goes up
# and what stays: what a client keeps in `client_state` never leaves it, and is there again when it
# is drawn the next time, in whichever process that is.


# %%
class BlendingClient(fedlab.ClientTrainer):
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


# %% [markdown]
# ## Run it
#
# Classes may stand where a scenario has names, and they need not be in a module: those of a
# notebook travel to Ray's processes by themselves.

# %%
small = [
    "data.sources.0.train_per_domain=150",
    "data.sources.0.test_per_domain=200",
    "data.image_size=16",
    "training.optimizer.lr=0.05",
]
blending = {"name": Blending, "client": BlendingClient}

run = fedlab.simulate(
    "domain_skew", small, strategy=blending, rounds=16, out="runs/blending", progress=False
)
run

# %% [markdown]
# Is it a method? One property can be checked without any data: with `most: 0` it must be FedAvg,
# to the last bit.

# %%
settings = [*small, "resources.backend=local"]
none = fedlab.simulate(
    "domain_skew",
    settings,
    strategy={**blending, "most": 0.0},
    rounds=2,
    out="runs/none",
    progress=False,
)
fedavg = fedlab.simulate("domain_skew", settings, rounds=2, out="runs/fedavg", progress=False)
all(torch.equal(tensor, fedavg.model_state()[name]) for name, tensor in none.model_state().items())

# %% [markdown]
# ## Compare it
#
# Against what it starts from, what it must beat, and the other end of the scale.

# %%
comparison = fedlab.compare(
    "domain_skew",
    ["fedavg", blending, "fedbn", "local_only"],
    seeds=2,
    overrides=[*small, "evaluation.every=4"],
    rounds=16,
    out="comparison",
    progress=False,
)
comparison

# %% [markdown]
# ## Go on
#
# - Put both classes into a file `blending.py` and name them in YAML: `strategy: {name:
#   "blending:Blending", client: "blending:BlendingClient"}`.
# - [Ship it in a package](../docs/guides/package.md), and it appears in `fedlab list`.
# - [Add a method](../docs/guides/method.md) has the table of all that the two classes may
#   override.
