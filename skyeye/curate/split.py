"""``skyeye data split``: train, val and test files of one's own, no image on two sides.

Images that belong together form a *unit* that is never divided: those one record shows together, those with the same
pixels, and on request those that look alike or whose names begin alike. Units take their places in the order of a
checksum of seed and name, so the same data give the same division on every machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from skyeye.curate.check.images import Seen, look_at_all
from skyeye.curate.target import Target, records_of
from skyeye.data.files import whole_file, write_whole
from skyeye.data.formats.base.splits import SPLITS
from skyeye.data.formats.instructions.llava import PLACE
from skyeye.data.images.hashing import near_pairs
from skyeye.data.images.reference import MEMBER, format_reference, parse_reference
from skyeye.data.record import MARK, Record, Turn
from skyeye.data.tasks import FREE
from skyeye.errors import SkyEyeError

#: What of a name says its scene, by default: all before the number at its end (``DJI_0005`` of ``DJI_0005-0166``).
PREFIX = r"(.*?)[-_. ]*\d+"
_CAPTIONS = ("caption", "video_caption")


def split(
    target: Target,
    out: str | Path,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    by: str = "image",
    prefix: str | None = None,
    near_duplicates: bool = False,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Divide the records of a target into ``train.jsonl``, ``val.jsonl`` and ``test.jsonl``.

    Whatever split a record had before is forgotten. ``images.splits`` beside them names every image and its side, for
    the option ``split_file`` of readers that keep more of the original annotation.

    Args:
        out: folder to write; it must not hold such files yet.
        fractions: shares of train, val and test in the images, with sum 1.
        by: ``image``; ``class`` keeps the shares within every class, too; ``prefix`` keeps images on one side whose
            names begin alike, as frames of one flight do.
        prefix: with ``by="prefix"``, an expression that must match the whole file name without its extension; its first
            group is the prefix. Names that it does not match stand alone.
        near_duplicates: keep images that look alike (:mod:`skyeye.data.images.hashing`) on one side.
        seed: another seed, another division.
        workers: threads that decode images.
        progress: called with (images looked at, images).

    Returns:
        ``sides``: of each the numbers of ``records`` and ``images``; ``images_folder``: what the names in the files are
        relative to; ``skipped``: records without an image, which the format of the files cannot hold.

    Raises:
        SkyEyeError: fractions or expression make no sense, a file is there already, or images lie inside shards.
    """
    pattern = _check(fractions, by, prefix, Path(out))
    found = _Images.of(target)
    names, units = found.names, found.units
    root = _common_folder(names)
    seen = list(look_at_all(names, workers=workers, progress=progress))
    _join_alike(units, seen, near_duplicates)
    relative = [_relative(name, root) for name in names]
    if pattern is not None:
        _join_prefixes(units, relative, pattern)
    groups = units.groups()
    strata = _strata(groups, relative, found.classes) if by == "class" else [list(groups)]
    sides = _divide(groups, strata, relative, fractions, seed)
    return _write(Path(out), target, found, relative, sides, root)


class _Units:
    """Union-find over image numbers."""

    def __init__(self):
        self._above: list[int] = []

    def add(self) -> int:
        self._above.append(len(self._above))
        return len(self._above) - 1

    def join(self, a: int, b: int) -> None:
        a, b = self._top(a), self._top(b)
        self._above[max(a, b)] = min(a, b)

    def groups(self) -> dict[int, list[int]]:
        """Members of every unit, by its smallest."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._above)):
            found.setdefault(self._top(number), []).append(number)
        return found

    def _top(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number


@dataclass
class _Images:
    """The images of a target, numbered as they come, and what their records say of them.

    Attributes:
        units: images that one record shows together are joined.
        classes: by image, the answer of its first classification record.
        captions: by the images of a record, all captions they have.
    """

    names: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    units: _Units = field(default_factory=_Units)
    classes: dict[int, str] = field(default_factory=dict)
    captions: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target) -> _Images:
        found = cls()
        for record in records_of(target):
            if record.images:
                found._add(record)
        if not found.names:
            raise SkyEyeError("no record shows an image", where=str(target.path), remedy="there is nothing to divide")
        return found

    def _add(self, record: Record) -> None:
        for image in record.images:
            if image not in self.numbers:
                self.numbers[image] = self.units.add()
                self.names.append(_sound(image))
            self.units.join(self.numbers[record.images[0]], self.numbers[image])
        if record.task == "classification":
            self.classes.setdefault(self.numbers[record.images[0]], record.turns[0].answer.strip().casefold())
        if record.task in _CAPTIONS:
            known = self.captions.setdefault(record.images, [])
            texts = record.references.get("captions") or [record.turns[0].answer]
            # every training record of an image carries all its captions: the first brings them, repeated ones included
            known += texts if not known else [text for text in texts if text not in known]


def _check(fractions: Sequence[float], by: str, prefix: str | None, out: Path) -> re.Pattern | None:
    if len(fractions) != 3 or not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6):  # not: NaN
        raise SkyEyeError(
            f"{list(fractions)} are not three shares with sum 1", where="--fractions", remedy="0.8 0.1 0.1"
        )
    if by not in ("image", "class", "prefix"):
        raise SkyEyeError(f"unknown way {by!r}", where="--by", remedy="use image, class or prefix")
    if prefix is not None and by != "prefix":
        raise SkyEyeError("belongs to --by prefix", where="--prefix", remedy="add --by prefix")
    for side in SPLITS:
        if (out / f"{side}.jsonl").exists():
            raise SkyEyeError("exists already", where=str(out / f"{side}.jsonl"), remedy="choose another --out")
    if by != "prefix":
        return None
    try:
        pattern = re.compile(prefix or PREFIX)
    except re.error as error:
        raise SkyEyeError(f"is no regular expression: {error}", where="--prefix", remedy=f"e.g. '{PREFIX}'") from error
    if pattern.groups < 1:
        raise SkyEyeError("has no group in brackets", where="--prefix", remedy=f"e.g. '{PREFIX}'")
    return pattern


def _sound(reference: str) -> str:
    if parse_reference(reference)[1].keys() & MEMBER:
        raise SkyEyeError(
            "images inside shards and tables cannot be named in a file", where=reference, remedy="split before packing"
        )
    return reference


def _join_alike(units: _Units, seen: Sequence[Seen], near_duplicates: bool) -> None:
    first: dict[int, int] = {}
    for number, look in enumerate(seen):
        if look.pixels is not None:
            units.join(first.setdefault(look.pixels, number), number)
    if near_duplicates:
        by_look: dict[int, int] = {}
        for number, look in enumerate(seen):
            if look.looks is not None:
                units.join(by_look.setdefault(look.looks, number), number)
        members = list(by_look.values())
        for i, j in near_pairs(np.array(list(by_look), dtype=np.uint64)):
            for a, b in zip(i.tolist(), j.tolist(), strict=True):
                units.join(members[a], members[b])


def _join_prefixes(units: _Units, relative: Sequence[str], pattern: re.Pattern) -> None:
    first: dict[tuple[str, str], int] = {}
    for number, name in enumerate(relative):
        path = PurePath(parse_reference(name)[0])
        if match := pattern.fullmatch(path.stem):
            units.join(first.setdefault((str(path.parent), match[1] or ""), number), number)


def _strata(groups: Mapping[int, list[int]], relative: Sequence[str], classes: Mapping[int, str]) -> list[list[int]]:
    """Units of each class: the answer of a classification record of one of its images, else the folder of the first."""
    found: dict[str, list[int]] = {}
    for unit, members in groups.items():
        named = [classes[image] for image in members if image in classes]
        found.setdefault(named[0] if named else str(PurePath(relative[members[0]]).parent), []).append(unit)
    return list(found.values())


def _divide(
    groups: Mapping[int, list[int]],
    strata: Sequence[Sequence[int]],
    relative: Sequence[str],
    fractions: Sequence[float],
    seed: int,
) -> list[str]:
    """The side of each image: a unit goes where the greatest part is still wanting.

    Large units come first, so that they meet the large side and small ones fill the others; equal ones in the order of
    their checksums.
    """
    sides = [""] * len(relative)
    for stratum in strata:
        total = sum(len(groups[unit]) for unit in stratum)
        wanting = [fraction * total for fraction in fractions]
        checksums = {unit: _drawing_key(seed, min(relative[image] for image in groups[unit])) for unit in stratum}
        for unit in sorted(stratum, key=lambda unit: (-len(groups[unit]), checksums[unit])):
            open_sides = [side for side in range(3) if fractions[side] > 0]
            side = max(open_sides, key=lambda side: (wanting[side] / (fractions[side] * total), fractions[side]))
            wanting[side] -= len(groups[unit])
            for image in groups[unit]:
                sides[image] = SPLITS[side]
    return sides


def _drawing_key(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _write(
    out: Path,
    target: Target,
    found: _Images,
    relative: Sequence[str],
    sides: Sequence[str],
    root: str,
) -> dict[str, Any]:
    counts = {side: {"records": 0, "images": sides.count(side)} for side in SPLITS}
    skipped = 0
    with ExitStack() as stack:
        files = {side: stack.enter_context(whole_file(out / f"{side}.jsonl")) for side in SPLITS if side in sides}
        for number, record in enumerate(records_of(target)):
            if not record.images:
                skipped += 1
                continue
            images = [relative[found.numbers[image]] for image in record.images]
            side = sides[found.numbers[record.images[0]]]
            line = {"id": f"{number}:{record.source}:{record.id}", "image": images[0] if len(images) == 1 else images}
            if record.task in _CAPTIONS:
                texts = found.captions.pop(record.images, None)
                if texts is None:
                    continue  # all captions of an image are one line
                line["captions"] = texts
                counts[side]["records"] += len(texts) if side == "train" else 1
            else:
                line |= _asked(record)
                counts[side]["records"] += 1
            text = json.dumps({**line, "split": side}, ensure_ascii=False) + "\n"
            files[side].write(text.encode("utf-8", "backslashreplace"))
    listed = [{"filename": name, "split": side} for name, side in sorted(zip(relative, sides, strict=True))]
    write_whole(out / "images.splits", json.dumps({"images_folder": root, "images": listed}, indent=1) + "\n")
    return {"sides": counts, "images_folder": root, "skipped": skipped}


def _asked(record: Record) -> dict[str, Any]:
    turns = [_turn(turn) for turn in record.turns]
    beside = {"unit": "normalised"} if any("mentions" in turn for turn in turns) else {}
    if record.turns[0].system is not None:
        beside["system"] = record.turns[0].system
    if len(turns) > 1:
        for line, turn in zip(turns, record.turns, strict=True):
            line |= {} if turn.task == FREE else {"task": turn.task}
        return {"conversation": turns, **beside}
    # the reader knows a classification by its list of classes
    return {**turns[0], **beside, "task": "vqa" if record.task == "classification" else record.task}


def _turn(turn: Turn) -> dict[str, Any]:
    written: dict[str, Any] = {key: getattr(turn, key).replace(MARK, PLACE) for key in ("question", "answer")}
    if turn.mentions:
        written["mentions"] = [
            [list(box) for box in mention.boxes]
            if mention.phrase is None
            else {"phrase": mention.phrase, "boxes": [list(box) for box in mention.boxes]}
            for mention in turn.mentions
        ]
    return written


def _common_folder(names: Sequence[str]) -> str:
    folders = {os.path.dirname(os.path.abspath(parse_reference(name)[0])) for name in names}
    return os.path.commonpath(folders)


def _relative(reference: str, root: str) -> str:
    path, details = parse_reference(reference)
    return format_reference(Path(os.path.relpath(os.path.abspath(path), root)).as_posix(), **details)
