"""The embedded digits: balanced, reproducible, disjoint, readable, and five different looks."""

import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.svm import SVC

from fedlab.data.digits import RECIPES, WRITTEN, Digits, material
from fedlab.data.embedded import ingredients
from fedlab.data.load import load_data
from fedlab.data.source import LoadContext, Source
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from fedlab.report.figures.contact_sheet import contact_sheet

pytestmark = pytest.mark.xdist_group("digits")  # what is made for all of them is made once

# Well below what the machine of the test reaches, well above the 0.1 of chance.
FLOOR = {"handwritten": 0.75, "scan": 0.75, "photo": 0.5, "printed": 0.5, "street": 0.18}


def context(**changes) -> LoadContext:
    return LoadContext(
        **(
            {"root": Path(), "channels": 3, "image_size": 28, "seed": 0, "download": False}
            | changes
        )
    )


@pytest.fixture(scope="module")
def domains():
    return {domain.name: domain for domain in Digits().load(context())}


@pytest.mark.slow
def test_default_is_five_balanced_domains_of_digits_five_size(domains):
    assert list(domains) == ["handwritten", "scan", "photo", "printed", "street"]
    for domain in domains.values():
        assert domain.train_inputs.shape == (743, 3, 28, 28)
        assert domain.test_inputs.shape == (500, 3, 28, 28)
        assert domain.train_inputs.dtype == domain.test_inputs.dtype == np.uint8
        assert domain.train_labels.dtype == domain.test_labels.dtype == np.int64
        assert set(np.bincount(domain.train_labels)) == {74, 75}
        assert set(np.bincount(domain.test_labels)) == {50}
        assert domain.class_names == tuple("0123456789")


def test_labels_are_shuffled_so_that_a_prefix_holds_all_classes(domains):
    for domain in domains.values():
        assert len(np.unique(domain.train_labels[:100])) == 10
        assert (np.diff(domain.train_labels) != 1).any()


@pytest.mark.slow_for("handwritten")
@pytest.mark.parametrize("name", list(RECIPES))
def test_labels_can_be_learned_but_not_trivially(domains, name):
    """A kernel machine on raw pixels, blind to polarity, beats chance by far; none is solved."""

    def features(images):
        grey = images.mean(axis=1).reshape(len(images), -1)
        contrast = np.abs(grey - np.median(grey, axis=1, keepdims=True))
        return contrast / contrast.std(axis=1, keepdims=True)

    domain = domains[name]
    machine = SVC(C=10).fit(features(domain.train_inputs), domain.train_labels)
    accuracy = machine.score(features(domain.test_inputs), domain.test_labels)
    assert FLOOR[name] < accuracy < 0.97


def test_domains_differ_in_brightness_contrast_and_colour(domains):
    def look(name):
        images = domains[name].train_inputs.astype(float)
        contrast = images.std(axis=(2, 3)).mean()
        return images.mean(), contrast, images.std(axis=1).mean()

    brightness, contrast, colour = np.transpose([look(name) for name in domains])
    assert np.argmin(brightness) == 0
    assert np.argmax(brightness) == 1
    assert np.ptp(brightness) > 100
    assert np.argmin(contrast) == 4
    assert contrast.max() > 2 * contrast.min()
    assert colour[0] == 0
    assert np.argmax(colour) == 3


def test_domains_of_handwriting_differ_in_polarity(domains):
    def centre_minus_border(name):
        images = domains[name].train_inputs.astype(float).mean(axis=(0, 1))
        return images[8:20, 8:20].mean() - images[[0, -1]].mean()

    assert centre_minus_border("handwritten") > 40
    assert centre_minus_border("scan") < -15


def test_same_seed_same_bytes_other_seed_other_bytes():
    source = Digits(train_per_domain=40, test_per_domain=20)
    first, again, other = (source.load(context(seed=seed)) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        for array in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
            assert getattr(a, array).tobytes() == getattr(b, array).tobytes()
        assert a.train_inputs.tobytes() != c.train_inputs.tobytes()
        assert a.test_inputs.tobytes() != c.test_inputs.tobytes()


def test_a_domain_does_not_depend_on_the_others_nor_a_split_on_the_other():
    whole = Digits(train_per_domain=30, test_per_domain=20).load(context())
    alone = Digits(train_per_domain=30, test_per_domain=10, domains=("street", "scan")).load(
        context()
    )
    assert [domain.name for domain in alone] == ["street", "scan"]
    assert np.array_equal(alone[0].train_inputs, whole[4].train_inputs)
    assert np.array_equal(alone[1].train_inputs, whole[1].train_inputs)


def test_a_handwritten_digit_serves_one_split_of_one_domain():
    digits, labels = ingredients.handwriting()
    served: list[bytes] = []
    for domain in WRITTEN:
        for split in ("train", "test"):
            part = material(domain, split, seed=0)
            assert np.bincount(part.handwriting_labels, minlength=10).min() >= 20
            served += [digit.numpy().tobytes() for digit in part.handwriting]
    assert sorted(served) == sorted(digit.numpy().tobytes() for digit in digits)
    assert len(set(served)) == len(served) == len(labels) == 1797


def test_fonts_and_photographs_of_the_test_split_are_never_trained_on():
    assert not set(ingredients.TRAIN_FONTS) & set(ingredients.TEST_FONTS)
    train, test = (material("street", split, seed=0) for split in ("train", "test"))
    shapes = {glyph.numpy().tobytes() for font in train.glyphs for glyph in font}
    assert len(shapes) == 10 * len(ingredients.TRAIN_FONTS)
    assert not shapes & {glyph.numpy().tobytes() for font in test.glyphs for glyph in font}
    columns = {page[:, :, x].numpy().tobytes() for page in train.photographs for x in range(128)}
    held_out = {page[:, :, x].numpy().tobytes() for page in test.photographs for x in range(128)}
    assert (len(columns), len(held_out)) == (640, 640)
    assert not columns & held_out


def test_grey_images_of_another_size():
    (domain,) = Digits(train_per_domain=20, test_per_domain=10, domains=("printed",)).load(
        context(channels=1, image_size=40)
    )
    assert domain.train_inputs.shape == (20, 1, 40, 40)
    assert domain.train_inputs.std() > 20


@pytest.mark.parametrize(
    "values",
    [{"train_per_domain": 0}, {"domains": ["svhn"]}, {"domains": []}, {"colour": 1}],
)
def test_refuses_parameters_out_of_range(values):
    with pytest.raises(ValidationError):
        Digits(**values)


def test_chosen_by_name():
    assert Source.choose({"name": "digits", "test_per_domain": 5}) == Digits(test_per_domain=5)


def test_missing_library_names_the_remedy(monkeypatch):
    ingredients.photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"scikit-learn.*pip install 'fedlab-sim\[sim\]'"):
        ingredients.photographs()


def test_missing_font_is_named():
    with pytest.raises(InputError, match=r"NoSuchFont\.ttf"):
        ingredients.glyphs(("NoSuchFont",))


def test_contact_sheet_shows_test_images_by_domain_and_class(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path))
    source = Digits(train_per_domain=10, test_per_domain=30, domains=("handwritten", "scan"))
    data = load_data(DataSpec(sources=(source,)))
    sheet = np.asarray(contact_sheet(data, per_class=2))
    first = data.test.inputs[np.flatnonzero(data.test.labels == 0)[0]].transpose(1, 2, 0)
    enlarged = first.repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[30:86], 56, axis=1)
    assert any(np.array_equal(windows[:, x].transpose(0, 2, 1), enlarged) for x in range(200))
    assert sheet.shape[0] == 30 + 2 * (2 * 58 + 8)


def test_a_file_in_the_caches_place_is_no_damaged_cache(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "file"))
    source = Digits(train_per_domain=10, test_per_domain=10, domains=("handwritten",))
    with pytest.warns(UserWarning, match="set FEDLAB_CACHE to a folder"):
        assert len(load_data(DataSpec(sources=(source,))).train) == 10
    assert "damaged" not in caplog.text
