"""LEVIR-CC: captions of what changed between two images, ``LevirCCcaptions.json``, with the images of each split in
``A`` (before) and ``B`` (after) under one name. The unit is the caption.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

PROMPT = "Describe what has changed between the two images."
UNCHANGED, CHANGED = "unchanged", "changed"


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """One record a pair for evaluation (all captions are its references), one a caption for training.

    Args:
        path: the JSON file.
        images: folder of the images; default: beside and below the file.
        split: keep only this split.
    """
    path = Path(path)
    entries = load_json(path, dict).get("images")
    if not isinstance(entries, list):
        raise SkyEyeError("has no list `images`", where=str(path), remedy="check `format:` of this source")
    folder = images.folder(path.parent)
    for number, entry in enumerate(entries):
        where = f"{path}, image {number}"
        of = str(entry.get("split", entry.get("filepath"))) if isinstance(entry, dict) else ""
        if split is not None and of != split:
            continue
        try:
            if not isinstance(entry, dict):
                raise BadRecord("not a record", where, f"is not an object {{...}} but {str(entry)[:60]!r}")
            yield from _records(entry, of, where, folder)
        except BadRecord as error:
            captions = entry.get("sentences") if isinstance(entry, dict) else None
            yield error.problem(count=len(captions) if isinstance(captions, list) and captions else 1)


def _records(entry: dict[str, Any], split: str, where: str, folder: ImageFolder) -> Iterator[Record]:
    name, said = entry.get("filename"), entry.get("sentences")
    if not isinstance(name, str):
        raise BadRecord("no image", where, "filename is missing")
    texts = [as_text(one.get("raw")) for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    captions = [text for text in texts if text is not None]
    if not captions:
        raise BadRecord("no answer", where, "no caption is text")
    pair = tuple(folder.find(f"{split}/{side}/{name}", where) for side in "AB")
    references: dict[str, Any] = {"captions": captions}
    if entry.get("changeflag") is not None:
        references["type"] = CHANGED if entry["changeflag"] else UNCHANGED
    learnt = captions if split == "train" else captions[:1]
    for number, caption in enumerate(learnt):
        yield Record(
            f"{name}:{number}" if split == "train" else name, "LEVIR-CC", "change_caption", split, pair,
            (Turn(PROMPT, caption, "change_caption"),), references, (), where,
        )  # fmt: skip
