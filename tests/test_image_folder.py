import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fedlab.errors import InputError
from helpers.loading import load, of

ROTATED = {"name": "rotated", "transforms": [{"name": "rotation", "degrees": 180}]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two domains, ten images a class; red mugs and green bikes, brighter in 'lab'."""
    for domain, light in (("lab", 200), ("web", 100)):
        for place, (name, ending) in enumerate({"mug": "png", "bike": "JPEG"}.items()):
            own = tmp_path / "shots" / domain / name
            own.mkdir(parents=True)
            for index in range(10):
                pixels = np.zeros((12, 16, 3), np.uint8)
                pixels[..., place] = light + index
                Image.fromarray(pixels).save(own / f"{index}.{ending}", quality=95)
    (tmp_path / "shots" / "readme.txt").write_text("not a domain")
    (tmp_path / "shots" / ".hidden").mkdir()
    return tmp_path


SHOTS = {"name": "image_folder", "path": "shots"}


def test_folders_become_domains_and_classes(folder):
    data = load(folder, SHOTS)
    assert data.domain_names == ("lab", "web")
    assert data.class_names == ("bike", "mug")
    assert len(data.train) == 32
    assert np.bincount(data.test.labels).tolist() == [4, 4]
    brightest = data.train.inputs.reshape(32, 3, -1).mean(axis=2)
    assert (brightest.argmax(axis=1) == 1 - data.train.labels).all()
    assert (brightest.max(axis=1) > 150).tolist() == (data.train.domains == 0).tolist()


def test_a_folder_is_decoded_once(folder, monkeypatch):
    first = load(folder, SHOTS)
    monkeypatch.setattr(Image, "open", None)
    again = load(folder, SHOTS)
    assert (first.train.inputs == again.train.inputs).all()


def test_a_replaced_image_is_decoded_anew(folder):
    load(folder, SHOTS)
    Image.fromarray(np.full((20, 20, 3), 255, np.uint8)).save(folder / "shots/lab/mug/0.png")
    data = load(folder, SHOTS)
    white = [
        (samples.inputs == 255).all(axis=(1, 2, 3)).sum() for samples in (data.train, data.test)
    ]
    assert sum(white) == 1


def test_the_split_follows_the_data_seed_and_the_share(folder):
    data, again = (load(folder, SHOTS | {"test_share": 0.5}, seed=3) for _ in range(2))
    other = load(folder, SHOTS | {"test_share": 0.5}, seed=4)
    assert len(data.test) == 20
    assert (data.test.inputs == again.test.inputs).all()
    assert (data.test.inputs != other.test.inputs).any()


def test_train_and_test_folders_are_the_split(folder):
    shots = folder / "shots"
    shutil.rmtree(shots / "web")
    for name in ("train", "test"):
        shutil.copytree(shots / "lab", shots / "web" / name)
    for index in range(3):
        (shots / "web/test/mug" / f"{index}.png").unlink()
    data = load(folder, SHOTS)
    assert len(of(data, "web")) == 20
    assert len(of(data, "web", "test")) == 17
    assert len(of(data, "lab")) == 16


def test_one_folder_can_be_one_domain(folder):
    data = load(folder, SHOTS | {"path": "shots/web", "domain": "shop"})
    assert data.domain_names == ("shop",)
    assert len(data.train) == 16


def test_only_some_domains_are_read(folder):
    (folder / "shots/lab/mug/0.png").write_bytes(b"damaged")
    assert load(folder, SHOTS | {"domains": ["web"]}).domain_names == ("web",)


def test_resizing_squashes_or_crops(folder):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255  # the central square
    for path in (folder / "shots/lab").rglob("*.*"):
        Image.fromarray(pixels).save(path.with_suffix(".bmp"))
        path.unlink()
    only = SHOTS | {"domains": ["lab"]}
    squashed = load(folder, only).train.inputs
    cropped = load(folder, only | {"resize": "crop"}).train.inputs
    assert squashed[0, 0, :, 0].max() < 64
    assert squashed[0, 0, :, 3:5].min() == 255
    assert cropped.min() == 255


def test_grey_scenarios_get_one_channel(folder):
    data = load(folder, SHOTS, channels=1)
    assert data.input_shape == (1, 8, 8)
    mugs = of(data, "lab")[data.train.labels[data.train.domains == 0] == 1]
    assert abs(int(mugs.mean()) - 0.299 * 204.5) < 2


def test_broken_folders_are_refused(folder):
    shots = folder / "shots"
    with pytest.raises(
        InputError, match=r"data\.sources\.0\.path: there is no folder '.*/nowhere'"
    ):
        load(folder, SHOTS | {"path": "nowhere"})
    with pytest.raises(InputError, match=r"data\.sources\.0\.domains names 'la'.* lab, web"):
        load(folder, SHOTS | {"domains": ["la"]})
    (shots / "empty").mkdir()
    with pytest.raises(InputError, match=r"'.*/shots/empty' has no class folders"):
        load(folder, SHOTS)
    (shots / "empty" / "mug").mkdir()
    with pytest.raises(InputError, match=r"class folder '.*/shots/empty/mug' has no image"):
        load(folder, SHOTS)
    shutil.rmtree(shots / "empty")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(shots / "lab/mug/0.png")
    whole = (shots / "lab/mug/0.png").read_bytes()
    for damage in (b"", whole[:8], whole[:2000], whole[:500] + b"damage" + whole[506:]):
        (shots / "lab/mug/0.png").write_bytes(damage)
        with pytest.raises(InputError, match=r"'.*/lab/mug/0\.png' cannot be decoded.*replace"):
            load(folder, SHOTS)


def test_folders_in_another_order_are_refused_with_the_right_order(folder):
    shots, layout = folder / "shots", r"images lie in <path>/<domain>/<class>/ or"
    with pytest.raises(InputError, match=rf"shots/lab/bike' has no class folders; .*{layout}.*set"):
        load(folder, SHOTS | {"path": "shots/lab"})
    with pytest.raises(
        InputError, match=rf"'.*/shots/lab' has no image .* bike, mug, but {layout}"
    ):
        load(folder, SHOTS | {"domain": "all"})
    (shots / "lab").rename(shots / "train")
    (shots / "web").rename(shots / "test")
    said = (
        rf"shots' holds test and train, which are no domains; {layout}.*, or set data\.sources\.0"
    )
    with pytest.raises(InputError, match=said):
        load(folder, SHOTS)
    assert load(folder, SHOTS | {"domain": "all"}).domain_names == ("all",)


def test_a_class_has_one_spelling(folder):
    (folder / "shots/web/mug").rename(folder / "shots/web/Mug")
    with pytest.raises(InputError, match=r"there are class folders 'Mug' and 'mug'; give one"):
        load(folder, SHOTS)


def test_made_domains_are_made_of_cached_images_without_changing_them(folder):
    made = {"path": "shots/lab", "domain": "lab", "make_domains": [{"name": "a"}, ROTATED]}
    first, again = (load(folder, SHOTS | made) for _ in range(2))
    assert first.domain_names == ("a", "rotated")
    assert (first.train.inputs == again.train.inputs).all()
    assert len(list((folder / "cache/data").iterdir())) == 1


def test_made_domains_need_one_domain_and_names_of_their_own(folder):
    with pytest.raises(InputError, match=r"make_domains needs one domain .* yields lab, web"):
        load(folder, SHOTS | {"make_domains": [ROTATED]})
    with pytest.raises(ValidationError, match="names 'rotated' twice"):
        load(folder, SHOTS | {"make_domains": [ROTATED, ROTATED]})
