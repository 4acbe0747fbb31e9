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
# # Your own data
#
# There are two ways: files in folders, without code, and a class that yields arrays, for all other
# data.

# %%
# %matplotlib inline
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydantic import PositiveInt

import fedlab
from fedlab import rng
from fedlab.data import Domain, Source

# %% [markdown]
# ## Image folders
#
# A folder for each domain, and in it one for each class: `shapes/<camera>/<shape>/<image>.png`.
# This example has two cameras with pictures of three shapes, one by day and one by night.

# %%
generator = np.random.default_rng(0)
colours = {"day": ("#e8e4da", "#2f4858"), "night": ("#14161c", "#6f5b3e")}
corners = {"triangle": 3, "square": 4, "hexagon": 6}

for camera, (ground, ink) in colours.items():
    for shape, count in corners.items():
        folder = Path("shapes", camera, shape)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(100):
            image = Image.new("RGB", (32, 32), ground)
            x, y = generator.uniform(12, 20, size=2)
            size, turn = generator.uniform(6, 11), generator.uniform(0, 360)
            ImageDraw.Draw(image).regular_polygon((x, y, size), count, turn, fill=ink)
            image.save(folder / f"{number:03}.png")

sorted(str(path) for path in Path("shapes").glob("*/*"))

# %% [markdown]
# A scenario can be written in Python as well as in YAML; keys, ranges and errors are the same.
# Four clients, two for each camera, whose shapes are divided unevenly:

# %%
shapes = {
    "name": "shapes",
    "rounds": 20,
    "data": {
        "root": ".",
        "sources": [{"name": "image_folder", "path": "shapes", "test_share": 0.25}],
        "image_size": 32,
        "augmentation": {"flip": True},
    },
    "partition": {"clients": 4, "labels": {"name": "dirichlet", "alpha": 0.5, "min_samples": 10}},
    "model": {"name": "small_cnn", "widths": [8, 16, 16]},
    "strategy": "fedbn",
    "training": {"local_epochs": 2, "batch_size": 16, "optimizer": {"lr": 0.05, "momentum": 0.9}},
    "evaluation": {"every": 5},
    "resources": {"backend": "local"},
}

# %% [markdown]
# Look at the partition before training:

# %%
import pandas as pd

from fedlab import prepare

prepared = prepare(fedlab.load_scenario(shapes))
data, partition = prepared.data, prepared.partition
pd.DataFrame(
    {
        f"client {client}": np.bincount(
            data.train.labels[partition[client].train], minlength=len(data.class_names)
        )
        for client in range(len(partition))
    },
    index=data.class_names,
)

# %%
run = fedlab.simulate(shapes, out="runs/shapes", progress=False)
run

# %% [markdown]
# ## A source of your own
#
# For data that are not in files, or in files that fedlab does not read, a class yields the arrays:
# sensor logs, a database, a simulation. Its parameters are typed fields. This one has sine waves of
# three frequencies, from a clean and a noisy sensor.


# %%
class Waves(Source):
    """Slow, middling and fast sine waves.

    Attributes:
        samples: Samples of each split.
        points: Points of a wave.
    """

    samples: PositiveInt = 300
    points: PositiveInt = 64

    def load(self, context):
        return [self.sensor(name, noise, context) for name, noise in (("clean", 0.1), ("noisy", 1))]

    def sensor(self, name, noise, context):
        generator = rng.generator(context.seed, "waves", name)
        labels = np.arange(2 * self.samples) % 3
        time = np.linspace(0, 2 * np.pi, self.points)
        phase = generator.uniform(0, 2 * np.pi, size=(2 * self.samples, 1))
        inputs = np.sin((labels[:, None] + 1) * time + phase)
        inputs = (inputs + noise * generator.normal(size=inputs.shape)).astype(np.float32)
        cut, names = self.samples, ("slow", "middling", "fast")
        return Domain(name, inputs[:cut], labels[:cut], inputs[cut:], labels[cut:], names)


# %%
waves = {
    "name": "waves",
    "rounds": 15,
    "data": {"sources": [{"name": Waves, "samples": 400}]},
    "partition": {"clients": 4},
    "model": {"name": "mlp", "hidden": [32], "norm": "none"},
    "training": {"local_epochs": 2, "optimizer": {"lr": 0.1}},
    "evaluation": {"every": 5},
    "resources": {"backend": "local"},
}
run = fedlab.simulate(waves, out="runs/waves", progress=False)
run

# %%
run.plot()

# %% [markdown]
# ## Go on
#
# - [Add data](../docs/guides/data.md): arrays, tables, torchvision sets; transforms that make
#   domains.
# - Errors of a source that a user can cause are `fedlab.InputError`: one line with the file and
#   the remedy.
# - Sources in a file of their own are named `module:Class`, in YAML as in Python.
