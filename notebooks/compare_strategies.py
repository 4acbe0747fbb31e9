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
# # Compare strategies under domain skew
#
# Five clients learn to read digits, and each sees only one of five looks of them. What does that
# do to FedAvg, and what do three remedies give back: FedBN, which keeps normalisation layers at
# home; FedWon, which does without them; and FRAug, which adds synthetic representations?
#
# To take seconds, everything is small here: 150 images a client at 16 pixels, and few rounds with
# longer steps. The [results](../docs/results.md) are those of the whole scenario.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt

import fedlab
from fedlab import prepare

small = [
    "data.sources.0.train_per_domain=150",
    "data.sources.0.test_per_domain=200",
    "data.image_size=16",
    "training.optimizer.lr=0.05",
]

# %% [markdown]
# ## Look at the data first
#
# `prepare` does all that comes before the first round: it loads the samples, divides them, and
# builds the network.

# %%
prepared = prepare(fedlab.load_scenario("domain_skew", small))
train = prepared.data.train

figure, rows = plt.subplots(5, 10, figsize=(7, 3.6))
for domain, axes in enumerate(rows):
    for label, axis in enumerate(axes):
        (found,) = ((train.domains == domain) & (train.labels == label)).nonzero()
        axis.imshow(train.inputs[found[0]].transpose(1, 2, 0))
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(prepared.data.domain_names[domain], rotation=0, ha="right", va="center")

# %% [markdown]
# ## Four strategies, two seeds
#
# `compare` runs the cross product, as many runs at once as there is room for. The first strategy
# is what the others are held against, pair by pair of the same seed. A run that has finished is
# not repeated: the same call again completes what an interrupted one left.

# %%
comparison = fedlab.compare(
    "domain_skew",
    ["fedavg", "fedbn", "fedwon", "fraug"],
    seeds=2,
    overrides=[*small, "evaluation.every=4"],
    rounds=16,
    out="comparison",
    progress=False,
)
comparison

# %% [markdown]
# The table tells spread over seeds (behind ±) apart from spread over clients, and names the worst
# client: a mean over domains hides who pays for it. Bands of the curves are over seeds.
#
# `plot` gives curves as a figure of Matplotlib, to change and to save; here those of the loss.

# %%
comparison.plot("loss")

# %% [markdown]
# ## Take it along
#
# `table` has the numbers as they are, to go on with in pandas; Markdown, LaTeX and CSV are for
# papers.

# %%
comparison.table()["street"].round(3)

# %%
print(comparison.to_latex())

# %% [markdown]
# Each run is a folder with every number of every round and client. How much do clients send in a
# round? FRAug sends its generator along; FedBN leaves a little at home.

# %%
for run in comparison.runs:
    if run.scenario.seed == 0:
        sent = run.history.query("split == 'round' and metric == 'bytes_up'")["value"].mean()
        print(f"{run.scenario.strategy.name:8} {sent / 5 / 1000:6.0f} kB a client and round")

# %% [markdown]
# ## Go on
#
# - the whole scenario: `fedlab compare domain_skew --strategies fedavg,fedbn,fedwon,fraug --seeds
#   3`
# - both skews at once: `"domain_and_label_skew"` instead of `"domain_skew"`
# - [a strategy of your own](write_your_own_strategy.py), or [your own data](your_own_data.py)
