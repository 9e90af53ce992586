"""Images with annotated objects, asked about one class at a time: where its objects are, or how many there are.

Unlike the rules of :mod:`skyeye.data.formats.detection.base` nothing is left out: an image is asked about every class,
those that are not in it too, and every object counts, the smallest too. The unit is the image.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import Problem, image_size, suggest
from skyeye.data.formats.detection.base import Annotated, Labelled, class_words, plural
from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.record import MARK, Mention, Record, Turn
from skyeye.errors import SkyEyeError

#: Formats of detection whose readers tell the objects of an image.
FORMATS = ("dota", "voc", "fair1m", "yolo", "coco", "nwpu_vhr10")
TASKS = ("detection", "counting")


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    of: str,
    classes: Sequence[str],
    task: str = "detection",
) -> Iterator[Record | Problem]:
    """A record for each image and class.

    Args:
        path, images, split: as the reader of ``of`` takes them.
        of: the format of the annotations.
        classes: the classes of the data set; an object of another is told, and is in no record.
        task: ``detection`` or ``counting``.
    """
    for name, value, known in (("of", of, FORMATS), ("task", task, TASKS)):
        if value not in known:
            raise SkyEyeError(f"unknown value {value!r}", where=f"options.{name}", remedy=suggest(value, list(known)))
    annotated = import_module(_module(of)).annotated
    known_options = inspect.signature(annotated).parameters
    options: dict[str, Any] = {"split": split} if "split" in known_options else {}
    wanted = [class_words(name) for name in classes]
    for item in annotated(path, images=images, **options):
        if isinstance(item, Problem):
            yield item
            continue
        size = list(image_size(item.image, item.where))
        together = set(map(_together, wanted))
        for name in sorted({thing.name for thing in item.objects if _together(thing.name) not in together}):
            yield Problem("unknown class", item.where, f"{name!r} is no class of the data set", True, count=0)
        for name in wanted:
            yield _record(item, name, task, size)


def _together(name: str) -> str:
    """A class name without blanks: DIOR writes ``golffield``."""
    return name.replace(" ", "")


def _module(of: str) -> str:
    from skyeye.data.formats import READERS  # which knows this module, too

    return READERS[of]


def _record(item: Annotated, name: str, task: str, size: list[int]) -> Record:
    things = [thing for thing in item.objects if _together(thing.name) == _together(name)]
    sure = [thing for thing in things if not thing.difficult]
    references: dict[str, Any] = {"class": name, "size": size}
    if task == "counting":
        question, answer = f"How many {plural(name)} are there in the image?", str(len(things))
        turn = Turn(question, answer, "counting")
        references["answer"] = answer
    else:
        mentions = (Mention(tuple(thing.place for thing in things), name),) if things else ()
        turn = Turn(name, MARK if things else "none", "detection", mentions)
        references |= {"phrase": name, **_places(sure), "difficult": _places(t for t in things if t.difficult)}
    return Record(f"{item.key}:{task}:{name}", "", task, item.split, (item.image,), (turn,), references, (), item.where)


def _places(things: Any) -> dict[str, Any]:
    listed: list[Labelled] = list(things)
    return {
        "boxes": [list(thing.box.clipped()) for thing in listed],
        "polygons": [list(thing.polygon or OrientedBox.from_box(thing.box)) for thing in listed],
    }
