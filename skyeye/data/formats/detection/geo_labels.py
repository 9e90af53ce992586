"""Objects digitised on a map, over scenes with coordinates: layers of polygons and GeoTIFFs become windows with boxes.

Every polygon is an object (of one with several parts, each part), on every scene that it meets; its class stands in a
column. The layer is taken to be complete: where it has nothing, there is nothing. The pictures are windows of the
scenes, named by reference; no tile is written (``skyeye data tile`` does that).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from skyeye.data.formats.base.image_folder import BESIDE, ImageLookup, list_images
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import Problem, as_text, suggest
from skyeye.data.formats.base.splits import Splits
from skyeye.data.formats.base.vector_layer import VectorLayer, layer_files, read_layer
from skyeye.data.formats.detection.base import (
    MIN_SIDE,
    Annotated,
    Labelled,
    class_words,
    plural,
    samples,
    with_article,
)
from skyeye.data.formats.detection.windows import boxes_in
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.geometry.windows import windows
from skyeye.data.images.georeference import Georeference, georeference_of, transformed
from skyeye.data.images.raster import open_raster
from skyeye.data.images.reference import add_details
from skyeye.data.images.windowed import stated_stretch
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

#: Columns that hold the class where none is named, the first that is there.
LABELS = ("label", "class", "name", "category", "type")
_SCENES = {".tif", ".tiff", ".jp2", ".img"}
_CAPTION = "briefly describe the image"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class _Scene:
    path: str
    size: tuple[int, int]
    place: Georeference


def annotated(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    label: str | None = None,
    class_name: str | None = None,
    layer: str | None = None,
    crs: str | None = None,
    oriented: bool = False,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
) -> Iterator[Annotated | Problem]:
    """The scenes with their objects.

    Args:
        path: a layer, or a folder with layers: .geojson, .gpkg, .shp, .fgb.
        images: folder of the scenes; default: that of the layer.
        label: column with the class; default: the first of :data:`LABELS`.
        class_name: the class of all polygons, instead of a column.
        layer: name of the layer, in files that hold several.
        crs: coordinate system of layers that state none.
        oriented: boxes are the smallest rectangles around the polygons; otherwise upright in the scene.
        splits, test_fraction: see :class:`~skyeye.data.formats.base.splits.Splits`; by the names of the scenes.
    """
    path = Path(path)
    layers = [read_layer(file, layer, crs) for file in layer_files(path)]
    root = Path(images.root or (path if path.is_dir() else path.parent))
    rule, placed = Splits(None, splits, test_fraction), set()
    named = [_labels(each, label, class_name) for each in layers]
    for each in layers:
        yield from each.problems
    for scene in _scenes(root):
        if isinstance(scene, Problem):
            yield scene
            continue
        objects: list[Labelled] = []
        for number, (each, words) in enumerate(zip(layers, named, strict=True)):
            for index, polygon in _on(scene, each):
                placed.add((number, index))
                if (name := words[each.rows[index]]) is not None:
                    objects.append(_labelled(polygon, name, each.where[index], scene.size, oriented))
        of = rule.by_name(Path(scene.path).name)
        if split is None or split == of:
            yield Annotated(scene.path, tuple(objects), Path(scene.path).stem, of, scene.path)
    yield from _left_over(layers, named, placed)


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    label: str | None = None,
    class_name: str | None = None,
    layer: str | None = None,
    crs: str | None = None,
    oriented: bool = False,
    splits: Mapping[str, str | Sequence[str]] | None = None,
    test_fraction: float = 0.0,
    window: int = 512,
    overlap: int = 128,
    keep: float = 0.5,
    captions: bool = False,
    presence: bool = False,
    min_side: float = MIN_SIDE,
    bands: str | None = None,
    stretch: str | None = None,
) -> Iterator[Record | Problem]:
    """Samples of every window by the rules of :mod:`skyeye.data.formats.detection.base`.

    An object that gets no sample in any window is reported once.

    Args:
        window, overlap: side of the windows and what neighbours share, in pixels of the scene.
        keep: share of an object's area that must lie in a window.
        captions: one for each window, by rule: how many there are of what.
        presence: for each window and class of the layers, whether it is there: a model that is only asked about what
            there is learns to find it everywhere.
        bands, stretch: as for every source; the stretch is measured once on a whole scene.
    """
    if not (window >= 16 and 0 <= overlap < window and 0 < keep <= 1):
        what = f"window {window}, overlap {overlap}, keep {keep} cut no windows"
        raise SkyEyeError(what, where="options", remedy="e.g. window: 512, overlap: 128, keep: 0.5")
    scenes = annotated(
        path, images, split, label=label, class_name=class_name, layer=layer, crs=crs, oriented=oriented,
        splits=splits, test_fraction=test_fraction,
    )  # fmt: skip
    found = list(scenes)
    classes = sorted({thing.name for item in found if isinstance(item, Annotated) for thing in item.objects})
    for item in found:
        if isinstance(item, Problem):
            yield item
            continue
        cut = list(_cut(item, window, overlap, keep, {"bands": bands, "stretch": stretch}))
        yield from _samples(item, cut, min_side)
        for each in cut:
            if captions:
                yield _asked(each, "caption", _CAPTION, _caption(each), {"captions": [_caption(each)]})
            for name in classes if presence else ():
                if (answer := _is_there(each, name)) is not None:
                    question = f"is there {with_article(name)} ?"
                    yield _asked(each, "vqa", question, answer, {"answer": answer}, name)


def _labels(layer: VectorLayer, label: str | None, class_name: str | None) -> list[str | None]:
    """The class of each row in words; None: it has none.

    Raises:
        SkyEyeError: the column is not there, or none is named and none has a usual name.
    """
    rows = len(next(iter(layer.columns.values()), [])) or max(layer.rows, default=-1) + 1
    if class_name is not None:
        return [class_words(class_name)] * rows
    known = {name.lower(): name for name in reversed(layer.columns)}
    column = label if label in layer.columns else known.get((label or "").lower())
    if label is None:
        column = next((known[name] for name in LABELS if name in known), None)
    if column is None:
        names = list(layer.columns)
        what = f"has no column {label!r}" if label is not None else "has no column that is called like a class"
        remedy = (
            suggest(label, names)
            if label and names
            else f"give the option label ({', '.join(names) or 'none'}), or class_name"
        )
        raise SkyEyeError(what, where=str(layer.path), remedy=remedy)
    values = [as_text(value.item() if isinstance(value, np.generic) else value) for value in layer.columns[column]]
    return [class_words(value) or None if value else None for value in values]


def _scenes(root: Path) -> Iterator[_Scene | Problem]:
    """The scenes below a folder that have coordinates.

    Raises:
        SkyEyeError: there is no raster.
    """
    files = [root] if root.is_file() else [root / name for name in list_images(root, _SCENES)]
    if not files:
        raise SkyEyeError("holds no scene", where=str(root), remedy="set `images:` to the folder of the GeoTIFFs")
    for file in files:
        note("picture", file)
        try:
            with open_raster(file) as raster:
                place = georeference_of(raster)
                if isinstance(place, Georeference):
                    yield _Scene(str(file), raster.size, place)
                    continue
            yield Problem("scene without coordinates", str(file), f"no label can be placed on it: {place}")
        except SkyEyeError as error:
            yield Problem("unreadable image", str(file), error.what)


def _on(scene: _Scene, layer: VectorLayer) -> Iterator[tuple[int, BaseGeometry]]:
    """The polygons of a layer that meet a scene, in its pixels."""
    width, height = scene.size
    frame = shapely.box(0, 0, width, height)

    def to_pixels(points: np.ndarray) -> np.ndarray:
        return scene.place.to_pixels(transformed(points, layer.crs, scene.place.crs))

    for index, polygon in enumerate(layer.polygons):
        inside = shapely.transform(polygon, to_pixels)
        if np.isfinite(inside.bounds).all() and inside.intersects(frame):
            yield index, inside


def _labelled(polygon: BaseGeometry, name: str, where: str, size: tuple[int, int], oriented: bool) -> Labelled:
    box = Box.from_pixels(*polygon.bounds, *size)
    if not oriented:
        return Labelled(name, box, where)
    corners = shapely.get_coordinates(shapely.oriented_envelope(polygon))[:4]
    if len(corners) < 4:
        return Labelled(name, box, where)
    return Labelled(name, box, where, polygon=OrientedBox.from_pixels(corners.ravel().tolist(), *size))


def _left_over(
    layers: Sequence[VectorLayer], named: Sequence[Sequence[str | None]], placed: set[tuple[int, int]]
) -> Iterator[Problem]:
    for number, (layer, words) in enumerate(zip(layers, named, strict=True)):
        for index, row in enumerate(layer.rows):
            if (number, index) not in placed:
                yield Problem("outside every scene", layer.where[index], "the polygon lies on none of the scenes")
            elif words[row] is None:
                yield Problem("no class", layer.where[index], "its column of the class is empty")


def _cut(item: Annotated, side: int, overlap: int, keep: float, shown: Mapping[str, str | None]) -> Iterator[Annotated]:
    """The windows of a scene with the objects in them; parts of objects are difficult.

    Args:
        shown: bands and stretch. The stretch of the whole scene is written in numbers: each window is read on its own.
    """
    chosen = {key: value for key, value in shown.items() if value is not None}
    stretch = stated_stretch(add_details(item.image, **chosen))
    details = chosen if stretch is None else {**chosen, "stretch": stretch}
    with open_raster(item.image) as raster:
        size = raster.size
    for place in windows(*size, side, overlap):
        inside = (place[2] - place[0], place[3] - place[1])
        objects = []
        for index, entry, _ in boxes_in(item.objects, *size, place, keep):
            polygon = OrientedBox.from_pixels(entry["polygon"], *inside) if "polygon" in entry else None
            x1, y1, x2, y2 = entry.get("box", (0, 0, 0, 0))
            box = polygon.upright() if polygon else Box.from_pixels(x1, y1, x2, y2, *inside)
            difficult = bool(entry.get("difficult"))
            objects.append(replace(item.objects[index], box=box, polygon=polygon, difficult=difficult))
        image = add_details(item.image, **details, window=place)
        yield Annotated(image, tuple(objects), f"{item.key}_{place[0]}_{place[1]}", item.split, item.where)


def _samples(scene: Annotated, cut: Iterable[Annotated], min_side: float) -> Iterator[Record | Problem]:
    """Samples of all windows, and each object that has none in any of them, once."""
    served: set[str] = set()
    why: dict[str, Problem] = {}
    for window in cut:
        reported = set()
        for sample in samples(window, min_side=min_side):
            if isinstance(sample, Problem):
                reported.add(sample.where)
                why.setdefault(sample.where, sample)
            else:
                yield sample
        served |= {thing.where for thing in window.objects} - reported
    for where in dict.fromkeys(thing.where for thing in scene.objects):
        if where not in served:
            lost = Problem("in no window", where, "no window shows enough of it: make overlap larger", by_rule=True)
            yield why.get(where, lost)


def _asked(
    window: Annotated, task: str, question: str, answer: str, references: dict[str, object], name: str = ""
) -> Record:
    return Record(
        id=f"{window.key}:{task}:{name}",
        source="",
        task=task,
        split=window.split,
        images=(window.image,),
        turns=(Turn(question, answer, task),),
        references=references,
        where=window.where,
    )


def _is_there(window: Annotated, name: str) -> str | None:
    """Whether a window shows an object of a class; None: a part of one, of which one could say either."""
    shown = [thing.difficult for thing in window.objects if thing.name == name]
    return "no" if not shown else None if all(shown) else "yes"


def _caption(window: Annotated) -> str:
    """``an aerial image with two planes and a ship.``"""
    counts: dict[str, int] = {}
    for thing in window.objects:
        if thing.difficult:
            continue
        counts[thing.name] = counts.get(thing.name, 0) + 1
    words = [
        with_article(name) if number == 1 else f"{_word(number)} {plural(name)}" for name, number in counts.items()
    ]
    if not words:
        return "an aerial image."
    return f"an aerial image with {' and '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)}."


def _word(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
