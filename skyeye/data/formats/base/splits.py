"""Train, validation and test for formats that do not say it themselves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from skyeye.data.formats.base.image_folder import fold_name
from skyeye.data.formats.base.problems import BadRecord, load_json
from skyeye.errors import SkyEyeError

SPLITS = ("train", "val", "test")


class Splits:
    """Which split an image belongs to, by the first rule that knows it.

    Args:
        split_file: captions JSON in the Karpathy layout (or that of NWPU-Captions) whose ``split`` per image is to be
            followed, so that classes or questions about the same images keep to the split of the captions. Images it
            does not list are nobody's.
        patterns: ``{"test": ["Munich*"], ...}``, shell patterns on file names; consecutive frames of one video belong
            on one side.
        test_fraction: share of the remaining images that become the test split, chosen by a checksum of the file name.
        default: split of all others.

    Raises:
        SkyEyeError: a split that is not train, val or test; a fraction outside 0..1.
    """

    def __init__(
        self,
        split_file: str | None = None,
        patterns: Mapping[str, str | Sequence[str]] | None = None,
        test_fraction: float = 0.0,
        default: str = "train",
    ):
        for split in (*(patterns or {}), default):
            if split not in SPLITS:
                raise SkyEyeError(f"unknown split {split!r}", where="options", remedy="use train, val or test")
        if not 0 <= test_fraction <= 1:
            raise SkyEyeError(f"test_fraction {test_fraction} is not between 0 and 1", where="options")
        self.default, self.test_fraction = default, test_fraction
        self.patterns = {s: [p] if isinstance(p, str) else list(p) for s, p in (patterns or {}).items()}
        self.listed = None if split_file is None else _listed(Path(split_file))

    def of(self, image: str) -> str | None:
        """``train``, ``val``, ``test``, or None for an image that ``split_file`` does not list."""
        return self.by_name(image) if self.listed is None else self.listed.get(_stem(PurePosixPath(image).name))

    def by_name(self, image: str) -> str:
        """``train``, ``val`` or ``test``, by the rules other than ``split_file``."""
        name = PurePosixPath(image).name
        for split, patterns in self.patterns.items():
            if any(fnmatch(name, pattern) for pattern in patterns):
                return split
        if self.test_fraction and zlib.crc32(name.encode("utf-8", "surrogatepass")) < self.test_fraction * 2**32:
            return "test"
        return self.default


def split_in(path: str | Path) -> str | None:
    """The split that a file name or one of the two folders above it announces (``dota_val_vqa2.txt``), or None."""
    for part in (Path(path).stem, *(folder.name for folder in list(Path(path).parents)[:2])):
        words = part.lower().replace("-", "_").split("_")
        for split in SPLITS:
            if split in words:
                return split
    return None


def _listed(path: Path) -> dict[str, str]:
    content = load_json(path, dict)
    # NWPU-Captions: an object of classes, each a list of images
    images = content.get("images", [entry for each in content.values() if isinstance(each, list) for entry in each])
    if not isinstance(images, list) or ("images" not in content and not images):
        raise SkyEyeError("has no list `images`", where=str(path), remedy="split_file takes a captions JSON")
    return {
        _stem(image["filename"]): normal_split(image["split"])
        for image in images
        if isinstance(image, dict) and isinstance(image.get("filename"), str) and isinstance(image.get("split"), str)
    }


def normal_split(word: str) -> str:
    """``restval`` is training data and ``valid`` is ``val`` in several published files."""
    return {"restval": "train", "valid": "val", "validation": "val"}.get(word, word)


def checked_split(word: object, where: str) -> str:
    """The split that an annotation names.

    Raises:
        BadRecord: ``unknown split``.
    """
    split = normal_split(word) if isinstance(word, str) else word
    if split not in SPLITS:
        raise BadRecord("unknown split", where, f"split {str(word)[:30]!r} is not train, val or test")
    return split


def _stem(name: str) -> str:
    return fold_name(PurePosixPath(name).stem)
