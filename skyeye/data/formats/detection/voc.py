"""Detection boxes in XML files, one a picture: Pascal VOC (DIOR, HRRSD) and FAIR1M.

VOC: ``<object><name>ship</name><bndbox><xmin>...</bndbox></object>`` below ``<annotation>``; FAIR1M: ``<object>
<possibleresult><name>Cargo Truck</name></possibleresult><points><point>x,y</point> x 5</points></object>`` below
``<objects>``. Both are recognised by what stands in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, text_lines
from skyeye.data.formats.base.splits import SPLITS, Splits, split_in
from skyeye.data.formats.detection.base import Annotated, Labelled, class_words, reader_of, turned
from skyeye.data.formats.detection.xml_objects import XmlObject, read_xml
from skyeye.data.geometry.boxes import Box, OrientedBox

#: Where the XML files lie, the first that is there: DIOR has both kinds of boxes, FAIR1M calls the folder labelXml.
FOLDERS = ("Annotations/Horizontal Bounding Boxes", "Annotations", "labelXml", "labelXmls")
LISTS = "ImageSets/Main"


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects.

    The unit is the object, or the file where it cannot be read; an object that is asked about gives several records,
    among them exactly one ``[identify]``.

    Args:
        path: folder with the XML files, in one of :data:`FOLDERS` or itself, and the lists ``ImageSets/Main/train.txt``
            etc. if there are any.
        images: default: ``path`` and everything below.
        split: train, val or test. Images that none of the lists names are reported.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; for sets without lists, and a
            folder called train, val or test decides first.
    """
    path = Path(path)
    labels = xml_folder(path)
    files = annotation_files(labels, "**/*.xml")
    folder = images.folder(path)
    rule, listed = Splits(None, splits, test_fraction), _listed(path / LISTS)
    for file in files:
        key = file.relative_to(labels).with_suffix("").as_posix()
        of = listed.get(file.stem) if listed else split_in(file.relative_to(path).parent / "_") or rule.by_name(key)
        if split is not None and of != split:
            continue
        try:
            content = read_xml(file)
        except BadRecord as error:
            yield error.problem()
            continue
        if of is None:
            yield Problem("no split", str(file), f"is in no list of {LISTS}", True, len(content.objects))
            continue
        try:
            image = _find(folder, content.filename, file)
            measured = content.measured(image, str(file))
        except BadRecord as error:
            yield error.problem(count=len(content.objects))
            continue
        if measured.remark:
            yield measured.remark
        objects = []
        for thing in content.objects:
            if isinstance(thing, Problem):
                yield thing
            else:
                objects.append(_labelled(thing, *measured.size))
        yield Annotated(image, turned(objects, measured.orientation), key, of, str(file))


read = reader_of(annotated)


def xml_folder(path: Path) -> Path:
    """The folder of the XML files of a set."""
    return next((path / name for name in FOLDERS if (path / name).is_dir()), path)


def _find(folder: ImageFolder, filename: str, file: Path) -> str:
    try:
        return folder.find(filename, str(file))
    except BadRecord:
        if Path(filename).stem == file.stem:
            raise
        return folder.find(file.stem, str(file))  # <filename> of some files is that of an original it was cut from


def _labelled(thing: XmlObject, width: float, height: float) -> Labelled:
    if len(thing.corners) == 4:
        box, polygon = Box.from_pixels(*thing.corners, width, height), None
    else:
        polygon = OrientedBox.from_pixels(thing.corners, width, height)
        box = polygon.upright()
    return Labelled(class_words(thing.name), box, thing.where, thing.difficult, polygon)


def _listed(folder: Path) -> dict[str, str]:
    """Stem of an image -> its split, from ``train.txt``, ``val.txt`` and ``test.txt``; the first that names it."""
    found: dict[str, str] = {}
    for split in SPLITS:
        file = folder / f"{split}.txt"
        if file.is_file() and file.stat().st_size:
            for line in text_lines(file):
                if line.strip():
                    found.setdefault(line.split()[0], split)
    return found
