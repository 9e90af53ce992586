"""Caption files in the Karpathy layout: RSICD, UCM-Captions, Sydney-Captions (and what follows them).

``{"dataset": "UCM", "images": [{"filename": "1.tif", "split": "train", "sentences": [{"raw": "..."}, ...]}, ...]}``
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skyeye.data.formats.common import BadRecord, Problem, as_text, load_json, pick
from skyeye.data.formats.images import ImageFolder
from skyeye.data.formats.splits import SPLITS, normal_split
from skyeye.data.record import Record, Turn
from skyeye.data.text import caption_text
from skyeye.errors import SkyEyeError

#: Two prompts of the paper's figures and their like; the first is the one an evaluation asks.
PROMPTS = (
    "[caption] briefly describe the image",
    "[caption] Can you briefly explain what you see in the image?",
    "[caption] Summarize this image in a few words.",
)


def read(path: str | Path, images: str | None = None, split: str | None = None) -> Iterator[Record | Problem]:
    """Training images give one record per caption; val and test images one record with all captions as references.

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
    folder = ImageFolder(images or path.parent)
    for index, image in enumerate(content["images"]):
        where = f"{path}, image {index}"
        try:
            if split is not None and isinstance(image, dict) and _split(image, where) != split:
                continue
            yield from _records(image, where, index, source, folder)
        except BadRecord as error:
            yield error.problem()


def _records(image: object, where: str, index: int, source: str, folder: ImageFolder) -> Iterator[Record | Problem]:
    name = as_text(image.get("filename")) if isinstance(image, dict) else None
    if name is None:
        raise BadRecord("not a record", where, "has no filename")
    split = _split(image, where)
    sentences = image.get("sentences")
    captions, problems = [], []
    for number, sentence in enumerate(sentences if isinstance(sentences, list) else []):
        text = as_text(sentence.get("raw")) if isinstance(sentence, dict) else None
        if text is None or not caption_text(text):
            problems.append(Problem("no answer", f"{where}, sentence {number}", f"caption of {name} is empty"))
        else:
            captions.append((number, text))
    if not captions and not problems:
        raise BadRecord("no answer", where, f"image {name} has no caption")
    if captions:
        found = folder.find(name, where)
        texts = [text for _, text in captions]
        for number, text in captions if split == "train" else captions[:1]:
            id = f"{index}:{number}" if split == "train" else str(index)
            yield Record(
                id=id,
                source=source,
                task="caption",
                split=split,
                images=(found,),
                where=where,
                turns=(Turn(pick(PROMPTS, id) if split == "train" else PROMPTS[0], caption_text(text)),),
                references={"captions": texts},
            )
    yield from problems


def _split(image: dict, where: str) -> str:
    split = image.get("split", "train")
    split = normal_split(split) if isinstance(split, str) else split
    if split not in SPLITS:
        raise BadRecord("unknown split", where, f"split {str(split)[:30]!r} is not train, val or test")
    return split
