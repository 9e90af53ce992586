"""In which frame the numbers of a box are meant: scale, order, padding, and whether they count from 1."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.smart_resize import SmartResize

_NUMBER = r"-?\d{1,9}(?:\.\d{1,12})?"
_BETWEEN = r"[\s,;<>()\[\]]{1,6}"
#: Four, eight, or (behind a line) four numbers and an angle, with nothing but signs between them.
_BOX = re.compile(
    rf"[\[({{<]\s*({_NUMBER}(?:{_BETWEEN}{_NUMBER}){{3}}(?:(?:{_BETWEEN}{_NUMBER}){{4}})?)(?:>?\s*\|\s*<?({_NUMBER}))?"
)

ORDERS = ("x1, y1, x2, y2", "y1, x1, y2, x2", "x, y, width, height", "centre x, centre y, width, height")
PADDINGS = ("", "centre", "corner")
#: Scales on which a whole side has a number of its own, whatever the image.
WHOLE = {"0..1": 1.0, "0..100": 100.0, "0..1000": 1000.0, "0..999": 999.0}
#: Usual input sizes: pixels of the image that the model read, stretched to a square or brought to that longer side.
INPUTS = (224, 256, 336, 384, 448, 504, 512, 560, 640, 672, 768, 800, 896, 1024, 1280, 1333)


@dataclass(frozen=True)
class Numbers:
    """The numbers of a box in a text: four (an upright box around eight), and the angle behind them in degrees."""

    four: tuple[float, float, float, float]
    angle: float | None = None


def numbers_in(text: str) -> list[Numbers]:
    """All boxes of a text, whatever they mean."""
    found = []
    for match in _BOX.finditer(text):
        values = [float(number) for number in re.findall(_NUMBER, match[1])]
        if len(values) == 8:
            values = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
        found.append(Numbers((values[0], values[1], values[2], values[3]), float(match[2]) if match[2] else None))
    return found


@dataclass(frozen=True)
class Frame:
    """How the numbers of a box are meant.

    Attributes:
        scale: in words.
        side: the number of a whole side of the image (of the square, if it was padded); None: its pixels.
        longer: ``side`` is that of the longer side only; the other one is as much shorter as it is in the image.
        order: one of :data:`ORDERS`.
        padded: the numbers are those of the image in the ``centre`` or in the upper left ``corner`` of a square.
        first: the number of the first pixel (hundredth ...): 0, or 1.
        resized: pixels are those of the image brought to that size; only where ``side`` is None.
    """

    scale: str
    side: float | None
    longer: bool = False
    order: str = ORDERS[0]
    padded: str = ""
    first: int = 0
    resized: SmartResize | None = None

    def __str__(self) -> str:
        words = f"{self.order} in {self.scale}"
        if self.resized is not None:
            words += f" of the image as the model reads it (sides in {self.resized})"
        if self.padded:
            words += f" of the image in the {self.padded} of a square"
        return words + (", counted from 1" if self.first else "")

    @property
    def needs_size(self) -> bool:
        """Whether the numbers mean nothing without the size of the image."""
        return self.side is None or self.longer or bool(self.padded)

    def boxes(self, fours: np.ndarray, known: Sequence[Size | None]) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) numbers -> (N, 4) corners in fractions of each image, and (N,) fractions that a step of 1 is, squared.

        Args:
            known: width and height of each image; None where :attr:`needs_size` is False.
        """
        wide, high = np.array([size or (1, 1) for size in known], float).T
        longest = np.maximum(wide, high)
        all_wide, all_high = (longest, longest) if self.padded else (wide, high)
        if self.resized is not None:
            across, down = np.array([self.resized(size or (1, 1)) for size in known], float).T
        elif self.side is None:
            across, down = all_wide, all_high
        elif self.longer:
            across, down = (self.side * side / np.maximum(all_wide, all_high) for side in (all_wide, all_high))
        else:
            across = down = np.full_like(wide, self.side)
        before_x, before_y = ((longest - side) / 2 if self.padded == "centre" else 0 * side for side in (wide, high))
        step_x, step_y = all_wide / across / wide, all_high / down / high
        corners = self._corners(fours) * np.stack([step_x, step_y] * 2, axis=1)
        return corners - np.stack([before_x / wide, before_y / high] * 2, axis=1), step_x * step_y

    def read(self, numbers: Numbers, size: Size | None, turned: int = 0) -> Box | OrientedBox:
        """One box, upright ones cut to the image.

        Args:
            turned: 1: the angle is clockwise as seen, -1: counter-clockwise, 0: it is not read.
        """
        corners, _ = self.boxes(np.array([numbers.four]), [size])
        x1, y1, x2, y2 = map(float, corners[0])
        if not numbers.angle or not turned:
            return Box(x1, y1, x2, y2).clipped()
        aspect = 1.0 if size is None else size[0] / size[1]
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        return OrientedBox.from_centre(*centre, x2 - x1, y2 - y1, turned * numbers.angle, aspect)

    def write(self, box: Box | OrientedBox, size: Size | None) -> str:
        """A box as text in brackets, in this frame; an oriented one as the upright box around it.

        Args:
            size: width and height of the image; needed where :attr:`needs_size`.
        """
        upright = box.upright() if isinstance(box, OrientedBox) else box
        # the frame is linear: where it puts 0 and 1 says which numbers a fraction is
        origin, whole = self._plain().boxes(np.array([[0.0, 0, 0, 0], [1.0, 1, 1, 1]]), [size, size])[0]
        x1, y1, x2, y2 = (float((v - o) / (w - o)) for v, o, w in zip(upright, origin, whole, strict=True))
        in_order = {
            ORDERS[0]: (x1, y1, x2, y2),
            ORDERS[1]: (y1, x1, y2, x2),
            ORDERS[2]: (x1, y1, x2 - x1, y2 - y1),
            ORDERS[3]: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
        }[self.order]
        counted = [
            number + self.first * (place < 2 or self.order in ORDERS[:2]) for place, number in enumerate(in_order)
        ]
        return "[" + ", ".join(f"{n:.3f}" if self.side == 1 else str(round(n)) for n in counted) + "]"

    def _plain(self) -> Frame:
        """The same scale and padding with corners that count from 0."""
        return replace(self, order=ORDERS[0], first=0)

    def _corners(self, fours: np.ndarray) -> np.ndarray:
        a, b, c, d = fours.T
        if self.order == ORDERS[0]:
            corners = (a, b, c, d)
        elif self.order == ORDERS[1]:
            corners = (b, a, d, c)
        elif self.order == ORDERS[2]:
            corners = (a, b, a + c, b + d)
        else:
            corners = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
        return np.stack(corners, axis=1) - self.first


def frames(sized: bool, resized: SmartResize | None = None) -> Iterator[Frame]:
    """Every frame with a name, the plainest first.

    Args:
        sized: the sizes of the images are known.
        resized: how the model that answered brings images to the size that it reads, where that is known; its pixels
            are then likelier than those of the original.
    """
    scales: list[tuple[str, float | None, bool]] = [(name, side, False) for name, side in WHOLE.items()]
    scales.append(("pixels", None, False))
    scales += [(f"pixels of a square of {side}", float(side), False) for side in INPUTS]
    scales += [(f"pixels of an image with a longer side of {side}", float(side), True) for side in INPUTS]
    if resized is not None and sized:
        yield from (Frame("pixels", None, order=order, resized=resized) for order in ORDERS)
    for first, padded, (name, side, longer), order in itertools.product((0, 1), PADDINGS, scales, ORDERS):
        unit_square = side == 1.0 and first  # fractions do not count
        same = padded and longer  # a padded image has two longer sides
        frame = Frame(name, side, longer, order, padded, first)
        if not unit_square and not same and (sized or not frame.needs_size):
            yield frame
