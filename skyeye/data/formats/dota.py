"""DOTA label files: ``x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`` in pixels, after up to two header lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skyeye.data.boxes import OrientedBox
from skyeye.data.formats.common import BadRecord, Problem, image_size, read_text
from skyeye.data.formats.detection import MIN_SIDE, Annotated, Labelled, class_words, label_files, samples_of
from skyeye.data.formats.images import ImageFolder
from skyeye.data.formats.splits import Splits, split_in
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

_HEADERS = ("imagesource:", "gsd:")


def read(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    min_side: float = MIN_SIDE,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """Samples of every image by the rules of :mod:`skyeye.data.formats.detection`; oriented boxes are kept beside the
    upright ones around them.

    Whole images only: in a picture of several thousand pixels most objects fall under ``min_side`` and are reported as
    too small. Cut such pictures with ``skyeye data tile`` first if they matter.

    Args:
        path: folder with ``labelTxt/*.txt``, or the folder of the label files.
        images: folder of the images; default: ``path/images``, else ``path``.
        min_side, splits, test_fraction: as in :func:`skyeye.data.formats.yolo.read`; the folder
            ``path`` decides first when it is called train, val or test.
    """
    items = annotated(path, images, split, splits=splits, test_fraction=test_fraction)
    yield from samples_of(items, min_side=min_side)


def annotated(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects; arguments as for :func:`read`."""
    path = Path(path)
    labels, files = label_files(path, "labelTxt")
    if not files:
        raise SkyEyeError("no label file *.txt in this folder", where=str(path), remedy="check `path:` of this source")
    folder = ImageFolder(images or (path / "images" if (path / "images").is_dir() else path))
    rule = Splits(None, splits, test_fraction)
    for file in files:
        key = file.relative_to(labels).with_suffix("").as_posix()
        of = split_in(path.name) or rule.of(key)
        if split is not None and of != split:
            continue
        try:
            image = folder.find(key, str(file))
            objects, problems = _objects(file, *image_size(image, str(file)))
        except BadRecord as error:
            yield error.problem(count=max(1, len(_lines(file))))
            continue
        yield from problems
        yield Annotated(image, tuple(objects), key, of, str(file))


def _objects(file: Path, width: int, height: int) -> tuple[list[Labelled], list[Problem]]:
    objects, problems = [], []
    for number, line in _lines(file):
        where = f"{file}, line {number}"
        try:
            objects.append(_parse(line, where, width, height))
        except BadRecord as error:
            problems.append(error.problem())
    return objects, problems


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines that stand for objects, with their numbers; an empty label file is an image without objects."""
    text = read_text(file) if file.stat().st_size else ""
    return [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith(_HEADERS)
    ]


def _parse(line: str, where: str, width: int, height: int) -> Labelled:
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
    polygon = OrientedBox.from_pixels(numbers, width, height)
    return Labelled(class_words(words[8]), polygon.upright(), where, difficulty > 0, polygon)
