"""Caption files in the Karpathy layout: RSICD, UCM-Captions, Sydney-Captions, RSITMD (and what follows them).

``{"dataset": "UCM", "images": [{"filename": "1.tif", "imgid": 0, "split": "train", "sentences": [{"raw": "..."}, ...]},
...]}``; ``imgid`` is the id of the image in result files of COCO's form, and not the number in its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json
from skyeye.data.formats.base.splits import checked_split
from skyeye.data.formats.captions.base import caption_records
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Training images give one record per caption; val and test images one record with all captions as references.

    The units are those of :mod:`skyeye.data.formats.captions.base`; an image without any caption is one.

    Args:
        path: the JSON file.
        images: folder of the images; default: the folder of the file.
        split: train, val or test.
    """
    path = Path(path)
    content = load_json(path, dict)
    if not isinstance(content.get("images"), list):
        raise SkyEyeError("has no list `images`", where=str(path), remedy="check `format:` of this source")
    source = as_text(content.get("dataset")) or ""
    folder = images.folder(path.parent)
    for index, image in enumerate(content["images"]):
        where = f"{path}, image {index}"
        try:
            of = checked_split(image.get("split", "train"), where) if isinstance(image, dict) else None
            if split is None or of in (None, split):
                yield from _records(image, of, where, index, source, folder)
        except BadRecord as error:
            yield error.problem()


def _records(
    image: object, split: str | None, where: str, index: int, source: str, folder: ImageFolder
) -> Iterator[Record | Problem]:
    name = as_text(image.get("filename")) if isinstance(image, dict) else None
    if not isinstance(image, dict) or name is None or split is None:
        raise BadRecord("not a record", where, "has no filename")
    sentences = image.get("sentences")
    yield from caption_records(
        name,
        [s.get("raw") if isinstance(s, dict) else None for s in (sentences if isinstance(sentences, list) else [])],
        lambda: (folder.find(name, where),),
        key=str(index),
        source=source,
        split=split,
        where=where,
        published_id=as_text(image.get("imgid")),
    )
