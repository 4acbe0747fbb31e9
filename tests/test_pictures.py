"""What a picture file says of its pixels is what is learned from."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image, ImageCms

from fedlab.data.picture import Reading, decoding, read_picture
from fedlab.data.picture_error import PictureError
from fedlab.errors import InputError
from helpers.loading import load

RAMP = np.linspace(0, 1, 64).reshape(8, 8)
SOURCE = {"name": "image_folder", "path": "shots"}


def read(path: Path, size: int = 8, channels: int = 1, **how) -> np.ndarray:
    with decoding(10**8):
        return read_picture(path, Reading(channels, size, **how)).pixels


def remarks(path: Path) -> str:
    with decoding(10**8):
        return " ".join(read_picture(path, Reading(3, 8)).remarks)


# Depth


@pytest.mark.parametrize("ending", ["png", "tif", "jp2", "pgm"])
def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, ending):
    deep = (RAMP * 65535).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{ending}")
    assert (read(tmp_path / f"a.{ending}")[0] == np.rint(deep / 257)).all()
    assert (read(tmp_path / f"a.{ending}", channels=3) == np.rint(deep / 257)).all()


def test_a_grey_map_of_any_largest_value_is_scaled_by_it(tmp_path):
    values = (RAMP * 4095).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 4095\n" + values.tobytes())
    assert np.abs(read(tmp_path / "a.pgm")[0] - RAMP * 255).max() <= 0.6


def test_thirty_two_bits_and_floats_are_scaled_by_what_they_allow(tmp_path):
    Image.fromarray((RAMP * (2**31 - 1)).astype(np.int32)).save(tmp_path / "i.tif")
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "f.tif")
    for name in ("i.tif", "f.tif"):
        assert np.abs(read(tmp_path / name)[0] - RAMP * 255).max() <= 0.51


def tiff(path: Path, values: np.ndarray, sample_format: int, photometric: int = 1) -> Path:
    """A plain little-endian TIFF of one strip, with the tags as given."""
    height, width = values.shape
    tags = [
        (256, width),
        (257, height),
        (258, 8 * values.itemsize),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
        (279, values.nbytes),
        (339, sample_format),
    ]
    body = values.astype(values.dtype.newbyteorder("<")).tobytes()
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    path.write_bytes(head + body + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


def test_unsigned_values_beyond_the_sign_and_white_at_zero(tmp_path):
    large = (RAMP * (2**32 - 1)).astype(np.uint32)
    assert np.abs(read(tiff(tmp_path / "u.tif", large, 1))[0] - RAMP * 255).max() <= 0.51
    deep = (RAMP * 65535).astype(np.uint16)
    inverted = read(tiff(tmp_path / "w.tif", deep, 1, photometric=0))[0]
    assert np.abs(inverted - (1 - RAMP) * 255).max() <= 0.51


def test_signed_values_and_free_floats_want_a_range(tmp_path):
    scan = (RAMP * 2000 - 1000).astype(np.int16)
    path = tiff(tmp_path / "ct.tif", scan, 2)
    with pytest.raises(PictureError, match=r"from -1000 to 1000, and of signed .*value_range"):
        read(path)
    window = read(path, value_range=(-500, 500))[0]
    assert np.abs(window - np.clip((scan + 500) / 1000, 0, 1) * 255).max() <= 0.51
    Image.fromarray((RAMP * 255).astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PictureError, match=r"from 0 to 255, and of floats .*value_range"):
        read(tmp_path / "f.tif")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "n.tif")
    with pytest.raises(PictureError, match=r"no finite numbers"):
        read(tmp_path / "n.tif", value_range=(0, 1))


def folder(root: Path, images: list[Image.Image], ending: str = "png", domain="lab") -> None:
    for name in ("bike", "mug"):
        own = root / "shots" / domain / name
        own.mkdir(parents=True)
        for index, image in enumerate(images):
            image.save(own / f"{index}.{ending}")


@pytest.mark.parametrize(("white", "what"), [(200, "black"), (4095, "dark")])
def test_values_that_leave_their_depth_unused_are_remarked(
    tmp_path, caplog, monkeypatch, white, what
):
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    folder(tmp_path, [Image.fromarray((RAMP * white).astype(np.uint16))] * 5)
    if what == "black":
        with pytest.raises(InputError, match=r"domain 'lab' would be black: .*value_range"):
            load(tmp_path, SOURCE)
    else:
        for _ in range(2):  # decoded, and from the cache
            caplog.clear()
            load(tmp_path, SOURCE)
            assert caplog.text.count("domain 'lab' is dark: its pictures of more than 8 bits") == 1
    caplog.clear()
    data = load(tmp_path, SOURCE | {"value_range": [0, white]})
    assert data.train.inputs.max() == 255
    assert not caplog.records


# Orientation


UPRIGHT = np.zeros((12, 8, 3), np.uint8)
UPRIGHT[:4], UPRIGHT[4:], UPRIGHT[:, :2] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
AS_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("tag", AS_STORED)
@pytest.mark.parametrize("ending", ["png", "webp", "tif", "jpg"])
def test_the_orientation_of_the_file_is_applied(tmp_path, tag, ending):
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = Image.fromarray(UPRIGHT)
    stored = stored if AS_STORED[tag] is None else stored.transpose(AS_STORED[tag])
    stored.save(tmp_path / f"a.{ending}", exif=exif, quality=100, lossless=True, subsampling=0)
    got = read(tmp_path / f"a.{ending}", 24, 3).astype(int)
    plain = Image.fromarray(UPRIGHT).resize((24, 24), Image.Resampling.BILINEAR)
    assert np.abs(got - np.asarray(plain).transpose(2, 0, 1)).mean() < 6


def test_deep_pictures_are_turned_as_well(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    deep = (RAMP * 65535).astype(np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"a.{ending}", exif=exif)
        assert (read(tmp_path / f"a.{ending}")[0] == np.rint(deep / 257)[::-1, ::-1]).all()


# Transparency


def test_what_is_transparent_shows_the_background(tmp_path):
    pixels = np.full((8, 8, 4), (200, 100, 50, 255), np.uint8)
    pixels[:4, :, 3] = 0
    pixels[4, :, 3] = 51  # a fifth
    image = Image.fromarray(pixels)
    for ending in ("png", "webp", "tif"):
        image.save(tmp_path / f"a.{ending}", lossless=True, exact=True)
        white = read(tmp_path / f"a.{ending}", channels=3)
        assert white[:, 0, 0].tolist() == [255, 255, 255]
        assert white[:, 4, 0].tolist() == [244, 224, 214]
        assert white[:, 7, 0].tolist() == [200, 100, 50]
    black = read(tmp_path / "a.png", channels=3, background=(0, 0, 0))
    assert black[:, 0, 0].tolist() == [0, 0, 0]
    image.convert("LA").save(tmp_path / "la.png")
    assert read(tmp_path / "la.png")[0, 0, 0] == 255
    assert "transparent" in remarks(tmp_path / "la.png")


def test_transparent_colours_of_palettes_and_of_plain_pictures(tmp_path):
    two = Image.fromarray(np.repeat([[0], [1]], 8, 0).repeat(8, 1)[::2].astype(np.uint8), "P")
    two.putpalette([10, 20, 30, 200, 0, 0])
    two.save(tmp_path / "p.png", transparency=0)
    two.save(tmp_path / "p.gif", transparency=0)
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "l.png", transparency=7)
    for name in ("p.png", "p.gif"):
        got = read(tmp_path / name, channels=3)
        assert got[:, 0, 0].tolist() == [255, 255, 255]
        assert got[:, 7, 7].tolist() == [200, 0, 0]
    assert (read(tmp_path / "l.png") == 255).all()
    Image.fromarray(np.full((8, 8), 7, np.uint16)).save(tmp_path / "d.png", transparency=7)
    with pytest.raises(PictureError, match="without transparency"):
        read(tmp_path / "d.png")


def test_an_alpha_channel_that_hides_nothing_is_no_remark(tmp_path):
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", channels=3)[:, 0, 0].tolist() == [1, 2, 3]
    assert remarks(tmp_path / "a.png") == ""


# Colour


def chunk(kind: bytes, data: bytes) -> bytes:
    whole = kind + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


def with_chunk(path: Path, kind: bytes, data: bytes) -> Path:
    """The PNG file with another chunk behind its header."""
    png = path.read_bytes()
    path.write_bytes(png[:33] + chunk(kind, data) + png[33:])
    return path


@pytest.mark.parametrize(("gamma", "expected"), [(45455, 64), (100000, 136), (0, 64)])
def test_a_stated_gamma_is_applied(tmp_path, gamma, expected):
    Image.new("RGB", (8, 8), (64, 64, 64)).save(tmp_path / "a.png")
    with_chunk(tmp_path / "a.png", b"gAMA", struct.pack(">I", gamma))
    assert read(tmp_path / "a.png")[0, 0, 0] == expected  # 255 * (64 / 255) ** (1 / 2.2 / gamma)
    with_chunk(tmp_path / "a.png", b"sRGB", b"\0")  # which overrides it
    assert read(tmp_path / "a.png")[0, 0, 0] == 64


def wide_profile() -> bytes:
    """sRGB's profile with red and green changed places: an effect that cannot be missed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    for at in range(132, 132 + 12 * count, 12):
        name = bytes(profile[at : at + 4])
        profile[at : at + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
        if name == b"desc":
            start = struct.unpack(">I", profile[at + 4 : at + 8])[0]
            text = profile.find("sRGB".encode("utf-16-be"), start)
            profile[text : text + 8] = "swap".encode("utf-16-be")
    return bytes(profile)


def test_a_colour_profile_is_applied(tmp_path):
    image = Image.new("RGB", (8, 8), (250, 0, 0))
    image.save(tmp_path / "a.png", icc_profile=wide_profile())
    red, green, blue = read(tmp_path / "a.png", channels=3)[:, 0, 0].tolist()
    assert green > 240
    assert max(red, blue) < 10
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "b.png", icc_profile=srgb)
    assert read(tmp_path / "b.png", channels=3)[:, 0, 0].tolist() == [250, 0, 0]
    image.save(tmp_path / "c.png", icc_profile=b"no profile")
    assert "taken for sRGB" in remarks(tmp_path / "c.png")


def test_cmyk_is_read_and_remarked(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for ending in ("jpg", "tif"):
        image.save(tmp_path / f"a.{ending}", quality=100)
        assert np.abs(read(tmp_path / f"a.{ending}", channels=3)[:, 0, 0] - [255, 0, 0]).max() < 4
        assert "CMYK without a colour profile" in remarks(tmp_path / f"a.{ending}")


# Several pictures in a file, formats, and files that are no pictures


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png"])
def test_files_of_several_pictures_are_refused_or_their_first_is_taken(tmp_path, ending):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(
        tmp_path / f"a.{ending}", save_all=True, append_images=[second], duration=9, lossless=True
    )
    with pytest.raises(PictureError, match=r"several pictures, pages or frames; .*frames: first"):
        read(tmp_path / f"a.{ending}")
    got = read(tmp_path / f"a.{ending}", channels=3, frames="first")
    assert got[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "ending",
    ["bmp", "gif", "ico", "jfif", "jp2", "jpg", "ppm", "qoi", "tga", "tif", "webp", "avif"],
)
def test_all_formats_are_read(tmp_path, ending, monkeypatch):
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    folder(tmp_path, [Image.new("RGB", (16, 16), "red")] * 5, ending.upper())
    assert len(load(tmp_path, SOURCE).train) == 8


def test_what_another_program_would_decode_is_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(PictureError, match=r"no format that Pillow reads"):
        read(tmp_path / "a.png")


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path):
    row = zlib.compress(bytes(1 + 30000 // 8) * 30000, 9)
    header = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    )
    with pytest.raises(PictureError, match=r"pixels|decompression bomb"):
        read(tmp_path / "a.png")


# Whatever the mode, depth, orientation, size and format


MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("L", "P", "RGB"),
    "jp2": ("L", "LA", "RGB", "RGBA", "I;16"),
    "ppm": ("1", "L", "RGB"),
}
WHITE = {"I;16": 65535, "I": 2**31 - 1, "F": 1.0}


def kept(data: some.DataObject, values: np.ndarray) -> tuple[Image.Image, str]:
    """Shares of white as a picture of some mode, and the ending of a format that can hold it."""
    ending = data.draw(some.sampled_from(sorted(MODES)))
    mode = data.draw(some.sampled_from(MODES[ending]))
    if mode in WHITE:
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((values * WHITE[mode]).astype(kind)), ending
    image = Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")
    return image.quantize(4) if mode == "P" else image.convert(mode), ending


def saved(image: Image.Image, ending: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    name = {"jpg": "JPEG", "jp2": "JPEG2000", "tif": "TIFF"}.get(ending, ending.upper())
    image.save(file, name, **options, **({"quality": 100} if ending == "jpg" else {}))
    return file


@given(some.data())
@settings(max_examples=80, deadline=None)
def test_a_picture_is_the_same_however_it_is_kept(data):
    """One bright quarter, kept in any mode, depth, format, size and orientation."""
    width, height = data.draw(some.integers(8, 40)), data.draw(some.integers(8, 40))
    values = np.zeros((height, width))
    values[: height // 2, : width // 2] = 1
    image, ending = kept(data, values)
    tag = data.draw(some.sampled_from(sorted(AS_STORED)))
    exif = Image.Exif()
    exif[0x0112] = tag
    if ending in ("png", "tif", "jpg", "webp"):
        image = image if AS_STORED[tag] is None else image.transpose(AS_STORED[tag])
        file = saved(image, ending, exif=exif)
    else:
        file = saved(image, ending)
    channels = data.draw(some.sampled_from([1, 3]))
    with decoding(10**6):
        got = read_picture(file, Reading(channels, 4)).pixels.astype(int)
    assert got.shape == (channels, 4, 4)
    assert got[:, 0, 0].min() > 235
    assert max(got[:, 0, 3].max(), got[:, 3, 0].max(), got[:, 3, 3].max()) < 20


def test_a_picture_in_lab_says_what_to_do():
    """Its numbers are no colours: read as they are, red would be green."""
    file = saved(Image.new("LAB", (8, 8), (128, 200, 200)), "tif")
    with decoding(10**6), pytest.raises(PictureError, match="it is in LAB; save it in RGB"):
        read_picture(file, Reading(3, 4))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@given(some.data())
@settings(max_examples=1500, deadline=None)
def test_damaged_pictures_are_read_or_refused(data):
    """A picture file with bytes changed or cut away gives pixels or one sentence."""
    image, ending = kept(data, np.linspace(0, 1, 256).reshape(16, 16))
    content = bytearray(saved(image, ending).getvalue())
    for _ in range(data.draw(some.integers(1, 4))):
        at = data.draw(some.integers(0, len(content) - 1))
        content[at] = data.draw(some.integers(0, 255))
    content = content[: data.draw(some.integers(1, len(content)))]
    with decoding(10**6), suppress(PictureError):
        got = read_picture(io.BytesIO(bytes(content)), Reading(3, 8))
        assert got.pixels.shape == (3, 8, 8)


# What lies beside the pictures


@pytest.fixture
def untidy(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    image = Image.new("RGB", (8, 8))
    for domain in ("lab", "web"):
        folder(tmp_path, [image] * 5, domain=domain)
    return tmp_path


def test_what_is_left_out_is_counted_by_domain_and_reason(untidy, caplog):
    lab = untidy / "shots/lab"
    image = Image.new("RGB", (8, 8))
    image.save(lab / "loose.png")
    (lab / "mug/old").mkdir()
    for index in range(3):
        image.save(lab / f"mug/old/{index}.png")
    (lab / "mug/labels.csv").write_text("a")
    (lab / "mug/notes.txt").write_text("a")
    os.mkfifo(lab / "mug/pipe.png")
    image.save(untidy / "shots/beside.jpg")
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        data = load(untidy, SOURCE)
        assert len(data.train) + len(data.test) == 20
        (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert line == (
            "data.sources.0.path: left out beside the domains' folders: 1 picture in no class "
            "folder; of domain 'lab': 1 picture in no class folder, 3 pictures in deeper folders "
            "(mug/old), 1 pipe or broken link, 2 files of other kinds (.csv, .txt)"
        )


def test_what_systems_leave_is_skipped_quietly(untidy, caplog):
    lab = untidy / "shots/lab"
    (lab / "mug/._0.png").write_bytes(b"\0\5\x16\7")
    (lab / "mug/.DS_Store").write_bytes(b"\0")
    (lab / "mug/Thumbs.db").write_bytes(b"\0")
    (lab / "__MACOSX/mug").mkdir(parents=True)
    (untidy / "shots/__MACOSX").mkdir()
    caplog.set_level("INFO", "fedlab")
    data = load(untidy, SOURCE)
    assert len(data.train) + len(data.test) == 20
    assert data.class_names == ("bike", "mug")
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "skipped 5 hidden or system files" in record.getMessage()


def test_a_class_is_one_however_its_name_is_composed(untidy):
    for domain, name in (("lab", "caf\u00e9"), ("web", "cafe\u0301 ")):
        (untidy / "shots" / domain / "mug").rename(untidy / "shots" / domain / name)
    assert load(untidy, SOURCE).class_names == ("bike", "caf\u00e9")
    (untidy / "shots/web/bike").rename(untidy / "shots/web/\uff22ike")
    with pytest.raises(InputError, match=r"class folders 'bike' and '\uff22ike'; give one class"):
        load(untidy, SOURCE)


@pytest.mark.parametrize("key", ["domains", "unseen_domains"])
def test_a_domain_is_one_however_its_name_is_composed(untidy, key):
    (untidy / "shots/lab").rename(untidy / "shots/cafe\u0301")
    data = load(untidy, SOURCE, **{key: "caf\u00e9"})  # a single word will do
    assert "caf\u00e9" in data.domain_names
