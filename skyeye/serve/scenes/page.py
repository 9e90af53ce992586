"""A map to look at: one HTML file with the scene as its ground, which opens without a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from skyeye.data.files import write_whole
from skyeye.data.images.georeference import WGS84
from skyeye.html.page import render
from skyeye.html.thumbnails import jpeg_url
from skyeye.serve.draw import COLOURS
from skyeye.serve.scenes.findings import Findings
from skyeye.serve.scenes.picture import name_of_feature, overview
from skyeye.serve.scenes.summary import format_text

#: Of each kind so many features are shown, the surest ones.
SHOWN = 5000
LONGEST_SIDE = 2400
_SCRIPT = (Path(__file__).parent / "map.js").read_text(encoding="utf-8")


def write_page(found: Findings, path: Path) -> None:
    """Write the page.

    Raises:
        SkyEyeError: it cannot be written.
    """
    picture, every = overview(found, LONGEST_SIDE)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    shapes, names = _shapes(found, every)
    title = Path(found.path).name
    text = render(
        "skyeye.serve.scenes",
        "map.html.jinja",
        script=_SCRIPT,
        title=title,
        picture=jpeg_url(stream.getvalue()),
        width=picture.width,
        height=picture.height,
        told=format_text(found).splitlines()[1:],
        names=[(name, COLOURS[number % len(COLOURS)], count) for number, (name, count) in enumerate(names)],
        shown=len(shapes),
        features=len(found.features),
        map={"shapes": shapes, "grid": _grid(found), "every": every},
    )
    write_whole(path, text)


def _shapes(found: Findings, every: float) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    """What is drawn, and the names with how many features have each; tiles lie below objects."""
    kept = []
    for kind in ("tile", "object"):
        members = found.of_kind(kind)
        kept += sorted(members, key=lambda feature: -(feature.properties["score"] or 0.0))[:SHOWN]
    counts: dict[str, int] = {}
    for feature in found.features:
        counts[name_of_feature(feature)] = counts.get(name_of_feature(feature), 0) + 1
    names = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:40]
    numbers = {name: number for number, (name, _) in enumerate(names)}
    shapes = [
        {
            "points": [[round(x / every, 1), round(y / every, 1)] for x, y in feature.corners.tolist()],
            "kind": feature.kind,
            "name": numbers.get(name_of_feature(feature), -1),
            "words": {key: value for key, value in feature.properties.items() if value is not None},
        }
        for feature in kept
    ]
    return shapes, names


def _grid(found: Findings) -> list[list[float]] | None:
    """Longitude and latitude of the corners of the scene, for the place under the pointer; None: it has none."""
    scene = found.scene
    if isinstance(scene.place, str):
        return None
    width, height = scene.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
    places = scene.place.project(corners, WGS84)
    crosses = np.ptp(places[:, 0]) > 180
    if crosses:  # the 180th meridian
        places[:, 0] = np.where(places[:, 0] < 0, places[:, 0] + 360, places[:, 0])
    return [[round(float(value), 8) for value in place] for place in places]
