"""Boxes of an answer, drawn over the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from skyeye.serve.answer import LocatedBox

#: One for each label, easy to tell apart on vegetation, water and concrete alike.
COLOURS = ["#ff3b30", "#ffd60a", "#0a84ff", "#ff2dd4", "#00e5c3", "#ff9500", "#b388ff", "#ffffff"]
SHORTEST_SIDE = 448  # smaller pictures are enlarged: labels have to be legible
_DASH = 10  # pixels of a dash, and between two, of a box that was read leniently
Rectangle = tuple[int, int, int, int]


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """The colour of each label, in the order of their first appearance."""
    return {label: COLOURS[n % len(COLOURS)] for n, label in enumerate(dict.fromkeys(labels))}


def draw_boxes(image: Image.Image, boxes: Sequence[LocatedBox], colours: dict[str, str] | None = None) -> Image.Image:
    """The picture with each box and its label; one whose shorter side is below 448 is enlarged by a whole number.

    Args:
        image: RGB picture; it is not changed.
        boxes: in its pixels. Equal labels share a colour, an empty one is not written, and labels do not cover each
            other. A box that was read leniently is dashed. What leaves the picture is cut off.
        colours: of labels, see :func:`colours_of`; None: of these boxes.
    """
    factor = max(1, -(-SHORTEST_SIDE // min(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(14, picture.height // 40))
    width = max(3, max(picture.size) // 400)
    colours = colours or colours_of(box.label for box in boxes)
    for box in boxes:
        corners = [_inside(x * factor, y * factor, picture.size) for x, y in box.corners]
        draw.line(_closed(corners), fill="black", width=width + 2, joint="curve")  # a rim shows on any ground
        for line in [_closed(corners)] if not box.marks else _dashes(corners, width):
            draw.line(line, fill=colours[box.label], width=width, joint="curve")
    taken: list[Rectangle] = []
    for box in boxes:
        if box.label:
            anchor = _inside(box.box[0] * factor, box.box[1] * factor, picture.size)
            bottom = _inside(box.box[2] * factor, box.box[3] * factor, picture.size)
            _label(draw, box.label, colours[box.label], font, (*anchor, *bottom), taken)
    return picture


def _inside(x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
    return min(max(round(x), 0), size[0] - 1), min(max(round(y), 0), size[1] - 1)


def _closed(corners: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [*corners, corners[0], corners[1]]  # the second once more: the joint at the first is drawn, too


def _dashes(corners: Sequence[tuple[int, int]], width: int) -> Iterator[list[tuple[float, float]]]:
    step = _DASH + 2 * width
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = max(abs(x2 - x1), abs(y2 - y1), 1)
        for start in range(0, length, 2 * step):
            shares = start / length, min(start + step, length) / length
            yield [(x1 + share * (x2 - x1), y1 + share * (y2 - y1)) for share in shares]


def _label(
    draw: ImageDraw.ImageDraw,
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    box: Rectangle,
    taken: list[Rectangle],
) -> None:
    """The label at the first place about its box where no other label stands, inside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = int(right - left) + 8, int(bottom - top) + 6
    spot = next(
        (spot for spot in _spots(box, width, height, draw.im.size) if not any(_overlap(spot, t) for t in taken)),
        next(iter(_spots(box, width, height, draw.im.size))),
    )
    taken.append(spot)
    draw.rectangle(spot, fill=colour, outline="black")
    draw.text((spot[0] + 4 - left, spot[1] + 3 - top), text, fill="black", font=font)


def _spots(box: Rectangle, width: int, height: int, size: tuple[int, int]) -> Iterator[Rectangle]:
    """Places for a label: above the box, below it, inside at its top, to the right, then further and further down."""
    x1, y1, x2, y2 = box
    places = [(x1, y1 - height), (x1, y2 + 1), (x1, y1), (x2 + 1, y1), (x1 - width - 1, y1)]
    places += [(x1, y2 + 1 + step * height) for step in range(1, 40)]
    places += [(x1, y1 - height - step * height) for step in range(1, 40)]
    for x, y in places:
        x, y = max(0, min(x, size[0] - 1 - width)), max(0, min(y, size[1] - 1 - height))
        yield x, y, x + width, y + height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
