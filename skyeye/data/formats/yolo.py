"""YOLO label files: ``class cx cy w h`` a line, or ``class x1 y1 ... x4 y4`` (YOLO-OBB), in fractions of the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from skyeye.data.boxes import Box, OrientedBox
from skyeye.data.formats.common import BadRecord, Problem, read_text
from skyeye.data.formats.detection import MIN_SIDE, Annotated, Labelled, class_words, label_files, samples_of
from skyeye.data.formats.images import ImageFolder
from skyeye.data.formats.splits import Splits, split_in
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError


def read(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    names: Sequence[str] | Mapping[int, str] | str | None = None,
    min_side: float = MIN_SIDE,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Record | Problem]:
    """Samples of every image by the rules of :mod:`skyeye.data.formats.detection`; oriented boxes are kept beside the
    upright ones around them.

    Args:
        path: folder with ``labels/**.txt``, or with the label files beside the images.
        images: folder of the images; default: ``path/images``, else ``path``.
        names: class names in order, or a ``.names`` / ``.yaml`` file; default: the one such file in ``path``.
        min_side: objects whose longer side is below this fraction of the image get no sample.
        clip_boxes: see :func:`skyeye.data.formats.detection.samples`; the reference does not clip.
        splits, test_fraction: see :class:`~skyeye.data.formats.splits.Splits`; a folder called train, val or test
            decides first.
    """
    items = annotated(path, images, split, names=names, splits=splits, test_fraction=test_fraction)
    yield from samples_of(items, min_side=min_side)


def annotated(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    names: Sequence[str] | Mapping[int, str] | str | None = None,
    splits: Mapping[str, Any] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects; arguments as for :func:`read`."""
    path = Path(path)
    classes, names_file = _class_names(path, names)
    labels, files = label_files(path, "labels", ignore=[names_file] if names_file else [])
    if not files:
        raise SkyEyeError("no label file *.txt in this folder", where=str(path), remedy="check `path:` of this source")
    folder = ImageFolder(images or (path / "images" if (path / "images").is_dir() else path))
    rule = Splits(None, splits, test_fraction)
    for file in files:
        key = file.relative_to(labels).with_suffix("").as_posix()
        of = split_in(file.relative_to(labels).parent / "_") or rule.of(key)
        if split is not None and of != split:
            continue
        try:
            image = folder.find(key, str(file))
            objects, problems = _objects(file, classes)
        except BadRecord as error:
            yield error.problem(count=max(1, len(_lines(file))))
            continue
        yield from problems
        yield Annotated(image, tuple(objects), key, of, str(file))


def _objects(file: Path, classes: dict[int, str]) -> tuple[list[Labelled], list[Problem]]:
    objects, problems = [], []
    for number, line in _lines(file):
        where = f"{file}, line {number}"
        try:
            objects.append(_parse(line, where, classes))
        except BadRecord as error:
            problems.append(error.problem())
    return objects, problems


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines that stand for objects, with their numbers; an empty label file is an image without objects."""
    text = read_text(file) if file.stat().st_size else ""
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _parse(line: str, where: str, classes: dict[int, str]) -> Labelled:
    words = line.split()
    try:
        index, numbers = int(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise BadRecord("malformed line", where, f"is not a class number and coordinates: {line[:60]!r}") from error
    if index not in classes:
        raise BadRecord("unknown class", where, f"class {index} has no name; there are {len(classes)}, counted from 0")
    if len(numbers) == 4:
        x, y, width, height = numbers
        box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Labelled(classes[index], box, where)
    if len(numbers) != 8:
        raise BadRecord("malformed line", where, f"has {len(numbers)} coordinates; 4 or 8 are expected")
    polygon = OrientedBox(*numbers)
    return Labelled(classes[index], polygon.upright(), where, polygon=polygon)


def _class_names(path: Path, names: object) -> tuple[dict[int, str], Path | None]:
    """Class number -> words, and the file they come from, which is no label file."""
    file = None
    if names is None:
        found = [p for pattern in ("*.names", "classes.txt", "*.yaml", "*.yml") for p in sorted(path.glob(pattern))]
        if len(found) != 1:
            raise SkyEyeError(
                f"{len(found)} files could name the classes",
                where=str(path),
                remedy="give options.names: a list of names or one *.names / *.yaml file",
            )
        names = str(found[0])
    if isinstance(names, str):
        file = Path(names)
        names = _names_in(file)
    if isinstance(names, Mapping) and all(isinstance(key, int) for key in names):
        return {key: class_words(str(value)) for key, value in names.items()}, file
    if isinstance(names, Sequence) and not isinstance(names, str) and names:
        return {key: class_words(str(value)) for key, value in enumerate(names)}, file
    raise SkyEyeError("no class names found", where=str(file or "options.names"), remedy="give a list")


def _names_in(file: Path) -> object:
    text = read_text(file)
    if file.suffix not in (".yaml", ".yml"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SkyEyeError("is not valid YAML", where=str(file), remedy="give options.names instead") from error
    return content.get("names") if isinstance(content, dict) else None
