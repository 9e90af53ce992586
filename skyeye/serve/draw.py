"""Boxes of an answer, drawn over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from skyeye.data.files import whole_file
from skyeye.data.geometry.boxes import Box, OrientedBox

#: One for each phrase, easy to tell apart on vegetation, water and concrete alike.
COLOURS = ["#ff3b30", "#ffd60a", "#0a84ff", "#ff2dd4", "#00e5c3", "#ff9500", "#b388ff", "#ffffff"]
SHORTEST_SIDE = 448  # smaller pictures are enlarged: labels have to be legible


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[str, Box | OrientedBox]], out: str | Path) -> Path:
    """Draw each box with its phrase and write a PNG.

    Args:
        image: RGB picture; it is not changed.
        boxes: (phrase, box), of a turned box the upright one around it; equal phrases share a colour, an empty phrase
            gets no label. What leaves the picture is cut off.
        out: file to write; its folder is made.
    """
    factor = max(1, -(-SHORTEST_SIDE // min(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(14, picture.height // 40))
    phrases = list(dict.fromkeys(phrase for phrase, _ in boxes))
    for phrase, box in boxes:
        colour = COLOURS[phrases.index(phrase) % len(COLOURS)]
        upright = box.upright() if isinstance(box, OrientedBox) else box
        x1, y1, x2, y2 = (round(v) for v in upright.clipped().to_pixels(picture.width - 1, picture.height - 1))
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="black", width=5)  # a rim shows on any ground
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=3)
        if phrase:
            _label(draw, phrase, colour, font, x1, y1)
    with whole_file(out) as file:
        picture.save(file, format="PNG")
    return Path(out)


def _label(draw: ImageDraw.ImageDraw, text: str, colour: str, font: ImageFont.FreeTypeFont, x: int, y: int) -> None:
    """The phrase on the box's upper left corner, moved inside the picture where it would leave it."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 8, bottom - top + 6
    x, y = max(0, min(x, draw.im.size[0] - 1 - width)), max(0, y - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), text, fill="black", font=font)
