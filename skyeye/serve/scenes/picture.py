"""A picture of a scene with what was found in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from skyeye.data.files import whole_file
from skyeye.data.images.windowed import open_windows
from skyeye.errors import SkyEyeError
from skyeye.serve.draw import COLOURS, colours_of
from skyeye.serve.scenes.findings import Feature, Findings

LONGEST_SIDE = 1600
_GREY = "#dddddd"


def overview(found: Findings, longest: int = LONGEST_SIDE) -> tuple[Image.Image, float]:
    """The scene made small, and how many of its pixels are one there; read in strips, never whole."""
    width, height = found.scene.size
    every = max(1, math.ceil(max(width, height) / longest))
    small = Image.new("RGB", (-(-width // every), -(-height // every)))
    step = max(every, every * (256 // every))
    with open_windows(found.scene.reference, remote=True) as reader:
        for top in range(0, height, step):
            strip = (0, top, width, min(top + step, height))
            try:
                small.paste(reader.read(strip, every).image, (0, top // every))
            except SkyEyeError:
                continue  # told already, of every window
    return small, float(every)


def name_of_feature(feature: Feature) -> str:
    """What it is coloured by: an object's label, a tile's answer."""
    return str(feature.properties["label" if feature.kind == "object" else "answer"])


def write_picture(found: Findings, path: Path) -> None:
    """Draw the objects, or where there are none the tiles, over the scene.

    Raises:
        SkyEyeError: it cannot be written.
    """
    picture, every = overview(found)
    shown = found.of_kind("object") or found.of_kind("tile")
    names = sorted({name_of_feature(feature) for feature in shown})
    colours = colours_of(names[: len(COLOURS)])
    draw = ImageDraw.Draw(picture, "RGBA")
    for feature in shown:
        corners = [(x / every, y / every) for x, y in feature.corners.tolist()]
        colour = colours.get(name_of_feature(feature), _GREY)
        draw.polygon(corners, fill=None if feature.kind == "object" else f"{colour}40", outline="black", width=4)
        draw.polygon(corners, outline=colour, width=2)
    _legend(draw, [(name, colours.get(name, _GREY)) for name in names[:12]])
    with whole_file(path) as file:
        picture.save(file, format="PNG" if path.suffix.lower() == ".png" else "JPEG", optimize=True)


def _legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[str, str]]) -> None:
    font = ImageFont.load_default(size=16)
    for number, (name, colour) in enumerate(entries):
        top = 8 + number * 24
        right = 34 + draw.textlength(name[:40], font=font)
        draw.rectangle((6, top - 2, right + 6, top + 22), fill="#000000b0")
        draw.rectangle((12, top + 4, 26, top + 16), fill=colour)
        draw.text((34, top), name[:40], fill="white", font=font)
