"""A map of test samples: features before the head, projected to two dimensions.

The plane is that of t-SNE: Visualizing Data using t-SNE, van der Maaten, Hinton, JMLR 2008. Near
samples are near in the network's features; far distances and sizes of clusters mean nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from fedlab import rng
from fedlab.adaptation.trained import Trained, open_trained
from fedlab.clients.base import Received
from fedlab.errors import InputError
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors, as_tensor
from fedlab.runs.run import Run

SAMPLES = 400
CLIENTS = 40
NEIGHBOURS = 10
COMPONENTS = 30
"""Principal components that t-SNE is given: fewer are quicker and less noisy."""
ALIKE, LARGE = 1e-9, 1e6
"""Features that differ by so small a share of their size are the same; more than this is large."""


@dataclass(frozen=True)
class FeatureMap:
    """Projected samples.

    Attributes:
        points: Places, float of shape (n, 2).
        domains: Domain index of each sample, shape (n,).
        labels: Class (stratum of other targets) of each sample by its index, shape (n,).
        same_class: Mean share of a sample's ten nearest neighbours, by the features themselves,
            that are of its class.
        same_domain: The same for its domain.
    """

    points: np.ndarray
    domains: np.ndarray
    labels: np.ndarray
    same_class: float
    same_domain: float


def feature_map(run: Run) -> FeatureMap:
    """Projects test samples of a finished run by their clients' models.

    A client's model is the one it is tested with. Samples of domains without a client go through
    the server's model. Of many clients, evenly spaced ones are taken. The same run gives the same
    map.

    Raises:
        InputError: If the run has not finished, its data cannot be loaded, or its network ends in
            no dense layer.
    """
    trained = open_trained(run)
    features, indices = [], []
    with _one_thread():
        for state, samples in _views(trained):
            features.append(_features(trained, state, samples))
            indices.append(samples)
        if not features:
            raise InputError(f"the run '{run.folder}' has no test samples to show")
        points, chosen = np.concatenate(features), np.concatenate(indices)
        if not np.isfinite(points).all():
            raise InputError(f"the run '{run.folder}' has diverged: its features are not finite")
        data = trained.runtime.data
        domains, labels = data.test.domains[chosen], data.strata(data.test)[chosen]
        plane = _plane(points, run.scenario.seed)
    return FeatureMap(plane, domains, labels, _same(points, labels), _same(points, domains))


def _views(trained: Trained) -> Iterator[tuple[Tensors, np.ndarray]]:
    """Models, each with the test samples that it is applied to."""
    runtime, run = trained.runtime, trained.run
    partition, trainer = runtime.partition, runtime.trainer
    server = run.model_state()
    tested = np.flatnonzero(np.diff(partition.test_offsets))
    clients = tested[np.linspace(0, len(tested) - 1, min(len(tested), CLIENTS)).round().astype(int)]
    unseen = runtime.data.unseen_domains
    each = max(1, SAMPLES // max(len(clients) + len(unseen), 1))

    def some(indices: np.ndarray, *key: int | str) -> np.ndarray:
        generator = rng.generator(run.scenario.seed, "feature map", *key)
        return np.sort(generator.permutation(indices)[:each])

    for client in clients.tolist():
        received = Received({"arrays": _on(server, runtime.device)})
        kept = run.client_state(client)
        own = {record: _on(tensors, runtime.device) for record, tensors in kept.items()}
        yield trainer.evaluated_model(received, own), some(partition[client].test, "client", client)
    if not trainer.local:
        for domain in unseen:
            rows = np.flatnonzero(runtime.data.test.domains == domain)
            yield _on(server, runtime.device), some(rows, "domain", domain)


def _on(tensors: Tensors, device: torch.device) -> Tensors:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


@torch.inference_mode()
def _features(trained: Trained, state: Tensors, samples: np.ndarray) -> np.ndarray:
    """The inputs of the head, float64 of shape (n, features)."""
    runtime = trained.runtime
    model = runtime.trainer.task.model.eval()
    inputs = as_tensor(runtime.data.test.inputs[samples]).to(runtime.device)
    whole = {name: channels_last(tensor) for name, tensor in state.items()}
    batch = channels_last(runtime.preprocess.inputs(inputs))
    with runtime.trainer.task.head.listen() as captured, with_tensors(model, whole):
        model(batch)
    return captured[0].flatten(1).double().cpu().numpy()


def _plane(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    centred = features - features.mean(axis=0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    few = (left * strength)[:, :COMPONENTS]
    few *= np.where(few[np.abs(few).argmax(axis=0), range(few.shape[1])] < 0, -1, 1)  # one sign
    largest = np.abs(few).max(initial=0.0)
    if largest <= ALIKE * np.abs(features).max(initial=0.0):
        return np.zeros((len(few), 2))  # a network that has collapsed; t-SNE would crash on it
    if len(few) < 8 or few.shape[1] < 2:
        return np.pad(few, ((0, 0), (0, 2)))[:, :2]
    if largest > LARGE:
        few = few / largest  # t-SNE squares them in float32
    layout = TSNE(
        perplexity=min(30.0, len(few) / 4),
        init="pca",
        random_state=rng.seed_of(seed, "t-SNE") % 2**32,
        max_iter=500,
    )
    return layout.fit_transform(few)


def _same(features: np.ndarray, kinds: np.ndarray) -> float:
    """Mean share of a sample's nearest neighbours that are of its kind (class or domain)."""
    squares = (features**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * features @ features.T
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(kinds) - 1)]
    return float((kinds[near] == kinds[:, None]).mean()) if near.size else float("nan")


@contextmanager
def _one_thread() -> Generator[None]:
    """Sums in one order on any number of cores: t-SNE would enlarge any difference."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
