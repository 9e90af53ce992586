"""Image files of every kind, the broken ones above all; pixels equal to the reference."""

from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from skyeye.config.schema import VisionConfig
from skyeye.data.images import limits
from skyeye.data.images.load import image_size, load_image, to_pixels, to_rgb
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
def test_sixteen_bits_of_grey_lie_between_the_percentiles_2_and_98(tmp_path, suffix):
    Image.fromarray(np.arange(200, 2700, 25, dtype=np.uint16).reshape(10, 10)).save(tmp_path / f"a.{suffix}")
    # numpy's percentiles of 0..99 lie at 0.02 * 99 and 0.98 * 99
    expected = np.clip((np.arange(100).reshape(10, 10) - 1.98) / (97.02 - 1.98), 0, 1) * 255
    assert np.array_equal(np.asarray(load_image(tmp_path / f"a.{suffix}"))[..., 1], np.round(expected))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_picture_in_memory_follows_the_same_rule(dtype):
    picture = Image.fromarray(np.array([[0, 1000, 2000]], dtype=dtype))
    assert np.asarray(to_rgb(picture))[0, :, 0].tolist() == [0, 128, 255]


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


def test_a_folder_and_a_pipe(tmp_path):
    assert "is a folder, not a picture" in message(tmp_path)
    os.mkfifo(tmp_path / "a.png")
    assert "is a pipe or device" in message(tmp_path / "a.png")


@pytest.mark.parametrize("content, what, remedy", [
    (b"\n<!DOCTYPE html><html>404</html>", "it is a web page", "fetch the file itself"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer", "git lfs pull"),
    (b"PK\x03\x04" + bytes(9), "it is a ZIP archive", "unpack it"),
    (b"%PDF-1.7\n\xff", "it is a PDF document", "save its pictures"),
    (b"\0\0\0\x18ftypmp42" + bytes(8), "it is a video", "clip.mp4#frame=12"),
    (b"\0\0\0\x18ftypheic" + bytes(8), "it is a HEIC picture", "convert it"),
    (b"\x89HDF\r\n", "it is an HDF5 file", "GeoTIFF or PNG"),
    (b"hello there\n", "it is text", "fetch the file itself"),
    (bytes(5000), "it is zero bytes only", "fetch the file again"),
    (b"\xfe\x00\x81", "neither Pillow nor rasterio knows it", "download it again"),
])  # fmt: skip
def test_what_is_no_picture_is_called_what_it_is(tmp_path, content, what, remedy):
    for name in ("a.jpg", "a.tif", "a.tif#stretch=2,98"):
        (tmp_path / name.split("#")[0]).write_bytes(content)
        text = message(tmp_path / name)
        assert what in text and remedy in text
        with pytest.raises(SkyEyeError, match=re.escape(what)):
            image_size(tmp_path / name)


@pytest.mark.parametrize("error", [TypeError("a\nb"), MemoryError(), RecursionError("deep"), ValueError("x" * 999)])
def test_whatever_a_decoder_raises_is_one_line_about_one_picture(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    colours().save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    text = message(tmp_path / "a.png")
    assert len(text) < 500 and ("more memory" if isinstance(error, MemoryError) else type(error).__name__) in text


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
