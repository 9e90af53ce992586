"""A folder seen from above: which folders hold images, and whether these are classes."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from skyeye.data.formats.base.annotation_files import of_macos
from skyeye.data.formats.base.image_folder import IMAGE_SUFFIXES
from skyeye.data.formats.base.splits import SPLITS, normal_split
from skyeye.data.formats.instructions.skyeye968k import PUBLISHED

_log = logging.getLogger(__name__)

ANNOTATIONS = {".json", ".jsonl", ".ndjson", ".txt", ".xml", ".tar", ".parquet", ".arrow"}
#: Folders around images that are no class of theirs.
IMAGE_FOLDERS = re.compile(
    r"images?(?:[_-].*)?|imgs?|jpegimages.*|pictures?|frames|data|tiff?|.*[_-](?:images?|imgs?)|.* image set",
    re.IGNORECASE,
)
#: The image folders that SkyEye-968k refers to may lie side by side like classes.
_ROOTS = {entry.images.split("/")[0].lower() for entry in PUBLISHED.values()}


class Tree:
    """Names of all files below a folder, listed once. Hidden folders are left out, linked ones followed once."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[Path, list[str]] = {}
        seen = set()
        for folder, below, names in os.walk(root, followlinks=True, onerror=self._closed):
            real = os.path.realpath(folder)
            if real in seen:
                below.clear()  # a link back to a folder that was listed
                continue
            seen.add(real)
            below[:] = sorted(name for name in below if not name.startswith((".", "__")))
            self.files[Path(folder)] = sorted(name for name in names if not of_macos(name))
        self.pictures = {f for f, names in self.files.items() if any(is_image(n) for n in names)}

    @staticmethod
    def _closed(error: OSError) -> None:
        _log.warning("%s: cannot be listed: %s", error.filename, error.strerror)

    def below(self, folder: Path) -> Iterator[Path]:
        """The folder and all folders in it."""
        waiting = [folder] if folder in self.files else []
        while waiting:
            yield (place := waiting.pop())
            waiting += self.children.get(place, [])

    def images_for(self, folder: Path) -> str | None:
        """Where the images are when the folder itself has none: an image folder beside it."""
        if any(below in self.pictures for below in self.below(folder)) or folder == self.root:
            return None
        beside = [f for f in self.children.get(folder.parent, []) if f != folder and IMAGE_FOLDERS.fullmatch(f.name)]
        return next((str(f) for f in beside if any(b in self.pictures for b in self.below(f))), None)

    def holds_classes(self, folder: Path) -> bool:
        """Several folders of images and nothing else, whose names are no names of image folders.

        They may be parted by split (``train/Pond``, ``test/Pond``): the folder around the splits is then meant.
        """
        below = self.children.get(folder, [])
        if any(is_image(name) for name in self.files[folder]):
            return False
        if _is_split(folder) and folder != self.root and self.holds_classes(folder.parent):
            return False
        splits = [f for f in below if _is_split(f)]
        return any(self._are_classes(self.children.get(f, [])) for f in splits) if splits else self._are_classes(below)

    def _are_classes(self, folders: list[Path]) -> bool:
        with_images = [f for f in folders if f in self.pictures]
        if len(with_images) < 2 or len(with_images) * 5 < len(folders) * 4:
            return False
        named = any(IMAGE_FOLDERS.fullmatch(f.name) or f.name.lower() in _ROOTS or _is_split(f) for f in with_images)
        labelled = any(Path(n).suffix.lower() in ANNOTATIONS for f in with_images for n in self.files[f])
        return not named and not labelled

    @cached_property
    def children(self) -> dict[Path, list[Path]]:
        children = defaultdict(list)
        for folder in self.files:
            children[folder.parent].append(folder)
        return children


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_split(folder: Path) -> bool:
    return normal_split(folder.name.lower()) in SPLITS
