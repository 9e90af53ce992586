"""DOTA label files: ``x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`` in pixels, after up to two header lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size
from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.data.formats.detection.base import (
    Annotated,
    Labelled,
    class_words,
    label_files,
    label_lines,
    objects_of,
    reader_of,
)
from skyeye.data.geometry.boxes import OrientedBox

_HEADERS = ("imagesource:", "gsd:")


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects.

    Whole images only: in a picture of several thousand pixels most objects fall under ``min_side`` and are reported as
    too small. Cut such pictures with ``skyeye data tile`` first if they matter.

    Args:
        path: folder with ``labelTxt/*.txt``, or the folder of the label files.
        images: default: ``path/images``, else ``path``.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; the folder ``path`` decides first
            when it is called train, val or test.
    """
    path = Path(path)
    labels, files = label_files(path, "labelTxt")
    folder = images.folder(path / "images" if (path / "images").is_dir() else path)
    rule = Splits(None, splits, test_fraction)
    for file in files:
        key = file.relative_to(labels).with_suffix("").as_posix()
        of = split_in(path.name) or rule.by_name(key)
        if split is not None and of != split:
            continue
        try:
            lines = label_lines(file, _HEADERS)
        except BadRecord as error:
            yield error.problem()
            continue
        try:
            image = folder.find(key, str(file))
            size = image_size(image, str(file))
        except BadRecord as error:
            yield error.problem(count=max(1, len(lines)))
            continue
        objects, problems = objects_of(lines, partial(_parse, size=size))
        yield from problems
        yield Annotated(image, objects, key, of, str(file))


read = reader_of(annotated)


def _parse(line: str, where: str, size: tuple[int, int]) -> Labelled:
    words = line.split()
    try:
        numbers = [float(word) for word in words[:8]]
        difficulty = int(words[9]) if len(words) == 10 else 0
    except ValueError as error:
        raise BadRecord("malformed line", where, f"is not eight coordinates, a class, 0 or 1: {line[:60]!r}") from error
    if len(words) not in (9, 10):
        raise BadRecord("malformed line", where, f"has {len(words)} words; x1 ... y4 class difficulty are 10")
    if words[8].replace(".", "").isdigit():
        raise BadRecord("malformed line", where, "has a number where the class name stands; YOLO-OBB is format yolo")
    polygon = OrientedBox.from_pixels(numbers, *size)
    return Labelled(class_words(words[8]), polygon.upright(), where, difficulty > 0, polygon)
