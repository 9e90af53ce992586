"""Images that a model would be trained on and evaluated on: the same file, the same pixels, alike, or of one name."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np

from skyeye.curate.check.images import Seen
from skyeye.data.formats.base.splits import SPLITS
from skyeye.data.images.hashing import THRESHOLD, bit_count, near_pairs
from skyeye.data.images.reference import parse_reference

SAME, PIXELS, SIMILAR, NAME = (
    f"{what} in training and evaluation" for what in ("image", "same pixels", "similar image", "same file name")
)
_NONE = np.uint64(2**64 - 1)


class Sides:
    """Which records show which images, and on which side. Records are numbered by whoever adds them, upwards."""

    def __init__(self):
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._shown_by, self._shown = array("q"), array("q")  # pairs of a record and an image
        self._first = {split: array("q") for split in SPLITS}  # of each image: the first record of each split, or -1
        self._source = array("q")

    def add(self, record: int, images: Sequence[str], split: str, source: int) -> None:
        """Take note that a record shows images and is used for ``split``."""
        for name in images:
            image = self._numbers.setdefault(name, len(self.names))
            if image == len(self.names):
                self.names.append(name)
                self._source.append(source)
                for first in self._first.values():
                    first.append(-1)
            if self._first[split][image] < 0:
                self._first[split][image] = record
            self._shown_by.append(record)
            self._shown.append(image)

    def records_showing(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Records that show one of the images, each once and upwards, and an image of these that each shows."""
        rows = np.flatnonzero(np.isin(np.frombuffer(self._shown, dtype=np.int64), images))
        records, first = np.unique(np.frombuffer(self._shown_by, dtype=np.int64)[rows], return_index=True)
        return records, np.frombuffer(self._shown, dtype=np.int64)[rows[first]]

    def images_of(self, first: int, end: int) -> np.ndarray:
        """Distinct images shown by the records from ``first`` up to, not including, ``end``."""
        records = np.frombuffer(self._shown_by, dtype=np.int64)
        return np.unique(np.frombuffer(self._shown, dtype=np.int64)[(records >= first) & (records < end)])

    def leaks(self, seen: Sequence[Seen], threshold: int = THRESHOLD) -> Iterator[tuple[str, int, int, str]]:
        """What of the evaluation is trained on.

        Args:
            seen: what each image looks like, by number.
            threshold: bits in which the perceptual hashes of similar images may differ.

        Yields:
            (kind, record of the evaluation, record of the training, a sentence); every image of the evaluation at most
            once, for the strongest reason.
        """
        first = {split: np.frombuffer(records, dtype=np.int64) for split, records in self._first.items()}
        training = first["train"] >= 0
        evaluation = (first["val"] >= 0) | (first["test"] >= 0)
        evaluated_by = np.where(first["test"] >= 0, first["test"], first["val"])
        told = np.zeros(len(self.names), dtype=bool)

        def leak(kind: str, image: int, other: int, what: str) -> tuple[str, int, int, str]:
            told[image] = True
            return kind, int(evaluated_by[image]), int(first["train"][other]), what

        for image in np.flatnonzero(training & evaluation):
            yield leak(SAME, image, image, f"{self.names[image]} is in both")
        pixels = [look.pixels for look in seen]
        for image, other in _in_one_group(pixels, training, evaluation):
            if not told[image]:
                yield leak(PIXELS, image, other, f"{self.names[image]} has the pixels of {self.names[other]}")
        for image, other, bits in _alike([look.looks for look in seen], training, evaluation, threshold):
            if not told[image]:
                what = f"{self.names[image]} looks like {self.names[other]} ({bits} of 64 bits differ)"
                yield leak(SIMILAR, image, other, what)
        stems = [
            (source, PurePath(parse_reference(name)[0]).stem.lower())
            for source, name in zip(self._source, self.names, strict=True)
        ]
        for image, other in _in_one_group(stems, training, evaluation):
            if not told[image]:
                yield leak(NAME, image, other, f"{self.names[image]} is called like {self.names[other]}")

    def copies(self, seen: Sequence[Seen]) -> Iterator[tuple[int, str]]:
        """(image, a sentence) for each image that has the pixels of an earlier one under another name."""
        earlier: dict[int, int] = {}
        for image, look in enumerate(seen):
            if look.pixels is not None and earlier.setdefault(look.pixels, image) != image:
                yield image, f"{self.names[image]} has the pixels of {self.names[earlier[look.pixels]]}"


def _in_one_group(keys: Sequence[object], training: np.ndarray, evaluation: np.ndarray) -> Iterator[tuple[int, int]]:
    """(image of the evaluation, another image of the training) with the same key; None is no key."""
    groups: dict[object, list[int]] = defaultdict(list)
    for image, key in enumerate(keys):
        if key is not None:
            groups[key].append(image)
    for members in groups.values():
        other = next((image for image in members if training[image]), None)
        if other is not None and len(members) > 1:
            yield from ((image, other) for image in members if evaluation[image] and image != other)


def _alike(
    looks: Sequence[int | None], training: np.ndarray, evaluation: np.ndarray, threshold: int
) -> Iterator[tuple[int, int, int]]:
    """(image of the evaluation, the training image most like it, bits that differ), within the threshold."""
    images = np.array([image for image, look in enumerate(looks) if look is not None], dtype=np.int64)
    hashes, group = np.unique(
        np.array([look for look in looks if look is not None], dtype=np.uint64), return_inverse=True
    )
    trained = np.full(len(hashes), -1)  # a training image of each hash
    trained[group[training[images]]] = images[training[images]]
    nearest = np.full(len(hashes), _NONE)  # bits and hash of the nearest one with a training image, in one number
    both = np.flatnonzero(trained >= 0)
    nearest[both] = both
    for i, j in near_pairs(hashes, threshold):
        bits = bit_count(hashes[i] ^ hashes[j])
        for of, to in ((i, j), (j, i)):
            useful = trained[to] >= 0
            np.minimum.at(nearest, of[useful], (bits[useful] << np.uint64(40)) | to[useful].astype(np.uint64))
    for image, number in zip(images, group, strict=True):
        if evaluation[image] and nearest[number] != _NONE:
            to = int(nearest[number]) & (2**40 - 1)
            if trained[to] != image:
                yield int(image), int(trained[to]), int(nearest[number]) >> 40
