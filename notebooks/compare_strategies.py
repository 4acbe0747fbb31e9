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
# Five clients learn to classify digits, each with one of five domains. This notebook measures the
# effect on FedAvg and on three remedies: FedBN, which keeps normalisation layers local; FedWon,
# which has none; and FRAug, which adds synthetic representations.
#
# To run in seconds, this example is small: 150 images a client at 16 pixels, and few rounds with
# a larger learning rate. The [results](../docs/results.md) are those of the whole scenario.

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
# `prepare` does all work before the first round: it loads the samples, divides them, and
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
# `compare` runs the cross product, with as many runs in parallel as fit. All strategies are
# compared with the first one, paired by seed. Finished runs are not repeated: the same call
# completes an interrupted comparison.

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
# The table has the spread over seeds (behind ±), the spread over clients, and the worst
# client, which a mean over domains hides. Bands of the curves are over seeds.
#
# `plot` returns curves as a figure of Matplotlib; here those of the loss.

# %%
comparison.plot("loss")

# %% [markdown]
# ## Take it along
#
# `table` has the numbers as a frame of pandas; Markdown, LaTeX and CSV are for papers.

# %%
comparison.table()["street"].round(3)

# %%
print(comparison.to_latex())

# %% [markdown]
# Each run is a folder with every number of every round and client. This cell shows the bytes that
# clients send in a round: FRAug also sends its generator; FedBN keeps some layers local.

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
