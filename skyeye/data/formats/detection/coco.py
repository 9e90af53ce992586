"""COCO detection JSON: ``images`` (id, file_name, width, height), ``annotations`` (image_id, category_id, bbox) and
``categories`` (id, name)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json
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
    splits: Mapping[str, str | Sequence[str]] | None = None,
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
    classes = _classes(content["categories"], path)
    boxes: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}, annotation {index}"
        if (shown := _id(annotation, "image_id")) is not None:
            boxes[shown].append((where, annotation))
        else:
            yield Problem("not a record", where, "names no image_id")
    folder, rule, named = images.folder(path.parent), Splits(None, splits, test_fraction), split_in(path.name)
    pictures = _names(content["images"], "file_name")
    for index, image in enumerate(content["images"]):
        where, key = f"{path}, image {index}", _id(image, "id") or ""
        mine = boxes.pop(key, [])
        try:
            size = _size(image, pictures.get(key, set()), where)
            of = named or rule.by_name(image["file_name"])
            if split is not None and of != split:
                continue
            found = folder.find(image["file_name"], where)
            measured = measured_on(found, size, where)
        except BadRecord as error:
            yield error.problem(count=max(1, len(mine)))
            continue
        objects, problems = objects_of(mine, partial(_parse, classes=classes, size=measured.size))
        yield from [measured.remark, *problems] if measured.remark else problems
        yield Annotated(found, turned(objects, measured.orientation), key, of, where)
    for place, _ in (lost for left in boxes.values() for lost in left):
        yield Problem("not a record", place, "belongs to no image of the file")


read = reader_of(annotated)


def _parse(annotation: dict[str, Any], where: str, classes: dict[str, str], size: tuple[float, float]) -> Labelled:
    name = classes.get(_id(annotation, "category_id") or "")
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


def _classes(categories: list[Any], path: Path) -> dict[str, str]:
    """Id -> words of the class.

    Raises:
        SkyEyeError: two classes have one id, as in files that were put together; every box could be of either.
    """
    named = _names(categories, "name")
    for key, names in named.items():
        if len(names) > 1:
            what = f"gives the id {key[:30]} to the categories {' and '.join(sorted(names)[:2])}"
            raise SkyEyeError(what, where=str(path), remedy="give each class an id of its own")
    return {key: class_words(name) for key, names in named.items() for name in names}


def _names(entries: list[Any], of: str) -> dict[str, set[str]]:
    """Id -> what the entries with that id are called."""
    named: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if (key := _id(entry, "id")) is not None and _has(entry, **{of: str}):
            named[key].add(entry[of])
    return named


def _id(entry: object, key: str) -> str | None:
    """An id as text, so that 3, 3.0 and "3", as programs write it, are one."""
    text = as_text(entry.get(key)) if isinstance(entry, dict) else None
    return None if text is None else text.removesuffix(".0")


def _size(image: dict[str, Any], of_this_id: set[str], where: str) -> tuple[float, float]:
    """Width and height of an entry of ``images``, numbers above 0 or their texts; ``of_this_id``: what has its id."""
    sides = [as_text(image.get(side)) for side in ("width", "height")] if _has(image, file_name=str) else []
    try:
        width, height = (float(side or "") for side in sides)
    except ValueError:
        width = height = math.nan
    if not (of_this_id and 0 < width < math.inf and 0 < height < math.inf):
        raise BadRecord("not a record", where, "lacks id, file_name, width or height")
    if len(of_this_id) > 1:
        raise BadRecord("duplicate id", where, f"{len(of_this_id)} pictures have this id: whose the boxes are is open")
    return width, height


def _has(entry: object, **types: type) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), of) for key, of in types.items())
