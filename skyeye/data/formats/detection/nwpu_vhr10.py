"""NWPU VHR-10: a text file per image with lines ``(x1,y1),(x2,y2),class``, corners in pixels, classes 1 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size
from skyeye.data.formats.base.splits import Splits
from skyeye.data.formats.detection.base import Annotated, Labelled, label_lines, objects_of, reader_of
from skyeye.data.geometry.boxes import Box

#: Class 1, 2, ... 10, as the set's readme.txt names them.
CLASSES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "harbor",
    "bridge",
    "vehicle",
)
FOLDERS = ("ground truth", "groundtruth", "ground_truth")
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{0,9})?)\s*"
LINE = re.compile(rf"\s*\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)\s*,\s*(\d{{1,9}})\s*", re.ASCII)


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects.

    The unit is the line, or the file where it cannot be read; a line that is asked about gives several records, among
    them exactly one ``[identify]``. The size of an image comes from its file.

    Args:
        path: folder with ``ground truth/*.txt``, or the folder of these files.
        images: default: ``positive image set`` in ``path``, else ``path`` and everything below
            (the negative images have no objects, and the same numbers for names).
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`.
    """
    path = Path(path)
    labels = next((path / name for name in FOLDERS if (path / name).is_dir()), path)
    files = annotation_files(labels, "*.txt", fits=lambda file: file.stem.isdigit(), called="<number>.txt")
    positive = path / "positive image set"
    folder = images.folder(positive if positive.is_dir() else path)
    rule = Splits(None, splits, test_fraction)
    for file in files:
        of = rule.by_name(file.stem)
        if split is not None and of != split:
            continue
        try:
            lines = label_lines(file)
        except BadRecord as error:
            yield error.problem()
            continue
        try:
            image = folder.find(file.stem, str(file))
            size = image_size(image, str(file))
        except BadRecord as error:
            yield error.problem(count=len(lines))
            continue
        objects, problems = objects_of(lines, partial(_parse, size=size))
        yield from problems
        yield Annotated(image, objects, file.stem, of, str(file))


read = reader_of(annotated)


def _parse(line: str, where: str, size: tuple[int, int]) -> Labelled:
    match = LINE.fullmatch(line)
    if match is None:
        raise BadRecord("malformed line", where, f"is not (x1,y1),(x2,y2),class: {line[:60]!r}")
    number = int(match[5])
    if not 1 <= number <= len(CLASSES):
        raise BadRecord("unknown class", where, f"class {number} is not one of 1 to {len(CLASSES)}")
    x1, y1, x2, y2 = (float(match[n]) for n in range(1, 5))
    return Labelled(CLASSES[number - 1], Box.from_pixels(x1, y1, x2, y2, *size), where)
