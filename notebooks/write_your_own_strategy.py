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
# A method is two classes. The *strategy* defines what the server sends and how it aggregates
# updates; the *client trainer* defines the training of one client, in plain PyTorch. Each
# overrides only what is new, in thirty lines altogether.
#
# The idea of this example: under domain skew, a client should not lose its local training with
# every received average. It starts every round from a mixture of the received model and its
# own last one, and is also tested with such a mixture. In the first round it uses only the
# average; the share of its own model grows from round to round, and the server sends this share.

# %%
# %matplotlib inline
import torch
from pydantic import Field

import fedlab
from fedlab.strategies import StrategyParameters

# %% [markdown]
# ## The strategy
#
# Its parameters are typed fields, so that a scenario with `most: 2` is refused with the
# reason. `config` sends plain values to clients. The aggregation is FedAvg's and needs no code.


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
# `personal_model` returns the model from which a client trains, and with which it is tested.
# `finish` returns the update and the client state: `client_state` never leaves the client, and is
# available when the client trains again, in any process.


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
# Where a scenario has names, Python also accepts classes, which need not be in a module: fedlab
# sends classes of a notebook to Ray's processes.

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
# One property is easy to test: with `most: 0` the method must be equal to FedAvg, to the last bit.

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
# The baselines are FedAvg, FedBN and local training.

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
# - [Add a method](../docs/guides/method.md) has the table of all hooks of the two classes.
