"""COCO detection JSON: ``images`` (id, file_name, width, height), ``annotations`` (image_id, category_id, bbox) and
``categories`` (id, name)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, load_json
from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.data.formats.base.stated_size import measured_on
from skyeye.data.formats.detection.base import Annotated, Labelled, class_words, objects_of, reader_of, turned
from skyeye.data.geometry.boxes import Box
from skyeye.errors import SkyEyeError


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects.

    Args:
        path: the JSON file. With train, val or test in its name it is that split.
        images: default: the folder of the file.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`.
    """
    path = Path(path)
    content = load_json(path, dict)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise SkyEyeError(f"has no list `{key}`", where=str(path), remedy="check `format:` of this source")
    classes = {c["id"]: class_words(c["name"]) for c in content["categories"] if _has(c, id=int, name=str)}
    boxes: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}, annotation {index}"
        if _has(annotation, image_id=int):
            boxes[annotation["image_id"]].append((where, annotation))
        else:
            yield Problem("not a record", where, "names no image_id")
    folder, rule, named = images.folder(path.parent), Splits(None, splits, test_fraction), split_in(path.name)
    for index, image in enumerate(content["images"]):
        where = f"{path}, image {index}"
        mine = boxes.pop(image["id"], []) if _has(image, id=int) else []
        try:
            if not (_has(image, id=int, file_name=str, width=int, height=int) and image["width"] * image["height"] > 0):
                raise BadRecord("not a record", where, "lacks id, file_name, width or height")
            of = named or rule.by_name(image["file_name"])
            if split is not None and of != split:
                continue
            found = folder.find(image["file_name"], where)
            measured = measured_on(found, (image["width"], image["height"]), where)
        except BadRecord as error:
            yield error.problem(count=max(1, len(mine)))
            continue
        objects, problems = objects_of(mine, partial(_parse, classes=classes, size=measured.size))
        yield from [measured.remark, *problems] if measured.remark else problems
        yield Annotated(found, turned(objects, measured.orientation), str(image["id"]), of, where)
    for place, _ in (lost for left in boxes.values() for lost in left):
        yield Problem("not a record", place, "belongs to no image of the file")


read = reader_of(annotated)


def _parse(annotation: dict[str, Any], where: str, classes: dict[int, str], size: tuple[float, float]) -> Labelled:
    name = classes.get(annotation["category_id"]) if _has(annotation, category_id=int) else None
    if name is None:
        raise BadRecord("unknown class", where, f"category {str(annotation.get('category_id'))[:30]} has no name")
    box: Any = annotation.get("bbox")
    try:
        x, y, w, h = (float(value) for value in box)
        if not all(map(math.isfinite, (x, y, w, h))):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecord("malformed box", where, f"bbox is not [x, y, width, height]: {str(box)[:60]}") from error
    crowd = bool(annotation.get("iscrowd"))  # one box around many
    return Labelled(name, Box.from_xywh_pixels(x, y, w, h, *size), where, difficult=crowd)


def _has(entry: object, **types: type) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), of) for key, of in types.items())
