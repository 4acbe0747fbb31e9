from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from helpers.loading import load, numbers, of


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (1, 8, 8), (8, 8, 3), (3, 8, 8)])
def test_all_layouts_of_images_are_understood(tmp_path, shape):
    images, labels = numbers(30, *shape)
    np.savez(tmp_path / "dots.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = load(tmp_path, {"name": "npz", "path": "dots.npz"})
    first = images[0].reshape(8, 8, -1) if shape[0] == 8 else images[0].transpose(1, 2, 0)
    assert data.domain_names == ("dots",)
    assert data.class_names == ("0", "1", "2")
    assert data.train.inputs.shape == (30, 3, 8, 8)
    assert (data.train.inputs[0].transpose(1, 2, 0) == first).all()
    assert data.test.labels.tolist() == labels.tolist()


def test_a_file_without_a_test_split_is_split(tmp_path):
    images, labels = numbers(30, 8, 8)
    np.savez(tmp_path / "a.npz", pixels=images, digits=labels[:, None])
    np.savez(tmp_path / "b.npz", pixels=images, digits=labels)
    keys = {"x_train": "pixels", "y_train": "digits", "test_share": 0.1}
    files = {"left": "a.npz", "right": str(tmp_path / "b.npz")}
    data = load(tmp_path, {"name": "npz", "files": files, "class_names": ["a", "b", "c"], **keys})
    assert data.domain_names == ("left", "right")
    assert data.class_names == ("a", "b", "c")
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]
    assert len(np.unique(of(data, "left")[:, 0].reshape(27, -1), axis=0)) == 27


def test_features_are_read_as_they_are(tmp_path):
    features = np.linspace(0, 1, 40).reshape(20, 2)
    np.savez(tmp_path / "f.npz", x_train=features, y_train=np.arange(20) % 2)
    data = load(tmp_path, {"name": "npz", "path": "f.npz"})
    assert data.train.inputs.dtype == np.float32
    assert data.input_shape == (2,)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": "images"}, r"no array 'y_train', only x_train; set data\.sources\.0\.y_train"),
        ({"x_train": "images", "y_train": "labels", "x_test": "images"}, r"no array 'y_test'"),
        ({"x_train": "floats", "y_train": "labels"}, r"'x_train' .* float64; images must be uint8"),
        ({"x_train": "images", "y_train": "floats"}, r"'y_train' .*labels must be whole numbers"),
        ({"x_train": "objects", "y_train": "labels"}, r"array .x_train. holds Python objects; seq"),
        (
            {"x_train": "images", "y_train": "signs"},
            r"'y_train' .* has the label -1; number the cl",
        ),
        (
            {"x_train": "images", "y_train": "fewer"},
            r"odd\.npz' has 30 samples in 'x_train' but 29 labels in 'y_train'; save one label",
        ),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, arrays, message):
    images, labels = numbers(30, 8, 8)
    kinds = {
        "images": images,
        "labels": labels,
        "floats": images / 255,
        "signs": labels - 1,
        "fewer": labels[:-1],
        "objects": np.array([{}], object),
    }
    np.savez(tmp_path / "odd.npz", **{key: kinds[kind] for key, kind in arrays.items()})
    with pytest.raises(InputError, match=message):
        load(tmp_path, {"name": "npz", "path": "odd.npz"})


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"data\.sources\.0\.files\.a: '.*none\.npz' does not exist"
    ):
        load(tmp_path, {"name": "npz", "files": {"a": "none.npz"}})
    np.savez(tmp_path / "cut.npz", x_train=np.zeros((9, 4, 4), np.uint8), y_train=np.zeros(9, int))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.npz' cannot be read as a \.npz file"):
        load(tmp_path, {"name": "npz", "path": "cut.npz"})


@pytest.mark.parametrize(
    "wrong", [{}, {"path": "a", "files": {"b": "c"}}, {"files": {"b": "c"}, "domain": "d"}]
)
def test_an_npz_source_names_its_files_in_one_way(wrong):
    with pytest.raises(ValidationError, match=r"path"):
        DataSpec.model_validate({"sources": [{"name": "npz", **wrong}]})


def test_images_are_resized_and_made_grey_like_pillow_does():
    ramp = np.arange(0, 192, 12, np.uint8)[None, None, None].repeat(16, 2).repeat(3, 1)
    ramp[:, 0] = 0
    mine = conform(ramp, 1, 8)[0, 0].astype(int)
    image = Image.fromarray(ramp[0].transpose(1, 2, 0)).convert("L")
    theirs = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(mine - theirs).max() <= 1


ROTATED = {"name": "rotated", "transforms": [{"name": "rotation", "degrees": 180}]}


@pytest.fixture
def dots(tmp_path) -> Path:
    images, labels = numbers(30, 8, 8, 3)
    np.savez(tmp_path / "dots.npz", x_train=images, y_train=labels)
    return tmp_path


def test_made_domains_share_out_the_samples(dots):
    source = {"name": "npz", "path": "dots.npz"}
    plain = load(dots, source)
    data = load(dots, source | {"make_domains": [{"name": "upright"}, ROTATED]})
    assert data.domain_names == ("upright", "rotated")
    upright = {image.tobytes() for image in of(data, "upright")}
    rotated = {image[:, ::-1, ::-1].tobytes() for image in of(data, "rotated")}
    assert upright | rotated == {image.tobytes() for image in plain.train.inputs}
    assert len(upright) == len(rotated) == 12
    for domain in range(2):
        assert np.bincount(data.train.labels[data.train.domains == domain]).tolist() == [4, 4, 4]


def test_made_domains_may_each_have_all_samples(dots):
    made = {"make_domains": [{"name": "upright"}, ROTATED], "share_samples": True}
    data = load(dots, {"name": "npz", "path": "dots.npz", **made})
    assert (of(data, "upright") == of(data, "rotated")[..., ::-1, ::-1]).all()
    assert (of(data, "upright", "test") == of(data, "rotated", "test")[..., ::-1, ::-1]).all()


# A user's own source


class Constant(Source):
    """Two domains of constant features."""

    name: str = f"{__name__}:Constant"
    value: float = 1.0

    def load(self, context: LoadContext) -> list[Domain]:
        inputs, labels = np.full((4, 2), self.value, np.float32), np.arange(4) % 2
        return [Domain(name, inputs, labels, inputs, labels, ("no", "yes")) for name in ("a", "b")]


def test_a_users_own_source_is_named_by_its_python_path(tmp_path):
    data = load(tmp_path, {"name": f"{__name__}:Constant", "value": 3})
    assert data.domain_names == ("a", "b")
    assert data.class_names == ("no", "yes")
    assert (data.train.inputs == 3).all()
    with pytest.raises(ValidationError, match=r"there is no source 'constant'"):
        load(tmp_path, {"name": "constant"})
    with pytest.raises(ValidationError, match=r"valu\b"):
        load(tmp_path, {"name": f"{__name__}:Constant", "valu": 3})


def test_what_would_be_taken_for_something_else_is_refused(tmp_path):
    labels = np.arange(8) % 2
    np.savez(tmp_path / "mask.npz", x_train=np.ones((8, 4, 4), np.uint8), y_train=labels)
    with pytest.raises(InputError, match="the bytes 0 and 1 alone, and those of images go to 255"):
        load(tmp_path, {"name": "npz", "path": "mask.npz"})
    data = load(tmp_path, {"name": "npz", "path": "mask.npz", "series": True})
    assert data.train.inputs.dtype == np.float32
    np.savez(tmp_path / "flat.npz", x_train=np.ones((8, 4)), y_train=labels)
    with pytest.raises(InputError, match=r"series: true reads numbers of shape \(n, channels, len"):
        load(tmp_path, {"name": "npz", "path": "flat.npz", "series": True})
    files = {key: f"{key}.npy" for key in ("x_train", "y_train", "x_test", "y_test")}
    for file in files.values():
        np.save(tmp_path / file, 3.0)
    with pytest.raises(InputError, match="it holds no samples one after the other"):
        load(tmp_path, {"name": "npy", **files})


def test_domains_are_called_by_their_normal_form(tmp_path):
    inputs, labels = numbers(12, 8, 8)
    np.savez(tmp_path / "Zu\u0308rich.npz", x_train=inputs, y_train=labels)
    source = {"name": "npz", "path": "Zu\u0308rich.npz"}
    assert load(tmp_path, source, domains=["Z\u00fcrich"]).domain_names == ("Z\u00fcrich",)
    assert load(tmp_path, source | {"domain": " a  b"}, domains=["a b"]).domain_names == ("a b",)
    with pytest.raises(ValueError, match="is blank; write a name"):
        load(tmp_path, source | {"domain": " "})


def test_made_domains_share_out_samples_of_several_labels(tmp_path):
    inputs, _ = numbers(40, 8, 8)
    labels = np.stack([np.arange(40) % 2, np.arange(40) // 20], axis=1)
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=labels)
    made = [{"name": "one"}, {"name": "two"}]
    source = {"name": "npz", "path": "a.npz", "make_domains": made}
    data = load(tmp_path, source, target="multi_label", channels=1)
    assert np.bincount(data.train.domains).tolist() == [16, 16]
    assert len(np.unique(data.train.inputs.reshape(32, -1), axis=0)) == 32
    assert data.train.labels[data.train.domains == 0].sum(axis=0).tolist() == [8, 8]
    with pytest.raises(ValueError, match="share_samples gives every made domain all samples"):
        load(tmp_path, {"name": "npz", "path": "a.npz", "share_samples": True})
