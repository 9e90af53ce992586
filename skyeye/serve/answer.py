"""What a model said: words, and the boxes in them as pixels and places on the map."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.images.georeference import WGS84, Georeference
from skyeye.data.prompts import PromptStyle
from skyeye.errors import SkyEyeError
from skyeye.serve.draw import draw_boxes
from skyeye.serve.read_boxes import FoundBox, lies_outside, read_leniently

Point = tuple[float, float]
_WHERE = re.compile(
    r"^(?:please\s+)?(?:where\s+(?:is|are)|locate|find|show(?:\s+me)?|detect|give\s+me\s+the\s+location\s+of)\s+", re.I
)


@dataclass(frozen=True)
class LocatedBox:
    """A box of an answer.

    Attributes:
        label: the words that it belongs to; empty: none.
        box: x1, y1, x2, y2 in pixels of the image, inside it.
        polygon: the corners (x, y) in pixels of an oriented box, which may leave the image; None: it is upright.
        certainty: 0..1, how likely the model held the box that it wrote; None: unknown.
        marks: what was read leniently, see :mod:`skyeye.serve.read_boxes`; empty: the box is sound.
    """

    label: str
    box: tuple[float, float, float, float]
    polygon: tuple[Point, ...] | None = None
    certainty: float | None = None
    marks: tuple[str, ...] = ()

    @property
    def corners(self) -> tuple[Point, ...]:
        """The polygon, or the corners of the box clockwise from the upper left."""
        x1, y1, x2, y2 = self.box
        return self.polygon or ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


@dataclass(frozen=True)
class Answer:
    """What a model said to a question.

    Attributes:
        text: its words, boxes as it wrote them.
        boxes: the places in it, each once, in the order of the text.
        image: the first picture that was asked about, in RGB; None: there was none.
        place: where it lies on the map; None: its file did not say.
        notes: what else is to be told, a sentence each.
        prompt: what the model was given, as text, ``<ImageHere>`` for each image.
        prompt_tokens, tokens: how many tokens the prompt has, images included, and the answer.
        ended: the model came to its end; False: the longest answer that was allowed cut it.
    """

    text: str
    boxes: tuple[LocatedBox, ...] = ()
    image: Image.Image | None = field(default=None, repr=False, compare=False)
    place: Georeference | None = None
    notes: tuple[str, ...] = ()
    prompt: str = field(default="", repr=False)
    prompt_tokens: int = 0
    tokens: int = 0
    ended: bool = True

    def draw(self, image: Image.Image | None = None) -> Image.Image:
        """The picture with the boxes and their labels.

        Args:
            image: to draw on instead of the one that was asked about; of its size.

        Raises:
            SkyEyeError: the question was asked without a picture.
        """
        ground = image or self.image
        if ground is None:
            raise SkyEyeError("the answer belongs to no picture", remedy="give one: answer.draw(image)")
        return draw_boxes(ground, self.boxes)

    def to_geojson(self, crs: str = WGS84) -> dict[str, Any]:
        """The boxes as a FeatureCollection, each with its label, marks and pixels.

        Args:
            crs: of the coordinates; GeoJSON means longitude and latitude (RFC 7946), others are named in ``crs``.

        Raises:
            SkyEyeError: the picture has no coordinates.
        """
        if self.place is None:
            raise SkyEyeError(
                "the picture has no coordinates, so its boxes have no place on the map",
                remedy="ask about the GeoTIFF itself (rasterio is needed: pip install skyeye[geo]); .boxes has pixels",
            )
        collection: dict[str, Any] = {"type": "FeatureCollection"}
        if crs != WGS84:
            collection["crs"] = {"type": "name", "properties": {"name": crs}}
        return collection | {"features": [_feature(box, self.place, crs) for box in self.boxes]}


def make_answer(
    text: str,
    style: PromptStyle,
    size: tuple[int, int] | None,
    *,
    question: str = "",
    image: Image.Image | None = None,
    place: Georeference | None = None,
    certainties: Sequence[float | None] | None = None,
    **about: Any,
) -> Answer:
    """An answer from what a model wrote.

    Args:
        style: of the model.
        size: width and height in pixels of the picture that boxes are meant on; None: there is none, and no boxes.
        question: where it asks for a place (``[refer] the white plane``), its words are the label of boxes that the
            answer gives without any.
        certainties: of the boxes of :func:`~skyeye.serve.read_boxes.read_leniently`, in their order; None: unknown.
        about: further attributes of :class:`Answer`.
    """
    found = [] if size is None else read_leniently(text, style, size)
    boxes, outside = located(found, size or (1, 1), asked_for(question, style), certainties)
    notes: tuple[str, ...] = about.pop("notes", ())
    if outside:
        notes += (f"{outside} box{'es lie' if outside > 1 else ' lies'} outside the image and cannot be shown",)
    return Answer(text, boxes, image, place, notes, **about)


def located(
    found: Sequence[FoundBox],
    size: tuple[int, int],
    label: str = "",
    certainties: Sequence[float | None] | None = None,
) -> tuple[tuple[LocatedBox, ...], int]:
    """Boxes in pixels, equal ones once, and how many lie outside the image and are none.

    Args:
        label: of boxes that have none.
        certainties: one for each of ``found``; None: unknown.
    """
    inside = [number for number, one in enumerate(found) if not lies_outside(one)]
    boxes = [_in_pixels(found[n], size, label, certainties[n] if certainties else None) for n in inside]
    first: dict[tuple[str, tuple[Point, ...]], LocatedBox] = {}
    for box in boxes:
        first.setdefault((box.label, box.corners), box)
    times = Counter((box.label, box.corners) for box in boxes)
    once = [
        replace(box, marks=(*box.marks, f"written {times[key]} times")) if times[key] > 1 else box
        for key, box in first.items()
    ]
    return tuple(once), len(found) - len(inside)


def _in_pixels(found: FoundBox, size: tuple[int, int], label: str, certainty: float | None) -> LocatedBox:
    polygon: tuple[Point, ...] | None = None
    upright = found.box
    if isinstance(upright, OrientedBox):
        numbers = [round(number, 2) for number in upright.to_pixels(*size)]
        polygon = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        upright = upright.upright()
    x1, y1, x2, y2 = (round(number, 2) for number in upright.clipped().to_pixels(*size))
    return LocatedBox(found.label or label, (x1, y1, x2, y2), polygon, certainty, found.marks)


def asked_for(question: str, style: PromptStyle) -> str:
    """What a question asks the place of; empty: it asks something else."""
    for tag in filter(None, (style.tags.get("refer"), style.tags.get("detection"))):
        if question.startswith(tag):
            return _WHERE.sub("", question.removeprefix(tag).strip()).rstrip(" ?.!")
    return ""


def _feature(box: LocatedBox, place: Georeference, crs: str) -> dict[str, Any]:
    digits = 8 if crs == WGS84 else 3  # about a millimetre
    ring = [[round(x, digits), round(y, digits)] for x, y in place.to_crs(box.corners, crs)]
    if _turns_clockwise(ring):
        ring.reverse()
    properties = {
        "label": box.label,
        "certainty": box.certainty,
        "marks": list(box.marks),
        "pixels": [list(corner) for corner in box.corners],
    }
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _turns_clockwise(ring: Sequence[Sequence[float]]) -> bool:
    """Outer rings of GeoJSON turn the other way."""
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    return sum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in pairs) > 0
