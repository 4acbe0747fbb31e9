"""Labels in arrays make as many classes as there are, with any names."""

import os
import zipfile

import numpy as np
import pytest
import torch

from fedlab.data.preprocess import Preprocess
from fedlab.data.spec import DataSpec
from fedlab.data.trial_samples import trial_samples
from fedlab.errors import InputError
from helpers import loading

SOURCE = {"name": "npz", "path": "a.npz"}


def load(root, *sources, image_size=28, **fields):
    """As `helpers.loading.load`, with the default size, about which tables have no remark."""
    return loading.load(root, *sources, image_size=image_size, **fields)


def kept(root, labels, **arrays) -> dict:
    """A file of as many samples as there are labels; the first feature is their index."""
    inputs = np.arange(2.0 * len(labels), dtype=np.float32).reshape(-1, 2)
    np.savez(root / "a.npz", **{"x_train": inputs, "y_train": labels, **arrays})
    return SOURCE


def classes(root, labels, **parameters) -> tuple[str, ...]:
    """The names of the classes; every sample has the label that was saved for it."""
    data = load(root, kept(root, labels) | parameters)
    flat = np.asarray(labels).reshape(len(labels), -1)
    for samples in (data.train, data.test):
        own = flat[(samples.inputs[:, 0] / 2).astype(int)]
        alike = (own[:, None] == own[None]).all(axis=2)
        assert (alike == (samples.labels[:, None] == samples.labels[None])).all()
    return data.class_names


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 3], ("0", "1", "3")),
        ([1, 2, 4], ("1", "2", "4")),
        ([200, 210, 220], ("200", "210", "220")),
        ([0, 1, 10**9], ("0", "1", "1000000000")),
        (np.array([0, 2**63 + 5, 9], np.uint64), ("0", "9", "9223372036854775813")),
        ([9, 10, 100], ("9", "10", "100")),
        (["dog", "cat", "eel"], ("cat", "dog", "eel")),
        ([b"dog", b"cat", b"eel"], ("cat", "dog", "eel")),
        (["7", "07", "10"], ("07", "10", "7")),
        (["10", "9", "8"], ("8", "9", "10")),
        ([True, False, True], ("False", "True")),
        ([0.0, 2.0, 1.0], ("0", "1", "2")),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], ("0", "1", "2")),
        ([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], tuple("0123")),
    ],
)
def test_classes_are_those_that_occur(tmp_path, labels, names):
    assert classes(tmp_path, np.array(list(labels) * 10)) == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1, 0, 1], r"'y_train' .* has the label -1; number the classes from 0"),
        ([0.5, 1, 2], r"'y_train' .* has the label 0\.5; labels must be whole numbers"),
        ([np.nan, 1, 2], r"'y_train' .* has the label nan"),
        ([-1.0, 1, 2], r"'y_train' .* has the label -1; number"),
        ([2.0**60, 1, 2], r"'y_train' .* has the label"),
        ([[1, 1], [0, 1], [1, 0]], r"'y_train' .* a single 1 in each row"),
        ([[0.2, 0.8], [0.5, 0.5], [1, 0]], r"'y_train' .* a single 1 in each row"),
        (["yes", "Yes", "no"], r"labels 'Yes' and 'yes'; give one class one name"),
        (["yes", "", "no"], r"'y_train' .* whose label is an empty text"),
        (["yes", "nan", "no"], r"'y_train' .* the label 'nan' in sample 1, which is a mark of mis"),
        (
            [b"yes", b"no", b"NA"],
            r"'y_train' .* the label 'NA' in sample 2.* list it in the source",
        ),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), r"'y_train' .* labels must be"),
    ],
)
def test_what_names_no_class_is_refused(tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, kept(tmp_path, np.array(list(labels) * 10)))


def test_a_class_may_be_named_as_a_mark_of_missing_values(tmp_path):
    names = ("None", "mild", "severe")
    data = load(tmp_path, kept(tmp_path, np.array([*names] * 10)) | {"class_names": names})
    assert data.class_names == names


def test_texts_that_are_objects_are_refused_with_the_remedy(tmp_path):
    labels = np.array(["a", "b"] * 20, dtype=object)
    said = r"array 'y_train' holds Python objects; .* save y_train\.astype\(str\)"
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path, kept(tmp_path, labels))
    assert "ids" not in str(caught.value)
    assert load(tmp_path, kept(tmp_path, labels.astype(str))).class_names == ("a", "b")


@pytest.mark.filterwarnings("error")
def test_half_precision_labels_are_whole_numbers(tmp_path):
    assert classes(tmp_path, np.array([0, 1, 2] * 10, np.float16)) == ("0", "1", "2")


def test_ids_of_samples_are_no_classes(tmp_path):
    with pytest.raises(InputError, match=r"60 different values in 60 rows .* set y_train"):
        load(tmp_path, kept(tmp_path, np.arange(60)))


def test_class_names_are_of_numbers_or_in_order(tmp_path):
    codes = np.array([200, 210, 220] * 10)
    assert classes(tmp_path, codes, class_names=["a", "b", "c"]) == ("a", "b", "c")
    gap = classes(tmp_path, np.array([0, 1, 3] * 10), class_names=["a", "b", "c", "d"])
    assert gap == ("a", "b", "c", "d")
    data = load(tmp_path, kept(tmp_path, np.array([3, 1, 0] * 10)) | {"class_names": list("abcd")})
    assert set(data.train.labels) == {0, 1, 3}
    words = np.array(["dog", "cat"] * 10)
    data = load(tmp_path, kept(tmp_path, words) | {"class_names": ["dog", "cat", "eel"]})
    assert data.class_names == ("dog", "cat", "eel")
    assert set(data.train.labels) == {0, 1}
    with pytest.raises(InputError, match=r"class_names gives 2 names, but the labels are 3 \(200"):
        load(tmp_path, kept(tmp_path, codes) | {"class_names": ["a", "b"]})
    with pytest.raises(InputError, match=r"class_names\.1 is '', which is blank"):
        load(tmp_path, kept(tmp_path, codes) | {"class_names": ["a", "", "b"]})
    with pytest.raises(InputError, match=r"class_names has 'a' twice"):
        load(tmp_path, kept(tmp_path, codes) | {"class_names": ["a", "b", "a"]})


def test_files_and_splits_share_their_classes(tmp_path):
    inputs = np.zeros((20, 2))
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=["x", "y"] * 10)
    tests = {"x_test": inputs, "y_test": ["z"] * 20}
    np.savez(tmp_path / "b.npz", x_train=inputs, y_train=["y\u0301", "\u00fd"] * 10, **tests)
    data = load(tmp_path, {"name": "npz", "files": {"a": "a.npz", "b": "b.npz"}})
    assert data.class_names == ("x", "y", "z", "\u00fd")
    assert set(data.train.labels[data.train.domains == 1]) == {3}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("X_test", "Y_test"), "array 'X_test', .* looked for in 'x_test'; set .*x_test=X_test"),
        (("x_tst", "y_tst"), "array 'x_tst'"),
        (("test_x", "test_y"), "array 'test_x'"),
        (("XTest", "YTest"), "array 'XTest'"),
        (("y_tset",), "array 'y_tset', .* looked for in 'y_test'"),
    ],
)
def test_misspelt_test_arrays_are_refused(tmp_path, names, said):
    more = {name: np.zeros((4, 2)) for name in names}
    with pytest.raises(InputError, match=said):
        load(tmp_path, kept(tmp_path, np.arange(20) % 2, **more))


def test_arrays_that_are_not_read_are_named(tmp_path, caplog):
    more = {"feature_names": np.array(["a", "b"]), "x_valid": np.zeros((4, 2))}
    load(tmp_path, kept(tmp_path, np.arange(20) % 2, **more))
    assert "left out 2 arrays (feature_names, x_valid), which no key of the source" in caplog.text
    caplog.clear()
    load(tmp_path, kept(tmp_path, np.arange(20) % 2))
    assert not caplog.records


def test_a_folder_or_a_pattern_names_many_files(tmp_path, caplog):
    (tmp_path / "sites").mkdir()
    for name in ("b", "a", "c"):
        np.savez(tmp_path / f"sites/{name}.npz", x_train=np.zeros((9, 2)), y_train=[0, 1, 2] * 3)
    assert load(tmp_path, {"name": "npz", "files": "sites"}).domain_names == ("a", "b", "c")
    assert not caplog.records
    assert load(tmp_path, {"name": "npz", "files": "sites/[ab]*"}).domain_names == ("a", "b")
    (tmp_path / "sites/notes.txt").write_text("no table")
    load(tmp_path, {"name": "npz", "files": "sites"})
    assert "left out 1 file of other kinds (.txt) of 'sites'" in caplog.text
    for wrong in ("none", "none/*.npz"):
        with pytest.raises(InputError, match=r"data\.sources\.0\.files: .*none"):
            load(tmp_path, {"name": "npz", "files": wrong})


# Numbers


def test_whole_numbers_stay_whole_or_are_remarked(tmp_path, caplog):
    tokens = np.arange(60, dtype=np.int32).reshape(20, 3)
    source = kept(tmp_path, np.array([0, 1] * 10), x_train=tokens)
    fields = {"sources": [source], "root": tmp_path}
    data = load(tmp_path, source)
    assert "'auto' standardises the whole numbers" in caplog.text
    made = Preprocess(DataSpec.model_validate(fields), data).inputs(torch.tensor(data.train.inputs))
    assert made.dtype == torch.float32
    assert abs(made.mean()) < 1e-5
    caplog.clear()
    data = load(tmp_path, source, normalisation="none")
    assert not caplog.records
    spec = DataSpec.model_validate(fields | {"normalisation": "none"})
    made = Preprocess(spec, data).inputs(torch.tensor(data.train.inputs))
    assert made.dtype == torch.int64
    assert (made.numpy() == data.train.inputs).all()


def test_series_are_standardised_by_channel(tmp_path):
    generator = np.random.default_rng(0)
    series = generator.normal([[[5.0], [-100.0]]], [[[2.0], [30.0]]], (40, 2, 16))
    source = kept(tmp_path, np.array([0, 1] * 20), x_train=series)
    with pytest.raises(InputError, match=r"read with the source's series: true"):
        load(tmp_path, source)
    data = load(tmp_path, source | {"series": True})
    assert data.input_shape == (2, 16)
    spec = DataSpec.model_validate({"sources": [source], "root": tmp_path})
    made = Preprocess(spec, data).inputs(torch.tensor(data.train.inputs)).numpy()
    for channel in range(2):
        own = data.train.inputs[:, channel]
        assert np.allclose(made[:, channel], (own - own.mean()) / own.std(), atol=1e-4)


def test_numbers_that_are_equal_in_float32_are_kept_in_float64(tmp_path):
    dates = 2_459_000.5 + np.arange(480.0)[:, None] / 24  # every hour for twenty days
    inputs = np.concatenate([dates, np.ones((480, 1))], axis=1)
    source = kept(tmp_path, np.array([0, 1] * 240), x_train=inputs)
    data = load(tmp_path, source)
    made = Preprocess(
        DataSpec.model_validate({"sources": [source], "root": tmp_path}), data
    ).inputs(torch.tensor(data.train.inputs))
    assert made.dtype == torch.float32
    assert len(np.unique(made[:, 0].numpy())) == len(data.train)
    assert (made[:, 1] == 0).all()
    mild = np.random.default_rng(0).normal(size=(480, 2))
    assert load(tmp_path, kept(tmp_path, [0, 1] * 240, x_train=mild)).train.inputs.dtype == "f4"


# Files that are not what they seem


def entry(name: str, header: str, body: bytes = b"") -> tuple[str, bytes]:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return name, b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def archive(path, *entries: tuple[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000)}", "take 7.* TiB"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807,)}", "of memory"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}", "cannot be read"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", "Python objects"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (9, 2)}", "ends too early"),
        ("{'descr': '<f8', 'shape': (9, 2)}", "cannot be read"),
        ("[" * 3000, "cannot be read"),
    ],
)
def test_headers_that_promise_too_much_are_refused(tmp_path, header, message):
    archive(tmp_path / "a.npz", entry("x_train.npy", header), entry("y_train.npy", header))
    with pytest.raises(InputError, match=message):
        load(tmp_path, SOURCE)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    np.savez_compressed(
        tmp_path / "a.npz", x_train=np.zeros((50_000, 100)), y_train=np.arange(50_000) % 2
    )
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    with pytest.raises(InputError, match=r"x_train.* 38\.15 MiB .*array_bytes allows 1 MiB"):
        load(tmp_path, SOURCE, limits={"array_bytes": 2**20})
    with pytest.raises(InputError, match=r"data\.limits\.file_bytes allows 1 KiB"):
        load(tmp_path, SOURCE, limits={"file_bytes": 2**10})


@pytest.mark.parametrize("place", ["pipe", "folder", "/dev/zero"])
@pytest.mark.parametrize("name", ["npz", "csv"])
def test_what_is_no_file_is_refused_at_once(tmp_path, place, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"files\.a: '.*' is (a folder|a pipe or a device)"):
        load(tmp_path, {"name": name, "files": {"a": place}})


def test_images_of_an_absurd_size_are_refused(tmp_path):
    images = np.zeros((9, 4, 4), np.uint8)
    source = kept(tmp_path, [0, 1, 2] * 3, x_train=images)
    with pytest.raises(InputError, match=r"data\.image_size: 1000000 makes images of 1,000,000,0"):
        load(tmp_path, source, image_size=10**6)
    with pytest.raises(InputError, match=r"array 'x_train' .* of memory.*array_bytes"):
        load(tmp_path, source, image_size=9000, limits={"array_bytes": 10**8})


def test_numbers_of_another_machine_are_read(tmp_path):
    labels = np.array([0, 1, 2] * 5, ">i8")
    inputs = np.asfortranarray(np.arange(30.0).reshape(15, 2).astype(">f4"))
    data = load(tmp_path, kept(tmp_path, labels, x_train=inputs))
    whole = np.concatenate([data.train.inputs, data.test.inputs])
    assert sorted(map(tuple, whole.tolist())) == [(2.0 * k, 2.0 * k + 1) for k in range(15)]


def test_a_network_is_tried_on_the_largest_and_the_smallest_id(tmp_path):
    tokens = np.full((20, 3), 5)
    tokens[7, 1], tokens[11, 2] = 40, 0
    tests = {"x_test": tokens, "y_test": [0, 1] * 10}
    source = kept(tmp_path, [0, 1] * 10, x_train=tokens, **tests)
    data = load(tmp_path, source, normalisation="none")
    fields = {"sources": [source], "root": tmp_path, "normalisation": "none"}
    tried = trial_samples(data, Preprocess(DataSpec.model_validate(fields), data))
    assert tried.inputs.dtype == torch.int64
    assert tried.inputs.tolist() == [[5, 40, 5], [5, 5, 0]]
