"""Fingerprints of pictures: the same pixels, and pictures that look the same.

The perceptual hash is the well-known one of the discrete cosine transform ("pHash", C. Zauner, 2010): grey, 32 x 32,
the 8 x 8 lowest frequencies, one bit each for being above their median. Re-encoding, resizing and brightness move few
of the 64 bits; turning or mirroring the picture moves half of them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image

#: Pictures whose hashes differ in at most so many of 64 bits count as near-duplicates; see docs/data_check.md for what
#: that finds and what it takes for alike.
THRESHOLD = 6

_SIDE, _LOW = 32, 8
_FLAT = 1.0  # grey levels: with less deviation the bits are the noise of the compression
_ROWS = 512  # of a picture digested at a time
_COSINES = np.cos(np.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5))


def perceptual_hash(image: Image.Image) -> int | None:
    """64-bit hash of a picture's coarse structure; None for a picture of one even colour, which has none."""
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64)
    if grey.std() < _FLAT:
        return None
    frequencies = (_COSINES @ grey @ _COSINES.T).ravel().round(3)  # rounded: an exact 0 must not become a random sign
    bits = frequencies > np.median(frequencies[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def pixel_digest(image: Image.Image) -> int:
    """64-bit digest of size, mode and pixels: equal for the same picture in another lossless file."""
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=8)
    for top in range(0, image.height, _ROWS):
        digest.update(image.crop((0, top, image.width, min(top + _ROWS, image.height))).tobytes())
    return int.from_bytes(digest.digest(), "big")


def near_pairs(hashes: np.ndarray, threshold: int = THRESHOLD) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of hashes that differ in at most ``threshold`` bits, without comparing every two.

    The 64 bits are cut into ``threshold + 1`` bands; two such hashes agree in at least one whole band (pigeonhole), so
    only hashes that share a band are compared.

    Args:
        hashes: uint64 (n,), distinct.
        threshold: bits, 0 <= threshold < 64.

    Yields:
        Index arrays (i, j) of equal length; every pair comes once, in either order.
    """
    bounds = np.linspace(0, 64, threshold + 2).astype(int)
    masks = [np.uint64(((1 << (int(high) - int(low))) - 1) << int(low)) for low, high in itertools.pairwise(bounds)]
    for number, mask in enumerate(masks):
        band = hashes & mask
        order = np.argsort(band, kind="stable")
        ends = np.searchsorted(band[order], band[order], side="right")
        first, step = np.arange(len(order)), 1
        while len(first := first[first + step < ends[first]]):  # the step-th neighbour is still in the same bucket
            i, j = order[first], order[first + step]
            differing = hashes[i] ^ hashes[j]
            near = bit_count(differing) <= threshold
            for earlier in masks[:number]:  # those pairs have been found in an earlier band
                near &= (differing & earlier) != 0
            if near.any():
                yield i[near], j[near]
            step += 1


def bit_count(words: np.ndarray) -> np.ndarray:
    """Number of set bits of each uint64 (``numpy.bitwise_count`` exists from numpy 2 on only)."""
    ones, twos, fours = (np.uint64(m) for m in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    words = words - ((words >> np.uint64(1)) & ones)
    words = (words & twos) + ((words >> np.uint64(2)) & twos)
    words = (words + (words >> np.uint64(4))) & fours
    return (words * np.uint64(0x0101010101010101)) >> np.uint64(56)
