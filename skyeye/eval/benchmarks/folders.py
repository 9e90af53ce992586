"""Where the data of a benchmark are: names of files and folders, looked for below the data root.

A data root is the folder that holds several data sets or that of one; both are searched in the same way: a pattern like
``"ucm*/dataset*.json"`` is compared, without case, with the last parts of a path that begins with the root's own name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.errors import SkyEyeError

_log = logging.getLogger(__name__)

#: How deep folders are looked into: ``DATA/annotations/RSIVQA/DOTA/*.txt``, ``DATA/NWPU-RESISC45/images/test/airport``.
DEPTH = 3
#: Names of image folders that say nothing about the data set.
_ANY_SET = {"images", "imgs", "data", "jpegimages"}
_SPLITS = ("train", "val", "test", "test_phili")
_ANNOTATIONS = {".json", ".jsonl", ".txt", ".pth"}


@dataclass(frozen=True)
class DataPlace:
    """Data root -> where the records are; and what a person wants to know of it beforehand.

    Attributes:
        looked_for: the files or folders, by preference, as told in lists and messages.
        ids: what the id of a record is, in words.
        build: data root -> source; raises ``SkyEyeError`` where nothing fits.
    """

    looked_for: tuple[str, ...]
    ids: str
    build: Callable[[Path], SourceConfig]

    def __call__(self, data_root: Path) -> SourceConfig:
        if not data_root.is_dir():
            raise SkyEyeError("the data root is no folder", where=str(data_root), remedy="check --data-root")
        return self.build(data_root)


def locate(data_root: Path, patterns: Sequence[str], split: str = "") -> Path:
    """The one file or folder that the first fitting pattern names; ``{split}`` in a pattern is the split.

    Raises:
        SkyEyeError: nothing fits (says what is there of other splits), or several do.
    """
    found = located(data_root, patterns, split)
    if found is not None:
        return found
    places = list(_places(data_root))
    named = [pattern for pattern in patterns if "{split}" in pattern]
    near = [_of(pattern, other) for pattern in named for other in _SPLITS]
    near += [pattern.replace("_{split}", "") for pattern in named]
    others = list(dict.fromkeys(path for pattern in near for path in _fitting(places, pattern)))
    wanted = " or ".join(_of(pattern, split) for pattern in patterns)
    there = f"; of other splits there is {', '.join(map(str, others[:3]))}" if others else ""
    raise SkyEyeError(
        f"nothing here is named {wanted}{there}",
        where=str(data_root),
        remedy="--data-root is the folder that holds the data sets, or that of this one",
    )


def located(data_root: Path, patterns: Sequence[str], split: str = "") -> Path | None:
    """Like :func:`locate`; None where nothing fits."""
    places = list(_places(data_root))
    for pattern in patterns:
        found = _fitting(places, _of(pattern, split))
        if len(found) > 1:
            raise SkyEyeError(
                f"{len(found)} places fit {_of(pattern, split)}: {', '.join(map(str, found[:3]))}",
                where=str(data_root),
                remedy="give the folder of the one that is meant as --data-root",
            )
        if found:
            return found[0]
    return None


def images_near(annotations: Path, data_root: Path, names: Sequence[str]) -> str | None:
    """The folder of the images: the first of ``names`` beside the annotations, else anywhere below the data root.

    None where there is none of them: then the images are looked for beside and below the annotations. ``images`` and
    the like are names that any data set may use (and pictures are often called ``1.jpg``), so such folders are taken
    only where they lie beside the annotations.
    """
    beside = [annotations.parent]
    if annotations.parent.name.lower().startswith("annotation") and annotations.parent != data_root:
        beside.append(annotations.parent.parent)
    telling = [name for name in names if name.lower() not in _ANY_SET]
    for places, wanted in ((beside, names), (_folders(data_root), telling)):
        places = list(places)
        for name in wanted:
            for place in places:
                if found := _inside(place, name):
                    return str(found)
    return None


def folders(data_root: Path) -> Iterator[tuple[Path, list[str]]]:
    """The data root and the folders below it, each with the names of the folders in it."""
    for place in _folders(data_root):
        yield place, [entry.name for entry in _listing(place) if entry.is_dir()]


def annotation_file(
    format: str,
    patterns: Sequence[str],
    ids: str,
    *,
    split: str = "test",
    images: Sequence[str] = ("images", "imgs"),
    whole_folder: bool = False,
    **options: object,
) -> DataPlace:
    """A source whose annotations are one file, or (``whole_folder``) the folder of that file.

    Args:
        images: names of image folders, see :func:`images_near`.
        options: of the reader.
    """

    def build(data_root: Path) -> SourceConfig:
        file = locate(data_root, patterns, split)
        path = file.parent if whole_folder else file
        return SourceConfig(format, str(path), images_near(file, data_root, images), split, dict(options))

    return DataPlace(tuple(_of(pattern, split) for pattern in patterns), ids, build)


def _places(data_root: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Folders and annotation files with the lower-case parts of their paths, from the name of the root on."""
    top = data_root.resolve().name.lower()
    for folder in _folders(data_root):
        below = tuple(part.lower() for part in folder.relative_to(data_root).parts)
        yield (top, *below), folder
        for entry in _listing(folder):
            if os.path.splitext(entry.name)[1].lower() in _ANNOTATIONS:
                yield (top, *below, entry.name.lower()), folder / entry.name


def _folders(data_root: Path) -> Iterator[Path]:
    waiting = [(data_root, 0)]
    while waiting:
        folder, depth = waiting.pop(0)
        yield folder
        if depth < DEPTH:
            waiting += [(folder / e.name, depth + 1) for e in _listing(folder) if e.is_dir()]


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:  # a closed folder of somebody else's is no reason to stop
        _log.warning("%s: cannot be listed: %s", folder, error.strerror)
        return []
    return [entry for entry in entries if not entry.name.startswith((".", "__"))]


def _fitting(places: Sequence[tuple[tuple[str, ...], Path]], pattern: str) -> list[Path]:
    wanted = pattern.lower().split("/")
    found: dict[Path, Path] = {}  # two links to one file are one file
    for parts, path in places:
        ending = parts[-len(wanted) :]
        if len(ending) == len(wanted) and all(map(fnmatchcase, ending, wanted)):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _of(pattern: str, split: str) -> str:
    return pattern.replace("{split}", split)


def _inside(place: Path, name: str) -> Path | None:
    for part in name.split("/"):
        match = next((e for e in _listing(place) if e.is_dir() and e.name.lower() == part.lower()), None)
        if match is None:
            return None
        place = place / match.name
    return place
