"""Scene classification sets asked whether a thing is there, by what the class says: a forest has no building.

Made for models that learn from few annotated questions: the words of a presence question meet many pictures, with both
answers. A thing is asked about only in the classes that settle it; the others say nothing (a park may have a pond).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import Problem, suggest
from skyeye.data.formats.detection.base import with_article
from skyeye.data.formats.scenes import class_folders
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

#: Two ways to ask, in RSVQA's words; which of them an image and a thing get is drawn by their names.
QUESTIONS = ("Is there {a}?", "Is {a} present?")
_ANSWERS = {"present": "yes", "absent": "no"}


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    things: Mapping[str, Mapping[str, Sequence[str]]],
    split_file: str | None = None,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """One record for each image and thing that the image's class settles.

    Args:
        path, images, split, split_file, splits, test_fraction: as :func:`skyeye.data.formats.scenes.class_folders.read`
            takes them.
        things: what is asked about, and the classes (names of folders) that settle it:
            ``{water area: {present: [River, Pond], absent: [Desert]}}``.

    Raises:
        SkyEyeError: a class that is no folder, one that stands on both sides, or another key.
    """
    told = list(
        class_folders.read(path, images, split, split_file=split_file, splits=splits, test_fraction=test_fraction)
    )
    known = next((item.references["classes"] for item in told if isinstance(item, Record)), None)
    answers = {thing: _settled(thing, sides, known) for thing, sides in things.items()}
    for item in told:
        if isinstance(item, Problem):
            yield item
            continue
        for thing, settled in answers.items():
            answer = settled.get(item.references["answer"])
            if answer is not None:
                yield _asked(item, thing, answer)


def _settled(thing: str, sides: Mapping[str, Sequence[str]], known: Sequence[str] | None) -> dict[str, str]:
    """The answer in each class that settles it; ``known`` are the classes that there are, None: no image was read."""
    where = f"options.things.{thing}"
    if set(sides) - set(_ANSWERS):
        raise SkyEyeError("expected the keys present and absent", where=where, remedy="{present: [...], absent: [...]}")
    settled: dict[str, str] = {}
    for side, folders in sides.items():
        for name in map(class_folders.class_words, folders):
            if known is not None and name not in known:
                raise SkyEyeError(f"no class {name!r}", where=f"{where}.{side}", remedy=suggest(name, list(known)))
            if settled.setdefault(name, _ANSWERS[side]) != _ANSWERS[side]:
                raise SkyEyeError(f"{name!r} is present and absent", where=where, remedy="take it from one of them")
    return settled


def _asked(scene: Record, thing: str, answer: str) -> Record:
    identifier = f"{scene.id}#{thing}"
    question = QUESTIONS[zlib.crc32(identifier.encode()) % len(QUESTIONS)].format(a=with_article(thing))
    return replace(
        scene,
        id=identifier,
        task="vqa",
        turns=(Turn(question, answer, "vqa"),),
        references={"answer": answer, "type": "presence"},
        regions=(),
    )
