"""Image files of every kind, the broken ones above all; pixels equal to the reference."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from skyeye.config.schema import VisionConfig
from skyeye.data.images import limits
from skyeye.data.images.load import image_size, load_image, to_pixels
from skyeye.errors import SkyEyeError

MEAN, STD = VisionConfig.mean, VisionConfig.std


@pytest.mark.golden
def test_pixels_equal_the_reference(golden):
    for key, expected in load_file(golden / "preprocess.safetensors").items():
        name, size, stride = re.fullmatch(r"(.+)\.size(\d+)(?:\.stride(\d+))?", key).groups()
        (file,) = (golden / "images").glob(f"{name}.*")
        pixels = to_pixels(load_image(file), int(size), MEAN, STD)
        step = int(stride or 1)
        assert torch.equal(pixels[:, ::step, ::step], expected), key


@pytest.mark.golden
def test_pixels_of_the_batches_equal_the_reference(golden, golden_images):
    expected = load_file(golden / "vision.safetensors")["pixels"]
    pixels = torch.stack([to_pixels(load_image(path), expected.shape[-1], MEAN, STD) for path in golden_images])
    assert torch.equal(pixels, expected)


def colours(width: int = 9, height: int = 6) -> Image.Image:
    values = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    return Image.fromarray(values)


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.mode == b.mode == "RGB" and np.array_equal(np.asarray(a), np.asarray(b))


def test_rgb_is_unchanged(tmp_path):
    colours().save(tmp_path / "a.png")
    assert same(load_image(tmp_path / "a.png"), colours())


def test_alpha_is_dropped(tmp_path):
    picture = colours()
    picture.putalpha(7)
    picture.save(tmp_path / "a.png")
    assert same(load_image(tmp_path / "a.png"), colours())


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(tmp_path, mode):
    picture = colours().convert("L").point(lambda v: 255 if v > 60 else 0)
    picture.convert(mode).save(tmp_path / "a.png")
    loaded = np.asarray(load_image(tmp_path / "a.png"))
    assert np.array_equal(loaded, np.repeat(np.asarray(picture)[..., None], 3, axis=2))


@pytest.mark.parametrize("transparency", [None, b"\x00\xff\x80"])
def test_palette_becomes_its_colours(tmp_path, transparency, recwarn):
    picture = colours().quantize(8)
    extra = {} if transparency is None else {"transparency": transparency}
    picture.save(tmp_path / "a.png", **extra)
    assert same(load_image(tmp_path / "a.png"), picture.convert("RGB"))
    assert not recwarn.list


def test_cmyk_is_converted(tmp_path):
    picture = colours(32, 32).convert("CMYK")
    picture.save(tmp_path / "a.tif")
    assert same(load_image(tmp_path / "a.tif"), picture.convert("RGB"))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_from_their_full_range(tmp_path, suffix):
    values = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert np.asarray(load_image(tmp_path / f"a.{suffix}"))[..., 1].tolist() == [[0, 0, 1], [128, 255, 255]]


@pytest.mark.parametrize("values", [np.float32([[0.5, 2.0]]), np.int32([[-1, 5]]), np.int32([[0, 70000]])])
def test_pixels_without_a_defined_brightness_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(SkyEyeError, match="a.tif: pixels of type .* from .* to .* .convert the image to 8 bits"):
        load_image(tmp_path / "a.tif")


def test_exif_rotation_is_a_setting(tmp_path):
    picture = Image.new("RGB", (40, 20))
    picture.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    turned, plain = load_image(tmp_path / "a.png"), load_image(tmp_path / "a.png", exif_rotation=False)
    assert same(turned, picture.transpose(Image.Transpose.ROTATE_270))
    assert same(plain, picture)


def message(path, **settings) -> str:
    with pytest.raises(SkyEyeError) as caught:
        load_image(path, **settings)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and caught.value.remedy
    return text


def test_missing(tmp_path):
    assert "the image is missing" in message(tmp_path / "none.png")


def test_empty(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    assert "empty (0 bytes)" in message(tmp_path / "a.jpg")


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    assert "not an image" in message(tmp_path / "a.jpg")


def test_a_folder(tmp_path):
    assert "cannot be opened" in message(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_truncated(tmp_path, form):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = io.BytesIO()
    noise.save(data, form)
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
    assert "truncated or damaged" in message(path)
    assert "truncated or damaged" in message(path, exif_rotation=False)


def test_damaged_inside(tmp_path):
    colours(64, 64).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = b"\xff" * 8
    (tmp_path / "a.png").write_bytes(data)
    assert "truncated or damaged" in message(tmp_path / "a.png")


def test_decompression_bomb(tmp_path, monkeypatch):
    colours(30, 30).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert "more than 800 pixels" in message(tmp_path / "a.png")


def test_the_limit_is_a_number_of_this_project(tmp_path, monkeypatch):
    colours(30, 30).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other libraries set it
    monkeypatch.setattr(limits, "MAX_PIXELS", 899)
    assert "30 x 30 pixels, more than 899" in message(tmp_path / "a.png")
    assert "skyeye data tile" in message(tmp_path / "a.png")
    monkeypatch.setattr(limits, "MAX_PIXELS", 900)
    assert same(load_image(tmp_path / "a.png"), colours(30, 30))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_size_from_the_header_of_any_picture(tmp_path, monkeypatch, form):
    colours(30, 20).save(tmp_path / "a", form)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(Image.Image, "load", None)
    assert image_size(tmp_path / "a") == (30, 20)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_picture_as_it_is_shown(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours(40, 20).save(tmp_path / "a", form, exif=exif)
    assert image_size(tmp_path / "a") == load_image(tmp_path / "a").size


def test_size_of_what_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    for name in ("a.png", "none.png", ""):
        with pytest.raises(SkyEyeError):
            image_size(tmp_path / name)


def test_a_member_of_a_shard(tmp_path):
    data = io.BytesIO()
    colours().save(data, "PNG")
    (tmp_path / "s.tar").write_bytes(b"x" * 512 + data.getvalue() + b"y" * 100)
    size = len(data.getvalue())
    assert same(load_image(f"{tmp_path / 's.tar'}#offset=512&size={size}"), colours())
    assert image_size(f"{tmp_path / 's.tar'}#offset=512&size={size}") == (9, 6)
    assert "not an image" in message(f"{tmp_path / 's.tar'}#offset=0&size={size}")
    assert "truncated or damaged" in message(f"{tmp_path / 's.tar'}#offset=512&size={size - 30}")
    assert "the shard ends" in message(f"{tmp_path / 's.tar'}#offset=512&size={size + 1000}")


def test_pixels_by_arithmetic():
    picture = Image.new("RGB", (5, 3), (0, 51, 255))
    pixels = to_pixels(picture, 4, mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0))
    assert pixels.shape == (3, 4, 4) and pixels.dtype == torch.float32 and pixels.is_contiguous()
    for channel, value in zip(pixels, (-1.0, 1.0, 0.5), strict=True):
        assert torch.allclose(channel, torch.full((4, 4), value))
