"""NWPU-Captions: ``dataset_nwpu.json``, an object of classes, each a list of images with their five captions.

``{"airplane": [{"filename": "airplane_001.jpg", "split": "train", "raw": "...", "raw_1": "...", ... "raw_4": "..."}]}``
(github.com/HaiyanHuang98/NWPU-Captions). The images are those of NWPU-RESISC45.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json
from skyeye.data.formats.base.splits import checked_split
from skyeye.data.formats.captions.base import caption_records
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Training images give one record per caption; val and test images one record with all captions as references.

    The units are those of :mod:`skyeye.data.formats.captions.base`; an entry that is no image is one.

    Args:
        path: the JSON file.
        images: folder of the images, in class folders or not; default: the folder of the file.
        split: train, val or test.
    """
    path = Path(path)
    content = load_json(path, dict)
    if not any(isinstance(entries, list) for entries in content.values()):
        raise SkyEyeError("has no list of images per class", where=str(path), remedy="check `format:` of this source")
    folder = images.folder(path.parent)
    for name, entries in content.items():
        if not isinstance(entries, list):
            yield Problem("not a record", f"{path}, class {name[:60]!r}", "is not a list of images")
            continue
        for index, entry in enumerate(entries):
            where = f"{path}, class {name[:60]!r}, image {index}"
            try:
                yield from _records(entry, f"{name}:{index}", where, split, folder)
            except BadRecord as error:
                yield error.problem()


def _records(entry: Any, key: str, where: str, split: str | None, folder: ImageFolder) -> Iterator[Record | Problem]:
    file = as_text(entry.get("filename")) if isinstance(entry, dict) else None
    if file is None:
        raise BadRecord("not a record", where, "has no filename")
    of = checked_split(entry.get("split", "train"), where)
    if split is not None and of != split:
        return
    captions = sorted((key for key in entry if key == "raw" or key.startswith("raw_")), key=lambda key: (len(key), key))
    yield from caption_records(
        file,
        [entry[key] for key in captions],
        lambda: (folder.find(file, where),),
        key=key,
        source="NWPU-Captions",
        split=of,
        where=where,
    )
