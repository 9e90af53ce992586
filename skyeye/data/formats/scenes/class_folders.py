"""Scene classification sets whose folders are the classes: AID, NWPU-RESISC45, UCMerced, EuroSAT, WHU-RS19."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup, list_images
from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.base.splits import SPLITS, Splits, normal_split
from skyeye.data.record import Record, Region, Turn
from skyeye.errors import SkyEyeError

#: The question of the paper's figure; ``{classes}`` is the list of class names.
QUESTION = (
    "Classify the image within one of the given classes: {classes}. Answer it using the above category word or phrase."
)


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    question: str = QUESTION,
    split_file: str | None = None,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """One record per image of ``path/Class/...`` (or ``path/train/Class/...``). The unit is the image.

    Args:
        path: the folder; ``images`` means the same and wins when both are given. Folders around all classes
            (``UCMerced_LandUse/Images/...``, ``EuroSAT/2750/...``) may be left out of it or not.
        question: what is asked; ``{classes}`` may be left out to ask without the list.
        split_file, splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; used where the folders
            do not say it.

    The id of a record is the path of its image from its class folder on (or the folder of its split).
    """
    root = Path(images.root or path)
    rule = Splits(split_file, splits, test_fraction)
    found = list_images(root)
    outer = _around_all(found)
    files = [(file, *_place(file.parts[outer:-1])) for file in found]  # (path below the root, split, class folder)
    classes = sorted({class_words(folder) for _, _, folder in files if folder})
    if files and not classes:
        raise SkyEyeError(
            "holds images but no class folder", where=str(root), remedy="expected <path>/<ClassName>/<image>"
        )
    asked = question.replace("{classes}", ", ".join(classes))
    for file, named, folder in files:
        where = str(root / file)
        if folder is None:
            yield Problem("no answer", where, "lies in no class folder")
            continue
        of = named or rule.of(file.name)
        if of is None:
            yield Problem("no split", where, f"is not listed in {split_file}", by_rule=True)
        elif split is None or of == split:
            answer = class_words(folder)
            yield Record(
                id="/".join(file.parts[outer:]),
                source="",
                task="classification",
                split=of,
                images=(where,),
                where=where,
                turns=(Turn(asked, answer, "classification"),),
                references={"answer": answer, "classes": classes},
                regions=(Region((0.0, 0.0, 1.0, 1.0), answer),),  # the class is the word for all of the ground
            )


def class_words(folder: str) -> str:
    """``BareLand`` -> ``Bare Land``, ``baseball_diamond`` -> ``baseball diamond``; ``SeaLake`` -> ``Sea Lake``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", re.sub(r"[_-]+", " ", folder))
    return " ".join(spaced.split())


def _around_all(files: Sequence[PurePosixPath]) -> int:
    """How many leading folders hold all images and none directly: they are no classes."""
    depth = 0
    while files and all(len(file.parts) > depth + 2 for file in files):
        first = {file.parts[depth] for file in files}
        if len(first) > 1 or normal_split(first.pop().lower()) in SPLITS:
            break
        depth += 1
    return depth


def _place(folders: Sequence[str]) -> tuple[str | None, str | None]:
    """The split named by the first folder, if it is one, and the class folder."""
    first = normal_split(folders[0].lower()) if folders else ""
    if first in SPLITS:
        return first, folders[1] if len(folders) > 1 else None
    return None, folders[0] if folders else None
