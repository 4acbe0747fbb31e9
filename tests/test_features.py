"""Features of frozen networks: what `data.features` turns images into, and what it refuses."""

from __future__ import annotations

import logging
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from fedlab import simulate
from fedlab.data import array_cache
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.features.base import ExtractionContext, Extractor
from fedlab.features.frozen import Backbone, FrozenNetwork
from fedlab.preparation import Prepared, prepare
from fedlab.scenario import Scenario
from fedlab.simulation import resume
from helpers.toy import scenario

BUILT: list[str] = []


class Brightness(Extractor):
    """One feature: how bright an image is."""

    name: str = "test_features:Brightness"

    def apply(self, context: ExtractionContext) -> FederatedData:
        from dataclasses import replace

        def means(split: Any) -> Any:
            means = split.inputs.mean(axis=(1, 2, 3), dtype=np.float32)
            return replace(split, inputs=means[:, None])

        return replace(context.data, train=means(context.data.train), test=means(context.data.test))


class Pixels(FrozenNetwork):
    """The pixels, scaled, as the inputs of a dense layer."""

    unbounded: ClassVar[frozenset[str]] = frozenset({"scale"})
    name: str = "test_features:Pixels"
    scale: float = 1.0

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        BUILT.append(self.name)
        network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3 * 8 * 8, 2))
        return Backbone(lambda images: images * self.scale, network)


def on(features: Any, **changes: Any) -> Scenario:
    """The toy scenario with features."""
    data = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8, "features": features}
    return scenario(**{"data": data, "model": "linear"} | changes)


def images() -> FederatedData:
    return load_data(scenario().data)


def same(one: Prepared, other: Prepared) -> bool:
    pairs = zip((one.data.train, one.data.test), (other.data.train, other.data.test), strict=True)
    return all(np.array_equal(a.inputs, b.inputs) for a, b in pairs)


def test_without_an_extractor_images_stay_images():
    assert prepare(on("none")).data.train.inputs.dtype == np.uint8


def test_a_users_extractor_is_found_by_its_path_and_trained_on():
    prepared = prepare(on("test_features:Brightness"))
    assert prepared.data.train.inputs[:, 0] == pytest.approx(
        images().train.inputs.mean(axis=(1, 2, 3))
    )
    assert prepared.model[1].weight.shape == (4, 1)


def test_features_are_what_the_last_dense_layer_is_given():
    data = prepare(on("test_features:Pixels")).data
    for split, before in ((data.train, images().train), (data.test, images().test)):
        assert split.inputs.dtype == np.float32
        assert np.array_equal(split.inputs, before.inputs.reshape(len(before), -1))
        assert np.array_equal(split.labels, before.labels)


def test_features_can_have_unit_length():
    data = prepare(on({"name": "test_features:Pixels", "unit_length": True})).data
    assert np.linalg.norm(data.test.inputs, axis=1) == pytest.approx(1)


def test_features_are_computed_once_for_the_same_images_and_parameters():
    BUILT.clear()
    first = prepare(on({"name": "test_features:Pixels", "scale": 2}))
    again = prepare(on({"name": "test_features:Pixels", "scale": 2}, seed=3))
    assert same(first, again)
    assert len(BUILT) == 1
    other = prepare(on({"name": "test_features:Pixels", "scale": 3}))
    assert len(BUILT) == 2
    assert np.array_equal(other.data.test.inputs * 2, first.data.test.inputs * 3)


def test_damaged_features_on_disk_are_computed_anew():
    first = prepare(on({"name": "test_features:Pixels", "scale": 5}))
    kept = [entry / "test.npy" for entry in (array_cache.folder().parent / "features").iterdir()]
    for file in kept:
        file.write_bytes(b"")
    assert same(first, prepare(on({"name": "test_features:Pixels", "scale": 5})))


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        prepare(on({"name": "test_features:Pixels", "scale": float("nan")}))


def test_images_are_not_augmented_under_features():
    with pytest.raises(ValueError, match="computed once, of images as they are; leave out"):
        on("none", data={**on("warm_up").data.model_dump(), "augmentation": {"flip": True}})


def test_tables_have_features_already(tmp_path):
    np.savez(tmp_path / "t.npz", x_train=np.zeros((20, 3), np.float32), y_train=np.arange(20) % 2)
    data = {"sources": [{"name": "npz", "path": "t.npz"}], "root": tmp_path, "features": "warm_up"}
    with pytest.raises(InputError, match="yield features already"):
        prepare(on("none", data=data))


WARM_UP = {
    "name": "warm_up",
    "network": {"name": "small_cnn", "widths": [4, 4, 8]},
    "rounds": 2,
    "training": {"batch_size": 16, "optimizer": {"lr": 0.05}},
}


def test_a_warm_up_yields_the_same_features_again(monkeypatch, tmp_path):
    first = prepare(on(WARM_UP))
    assert first.data.train.inputs.shape == (120, 8)
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path))  # nothing is found there
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    assert same(first, prepare(on(WARM_UP)))
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_a_warm_up_depends_on_seed_partition_and_training():
    first = prepare(on(WARM_UP))
    assert not same(first, prepare(on(WARM_UP, seed=1)))
    assert not same(first, prepare(on(WARM_UP, partition={"clients": 6})))
    assert not same(first, prepare(on({**WARM_UP, "rounds": 1})))
    assert same(first, prepare(on(WARM_UP, rounds=7, strategy={"name": "fedprox", "mu": 0.1})))


@pytest.mark.slow
def test_a_warm_up_learns_nothing_from_unseen_domains(monkeypatch, tmp_path):
    """With the images of the unseen domain blacked out, the other domains' features stay."""
    from helpers import toy

    def features() -> FederatedData:
        data = on(WARM_UP).data.model_copy(update={"unseen_domains": ("d2",)})
        return prepare(on("none", data=data.model_dump())).data

    before = features()
    draw = toy.Stripes._domain

    def black(self: toy.Stripes, index: int, context: Any) -> Any:
        domain = draw(self, index, context)
        if index == 2:
            domain.train_inputs[:] = 0
        return domain

    monkeypatch.setattr(toy.Stripes, "_domain", black)
    after = features()
    seen = before.train.domains != 2
    assert np.array_equal(before.train.inputs[seen], after.train.inputs[seen])
    assert not np.array_equal(before.train.inputs, after.train.inputs)


@pytest.mark.slow
def test_a_run_on_warm_up_features_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    class Stop:
        def on_start(self, *_: Any) -> None: ...
        def on_end(self, *_: Any) -> None: ...
        def on_round(self, strategy: Any, report: Any) -> None:
            raise KeyboardInterrupt

    whole = simulate(on(WARM_UP), out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(on(WARM_UP), out=tmp_path / "cut", callbacks=[Stop()], progress=False)
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path))
    resumed = resume(tmp_path / "cut", progress=False)
    assert (resumed.folder / "history.csv").read_bytes() == (
        whole.folder / "history.csv"
    ).read_bytes()


def test_the_backbone_of_a_run_yields_what_its_head_was_given(tmp_path):
    cnn = {"name": "small_cnn", "widths": [4, 4, 8]}
    run = simulate(scenario(model=cnn), out=tmp_path / "run", progress=False)
    data = prepare(on({"name": "run", "folder": str(tmp_path / "run")})).data
    network = prepare(scenario(model=cnn)).model
    network.load_state_dict(run.model_state())
    batch = torch.from_numpy(images().test.inputs) / 255 * 2 - 1
    with torch.no_grad():
        expected = network.eval()[:-1](batch)
    assert data.test.inputs == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.slow
def test_the_backbone_of_a_run_takes_images_of_other_size_colour_and_classes(tmp_path):
    grey = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 16, "channels": 1}
    mean = {"normalisation": {"mean": [0.4], "std": [0.2]}}
    simulate(scenario(data=grey | mean), out=tmp_path / "run", progress=False)
    data = prepare(on({"name": "run", "folder": str(tmp_path / "run")})).data
    assert data.train.inputs.shape == (120, 96 * 2 * 2)


@pytest.mark.slow
def test_runs_without_a_network_for_images_are_refused(tmp_path):
    simulate(scenario(strategy="fedbn"), out=tmp_path / "fedbn", progress=False)
    simulate(on("test_features:Pixels"), out=tmp_path / "features", progress=False)
    refused = {"fedbn": "no whole network", "features": "itself trained on features"}
    for folder, reason in refused.items():
        with pytest.raises(InputError, match=reason):
            prepare(on({"name": "run", "folder": str(tmp_path / folder)}))
    (tmp_path / "fedbn" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="fedlab resume"):
        prepare(on({"name": "run", "folder": str(tmp_path / "fedbn")}))
    with pytest.raises(InputError, match="is not there"):
        prepare(on({"name": "run", "folder": str(tmp_path / "none")}))


def test_torchvision_networks_yield_the_inputs_of_their_last_dense_layer():
    features = {"name": "torchvision", "model": "mobilenet_v3_small", "weights": None}
    sources = [{"name": "helpers.toy:Stripes", "domains": 1, "train": 4, "test": 4}]
    data = {"sources": sources, "image_size": 8, "channels": 1, "features": features}
    prepared = prepare(on("none", data=data, partition={"clients": 1}))
    assert prepared.data.train.inputs.shape == (4, 1024)
    assert prepared.data.train.inputs.std(axis=0).max() > 0


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"model": "resnet19"}, "no classification network 'resnet19'"),
        ({"weights": "IMAGENET"}, "no weights 'IMAGENET' of resnet18; choose from IMAGENET1K_V1"),
        ({}, "resnet18-.*not there; set data.download=true"),
        ({"model": "squeezenet1_0", "weights": None}, "ends in no dense layer"),
    ],
)
def test_torchvision_says_what_it_cannot_give(features, reason, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=reason):
        prepare(on({"name": "torchvision", **features}))


def test_a_failed_download_of_weights_is_reported(monkeypatch, tmp_path):
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    data = on("torchvision").data.model_copy(update={"download": True})
    with pytest.raises(InputError, match="cannot be downloaded \\(no route to host\\)"):
        prepare(on("none", data=data.model_dump()))


def test_without_open_clip_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r'pip install "fedlab-sim\[clip\]"'):
        prepare(on("open_clip"))


TINY_CLIP = """{"embed_dim": 6,
"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
"text_cfg": {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1}}"""


@pytest.mark.slow
def test_a_clip_encoder_embeds_as_openclip_does(tmp_path):
    library = pytest.importorskip("open_clip")
    from PIL import Image

    (tmp_path / "tiny.json").write_text(TINY_CLIP)
    library.add_model_config(tmp_path / "tiny.json")
    network, _, preprocess = library.create_model_and_transforms("tiny")
    torch.save(network.state_dict(), tmp_path / "tiny.pt")
    features = {"name": "open_clip", "model": "tiny", "pretrained": str(tmp_path / "tiny.pt")}
    data = prepare(on(features)).data
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images().test.inputs]
    with torch.no_grad():
        expected = network.eval().encode_image(torch.stack([preprocess(p) for p in pictures]))
    assert data.test.inputs == pytest.approx(expected.numpy(), abs=0.02)


def test_open_clip_leaves_the_root_logger_as_it_was(tmp_path, monkeypatch):
    library = pytest.importorskip("open_clip")
    (tmp_path / "tiny.json").write_text(TINY_CLIP)
    library.add_model_config(tmp_path / "tiny.json")
    torch.save(library.create_model("tiny").state_dict(), tmp_path / "tiny.pt")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as outside of pytest
    prepare(on({"name": "open_clip", "model": "tiny", "pretrained": str(tmp_path / "tiny.pt")}))
    assert logging.getLogger().handlers == []


@pytest.mark.slow
def test_open_clip_says_what_it_cannot_give(tmp_path, monkeypatch):
    pytest.importorskip("open_clip")
    monkeypatch.setenv("HOME", str(tmp_path))
    for changed, reason in (
        ({"model": "ViT"}, "no model 'ViT'"),
        ({"pretrained": "opennai"}, "choose from openai"),
        ({"pretrained": "dfn2b"}, "not on this machine; set data.download=true"),
    ):
        with pytest.raises(InputError, match=reason):
            prepare(on({"name": "open_clip", **changed}))
