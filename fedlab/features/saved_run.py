"""Features of a network that an earlier run has trained."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from fedlab.data.preprocess import Preprocess
from fedlab.data.resize import conform_batch
from fedlab.data.samples import Samples
from fedlab.errors import InputError
from fedlab.features.base import ExtractionContext, NoExtractor
from fedlab.features.frozen import Backbone, FrozenNetwork
from fedlab.models.build import build_model
from fedlab.models.head import find_head
from fedlab.runs.run_folder import RunFolder


class SavedRun(FrozenNetwork):
    """The network of a finished run of fedlab, without its last dense layer.

    Images are brought to the channels and size that it was trained on and normalised as there.

    Attributes:
        folder: The run's folder; relative ones start from the current folder.
    """

    name: Literal["run"] = "run"
    batch_size: ClassVar[int] = 256
    folder: Path

    def depends_on(self, context: ExtractionContext) -> Any:
        """The files that the network is read from."""
        found = RunFolder.open(self.folder)
        if not found.model_file.is_file():
            raise InputError(
                f"data.features.folder: the run '{self.folder}' has not finished; "
                f"go on with `fedlab resume {self.folder}`"
            )
        return [
            hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
            for file in (found.scenario_file, found.model_file)
        ]

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """See `FrozenNetwork.backbone`."""
        from fedlab.runs.run import load_run

        run = load_run(self.folder)
        scenario, state = run.scenario, run.model_state()
        data = scenario.data
        if not isinstance(data.features, NoExtractor):
            raise InputError(
                f"data.features.folder: the run '{self.folder}' was itself trained on features; "
                "name a run on images"
            )
        shape = (data.channels, data.image_size, data.image_size)
        try:
            model = build_model(
                scenario.model.untrained(), scenario.strategy, shape, 2, scenario.seed
            )
        except InputError as error:
            raise InputError(f"data.features.folder: the run '{self.folder}': {error}") from error
        head = find_head(model)
        body = dict(model.state_dict())
        for name in head.names if head else ():
            del body[name]  # its classes need not be those of this scenario
        missing = [name for name in body if name not in state]
        if missing or any(body[name].shape != state[name].shape for name in body):
            first = f", {missing[0]} for one" if missing else ""
            raise InputError(
                f"data.features.folder: the server of the run '{self.folder}' holds no whole "
                f"network for images{first}; name a run of a method with a global model "
                "(strategy=fedavg), on images"
            )
        model.load_state_dict({name: state[name] for name in body}, strict=False)
        one = Samples(np.zeros((1, *shape), np.uint8), np.zeros(1, int), np.zeros(1, int))
        normalise = Preprocess(data, dataclasses.replace(context.data, train=one)).inputs
        return Backbone(
            lambda images: normalise(conform_batch(images, data.channels, data.image_size)), model
        )
