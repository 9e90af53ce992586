"""RSITMD as two parallel lists a split: ``<split>_filename.txt`` and ``<split>_caps.txt``, a name and a caption a line.

The published training list names each image once for its five captions, the test list repeats the name beside every
caption; both are read: there may be one name a caption, or one for every 2, 3, ... captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import Problem, text_lines
from skyeye.data.formats.base.splits import SPLITS, normal_split
from skyeye.data.formats.captions.base import caption_records
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

NAMES, CAPTIONS = "_filename.txt", "_caps.txt"


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Training images give one record per caption; val and test images one record with all captions as references.

    The units are those of :mod:`skyeye.data.formats.captions.base`; a caption without a name beside it is one.

    Args:
        path: the folder of the lists, or one ``<split>_filename.txt``.
        images: folder of the images; default: the folder of the lists.
        split: train, val or test.

    Raises:
        SkyEyeError: no lists, or the captions are no whole multiple of the names: from some line on every image would
            have the captions of another.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    called = f"<split>{NAMES} with train, val or test"
    files = annotation_files(folder, f"*{NAMES}" if path.is_dir() else path.name, fits=split_of_list, called=called)
    finder = images.folder(folder)
    for file in files:
        of = split_of_list(file)
        if of is not None and split in (None, of):
            yield from _list(file, of, finder)


def split_of_list(file: Path) -> str | None:
    """``train_filename.txt`` -> ``"train"``; None for any other name."""
    word = normal_split(file.name.removesuffix(NAMES).lower()) if file.name.endswith(NAMES) else None
    return word if word in SPLITS else None


def _found(folder: ImageFolder, name: str, where: str) -> tuple[str]:
    return (folder.find(name, where),)


def _list(file: Path, split: str, folder: ImageFolder) -> Iterator[Record | Problem]:
    captions_file = file.with_name(file.name.removesuffix(NAMES) + CAPTIONS)
    names, captions = text_lines(file), text_lines(captions_file)
    each, rest = divmod(len(captions), len(names))
    if rest or not each:
        raise SkyEyeError(
            f"{len(captions)} captions are no multiple of the {len(names)} names in {file.name}",
            where=str(captions_file),
            remedy="a line is missing or too many in one of the two; fetch them again",
        )
    by_image: dict[str, list[int]] = {}
    for number in range(len(captions)):
        by_image.setdefault(names[number // each].strip(), []).append(number)
    for number in by_image.pop("", ()):
        yield Problem("no image", f"{captions_file}, line {number + 1}", "no image is named beside this caption")
    for name, lines in by_image.items():
        where = f"{captions_file}, line {lines[0] + 1}"
        yield from caption_records(
            name,
            [captions[number] for number in lines],
            partial(_found, folder, name, where),
            key=f"{split}:{lines[0]}",
            source="RSITMD",
            split=split,
            where=where,
        )
