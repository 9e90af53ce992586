"""RSVG and RSVG-HR: lines ``image.jpg,x1,y1,x2,y2,expression``, corners in pixels.

RSVG itself is published as ``rsvg_{train,val,test}.pth``: lists of (image, [x1, y1, x2, y2], expression, ...) saved by
PyTorch. They are opened with ``weights_only=True``, which runs no code of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size, text_lines
from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.data.formats.grounding.base import refer_record
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{0,18})?)\s*"
#: A fifth number is no expression: a decimal comma (``216,00``) has moved the others.
LINE = re.compile(rf"([^,]+),{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER},(?!\s*-?[\d.]+\s*,)(.*)", re.ASCII)
#: Expressions of RSVG-HR are often orders (``find a swimming pool on the left``); asked is for the object itself.
_ORDER = re.compile(r"\s*(?:find|search)\s+(?:for\s+)?", re.IGNORECASE)

Corners = tuple[float, float, float, float]

_LARGEST = 1 << 26  # bytes; 5,505 expressions are about one million


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """One ``[refer]`` record per line, or entry of a saved list; it is the unit.

    The size of an image comes from its file, since the lines do not say it: without images nothing can be read.

    Args:
        path: one text file or saved list, or a folder with such files (``*train*.txt``, ``*val*.txt``, ``*test*.txt``,
            likewise ``.pth``, which are left alone where a text file of the same name lies beside them).
        images: folder of the images; default: the folder of the file.
        split: train, val or test. A file with one of these in its name is that split.
        clip_boxes: see :func:`skyeye.data.formats.grounding.base.refer_record`; the reference does not clip.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; for files that do not name a split.

    Raises:
        SkyEyeError: no such file; a ``.pth`` that holds no list or more than plain values.
    """
    path = Path(path)
    files = _files(path) if path.is_dir() else [path]
    folder = images.folder(path if path.is_dir() else path.parent)
    rule = Splits(None, splits, test_fraction)
    sizes: dict[str, tuple[int, int]] = {}  # several expressions ask about one image
    for file in files:
        named = split_in(file.name)
        if named and split is not None and named != split:
            continue
        for number, where, entry in _entries(file):
            try:
                name, corners, expression = (_of_entry if file.suffix == ".pth" else _of_line)(entry, where)
                of = named or rule.by_name(name)
                if split is not None and of != split:
                    continue
                image = folder.find(name, where)
                if image not in sizes:
                    sizes[image] = image_size(image, where)
                yield refer_record(
                    image,
                    expression[order.end() :] if (order := _ORDER.match(expression)) else expression,
                    Box.from_pixels(*corners, *sizes[image]),
                    sizes[image],
                    id=f"{file.stem}:{number}",
                    source="",
                    split=of,
                    where=where,
                )
            except BadRecord as error:
                yield error.problem()


def _files(folder: Path) -> list[Path]:
    called = "*.txt or *.pth file with train, val or test in its name"
    files = annotation_files(folder, "*.txt", "*.pth", fits=lambda file: split_in(file.name), called=called)
    return [file for file in files if file.suffix == ".txt" or file.with_suffix(".txt") not in files]


def _entries(file: Path) -> Iterator[tuple[int, str, Any]]:
    """Number, place and value of every entry of a saved list, or of every line that is not empty."""
    saved = file.suffix == ".pth"
    for number, entry in enumerate(_saved_list(file) if saved else text_lines(file), start=1):
        if saved or entry.strip():
            yield number, f"{file}, {'entry' if saved else 'line'} {number}", entry


def _of_line(line: str, where: str) -> tuple[str, Corners, str]:
    match = LINE.fullmatch(line)
    if match is None:
        raise BadRecord("malformed line", where, f"is not image,x1,y1,x2,y2,expression: {line[:60]!r}")
    return match[1].strip(), (float(match[2]), float(match[3]), float(match[4]), float(match[5])), match[6]


def _of_entry(entry: Any, where: str) -> tuple[str, Corners, str]:
    try:
        name, (x1, y1, x2, y2), expression = entry[:3]
        corners = float(x1), float(y1), float(x2), float(y2)
        sound = isinstance(name, str) and isinstance(expression, str) and all(map(math.isfinite, corners))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        sound = False
    if not sound:
        raise BadRecord("not a record", where, f"is not (image, [x1, y1, x2, y2], expression): {str(entry)[:60]}")
    return name.strip(), corners, expression


def _saved_list(file: Path) -> list[Any]:
    import torch  # for this one kind of file only

    remedy = "write its entries as lines image,x1,y1,x2,y2,expression into a .txt file of the same name"
    try:
        note("file", file)
        if file.stat().st_size > _LARGEST:
            raise SkyEyeError(f"is larger than {_LARGEST} bytes", where=str(file), remedy=remedy)
        entries = torch.load(file, map_location="cpu", weights_only=True)
    except SkyEyeError:
        raise
    except Exception as error:  # a damaged file fails in many ways inside torch.load
        what = f"cannot be opened as plain values: {str(error).splitlines()[0][:120] if str(error) else type(error)}"
        raise SkyEyeError(what, where=str(file), remedy=remedy) from error
    if not isinstance(entries, (list, tuple)):
        raise SkyEyeError(f"holds a {type(entries).__name__} where a list is expected", where=str(file), remedy=remedy)
    return list(entries)
