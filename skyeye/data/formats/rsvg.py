"""RSVG and RSVG-HR: lines ``image.jpg,x1,y1,x2,y2,expression``, corners in pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skyeye.data.boxes import Box
from skyeye.data.formats.common import BadRecord, Problem, image_size, text_lines
from skyeye.data.formats.grounding import refer_record
from skyeye.data.formats.images import ImageFolder
from skyeye.data.formats.splits import Splits, split_in
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{0,18})?)\s*"
#: A fifth number is no expression: a decimal comma (``216,00``) has moved the others.
LINE = re.compile(rf"([^,]+),{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER},(?!\s*-?[\d.]+\s*,)(.*)", re.ASCII)
#: Expressions of RSVG-HR are often orders (``find a swimming pool on the left``); asked is for the object itself.
_ORDER = re.compile(r"\s*(?:find|search)\s+(?:for\s+)?", re.IGNORECASE)


def read(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    clip_boxes: bool = True,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """One ``[refer]`` record per line; the line is the unit.

    The size of an image comes from its file, since the lines do not say it: without images nothing can be read.

    Args:
        path: one text file, or a folder with such files (``*train*.txt``, ``*val*.txt``, ``*test*.txt``).
        images: folder of the images; default: the folder of the file.
        split: train, val or test. A file with one of these in its name is that split.
        clip_boxes: see :func:`skyeye.data.formats.grounding.refer_record`; the reference does not clip.
        splits, test_fraction: see :class:`~skyeye.data.formats.splits.Splits`; for files that do not name a split.
    """
    path = Path(path)
    files = sorted(f for f in path.glob("*.txt") if split_in(f.name)) if path.is_dir() else [path]
    if not files:
        raise SkyEyeError(
            "no *.txt file with train, val or test in its name", where=str(path), remedy="check `path:` of this source"
        )
    folder = ImageFolder(images or (path if path.is_dir() else path.parent))
    rule = Splits(None, splits, test_fraction)
    sizes: dict[str, tuple[int, int]] = {}  # several expressions ask about one image
    for file in files:
        named = split_in(file.name)
        if named and split is not None and named != split:
            continue
        for number, line in enumerate(text_lines(file), start=1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            try:
                match = LINE.fullmatch(line)
                if match is None:
                    raise BadRecord("malformed line", where, f"is not image,x1,y1,x2,y2,expression: {line[:60]!r}")
                of = named or rule.of(match[1].strip())
                if split is not None and of != split:
                    continue
                image = folder.find(match[1].strip(), where)
                if image not in sizes:
                    sizes[image] = image_size(image, where)
                yield refer_record(
                    image,
                    match[6][order.end() :] if (order := _ORDER.match(match[6])) else match[6],
                    Box.from_pixels(*(float(match[n]) for n in range(2, 6)), *sizes[image]),
                    id=f"{file.stem}:{number}",
                    source="",
                    split=of,
                    where=where,
                    clip_boxes=clip_boxes,
                )
            except BadRecord as error:
                yield error.problem()
