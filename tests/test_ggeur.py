"""GGEUR: exact pooling, samples of the stated shape, what travels, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlab import Run, simulate
from fedlab.clients.base import ClientTrainer, Phase, Received
from fedlab.clients.ggeur import moments_record, refuse_base
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.start import make_runtime
from fedlab.errors import InputError, RunError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.eigenspace import Geometry, Moments, pack, unpack
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.runs.checkpoint import load_client_state
from fedlab.scenario import Scenario
from fedlab.simulation import resume
from fedlab.strategies.ggeur import GGEURParameters, moments_of, pool
from fedlab.strategies.parameters import StrategyParameters
from helpers.toy import scenario as image_scenario

FEATURES, CLASSES, DOMAINS = 5, 4, 3


class Clouds(Source):
    """A cloud of features for each class, elongated alike in all domains and shifted in each."""

    name: str = "test_ggeur:Clouds"
    train: int = 60

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Draws the clouds."""
        return [self._domain(index) for index in range(DOMAINS)]

    def _domain(self, index: int) -> Domain:
        generator = np.random.default_rng(index)
        centres = np.random.default_rng(9).normal(0, 3, (CLASSES, FEATURES))

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count) % CLASSES
            shape = np.linspace(0.2, 2, FEATURES)
            features = centres[labels] + index + shape * generator.normal(size=(count, FEATURES))
            return features.astype(np.float32), labels

        return Domain(f"d{index}", *draw(self.train), *draw(40), tuple("abcd"))


class Unlabelled(ClientTrainer):
    """Reads what has no label."""

    def phases(self) -> Sequence[Phase]:
        return [Phase("unlabelled")]


def scenario(strategy: Any = "ggeur", **changes: Any) -> Scenario:
    """One domain for each of three clients, with uneven classes."""
    fields: dict[str, Any] = {
        "name": "clouds",
        "rounds": 2,
        "data": {"sources": [{"name": "test_ggeur:Clouds"}]},
        "partition": {"clients": 3, "domains": "one_per_client", "labels": SKEW},
        "model": "linear",
        "strategy": strategy,
        "training": {"optimizer": {"lr": 0.05}},
        "resources": {"backend": "local"},
    }
    return Scenario.model_validate(fields | changes)


SKEW = {"name": "dirichlet", "alpha": 0.1, "among": "all_clients"}
SMALL = {"name": "ggeur", "per_class": 20, "per_prototype": 10}


def run(folder: Path, strategy: Any = SMALL, **changes: Any) -> Run:
    return simulate(scenario(strategy, **changes), out=folder, progress=False)


def synthetic(done: Run, client: int) -> Tensors:
    return load_client_state(done.folder / "checkpoints", client)["synthetic"]


def own_counts(done: Run) -> list[np.ndarray]:
    """Samples of each class that each client has itself."""
    partition = prepare(done.scenario).partition
    return [np.bincount(partition[k].labels, minlength=CLASSES) for k in range(len(partition))]


def metric(done: Run, name: str, round_: int = 1) -> float:
    rows = done.history
    return rows[(rows["round"] == round_) & (rows["metric"] == name)]["value"].sum()


def clouds(*sizes: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(size, FEATURES, generator=generator, dtype=torch.float64) * (k + 1) + 5 * k
        for k, size in enumerate(sizes)
    ]


# ------------------------------------------------------------------------------ moments


def test_pooled_moments_are_those_of_the_pooled_samples():
    parts = clouds(7, 1, 30, 2)
    merged = Moments.of(parts[0])
    for part in parts[1:]:
        merged = merged.merge(Moments.of(part))
    whole = torch.cat(parts)
    assert merged.count == 40
    assert torch.allclose(merged.mean, whole.mean(dim=0), rtol=0, atol=1e-10)
    assert torch.allclose(merged.covariance, whole.T.cov(correction=0), rtol=0, atol=1e-10)


def test_pooled_moments_follow_the_formula_of_the_paper():
    parts = [Moments.of(part) for part in clouds(7, 1, 30, 2)]
    total = sum(part.count for part in parts)
    mean = sum(part.count * part.mean for part in parts) / total
    covariance = sum(
        part.count * (part.covariance + torch.outer(part.mean - mean, part.mean - mean))
        for part in parts
    )
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    assert torch.allclose(merged.covariance, covariance / total, rtol=0, atol=1e-10)


def test_pooling_a_small_case_by_hand():
    """(0,0), (2,0) at one client and (1,3) at another: mean (1,1), variances 2/3 and 2."""
    merged = Moments.of(torch.tensor([[0.0, 0], [2, 0]])).merge(
        Moments.of(torch.tensor([[1.0, 3]]))
    )
    assert merged.mean.tolist() == pytest.approx([1, 1])
    assert merged.covariance.flatten().tolist() == pytest.approx([2 / 3, 0, 0, 2])
    geometry = Geometry.of(merged.covariance)
    assert geometry.values.tolist() == pytest.approx([2, 2 / 3])
    assert geometry.vectors.abs().flatten().tolist() == pytest.approx([0, 1, 1, 0])


def test_packing_keeps_a_symmetric_matrix():
    matrix = Moments.of(clouds(9)[0]).covariance
    packed = pack(matrix)
    assert packed.shape == (FEATURES * (FEATURES + 1) // 2,)
    assert torch.equal(unpack(packed, FEATURES), matrix)


def test_eigen_pairs_rebuild_the_matrix_longest_axis_first():
    covariance = Moments.of(clouds(3)[0]).covariance  # of rank 2: the others round to about 0
    geometry = Geometry.of(covariance - 1e-9 * torch.eye(FEATURES, dtype=torch.float64))
    assert (geometry.values >= 0).all()
    assert (geometry.values.diff() <= 0).all()
    assert torch.allclose(geometry.factor @ geometry.factor.T, covariance, atol=1e-8)


@pytest.mark.parametrize("scale", ["sqrt_eig", "eig"])
def test_draws_have_the_stated_covariance(scale):
    covariance = Moments.of(clouds(50)[0]).covariance
    geometry = Geometry.of(covariance)
    lengths = geometry.values.sqrt() if scale == "sqrt_eig" else geometry.values
    centre = torch.arange(FEATURES) * 10.0
    draws = geometry.around(centre.expand(400_000, -1), lengths, torch.Generator().manual_seed(1))
    stated = covariance if scale == "sqrt_eig" else covariance @ covariance
    assert draws.mean(dim=0).tolist() == pytest.approx(centre.tolist(), abs=0.02)
    assert torch.allclose(draws.double().T.cov(), stated, atol=0.01 * float(stated.max()))


# ------------------------------------------------------------------------------ what goes up


def record(sizes: Sequence[int], **parameters: Any) -> Tensors:
    """What a client with so many samples of each class sends."""
    features = torch.cat(clouds(*sizes)).float()
    labels = torch.repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(0)
    return moments_record(features, labels, GGEURParameters(**parameters), generator)


def test_what_goes_up_is_counts_means_and_triangles():
    sent = record([6, 0, 9])
    assert sent["classes"].tolist() == [0, 2]
    assert sent["counts"].tolist() == [6, 9]
    assert {n: (t.dtype, *t.shape) for n, t in sent.items() if n not in ("classes", "counts")} == {
        "means": (torch.float32, 2, 5),
        "covariances": (torch.float32, 2, 15),
    }
    received = moments_of(sent)[2]
    expected = Moments.of(clouds(6, 0, 9)[2].float())
    assert torch.allclose(received.covariance, expected.covariance, rtol=1e-6)


def test_a_rank_that_suffices_loses_nothing_and_a_lower_one_the_shortest_axes():
    """Four samples span three dimensions."""
    full = moments_of(record([4, 9]))
    enough = moments_of(record([4, 9], rank=3))
    assert record([4, 9], rank=3)["factors"].shape == (2, FEATURES, 3)
    assert torch.allclose(full[0].covariance, enough[0].covariance, atol=1e-5)
    lost = torch.linalg.eigvalsh(full[1].covariance - enough[1].covariance)
    assert lost[-2:].tolist() == pytest.approx(
        torch.linalg.eigvalsh(full[1].covariance)[:2].tolist(), abs=1e-4
    )
    assert record([4, 9], rank=99)["factors"].shape == (2, FEATURES, FEATURES)


def test_moments_of_small_classes_stay_at_home():
    assert record([6, 2, 3], min_class_count=3)["classes"].tolist() == [0, 2]
    nothing = record([1, 2], min_class_count=3)
    assert {name: len(tensor) for name, tensor in nothing.items()} == dict.fromkeys(nothing, 0)
    assert pool([ClientUpdate(0, {"moments": nothing})]) == {}


def test_noise_blurs_means_and_covariances_symmetrically():
    plain, noisy = record([400] * 40), record([400] * 40, noise=0.5)
    for name in ("means", "covariances"):
        assert float((noisy[name] - plain[name]).std()) == pytest.approx(0.5, rel=0.15)
    covariance = moments_of(noisy)[0].covariance
    assert torch.equal(covariance, covariance.T)
    assert torch.equal(noisy["counts"], plain["counts"])


def test_bytes_of_the_first_round_are_as_stated(tmp_path):
    done = run(tmp_path / "run")
    cells = sum(int((counts > 0).sum()) for counts in own_counts(done))  # (client, class) pairs
    model = 4 * (FEATURES + 1) * CLASSES
    triangle = FEATURES * (FEATURES + 1) // 2
    moments = cells * (8 + 8 + 4 * FEATURES + 4 * triangle)
    assert metric(done, "bytes_up") == moments + 3 * model
    geometry = CLASSES * (8 + 4 * FEATURES + 4 * FEATURES**2)
    prototypes = cells * (8 + 8 + 4 * FEATURES)
    assert metric(done, "bytes_down") == 3 * (geometry + prototypes + 2 * model)
    assert metric(done, "bytes_up", 2) == 3 * model


def test_bytes_without_prototypes_and_with_a_rank(tmp_path):
    done = run(tmp_path / "run", {**SMALL, "prototypes": False, "rank": 2})
    cells = sum(int((counts > 0).sum()) for counts in own_counts(done))
    model = 4 * (FEATURES + 1) * CLASSES
    assert metric(done, "bytes_up") == cells * (16 + 4 * FEATURES + 8 * FEATURES) + 3 * model
    geometry = CLASSES * (8 + 4 * 2 + 8 * FEATURES)
    assert metric(done, "bytes_down") == 3 * (geometry + 2 * model)


# ------------------------------------------------------------------------------ what is drawn


def test_one_domain_fills_up_the_classes_that_a_client_has(tmp_path):
    done = run(tmp_path / "run", {**SMALL, "prototypes": False})
    for client, counts in enumerate(own_counts(done)):
        drawn = torch.bincount(synthetic(done, client)["labels"], minlength=CLASSES).numpy()
        assert drawn.tolist() == np.where(counts > 0, np.maximum(20 - counts, 0), 0).tolist()


def test_several_domains_also_draw_around_the_others_means(tmp_path):
    done = run(tmp_path / "run")
    counts = np.array(own_counts(done))
    assert (counts == 0).any()
    for client in range(3):
        others = (np.delete(counts, client, axis=0) > 0).sum(axis=0)
        around_own = np.where(counts[client] > 0, np.maximum(20 - counts[client], 0), 0)
        drawn = torch.bincount(synthetic(done, client)["labels"], minlength=CLASSES).numpy()
        assert drawn.tolist() == (around_own + 10 * others).tolist()


def test_draws_lie_around_the_other_clients_means(tmp_path):
    many = {"name": "ggeur", "per_class": 1, "per_prototype": 4000}
    done = run(tmp_path / "run", many, rounds=1)
    prepared = prepare(done.scenario)
    counts = np.array(own_counts(done))
    means = {}
    for k in range(3):
        split = prepared.partition[k]
        for label in np.flatnonzero(counts[k]):
            means[k, label] = prepared.data.train.inputs[split.train[split.labels == label]].mean(0)
    new = synthetic(done, 0)
    for label in range(CLASSES):
        expected = [means[k, label] for k in (1, 2) if (k, label) in means]
        groups = new["inputs"][new["labels"] == label].view(-1, 4000, FEATURES)
        for group, mean in zip(groups, expected, strict=True):
            assert group.mean(dim=0).tolist() == pytest.approx(mean.tolist(), abs=0.2)


@pytest.mark.parametrize("scale", ["sqrt_eig", "eig"])
@pytest.mark.parametrize("prototypes", [True, False])
def test_what_a_client_draws_has_the_covariance_that_came_down(scale, prototypes):
    """Around its own samples and around the means of others alike; λ² for ``eig``."""
    parameters = GGEURParameters(
        base={"name": "fedavg"},  # type: ignore[arg-type]
        prototypes=prototypes,
        per_class=20_001 if not prototypes else 1,
        per_prototype=20_000,
        scale=scale,
    )
    runtime = runtime_of_one(parameters)
    values = torch.tensor([4.0, 1.0, 0.25, 0.0, 0.0])
    turned = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))[0]
    geometry = {"classes": torch.tensor([2]), "values": values[None], "vectors": turned[None]}
    mean = torch.full((1, FEATURES), 7.0)
    others = {"clients": torch.tensor([1]), "classes": torch.tensor([2]), "means": mean}
    down = {"geometry": geometry} | ({"prototypes": others} if prototypes else {})
    samples = replace(
        runtime.client_data(0),
        inputs=mean,
        labels=torch.tensor([2]),
        labelled=torch.tensor([True]),
    )
    received = Received(down, {"seed": 0, "client": 0})
    new = runtime.trainer.answer("draw", received, samples).client_state["synthetic"]["inputs"]
    assert new.shape == (20_000, FEATURES)
    spread = values if scale == "sqrt_eig" else values.square()
    stated = turned @ spread.diag() @ turned.T
    assert torch.allclose(new.mean(dim=0), mean[0], atol=0.15)
    assert torch.allclose(new.T.cov(), stated, atol=0.05 * float(spread.max()))


def test_defaults_are_the_papers():
    """2000 of a class in one domain; 500, and 500 around each mean, in several."""
    assert GGEURParameters(prototypes=False).filled_to == 2000
    assert GGEURParameters().filled_to == 500
    assert GGEURParameters().per_prototype == 500
    assert GGEURParameters(per_class=7).filled_to == 7


def test_clients_train_on_real_and_new_features(tmp_path):
    done = run(tmp_path / "run")
    rows = done.history
    trained = rows[(rows["round"] == 1) & (rows["split"] == "train") & (rows["metric"] == "loss")]
    expected = [
        int(counts.sum()) + len(synthetic(done, k)["labels"])
        for k, counts in enumerate(own_counts(done))
    ]
    assert trained.sort_values("client")["examples"].tolist() == expected


def runtime_of_one(strategy: Any) -> Runtime:
    prepared = prepare(scenario(strategy))
    return make_runtime(prepared.scenario, "cpu", 1, prepared.data, prepared.partition)


def answered(labels: Sequence[int], known: Sequence[bool], **parameters: Any) -> Tensors:
    """What a single client, alone in the federation, draws."""
    from fedlab.strategies.ggeur import _geometry

    runtime = runtime_of_one({**SMALL, **parameters})
    samples = replace(
        runtime.client_data(0),
        inputs=torch.cat(clouds(len(labels))).float(),
        labels=torch.tensor(labels),
        labelled=torch.tensor(known),
    )
    asked = {"seed": 0, "client": 0}
    sent = runtime.trainer.answer("moments", Received({}, asked), samples).arrays["moments"]
    pooled = pool([ClientUpdate(0, {"moments": sent})])
    down = {"geometry": _geometry(pooled, None)} if pooled else {"geometry": NOTHING}
    return runtime.trainer.answer("draw", Received(down, asked), samples).client_state["synthetic"]


NOTHING = {
    "classes": torch.zeros(0, dtype=torch.int64),
    "values": torch.zeros(0, FEATURES),
    "vectors": torch.zeros(0, FEATURES, FEATURES),
}


def test_a_class_with_one_sample_in_all_is_that_sample_again():
    """Its covariance has rank 0, and so nothing is drawn away from it."""
    new = answered([0, 1, 1, 1], [True] * 4)
    alone = new["inputs"][new["labels"] == 0]
    assert alone.shape == (19, FEATURES)
    assert torch.equal(alone, clouds(4)[0][:1].float().expand(19, -1))


def test_hidden_labels_are_not_read():
    new = answered([0, 1, 1, 2], [True, True, True, False])
    assert new["labels"].unique().tolist() == [0, 1]
    assert answered([0, 1], [False, False])["inputs"].shape == (0, FEATURES)


# ------------------------------------------------------------------------------ whole runs


def test_it_helps_where_clients_miss_classes(tmp_path):
    """The mean test accuracy of the clients, after two rounds of few steps."""
    plain = run(tmp_path / "plain", "fedavg")
    filled = run(tmp_path / "filled")
    one, other = (done.summary()["global_value"].mean() for done in (plain, filled))
    assert other > one + 0.1


@pytest.mark.slow_except("fedavg")
@pytest.mark.parametrize("base", ["fedavg", {"name": "fedprox", "mu": 0.1}, "flwr:FedAdam"])
def test_any_base_resumes_to_the_same_bytes(tmp_path, base):
    class Stop:
        def on_start(self, *_: Any) -> None: ...
        def on_end(self, *_: Any) -> None: ...
        def on_round(self, strategy: Any, report: Any) -> None:
            if report.round == 2:
                raise KeyboardInterrupt

    cut = scenario({**SMALL, "base": base}, rounds=4)
    whole = simulate(cut, out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(cut, out=tmp_path / "cut", callbacks=[Stop()], progress=False)
    resumed = resume(tmp_path / "cut", progress=False)
    files = [(done.folder / "history.csv").read_bytes() for done in (whole, resumed)]
    assert files[0] == files[1]
    for name, tensor in whole.model_state().items():
        assert torch.equal(tensor, resumed.model_state()[name])


@pytest.mark.slow
def test_ray_gives_the_same_bytes(tmp_path, ray_here):
    here = run(tmp_path / "local")
    actors = run(tmp_path / "ray", resources={"backend": "ray", "actors": 2})
    files = [(done.folder / "history.csv").read_bytes() for done in (here, actors)]
    assert files[0] == files[1]


def test_many_clients_as_one_give_the_same_numbers(tmp_path):
    one, many = (run(tmp_path / how, engine={"execution": how}) for how in ("sequential", "vmap"))
    for name, tensor in one.model_state().items():
        assert torch.allclose(tensor, many.model_state()[name], atol=1e-5)


def test_features_of_a_warm_up_serve(tmp_path):
    network = {"name": "small_cnn", "widths": [4, 4, 8]}
    data = image_scenario().data.model_dump()
    data["features"] = {"name": "warm_up", "network": network, "rounds": 1}
    done = run(tmp_path / "run", data=data)
    assert synthetic(done, 0)["inputs"].shape[1] == 8


# ------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ({"name": "ggeur", "base": "fedwon"}, "'fedwon' is surgery on convolutions"),
        ({"name": "ggeur", "base": "ggeur"}, "'ggeur' itself asks the clients questions"),
        ({"name": "ggeur", "base": "fedbn"}, "fedbn keeps"),
        ({"name": "ggeur", "base": "fedlabel"}, "fedlabel learns from unlabelled samples"),
    ],
)
def test_bases_that_cannot_carry_it_are_refused(strategy, reason):
    with pytest.raises(InputError, match=reason):
        prepare(scenario(strategy))


def test_bases_that_learn_from_unlabelled_samples_are_refused():
    prepared = prepare(scenario())
    base = StrategyParameters(name="fedavg", client="test_ggeur:Unlabelled")
    below = prepared.scenario.model_copy(update={"strategy": base})
    with pytest.raises(InputError, match="learns from unlabelled samples or changed images"):
        refuse_base(below, prepared.model)


@pytest.mark.parametrize("base", ["scaffold", "feddyn", "moon", "fedntd", "fedadam", "ditto"])
def test_every_base_trains_on_real_and_new_features(tmp_path, base):
    done = run(tmp_path / "run", {**SMALL, "base": base}, rounds=1, model={"name": "mlp"})
    known = sum(counts.sum() for counts in own_counts(done))
    new = sum(len(synthetic(done, client)["labels"]) for client in range(3))
    rows = done.history
    trained = rows[(rows["split"] == "train") & (rows["metric"] == "loss")]["examples"].sum()
    assert trained == (known + new) * (2 if base == "ditto" else 1)  # two models, two passes


def test_centralised_training_draws_for_its_one_client(tmp_path):
    done = run(tmp_path / "run", {**SMALL, "base": "centralised"})
    assert len(prepare(done.scenario).partition) == 1
    assert synthetic(done, 0)["labels"].bincount().tolist() == [
        max(0, 20 - count) for count in own_counts(done)[0]
    ]


def test_images_without_features_are_refused():
    with pytest.raises(InputError, match=r"the samples are images; set data\.features"):
        prepare(image_scenario(strategy="ggeur", model="linear"))


def test_weighting_belongs_to_the_base():
    with pytest.raises(ValueError, match=r"strategy\.base\.weighting"):
        scenario({"name": "ggeur", "weighting": "uniform"})


def test_nothing_to_pool_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"strategy.min_class_count \(1000\).*lower it"):
        run(tmp_path / "run", {"name": "ggeur", "min_class_count": 1000})
