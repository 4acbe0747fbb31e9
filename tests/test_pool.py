import warnings
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fedlab.data import array_cache
from fedlab.data.ids import Ids
from fedlab.data.load import load_data
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.spec import DataSpec
from fedlab.data.stratify import choose, deal
from fedlab.errors import InputError

LOADS: list[str] = []


class Stripes(Source):
    """A user's own source: `count` images of a class-dependent brightness."""

    name: str = f"{__name__}:Stripes"
    cached = True
    domain: str = "stripes"
    count: int = 40
    classes: tuple[str, ...] = ("0", "1", "2", "3")
    raw: str = ""

    def load(self, context: LoadContext) -> list[Domain]:
        LOADS.append(self.domain)
        shape = (self.count, context.channels, context.image_size, context.image_size)
        labels = np.arange(self.count) % len(self.classes)
        inputs = np.broadcast_to(labels[:, None, None, None], shape).astype(np.uint8)
        if self.raw == "float images":
            inputs = inputs.astype(np.float32)
        if self.raw == "small images":
            inputs = inputs[..., :-1]
        if self.raw == "large labels":
            labels = labels + 1
        if self.raw == "no test":
            return [Domain(self.domain, inputs, labels, inputs[:0], labels[:0], self.classes)]
        return [Domain(self.domain, inputs, labels, inputs[:8], labels[:8], self.classes)]

    def reads(self, context: LoadContext) -> list[Path]:
        return [path for path in [context.root / "stripes.txt"] if path.exists()]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    LOADS.clear()


def stripes(**parameters) -> dict:
    return {"name": f"{__name__}:Stripes", **parameters}


def spec(*sources: dict, **fields) -> DataSpec:
    fields = {"image_size": 4, "channels": 1, **fields}
    return DataSpec.model_validate({"sources": sources, **fields})


def test_domains_are_pooled_in_the_order_asked_for():
    a, b, c = (
        stripes(domain=name, count=count) for name, count in zip("abc", (8, 12, 16), strict=True)
    )
    data = load_data(spec(a, b, c, domains=["c", "a"], unseen_domains=["a"]))
    assert data.domain_names == ("c", "a")
    assert data.unseen_domains == (1,)
    assert data.seen_domains == (0,)
    assert data.input_shape == (1, 4, 4)
    assert data.train.domains.tolist() == [0] * 16 + [1] * 8
    assert data.train.labels.tolist() == [0, 1, 2, 3] * 6
    assert (data.train.inputs[:, 0, 0, 0] == data.train.labels).all()
    assert len(data.test) == 16


def test_subsamples_keep_the_classes_and_depend_on_the_data_seed_alone():
    source = stripes(count=400)
    whole = spec(source, train_samples_per_domain=30, test_samples_per_domain=99)
    data, again = load_data(whole), load_data(whole)
    assert np.bincount(data.train.labels).tolist() == [8, 8, 7, 7]
    assert len(data.test) == 8
    assert (data.train.labels == again.train.labels).all()
    other = load_data(whole.model_copy(update={"seed": 1}))
    assert (data.train.labels != other.train.labels).any()


def test_quotas_follow_the_largest_remainders():
    labels = np.repeat([0, 1, 2], [60, 25, 15])
    generator = np.random.default_rng(0)
    chosen = choose(labels, 10, generator)
    assert np.bincount(labels[chosen]).tolist() == [6, 3, 1]
    assert len(np.unique(chosen)) == 10
    assert choose(labels, 200, generator).tolist() == list(range(100))


def test_dealt_parts_are_disjoint_and_alike():
    labels = np.repeat([0, 1], [31, 9])
    parts = deal(labels, 4, np.random.default_rng(0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(40))
    assert [len(part) for part in parts] == [10] * 4
    assert all(7 <= (labels[part] == 0).sum() <= 8 for part in parts)


def test_a_code_with_a_leading_zero_is_another_class():
    codes = stripes(domain="b", classes=("00", "01", "02", "3"))
    with pytest.raises(InputError, match=r"'b' has the classes 4 \(00, 01, 02, 3\)"):
        load_data(spec(stripes(domain="a"), codes))


@pytest.mark.parametrize(
    ("sources", "fields", "message"),
    [
        ([stripes()], {"domains": ["stripe"]}, r"data\.domains names 'stripe'.*'stripes'\?"),
        ([stripes()], {"domains": ["xyz"]}, r"data\.domains names 'xyz'.*choose from stripes"),
        ([stripes()], {"unseen_domains": ["stripe"]}, r"data\.unseen_domains names 'stripe'"),
        ([stripes()], {"unseen_domains": ["stripes"]}, r"data\.unseen_domains names every domain"),
        ([stripes(), stripes()], {}, r"data\.sources\.1: .*'stripes' is already taken by data\.s"),
        (
            [stripes(), stripes(domain="b", classes=("0", "1", "2", "cat"))],
            {},
            r"data\.sources\.1: domain 'b' has the classes 4 \(0, 1, 2, cat\), but 'stripes' of",
        ),
        ([stripes(count=0)], {}, r"data\.sources\.0: the train split .* is empty"),
        ([stripes(raw="no test")], {}, r"data\.sources\.0: the test split .* is empty"),
        ([stripes(raw="float images")], {}, r"float32.* images must be uint8"),
        ([stripes(raw="small images")], {}, r"shape \(1, 4, 3\).*ask for \(1, 4, 4\)"),
        ([stripes(raw="large labels")], {}, r"labels from 1 to 4 but 4 class names"),
    ],
)
def test_data_that_do_not_fit_are_refused(sources, fields, message):
    with pytest.raises(InputError, match=message):
        load_data(spec(*sources, **fields))


def test_a_domain_left_out_need_not_fit():
    odd = stripes(domain="odd", classes=("cat", "dog"))
    assert load_data(spec(stripes(), odd, domains=["stripes"])).domain_names == ("stripes",)


@pytest.mark.parametrize(
    "fields",
    [
        {"domains": ["a", "a"]},
        {"domains": []},
        {"unseen_domains": ["a", "a"]},
        {"domains": ["a"], "unseen_domains": ["b"]},
    ],
)
def test_contradictory_names_are_refused_before_loading(fields):
    with pytest.raises(ValidationError, match=r"domains"):
        spec(stripes(), **fields)


def entry() -> Path:
    """The one entry of the cache."""
    (only,) = array_cache.folder().iterdir()
    return only


def test_what_is_cached_is_not_loaded_again():
    first, second = load_data(spec(stripes())), load_data(spec(stripes()))
    assert LOADS == ["stripes"]
    assert first.class_names == second.class_names
    assert (first.train.inputs == second.train.inputs).all()
    assert second.train.inputs.flags.writeable


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"image_size": 5}, {"channels": 3}, {"sources": [stripes(count=44)]}]
)
def test_all_that_arrays_depend_on_is_in_the_key_of_the_entry(changed):
    load_data(spec(stripes()))
    load_data(DataSpec.model_validate({**spec(stripes()).model_dump(), **changed}))
    assert len(LOADS) == 2


def test_unseen_domains_and_subsamples_share_an_entry():
    both = spec(stripes(), stripes(domain="b"))
    load_data(both)
    load_data(both.model_copy(update={"unseen_domains": ("b",), "train_samples_per_domain": 4}))
    assert LOADS == ["stripes", "b"]


def test_a_changed_file_or_version_voids_the_entry(tmp_path, monkeypatch):
    file = tmp_path / "stripes.txt"
    for content in ("one", "longer"):
        file.write_text(content)
        load_data(spec(stripes(), root=tmp_path))
    assert len(LOADS) == 2
    monkeypatch.setattr(Stripes, "version", 2)
    load_data(spec(stripes(), root=tmp_path))
    assert len(LOADS) == 3


@pytest.mark.parametrize("damaged", ["0-train_inputs.npy", "0-test_labels.npy", "domains.json"])
@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_entry_is_rebuilt(damaged, kept):
    whole = load_data(spec(stripes()))
    file = entry() / damaged
    file.write_bytes(file.read_bytes()[:kept] if damaged != "domains.json" else b"[{"[:kept])
    again = load_data(spec(stripes()))
    load_data(spec(stripes()))
    assert len(LOADS) == 2
    assert (whole.train.inputs == again.train.inputs).all()


def test_the_slower_of_two_processes_gives_way(monkeypatch):
    load, contexts = Stripes.load, []

    def overtaken(self: Stripes, context: LoadContext) -> list[Domain]:
        if not contexts:  # while this process loads, another one finishes
            contexts.append(context)
            array_cache.load_cached(self, context)
        return load(self, context)

    monkeypatch.setattr(Stripes, "load", overtaken)
    load_data(spec(stripes()))
    assert len(LOADS) == 2
    assert entry().joinpath("domains.json").exists()


def test_a_cache_that_cannot_be_written_costs_only_the_caching(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "file"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        data = load_data(spec(stripes(), stripes(domain="b")))
    assert len(data.train) == 80
    assert ["FEDLAB_CACHE" in str(warning.message) for warning in caught] == [True]


def test_a_failed_write_leaves_nothing_behind(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        load_data(spec(stripes()))
    assert list(array_cache.folder().iterdir()) == []


def test_a_flipped_bit_in_the_cache_is_found(caplog):
    whole = load_data(spec(stripes()))
    for file in sorted(entry().glob("*.npy")):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        caplog.clear()
        again = load_data(spec(stripes()))
        assert "are damaged, and are made anew" in caplog.text
        assert (whole.train.inputs == again.train.inputs).all()
        assert (whole.test.labels == again.test.labels).all()
    assert len(LOADS) == 5


class Sentences(Stripes):
    """Ids, as rows of one length or of different ones."""

    name: str = f"{__name__}:Sentences"
    cached = True
    ragged: bool = False

    def load(self, context: LoadContext) -> list[Domain]:
        LOADS.append(self.domain)
        rows = np.arange(40).reshape(8, 5) % 7
        inputs = [row[: 2 + k % 3] for k, row in enumerate(rows)] if self.ragged else rows
        ids, labels = Ids(vocabulary=9, pad=8), np.arange(8) % 2
        return [Domain("a", inputs, labels, inputs, labels, ("0", "1"), ids=ids)]  # type: ignore[arg-type]


def test_what_ids_are_is_the_same_from_the_cache():
    sentences = {"name": f"{__name__}:Sentences"}
    first, second = load_data(spec(sentences)), load_data(spec(sentences))
    assert LOADS == ["stripes"]
    assert first.ids == second.ids == Ids(vocabulary=9, pad=8, length=5)


def test_sequences_of_different_lengths_are_loaded_every_time():
    ragged = {"name": f"{__name__}:Sentences", "ragged": True}
    for _ in range(2):
        assert load_data(spec(ragged, inputs="ids")).input_shape == (4,)
    assert len(LOADS) == 2


def test_a_subclass_says_itself_whether_it_is_cached():
    class Louder(Stripes):
        name: str = "louder"

    for _ in range(2):
        load_data(spec({"name": Louder}))
    assert len(LOADS) == 2
