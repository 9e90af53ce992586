"""YOLO label files: ``class cx cy w h`` a line, or ``class x1 y1 ... x4 y4`` (YOLO-OBB), in fractions of the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup
from skyeye.data.formats.base.problems import BadRecord, Problem, read_text
from skyeye.data.formats.base.splits import Splits, split_in
from skyeye.data.formats.detection.base import (
    Annotated,
    Labelled,
    class_words,
    label_files,
    label_lines,
    objects_of,
    reader_of,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.errors import SkyEyeError


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    names: Sequence[str] | Mapping[int, str] | str | None = None,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The images with their objects.

    Args:
        path: folder with ``labels/**.txt``, or with the label files beside the images.
        images: default: ``path/images``, else ``path``.
        names: class names in order, or a ``.names`` / ``.yaml`` file; default: the one such file in ``path``.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; a folder called train, val or test
            decides first.
    """
    path = Path(path)
    classes, names_file = _class_names(path, names)
    labels, files = label_files(path, "labels", ignore=[names_file] if names_file else [])
    folder = images.folder(path / "images" if (path / "images").is_dir() else path)
    rule = Splits(None, splits, test_fraction)
    for file in files:
        key = file.relative_to(labels).with_suffix("").as_posix()
        of = split_in(file.relative_to(labels).parent / "_") or rule.by_name(key)
        if split is not None and of != split:
            continue
        try:
            lines = label_lines(file)
        except BadRecord as error:
            yield error.problem()
            continue
        try:
            image = folder.find(key, str(file))
        except BadRecord as error:
            yield error.problem(count=max(1, len(lines)))
            continue
        objects, problems = objects_of(lines, lambda line, where: _parse(line, where, classes))
        yield from problems
        yield Annotated(image, objects, key, of, str(file))


read = reader_of(annotated)


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
                remedy="give options.names, or --option names=...: a list of names or one *.names / *.yaml file",
            )
        names = str(found[0])
    if isinstance(names, str):
        file = Path(names)
        names = _names_in(file)
    if isinstance(names, Mapping) and all(isinstance(key, int) for key in names):
        return {key: class_words(str(value)) for key, value in names.items()}, file
    if isinstance(names, Sequence) and not isinstance(names, str) and names:
        return {key: class_words(str(value)) for key, value in enumerate(names)}, file
    raise SkyEyeError("no class names found", where=str(file or "options.names"), remedy="give a list: [ship, car]")


def _names_in(file: Path) -> object:
    text = read_text(file)
    if file.suffix not in (".yaml", ".yml"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SkyEyeError("is not valid YAML", where=str(file), remedy="give options.names a list") from error
    return content.get("names") if isinstance(content, dict) else None
