"""Detection boxes become ``refer``, ``identify`` and ``detection`` samples by fixed rules.

The rules, on one image (all annotated objects count, also those that get no sample of their own):

- *Who gets a sample*: an object whose box is sound, lies at least half in the image (it is clipped), is not marked
  difficult, and whose longer side is at least ``min_side`` of the image and the shorter at least half of that (4 % and
  2 %: box numbers are whole percents, and smaller objects are lost at 224-448 pixels). The others are reported one by
  one.
- *refer*: an expression denotes exactly one object: ``the ship`` when it is the only one of its class;
  else ``the largest / smallest ship`` when its area differs from the next by a quarter or more, and ``the leftmost /
  rightmost / topmost / bottommost ship`` when its centre is 5 % of the image ahead of the next.
- *identify*: the class with its article, ``a ship``.
- *detection*: ``The three ships`` with all boxes, for classes of at most ``max_listed`` objects that all may have
  samples.
- Where a person wrote a phrase for an object (``Labelled.described``), ``refer`` asks for that phrase and
  ``identify`` answers with it; a phrase written for several objects is asked with ``detection`` only.

The unit of these formats is the annotated object: each gets an ``identify`` sample or is reported.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.problems import BadRecord, Problem, pick, read_any_text, with_arguments_of
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.geometry.turning import turned_box, turned_polygon
from skyeye.data.record import MARK, Mention, Record, Region, Turn
from skyeye.errors import SkyEyeError

REFER_PROMPTS = ("where can I locate {}?", "where is {}?", "give me the location of {}")
IDENTIFY_PROMPTS = ("what object is in this location {}", "this {} is")
#: Objects whose longer side is below this fraction of the image get no sample.
MIN_SIDE = 0.04
AREA_RATIO = 1.25
CENTRE_GAP = 0.05
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Labelled:
    """One annotated object: its class in words, its upright box in fractions of the image, and where it is written.

    Attributes:
        polygon: its four corners, where the annotation is an oriented box; ``box`` is the upright box around them.
        described: ``name`` is a phrase that a person wrote for this object (``the red ship at the pier``), no class.
    """

    name: str
    box: Box
    where: str
    difficult: bool = False
    polygon: OrientedBox | None = None
    described: bool = False

    @property
    def place(self) -> Box | OrientedBox:
        """The oriented box where one is annotated, which a notation without angles writes as the box around it."""
        return self.polygon or self.box


@dataclass(frozen=True)
class Annotated:
    """An image with everything annotated in it, before the rules above are applied.

    Attributes:
        key: name of the image within the source, the stem of the record ids.
        where: the annotation file, for messages.
    """

    image: str
    objects: tuple[Labelled, ...]
    key: str
    split: str
    where: str


def reader_of(annotated: Callable[..., Iterator[Annotated | Problem]]) -> Callable[..., Iterator[Record | Problem]]:
    """``read`` of a detection format, made from what gives its images with their objects.

    It takes the arguments of ``annotated`` and ``min_side``, see :data:`MIN_SIDE`.
    """

    @with_arguments_of(annotated, min_side=MIN_SIDE)
    def read(*arguments: Any, min_side: float = MIN_SIDE, **options: Any) -> Iterator[Record | Problem]:
        """Samples of every image by the rules of :mod:`skyeye.data.formats.detection.base`; oriented boxes are kept
        beside the upright ones around them."""
        yield from samples_of(annotated(*arguments, **options), min_side=min_side)

    return read


def objects_of(
    entries: Iterable[tuple[str, Entry]], parse: Callable[[Entry, str], Labelled]
) -> tuple[tuple[Labelled, ...], list[Problem]]:
    """The objects of one image from its annotations, and what is wrong with the others.

    Args:
        entries: (place for messages, annotation) in order.
        parse: (annotation, place) -> object; raises :class:`~skyeye.data.formats.base.problems.BadRecord`.
    """
    objects, problems = [], []
    for where, entry in entries:
        try:
            objects.append(parse(entry, where))
        except BadRecord as error:
            problems.append(error.problem())
    return tuple(objects), problems


def turned(objects: Iterable[Labelled], orientation: int) -> tuple[Labelled, ...]:
    """Objects of a picture as it is stored -> of the picture as its EXIF orientation shows it (1: no turn)."""
    if orientation == 1:
        return tuple(objects)
    return tuple(
        replace(
            thing,
            box=turned_box(thing.box, orientation),
            polygon=thing.polygon and turned_polygon(thing.polygon, orientation),
        )
        for thing in objects
    )


def samples_of(items: Iterable[Annotated | Problem], *, min_side: float = MIN_SIDE) -> Iterator[Record | Problem]:
    """The records and problems of annotated images, one after the other (:func:`samples`); problems pass through."""
    for item in items:
        if isinstance(item, Annotated):
            yield from samples(item, min_side=min_side)
        else:
            yield item


def samples(item: Annotated, *, min_side: float = MIN_SIDE, max_listed: int = 8) -> Iterator[Record | Problem]:
    """Records of one image, and a problem for each object that gets none."""
    usable: list[tuple[int, Labelled]] = []
    by_class: dict[str, list[Labelled]] = defaultdict(list)
    for index, thing in enumerate(item.objects):
        by_class[thing.name].append(thing)
        problem = _unusable(thing, min_side)
        if problem:
            yield problem
        else:
            usable.append((index, thing))
    regions = tuple(
        Region(thing.box.clipped().as_tuple(), thing.name, tuple(thing.polygon) if thing.polygon else None)
        for _, thing in usable
    )
    for index, thing in usable:
        alone = len(by_class[thing.name]) == 1
        for turn, number, phrase in _of_object(item, index, thing, by_class[thing.name], alone):
            truths = {"captions": [phrase]} if turn.task == "identify" else {}
            yield _record(item, number, turn, [thing], regions, phrase=phrase, **truths)
    for name, everything in by_class.items():
        members = [thing for _, thing in usable if thing.name == name]
        if len(members) == len(everything) <= min(max_listed, len(_NUMBERS) - 1):
            members.sort(key=lambda thing: (thing.box.x1, thing.box.y1))
            phrase = _phrase_of_all(name, members)
            mention = Mention(tuple(thing.place for thing in members), phrase)
            yield _record(item, name, Turn(phrase, MARK, "detection", (mention,)), members, regions, phrase=phrase)


def _of_object(
    item: Annotated, index: int, thing: Labelled, members: Sequence[Labelled], alone: bool
) -> Iterator[tuple[Turn, str, str]]:
    """The turns about one object, each with the end of its record's id and the phrase for the object."""
    place = (Mention((thing.place,)),)
    if thing.described:
        phrases = [thing.name] if alone else []
    else:
        phrases = expressions(thing, members)
    for number, phrase in enumerate(phrases):
        question = _prompt(REFER_PROMPTS, f"{item.key}:{index}:{number}", item.split).format(phrase)
        yield Turn(question, MARK, "refer", place), f"{index}.{number}", phrase
    phrase = thing.name if thing.described else with_article(thing.name)
    question = _prompt(IDENTIFY_PROMPTS, f"{item.key}:{index}", item.split).format(MARK)
    yield Turn(question, phrase, "identify", place), str(index), phrase


def _phrase_of_all(name: str, members: Sequence[Labelled]) -> str:
    if members[0].described:
        return name
    return f"The {name}" if len(members) == 1 else f"The {_NUMBERS[len(members)]} {plural(name)}"


def _record(
    item: Annotated,
    number: str,
    turn: Turn,
    things: Sequence[Labelled],
    regions: tuple[Region, ...],
    **references: object,
) -> Record:
    references["boxes"] = [list(thing.box.clipped()) for thing in things]
    if any(thing.polygon for thing in things):
        references["polygons"] = [list(thing.polygon or OrientedBox.from_box(thing.box)) for thing in things]
    return Record(
        id=f"{item.key}:{turn.task}:{number}",
        source="",
        task=turn.task,
        split=item.split,
        images=(item.image,),
        where=item.where,
        turns=(turn,),
        references=references,
        regions=regions,
    )


def expressions(thing: Labelled, members: Sequence[Labelled]) -> list[str]:
    """Phrases that denote ``thing`` and no other of ``members``, the objects of its class (itself included)."""
    others = [other for other in members if other is not thing]
    if not others:
        return [f"the {thing.name}"]
    if any(_inverted(other.box) for other in others):
        return []  # an object of unknown place could be the one meant
    area, areas = thing.box.area, [other.box.area for other in others]
    x, y = _centre(thing.box)
    xs, ys = zip(*(_centre(other.box) for other in others), strict=True)
    holds = {
        "largest": area >= AREA_RATIO * max(areas),
        "smallest": area * AREA_RATIO <= min(areas),
        "leftmost": x + CENTRE_GAP <= min(xs),
        "rightmost": x - CENTRE_GAP >= max(xs),
        "topmost": y + CENTRE_GAP <= min(ys),
        "bottommost": y - CENTRE_GAP >= max(ys),
    }
    return [f"the {word} {thing.name}" for word, true in holds.items() if true]


def plural(name: str) -> str:
    """``bus`` -> ``buses``, ``ferry`` -> ``ferries``, ``storage tank`` -> ``storage tanks``."""
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def with_article(name: str) -> str:
    """``a ship``, ``an airplane``."""
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def class_words(name: str) -> str:
    """A class name as annotation files write it, in words: ``large-vehicle`` -> ``large vehicle``."""
    return " ".join(name.replace("-", " ").replace("_", " ").split()).lower()


def label_files(path: Path, folder: str, ignore: Sequence[Path] = ()) -> tuple[Path, list[Path]]:
    """The folder of label files (``path/<folder>``, else ``path``) and its text files, sorted.

    Raises:
        SkyEyeError: there is none.
    """
    labels = path / folder if (path / folder).is_dir() else path
    return labels, annotation_files(labels, "**/*.txt", fits=lambda file: file not in ignore, called="label file *.txt")


def label_lines(file: Path, headers: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(place, text) of the lines of a label file that stand for objects; an empty file is an image without objects.

    Raises:
        BadRecord: the file is unreadable or not text.
    """
    try:
        text = read_any_text(file)
    except SkyEyeError as error:
        raise BadRecord("unreadable file", str(file), error.what) from error
    return [
        (f"{file}, line {number}", line)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not (headers and line.startswith(headers))
    ]


def _unusable(thing: Labelled, min_side: float) -> Problem | None:
    box = thing.box
    if _inverted(box) or not all(map(math.isfinite, thing.polygon or ())):
        return Problem("inverted box", thing.where, f"box of {thing.name} has no area or inverted corners")
    inside = box.clipped()
    if inside.area < 0.5 * box.area:
        return Problem("box outside the image", thing.where, f"less than half of the {thing.name} is in the image")
    if thing.difficult:
        return Problem("difficult", thing.where, f"{thing.name} is marked difficult", by_rule=True)
    shorter, longer = sorted((inside.x2 - inside.x1, inside.y2 - inside.y1))
    if longer < min_side or shorter < min_side / 2:
        return Problem("too small", thing.where, f"{thing.name} is below {min_side:.0%} of the image", by_rule=True)
    return None


def _inverted(box: Box) -> bool:
    return not (all(map(math.isfinite, box)) and box.x1 < box.x2 and box.y1 < box.y2)


def _centre(box: Box) -> tuple[float, float]:
    return (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2


def _prompt(prompts: Sequence[str], key: str, split: str) -> str:
    return pick(prompts, key) if split == "train" else prompts[0]  # an evaluation always asks in the same words
