"""In which scale a unit of UAVIT-1M or UAVBench writes its boxes: 0..100 or 0..1000.

Two readers of UAVIT-1M divide by 100; one of UAVBench, by the same authors, by 1000: no text says it. The numbers do.
Of boxes in thousandths only those in the upper left hundredth of an image have no number above 100, of boxes in
hundredths none has one. A unit (a data set and a tag) in which both occur often has two scales, and nothing says which
one a box without such a number is in.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.encoding import encoding_of
from skyeye.data.formats.instructions.dialects import items_of
from skyeye.data.geometry.box_text import HUNDREDTHS
from skyeye.data.prompts.uavit import UAVIT_TAGS

THOUSANDTHS = 1000
#: Share of the records of a unit with a number above 100: from here on its boxes are thousandths; below, hundredths,
#: and what is above is a mistake. In between there are two scales.
MOST, FEW = 0.9, 0.05
#: Fewer records with boxes than these say nothing by themselves; their file does.
ENOUGH = 3
_NUMBER = re.compile(r"<\s*(\d{1,9})\s*>")
_ABOVE = re.compile(rb"<\s*(?:10[1-9]|1[1-9]\d|[2-9]\d\d|\d{4,9})\s*>|\\u003[cC]")
_TAG = re.compile(r"\[\s*(\w+)\s*\]")
_TAGS = frozenset(tag[1:-1] for tag in UAVIT_TAGS.values())
#: Data sets whose name may stand further down in a path (``D:\\data\\ERA\\train``).
_KNOWN_SETS = frozenset({"era", "visdrone2019_det", "uav123", "webuav-3m"})


@dataclass(frozen=True)
class UnitScale:
    """What the boxes of a unit say.

    Attributes:
        scale: the number of a whole image side; None: there are two.
        records: that hold a box.
        above: of these, those with a number above 100.
    """

    scale: int | None
    records: int
    above: int


def data_set_of(image: str) -> str:
    """The data set that an image path names: its first folder, or one that is known by name."""
    return _data_set(image.replace("\\", "/").rpartition("/")[0])


@lru_cache(maxsize=1 << 14)
def _data_set(folder: str) -> str:
    parts = [part for part in folder.split("/") if part not in ("", ".", "..")]
    known = [part for part in parts if part.lower() in _KNOWN_SETS]
    folders = [part for part in parts if not part.endswith(":")]
    return next(iter([*known, *folders]), "")


def tag_of(text: str) -> str | None:
    """The first tag of UAVIT-1M in a text, without brackets."""
    return next((match[1] for match in _TAG.finditer(text[:200]) if match[1] in _TAGS), None)


def clean_path(value: object) -> str:
    """An image path without the quotes that some rows have around it."""
    return value.strip().strip("'\"").strip() if isinstance(value, str) else ""


def unit_scales(file: Path) -> Mapping[str, UnitScale]:
    """The scale of each unit (``ERA/vg``) of a file that has boxes; empty: all its numbers are hundredths.

    Raises:
        SkyEyeError: the file cannot be read.
    """
    state = os.stat(file)
    return _scales(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _scales(file: Path, size: int, changed: int) -> Mapping[str, UnitScale]:
    """Args:
    size, changed: of the file, so that another file of its name is looked at anew.
    """
    if not _may_hold_thousandths(file):
        return {}
    records: dict[str, list[int]] = {}
    for _, item in items_of(file):
        text = _all_text(item)
        numbers = [int(number) for number in _NUMBER.findall(text)] if "<" in text else []
        if numbers:
            unit = f"{data_set_of(clean_path(item.get('image')))}/{tag_of(text)}"
            seen = records.setdefault(unit, [0, 0])
            seen[0] += 1
            seen[1] += max(numbers) > HUNDREDTHS
    boxes, above = (sum(seen[i] for seen in records.values()) for i in (0, 1))
    whole = _judged(boxes, above)
    return {
        unit: UnitScale(whole if n < ENOUGH and not over and whole else _judged(n, over), n, over)
        for unit, (n, over) in sorted(records.items())
    }


def _judged(records: int, above: int) -> int | None:
    if above >= MOST * records:
        return THOUSANDTHS
    return HUNDREDTHS if above <= FEW * records else None


def _may_hold_thousandths(file: Path) -> bool:
    """Whether a file holds a number above 100 in ``<>``; a file in another encoding than UTF-8 may."""
    with open(file, "rb") as opened:
        if os.fstat(opened.fileno()).st_size == 0:
            return False
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return not encoding_of(content[:4]).startswith("utf-8") or _ABOVE.search(content) is not None


def _all_text(item: Any) -> str:
    """The texts of a record behind each other; of one that is no record nothing."""
    said = item.get("conversations") if isinstance(item, dict) else None
    if isinstance(said, str):
        return said
    values = [m.get("value") for m in said if isinstance(m, dict)] if isinstance(said, list) else []
    return "\n".join(value for value in values if isinstance(value, str))
