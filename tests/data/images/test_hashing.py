import io
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from skyeye.data.images.hashing import bit_count, near_pairs, perceptual_hash, pixel_digest


def hills(number: int, side: int = 96) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def distance(a: Image.Image, b: Image.Image) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def test_a_hash_by_hand():
    # one whole cosine wave along x: of the 64 frequencies only (0, 2) and the brightness are not 0
    wave = np.cos(np.pi / 32 * 2 * (np.arange(32) + 0.5))
    image = Image.fromarray(np.tile(128 + 100 * wave, (32, 1)).round().astype(np.uint8))
    bits = f"{perceptual_hash(image):064b}"
    assert bits[0] == bits[2] == "1" and bits[8:].count("1") == 0


@pytest.mark.parametrize("number", range(20))
def test_the_same_scene_in_another_file_looks_alike_and_another_scene_does_not(number):
    image = hills(number)
    for other in (
        as_jpeg(image, 60),
        image.resize((224, 224), Image.Resampling.BICUBIC),
        image.resize((48, 48), Image.Resampling.BICUBIC),
        ImageEnhance.Brightness(image).enhance(0.9),
    ):
        assert distance(image, other) <= 6
    assert distance(image, hills(number + 100)) > 12
    assert distance(image, image.transpose(Image.Transpose.ROTATE_90)) > 12


def test_an_even_colour_has_no_hash():
    assert perceptual_hash(Image.new("RGB", (50, 40), (10, 120, 10))) is None
    speckled = np.full((50, 40, 3), 120, dtype=np.uint8)
    speckled[::2, ::2] += 1  # what compression leaves in water
    assert perceptual_hash(Image.fromarray(speckled)) is None


def test_the_digest_is_of_pixels_and_size():
    image = hills(1)
    again = Image.new("RGB", image.size)
    again.paste(image)
    assert pixel_digest(image) == pixel_digest(again)
    again.putpixel((95, 95), (1, 2, 3))
    assert pixel_digest(image) != pixel_digest(again)
    black = [pixel_digest(Image.new("RGB", size)) for size in ((6, 4), (4, 6), (3, 8))]
    assert len(set(black)) == 3
    tall = Image.new("L", (2, 1500))
    end = tall.copy()
    end.putpixel((1, 1499), 1)
    assert pixel_digest(tall) != pixel_digest(end)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40), st.integers(0, 16), st.data())
def test_near_pairs_are_those_of_comparing_every_two(hashes, threshold, data):
    near = [data.draw(st.sampled_from(hashes)) if hashes else 0 for _ in range(5)]
    flips = data.draw(st.lists(st.integers(0, 63), min_size=5, max_size=5))
    hashes = list(
        dict.fromkeys(hashes + [h ^ (1 << f) ^ (1 << (7 * f) % 64) for h, f in zip(near, flips, strict=True)])
    )
    found = [
        frozenset(pair)
        for i, j in near_pairs(np.array(hashes, dtype=np.uint64), threshold)
        for pair in zip(i.tolist(), j.tolist(), strict=True)
    ]
    expected = {
        frozenset((i, j))
        for i in range(len(hashes))
        for j in range(i)
        if (hashes[i] ^ hashes[j]).bit_count() <= threshold
    }
    assert set(found) == expected and len(found) == len(expected)


def test_a_hundred_thousand_hashes_are_compared_in_seconds():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[50_000:50_100] = hashes[:100] ^ np.uint64(0b10100010001)  # 5 bits
    started = time.perf_counter()
    found = {frozenset(p) for i, j in near_pairs(hashes) for p in zip(i.tolist(), j.tolist(), strict=True)}
    assert found == {frozenset((n, 50_000 + n)) for n in range(100)}
    assert time.perf_counter() - started < 20  # half a second on an idle machine; every two would be 5 billion


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_bits_are_counted(words):
    assert bit_count(np.array(words, dtype=np.uint64)).tolist() == [word.bit_count() for word in words]
