"""DOTA label files: ``x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`` in pixels, after up to two header lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skyeye.data.boxes import Box
from skyeye.data.formats.common import BadRecord, Problem, image_size, read_text
from skyeye.data.formats.detection import MIN_SIDE, Labelled, class_words, label_files, samples
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
    clip_boxes: bool = True,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """Samples of every image by the rules of :mod:`skyeye.data.formats.detection`; oriented boxes become upright ones.

    Whole images only: in a picture of several thousand pixels most objects fall under ``min_side`` and are reported as
    too small. Cut such pictures into tiles first if they matter.

    Args:
        path: folder with ``labelTxt/*.txt``, or the folder of the label files.
        images: folder of the images; default: ``path/images``, else ``path``.
        min_side, clip_boxes, splits, test_fraction: as in :func:`skyeye.data.formats.yolo.read`; the folder
            ``path`` decides first when it is called train, val or test.
    """
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
            yield error.problem()
            continue
        yield from problems
        yield from samples(image, objects, key=key, split=of, where=str(file), min_side=min_side, clip_boxes=clip_boxes)


def _objects(file: Path, width: int, height: int) -> tuple[list[Labelled], list[Problem]]:
    objects, problems = [], []
    text = read_text(file) if file.stat().st_size else ""  # an empty label file is an image without objects
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith(_HEADERS):
            continue
        where = f"{file}, line {number}"
        try:
            objects.append(_parse(line, where, width, height))
        except BadRecord as error:
            problems.append(error.problem())
    return objects, problems


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
    x, y = numbers[::2], numbers[1::2]
    box = Box(min(x) / width, min(y) / height, max(x) / width, max(y) / height)
    return Labelled(class_words(words[8]), box, where, difficult=difficulty > 0)
