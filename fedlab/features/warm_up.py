"""Features of a network that the clients train together for a few rounds before it is frozen.

The two-stage training that methods on frozen features presuppose, where no pre-trained encoder is
available: FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629) over the same clients and samples
trains the backbone; its head is discarded.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from pydantic import Field, PositiveInt

from fedlab import rng
from fedlab.config.component import Chosen
from fedlab.config.experiment import Experiment
from fedlab.data.preprocess import Preprocess
from fedlab.features.base import ExtractionContext, NoExtractor
from fedlab.features.frozen import Backbone, FrozenNetwork
from fedlab.models.build import build_model
from fedlab.models.small_cnn import SmallCNN
from fedlab.models.spec import ModelSpec
from fedlab.records import from_record, to_record
from fedlab.strategies.fedavg import FedAvg
from fedlab.targets.base import ONLY_CLASS
from fedlab.training.spec import OptimizerSpec, TrainingSpec

if TYPE_CHECKING:
    from fedlab.scenario import Scenario

log = logging.getLogger("fedlab.features")


class WarmUp(FrozenNetwork):
    """A network that the scenario's clients train by FedAvg for a few rounds; no download.

    It starts anew for every seed and partition of the scenario, and trains in this process, on a
    GPU where there is one. Samples of unseen domains and hidden labels take no part in it.

    Attributes:
        network: The network; its features are what its last dense layer is given.
        rounds: Rounds of FedAvg.
        training: What a client does in a round.
    """

    name: Literal["warm_up"] = "warm_up"
    batch_size: ClassVar[int] = 256
    targets: ClassVar[frozenset[str]] = ONLY_CLASS
    network: Chosen[ModelSpec] = SmallCNN()
    rounds: PositiveInt = 10
    training: TrainingSpec = Field(
        default=TrainingSpec(local_epochs=1, optimizer=OptimizerSpec(lr=0.05, momentum=0.9))
    )

    def depends_on(self, context: ExtractionContext) -> Any:
        """What the warm-up depends on besides images and parameters, for the cache's key."""
        scenario, partition = context.scenario, context.partition
        digest = hashlib.blake2b(digest_size=16)
        for array in (
            partition.train,
            partition.labels,
            partition.labelled,
            partition.train_offsets,
        ):
            digest.update(array.tobytes())
        held_out = [partition.held_out.tolist()] if len(partition.held_out) else []
        return [digest.hexdigest(), scenario.seed, scenario.participation.fraction, *held_out]

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """See `FrozenNetwork.backbone`."""
        from fedlab.engine.local_grid import LocalGrid
        from fedlab.engine.start import make_runtime
        from fedlab.strategies.base import ServerSettings

        scenario = self._scenario(context.scenario)
        model = build_model(
            self.network,
            scenario.strategy,
            context.data.input_shape,
            len(context.data.class_names),
            scenario.seed,
        )
        backbone = Backbone(Preprocess(scenario.data, context.data).inputs, model)
        clients = len(context.partition)
        log.info("warm_up: %d rounds of %s, %d clients", self.rounds, self.network.name, clients)
        grid = LocalGrid(make_runtime(scenario, device.type, 1, context.data, context.partition))
        settings = ServerSettings(
            seed=scenario.seed,
            fraction_train=scenario.participation.fraction,
            fraction_evaluate=0.0,
            held_out=frozenset(context.partition.held_out.tolist()),
        )
        strategy = FedAvg(model, scenario.strategy, settings)
        result = strategy.start(grid, to_record(model.state_dict()), num_rounds=self.rounds)
        model.load_state_dict(from_record(result.arrays))
        return backbone

    def _scenario(self, scenario: Experiment) -> Scenario:
        """The warm-up as a separate experiment on the images."""
        from fedlab.scenario import EngineSpec

        data = {"features": NoExtractor(), "normalisation": "auto"}
        own = scenario.model_copy(
            update={
                "seed": rng.seed_of(scenario.seed, "warm-up"),
                "rounds": self.rounds,
                "data": scenario.data.model_copy(update=data),
                "model": self.network,
                "strategy": FedAvg.Parameters(name="fedavg"),
                "training": self.training,
                "engine": EngineSpec(),
            }
        )
        return cast("Scenario", own)
