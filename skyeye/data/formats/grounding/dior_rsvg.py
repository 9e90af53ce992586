"""DIOR-RSVG: referring expressions in Pascal VOC files (``<object> ... <description>``) and lists of *objects*.

The lines of ``train.txt``, ``val.txt`` and ``test.txt`` are numbers of objects, counted from 0 through all XML files in
the order of their names; they are neither file names nor numbers of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, text_lines
from skyeye.data.formats.base.splits import SPLITS, Splits
from skyeye.data.formats.base.stated_size import Measured
from skyeye.data.formats.detection.voc import xml_folder
from skyeye.data.formats.detection.xml_objects import XmlImage, XmlObject, read_xml
from skyeye.data.formats.grounding.base import refer_record
from skyeye.data.geometry.boxes import Box
from skyeye.data.geometry.turning import turned_box
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    task: str = "refer",
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """One record per object. The unit is the line of a list; without lists the object.

    Args:
        path: folder with the XML files (in ``Annotations`` or itself) and the lists.
        images: folder of the images; default: ``path`` and everything below.
        split: train, val or test.
        task: ``refer`` asks where an expression is, ``identify`` asks for the expression of a box.
        clip_boxes: see :func:`skyeye.data.formats.grounding.base.refer_record`; the reference does not clip.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; for folders without lists.

    Raises:
        SkyEyeError: with lists, an XML file that cannot be read: the numbers of all later objects would be wrong; or an
            unknown task.
    """
    if task not in ("refer", "identify"):
        raise SkyEyeError(f"unknown task {task!r}", where="options.task", remedy="use refer or identify")
    path = Path(path)
    files = sorted(annotation_files(xml_folder(path), "**/*.xml"), key=lambda file: file.name)
    lists = {name: path / f"{name}.txt" for name in SPLITS if (path / f"{name}.txt").is_file()}
    listed: dict[int, str] = {}
    for name, file in lists.items():
        yield from _list(file, name, listed, split)
    rule = Splits(None, splits, test_fraction)
    folder = images.folder(path)
    known: dict[str, Measured] = {}  # several expressions ask about one image
    number = -1
    for file in files:
        try:
            content = read_xml(file)
        except BadRecord as error:
            if lists:
                raise SkyEyeError(
                    f"{error.what}; the lists count objects through all files, so those after it cannot be told apart",
                    where=str(file),
                    remedy="fetch this file again",
                ) from error
            yield error.problem()
            continue
        for thing in content.objects:
            number += 1
            of = listed.get(number) if lists else rule.by_name(file.stem)
            if of is not None and (split is None or of == split):
                yield from _record(thing, content, folder, number, of, task, known)
    yield from _beyond(listed, number, lists, split)


def _record(
    thing: XmlObject | Problem,
    content: XmlImage,
    folder: ImageFolder,
    number: int,
    split: str,
    task: str,
    known: dict[str, Measured],
) -> Iterator[Record | Problem]:
    if isinstance(thing, Problem):
        yield thing
        return
    if len(thing.corners) != 4:
        yield Problem("malformed box", thing.where, "is not an upright box <bndbox>")
        return
    try:
        image = folder.find(content.filename, thing.where)
        if image not in known:
            known[image] = content.measured(image, thing.where)
            if remark := known[image].remark:
                yield remark
        measured = known[image]
        box = Box.from_pixels(*thing.corners, *measured.size)
        yield refer_record(
            image,
            thing.description,
            turned_box(box, measured.orientation),
            measured.shown_size,
            id=str(number),
            source="DIOR-RSVG",
            split=split,
            where=thing.where,
            task=task,
        )
    except BadRecord as error:
        yield error.problem()


def _list(file: Path, name: str, listed: dict[int, str], split: str | None) -> Iterator[Problem]:
    """Fills ``listed`` with the numbers of one list."""
    told = split is None or split == name
    for line_number, line in enumerate(text_lines(file), start=1):
        where, word = f"{file}, line {line_number}", line.strip()
        if not word:
            continue
        number = int(word) if word.isdecimal() and word.isascii() and len(word) < 10 else None
        if number is None:
            if told:
                yield Problem("malformed line", where, f"is not the number of an object: {line[:30]!r}")
        elif number not in listed:
            listed[number] = name
        elif told:
            yield Problem("listed twice", where, f"object {number} is already in {listed[number]}.txt")


def _beyond(listed: dict[int, str], last: int, lists: Mapping[str, Path], split: str | None) -> Iterator[Problem]:
    """Lines about objects that no XML file holds, one problem a list."""
    for name, file in lists.items():
        lost = sum(1 for number, of in listed.items() if of == name and number > last)
        if lost and split in (None, name):
            what = (
                f"{lost} listed objects are beyond the last of the {last + 1} in the XML files; when files are missing "
                "in between, the numbers after them mean other objects"
            )
            yield Problem("no annotation", str(file), what, count=lost)
