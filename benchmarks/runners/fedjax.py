"""Google's FedJAX, in an environment of its own; ``--backend jit`` or ``vmap``.

``jit`` is FedJAX's own. ``vmap`` trains the whole cohort as one compiled call; FedJAX has no such
backend on CPUs but an interface for one, and it is the quickest way for small networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import fedjax
import jax
import jax.numpy as jnp
import numpy as np
from fedjax.core.for_each_client import ForEachClientBackend

from benchmarks.harness import WARM_UP, Stopwatch, arguments, report
from benchmarks.works import Work, load

Parameters = dict[str, jax.Array]


class VmapBackend(ForEachClientBackend):
    """All clients as one; they must have equally many batches of equal size."""

    def __call__(
        self, client_init: Callable, client_step: Callable, client_final: Callable
    ) -> Callable:
        """Makes the function that trains a cohort."""

        @jax.jit
        def train(shared: Any, batches: Any, own: Any) -> Any:
            def one(batches: Any, own: Any) -> Any:
                state, results = jax.lax.scan(client_step, client_init(shared, own), batches)
                return client_final(shared, state), results

            return jax.vmap(one)(batches, own)

        def run(shared: Any, clients: Iterable[Any]) -> Iterator[Any]:
            names, batches, own = zip(*clients, strict=True)
            stacked = jax.tree_util.tree_map(
                lambda *leaves: np.stack(leaves),
                *[jax.tree_util.tree_map(lambda *b: np.stack(b), *each) for each in batches],
            )
            outputs, results = jax.device_get(train(shared, stacked, jnp.stack(own)))
            for index, name in enumerate(names):
                pick = lambda leaves, k=index: leaves[k]  # noqa: E731
                yield (
                    name,
                    jax.tree_util.tree_map(pick, outputs),
                    jax.tree_util.tree_map(pick, results),
                )

        return run


def convolve(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """A convolution without padding; images of shape (n, h, w, c), kernels as PyTorch's."""
    return bias + jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )


def outputs_of(work: Work, parameters: Parameters, inputs: jax.Array) -> jax.Array:
    """The network's outputs, with PyTorch's names and layouts of parameters."""
    p = parameters
    if work.name == "lr":
        return inputs @ p["1.weight"].T + p["1.bias"]
    if work.name == "mlp":
        hidden = jax.nn.relu(inputs @ p["1.weight"].T + p["1.bias"])
        return hidden @ p["3.weight"].T + p["3.bias"]
    images = (inputs.astype(jnp.float32) / 127.5 - 1).transpose(0, 2, 3, 1)
    maps = jax.nn.relu(convolve(images, p["0.weight"], p["0.bias"]))
    maps = jax.nn.relu(convolve(maps, p["2.weight"], p["2.bias"]))
    maps = jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    flat = maps.transpose(0, 3, 1, 2).reshape(len(maps), -1)
    hidden = jax.nn.relu(flat @ p["6.weight"].T + p["6.bias"])
    return hidden @ p["8.weight"].T + p["8.bias"]


def main(argv: Sequence[str] | None = None) -> None:
    given, work = arguments(argv, "--backend")
    if work.name not in ("lr", "mlp", "cnn", "femnist"):
        raise SystemExit(f"'{work.name}' is not written in JAX")
    if given.backend == "vmap" and work.spread:
        raise SystemExit(f"clients of '{work.name}' have different numbers of batches")
    fedjax.set_for_each_client_backend(VmapBackend() if given.backend == "vmap" else "jit")
    data = load(given.data, work)
    datasets = [
        fedjax.ClientDataset({"x": inputs, "y": labels})
        for inputs, labels in zip(data.inputs, data.labels, strict=True)
    ]

    def loss(parameters: Parameters, batch: dict[str, jax.Array], rng: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(outputs_of(work, parameters, batch["x"]))
        return -jnp.take_along_axis(chances, batch["y"][:, None], axis=1).mean()

    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        jax.grad(loss),
        fedjax.optimizers.sgd(work.lr),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=work.batch, num_epochs=1, seed=0),
    )
    state = algorithm.init({name: jnp.asarray(array) for name, array in data.initial.items()})
    watch = Stopwatch(given.rounds)
    watch.mark()
    for server_round in range(1, WARM_UP + given.rounds + 1):
        keys = jax.random.split(jax.random.PRNGKey(server_round), work.cohort)
        cohort = work.cohort_of(server_round)
        clients = [
            (client, datasets[client], key) for client, key in zip(cohort, keys, strict=True)
        ]
        state, _ = algorithm.apply(state, clients)
        jax.block_until_ready(state.params)
        watch.mark()
    model = {name: np.asarray(array) for name, array in state.params.items()}
    report(given, watch, model)


if __name__ == "__main__":
    main()
