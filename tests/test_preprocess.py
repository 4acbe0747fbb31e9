import math
import pickle

import numpy as np
import pytest
import torch

from fedlab import rng
from fedlab.data.augment import crop, rotate
from fedlab.data.preprocess import Preprocess
from fedlab.data.resize import conform
from fedlab.data.samples import FederatedData, Samples
from fedlab.data.spec import Augmentation, DataSpec, Normalisation
from fedlab.errors import InputError
from helpers.strong import strong_view


def pooled(inputs: np.ndarray, domains: list[int], unseen: tuple[int, ...] = ()) -> FederatedData:
    samples = Samples(inputs, np.zeros(len(inputs), np.int64), np.array(domains))
    names = tuple(f"d{index}" for index in sorted(set(domains)))
    return FederatedData(samples, samples, names, ("only",), unseen)


def spec(**fields) -> DataSpec:
    return DataSpec.model_validate({"sources": [{"name": "npz", "path": "x.npz"}], **fields})


@pytest.fixture
def images() -> FederatedData:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    return pooled(pixels, [0] * 12)


@pytest.fixture
def table() -> FederatedData:
    features = np.array([[0, 5, 0.1], [2, 5, 0.1], [4, 5, 0.1], [100, 50, 9]], np.float32)
    return pooled(features, [0, 0, 1, 2], unseen=(2,))


def augmented(data: FederatedData, seed: int = 0, **augmentation) -> tuple[torch.Tensor, ...]:
    preprocess = Preprocess(spec(augmentation=augmentation), data)
    batch = preprocess.inputs(torch.from_numpy(data.train.inputs))
    return batch, preprocess.augment(batch, rng.torch_generator(seed, "augment"))


def test_images_are_centred_by_default(images):
    inputs = Preprocess(spec(), images).inputs(torch.tensor([0, 255], dtype=torch.uint8))
    assert inputs.dtype == torch.float32
    assert inputs.tolist() == [-1.0, 1.0]


def test_channels_have_their_own_normalisation(images):
    normalisation = {"mean": [0.0, 0.5, 1.0], "std": [1.0, 0.5, 0.25]}
    preprocess = Preprocess(spec(normalisation=normalisation), images)
    white = torch.full((2, 5, 3, 8, 8), 255, dtype=torch.uint8)
    inputs = preprocess.inputs(white)  # two leading dimensions, as in a cohort
    assert inputs.shape == white.shape
    assert inputs[1, 4, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("normalisation", ["auto", {"mean": 0.0, "std": 1.0}])
def test_only_a_batch_that_is_the_callers_own_is_written_to(table, normalisation):
    preprocess = Preprocess(spec(normalisation=normalisation), table)
    stored = torch.from_numpy(table.train.inputs.copy())
    inputs = preprocess.inputs(stored)
    assert torch.equal(stored, torch.from_numpy(table.train.inputs))
    assert inputs.data_ptr() != stored.data_ptr()
    own = preprocess.inputs(stored, own=True)
    assert torch.equal(own, inputs)
    assert own.data_ptr() == stored.data_ptr()


def test_features_are_standardised_by_the_training_rows_of_seen_domains(table):
    inputs = Preprocess(spec(), table).inputs(torch.from_numpy(table.train.inputs))
    assert inputs[:3, 0].mean().abs() < 1e-6
    assert inputs[:3, 0].std(correction=0).item() == pytest.approx(1)
    assert inputs[3, 0].item() == pytest.approx(98 / math.sqrt(8 / 3))
    assert inputs[:3, 1:].eq(0).all()  # constant features
    assert inputs[3, 1].item() == 45


@pytest.mark.parametrize("key", ["mean", "std"])
def test_statistics_that_do_not_fit_are_refused(images, key):
    with pytest.raises(InputError, match=rf"data.normalisation.{key} has 2 numbers.*3 channels"):
        Preprocess(spec(normalisation={key: [0.5, 0.5]}), images)


def test_features_cannot_be_augmented(table):
    with pytest.raises(InputError, match=r"data\.augmentation"):
        Preprocess(spec(augmentation={"flip": True}), table)


def test_no_augmentation_leaves_the_batch_alone(images):
    batch, same = augmented(images)
    assert same is batch


def test_flip_mirrors_about_half_of_the_images(images):
    batch, changed = augmented(images, flip=True)
    kept = [torch.allclose(*pair, atol=1e-6) for pair in zip(batch, changed, strict=True)]
    mirrored = [
        torch.allclose(before.flip(-1), after, atol=1e-6)
        for before, after in zip(batch, changed, strict=True)
    ]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 0 < sum(mirrored) < len(batch)


def test_crop_moves_images_and_fills_with_black():
    pixels = torch.arange(1.0, 10).view(1, 1, 3, 3).repeat(3, 1, 1, 1)
    places = torch.tensor([0.0, 0.5, 0.999])
    mirrored = torch.tensor([False, False, True])
    moved = crop(pixels, 1, places, places, mirrored)[:, 0]
    assert moved[0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]
    assert moved[1].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert moved[2].tolist() == [[0, 6, 5], [0, 9, 8], [0, 0, 0]]


def test_crop_fills_with_black_after_normalisation():
    data = pooled(np.full((50, 3, 8, 8), 255, np.uint8), [0] * 50)
    _, changed = augmented(data, crop_padding=4)
    values = changed.unique()
    assert values.tolist() == pytest.approx([-1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(("padding", "fits"), [(7, True), (8, False), (100, False)])
def test_crops_always_show_a_part_of_the_image(images, padding, fits):
    if fits:
        augmented(images, crop_padding=padding)
        return
    with pytest.raises(InputError, match=rf"crop_padding: {padding} is no less than the 8x8 pix"):
        augmented(images, crop_padding=padding)


def test_a_rotation_beyond_half_a_turn_is_refused():
    Augmentation(rotation=180)
    with pytest.raises(ValueError, match="less than or equal to 180"):
        Augmentation(rotation=181)


def test_images_of_one_pixel_are_refused():
    with pytest.raises(InputError, match=r"data\.image_size: images of a single pixel .* use 2 or"):
        conform(np.zeros((2, 3, 8, 8), np.uint8), 3, 1)
    assert conform(np.full((2, 3, 8, 8), 9, np.uint8), 3, 2).tolist() == [[[[9, 9]] * 2] * 3] * 2


def test_rotation_is_counter_clockwise():
    pixels = torch.zeros(1, 1, 5, 5)
    pixels[0, 0, 2, 4] = 1  # to the right of the centre
    turned = rotate(pixels, torch.tensor([math.pi / 2]))
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 0, 2] = 1  # above it
    assert torch.allclose(turned, expected, atol=1e-5)


def test_rotation_stays_within_its_limit():
    data = pooled(np.tile(np.arange(8, dtype=np.uint8) * 30, (200, 1, 8, 1)), [0] * 200)
    batch, changed = augmented(data, rotation=10)
    assert not torch.allclose(batch, changed, atol=0.05)
    centre = (slice(None), slice(None), slice(2, 6), slice(2, 6))
    step = 30 / 255 / 0.5
    largest = (batch[centre] - changed[centre]).abs().max()
    assert largest < step * 2 * math.tan(math.radians(10)) * 1.5


@pytest.mark.parametrize(("key", "largest"), [("brightness", 0.25), ("contrast", 0.25)])
def test_brightness_and_contrast_change_each_image_by_its_own_factor(key, largest):
    pattern = np.array([100, 140], np.uint8).repeat(32).reshape(1, 1, 8, 8)
    data = pooled(pattern.repeat(300, 0), [0] * 300)
    _, changed = augmented(data, **{key: largest})
    pixels = (changed * 0.5 + 0.5) * 255
    top, bottom = pixels[:, 0, 0, 0], pixels[:, 0, 7, 7]
    factors = top / 100 if key == "brightness" else (bottom - top) / 40
    if key == "brightness":
        assert torch.allclose(bottom / 140, factors, atol=1e-4)
    else:
        assert torch.allclose((top + bottom) / 2, torch.tensor(120.0), atol=1e-3)
    assert factors.min() == pytest.approx(1 - largest, abs=0.02)
    assert factors.max() == pytest.approx(1 + largest, abs=0.02)


def test_pixels_stay_between_black_and_white(images):
    _, changed = augmented(images, brightness=3.0, contrast=3.0)
    assert changed.min() >= -1
    assert changed.max() <= 1


def test_the_generator_alone_decides(images):
    everything = {"flip": True, "rotation": 15, "crop_padding": 2, "brightness": 0.2}
    batch, first = augmented(images, seed=1, **everything)
    untouched, again = augmented(images, seed=1, **everything)
    _, other = augmented(images, seed=2, **everything)
    assert torch.equal(first, again)
    assert torch.equal(batch, untouched)
    assert not torch.equal(first, other)


def test_a_cohort_is_augmented_as_its_clients_are_one_by_one(images):
    everything = {"flip": True, "rotation": 15, "crop_padding": 2, "contrast": 0.2}
    preprocess = Preprocess(spec(augmentation=everything), images)
    cohort = preprocess.inputs(torch.from_numpy(images.train.inputs)).view(3, 4, 3, 8, 8)
    generators = [rng.torch_generator(0, "augment", k) for k in range(3)]
    together = preprocess.augment_stack(cohort, generators)
    for client in range(3):
        alone = preprocess.augment(cohort[client], rng.torch_generator(0, "augment", client))
        assert torch.equal(alone, together[client])


def test_strong_views_differ_between_images_and_stay_images(images):
    preprocess = Preprocess(spec(), images)
    cohort = preprocess.inputs(torch.from_numpy(images.train.inputs)).view(3, 4, 3, 8, 8)
    views = preprocess.strong_stack(cohort, [rng.torch_generator(0, "v", k) for k in range(3)])
    assert views.shape == cohort.shape
    assert views.abs().max() <= 1 + 1e-6  # mean 0.5 and std 0.5 bring [0, 1] to [-1, 1]
    assert all((view != before).any() for view, before in zip(views[0], cohort[0], strict=True))
    for client in range(3):
        alone = preprocess.strong(cohort[client], rng.torch_generator(0, "v", client))
        assert torch.equal(alone, views[client])


def test_only_what_may_be_mirrored_is_mirrored(images):
    """All else is drawn so that it changes nothing: the central crop, and no operation."""
    pixels = torch.from_numpy(images.train.inputs[:2]).float() / 255
    draws = torch.tensor([[0.4, 0.5, 0.5, 0.0, 0.0], [0.6, 0.5, 0.5, 0.0, 0.0]])
    assert torch.equal(strong_view(pixels, draws, mirrors=False), pixels)
    mirrored = strong_view(pixels, draws, mirrors=True)
    assert torch.equal(mirrored, torch.stack([pixels[0].flip(-1), pixels[1]]))


def test_strong_views_of_features_are_refused(table):
    preprocess = Preprocess(spec(), table)
    batch = preprocess.inputs(torch.from_numpy(table.train.inputs))
    with pytest.raises(InputError, match="yield features"):
        preprocess.strong(batch, rng.torch_generator(0, "v"))


def test_travels_to_other_processes_without_the_data(images):
    preprocess = Preprocess(spec(augmentation=Augmentation(flip=True).model_dump()), images)
    wire = pickle.dumps(preprocess)
    assert len(wire) < 3000
    batch = torch.from_numpy(images.train.inputs)
    assert torch.equal(pickle.loads(wire).inputs(batch), preprocess.inputs(batch))


def test_normalisation_may_be_given_for_features(table):
    given = Normalisation(mean=(1.0, 2.0, 3.0), std=2.0)
    preprocess = Preprocess(spec(normalisation=given.model_dump()), table).to("cpu")
    assert preprocess.inputs(torch.tensor([[3.0, 4.0, 5.0]])).tolist() == [[1.0, 1.0, 1.0]]
