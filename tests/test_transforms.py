"""Transforms that make domains: each against what it ought to do to known images."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from fedlab.config import registry
from fedlab.data.transform import BATCH, Transform
from fedlab.data.transforms import Blur, Colour, Invert, Noise, PhotoBlend, Rotation
from fedlab.errors import InputError

ALL = [
    Rotation(degrees=30),
    Colour(hue=0.2, saturation=0.5, tint=(1.0, 0.8, 0.6)),
    Blur(sigma=1.5),
    Noise(std=0.1),
    Invert(),
    PhotoBlend(),
]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_images(*shape: int) -> np.ndarray:
    return generator(9).integers(0, 256, size=shape, dtype=np.uint8)


def test_every_registered_transform_is_tested_here():
    assert {transform.name for transform in ALL} == set(registry.names("transforms"))


@pytest.mark.parametrize("transform", ALL, ids=lambda transform: transform.name)
def test_changes_a_copy_reproducibly(transform):
    images = random_images(6, 3, 20, 20)
    before = images.copy()
    changed = transform.apply(images, generator())
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(images, before)
    assert not np.array_equal(changed, images)
    assert np.array_equal(changed, transform.apply(images, generator()))


@pytest.mark.parametrize("transform", ALL, ids=lambda transform: transform.name)
def test_is_chosen_by_name(transform):
    assert Transform.choose(transform.model_dump()) == transform


@pytest.mark.parametrize("transform", ALL, ids=lambda transform: transform.name)
def test_takes_read_only_and_no_images(transform):
    images = random_images(2, 3, 8, 8)
    images.flags.writeable = False
    assert transform.apply(images, generator()).shape == (2, 3, 8, 8)
    assert transform.apply(images[:0], generator()).shape == (0, 3, 8, 8)


def test_more_images_than_a_batch():
    images = random_images(BATCH + 3, 1, 2, 2)
    assert np.array_equal(Invert().apply(images, generator()), 255 - images)


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (-90, -1)])
def test_rotation_by_right_angles_is_exact(degrees, turns):
    images = random_images(3, 3, 12, 12)
    turned = Rotation(degrees=degrees).apply(images, generator())
    assert np.array_equal(turned, np.rot90(images, turns, axes=(2, 3)))


def test_rotation_keeps_the_sides_of_an_oblong_image():
    image = np.zeros((1, 1, 9, 27), np.uint8)
    image[0, 0, 4, 13:17] = 255  # a bar from the centre to the right
    turned = Rotation(degrees=90).apply(image, generator())[0, 0, :, 9:18]
    assert np.array_equal(np.argwhere(turned == 255), [[1, 4], [2, 4], [3, 4], [4, 4]])


def test_colour_turns_red_into_green():
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 200
    green = Colour(hue=1 / 3).apply(red, generator())
    assert green[0, :, 0, 0].tolist() == [0, 200, 0]


def test_colour_without_saturation_is_grey():
    grey = Colour(saturation=0).apply(random_images(2, 3, 5, 5), generator())
    assert np.ptp(grey.astype(int), axis=1).max() <= 1


def test_colour_tints_channels():
    images = random_images(2, 3, 5, 5)
    tinted = Colour(tint=(0.5, 0, 2)).apply(images, generator()).astype(int)
    assert np.abs(tinted[:, 0] - images[:, 0] / 2).max() <= 1
    assert tinted[:, 1].max() == 0
    assert np.abs(tinted[:, 2] - np.minimum(255, 2 * images[:, 2].astype(int))).max() <= 1


def test_colour_refuses_grey_images():
    with pytest.raises(InputError, match=r"3 channels, not 1; set data\.channels to 3"):
        Colour().apply(random_images(1, 1, 4, 4), generator())


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_is_a_gaussian(sigma):
    images = random_images(2, 3, 24, 30)
    expected = gaussian_filter(
        images.astype(float), (0, 0, sigma, sigma), mode="nearest", radius=round(3 * sigma)
    )
    blurred = Blur(sigma=sigma).apply(images, generator())
    assert np.abs(blurred - expected).max() <= 0.51


def test_noise_has_the_stated_strength_and_differs_between_pixels():
    grey = np.full((4, 3, 40, 40), 128, np.uint8)
    noisy = Noise(std=0.05).apply(grey, generator()).astype(float)
    assert noisy.std() == pytest.approx(0.05 * 255, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert np.abs(np.corrcoef(noisy[0, 0].ravel(), noisy[1, 1].ravel())[0, 1]) < 0.1


def test_invert_twice_is_nothing():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    inverted = Invert().apply(images, generator())
    assert np.array_equal(inverted, 255 - images)
    assert np.array_equal(Invert().apply(inverted, generator()), images)


def test_photo_blend_is_the_absolute_difference_with_a_photograph():
    black = np.zeros((5, 3, 28, 28), np.uint8)
    photo = PhotoBlend().apply(black, generator()).astype(int)
    assert photo.std() > 20
    assert len({image.tobytes() for image in photo}) == 5
    images = random_images(5, 3, 28, 28)
    blended = PhotoBlend().apply(images, generator())
    assert np.abs(blended - np.abs(photo - images)).max() <= 1
    trainer = PhotoBlend(strength=0.5).apply(black, generator())
    assert np.abs(trainer - photo / 2).max() <= 1


def test_photo_blend_of_grey_images_uses_a_grey_photograph():
    blended = PhotoBlend().apply(np.zeros((3, 1, 28, 20), np.uint8), generator())
    assert blended.shape == (3, 1, 28, 20)
    assert blended.std() > 10


@pytest.mark.parametrize(
    "values",
    [
        {"name": "rotation"},
        {"name": "rotation", "degrees": float("nan")},
        {"name": "blur", "sigma": 0},
        {"name": "noise", "std": 20},
        {"name": "colour", "hue": 0.7},
        {"name": "colour", "tint": [1, 1]},
        {"name": "photo_blend", "strength": 0},
        {"name": "invert", "strength": 1},
    ],
)
def test_refuses_parameters_out_of_range(values):
    with pytest.raises(ValidationError):
        Transform.choose(values)
