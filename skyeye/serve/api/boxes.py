"""Answers as objects: the boxes that a model wrote, in the coordinates that a client asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skyeye.data.images.georeference import Georeference
from skyeye.data.prompts import PromptStyle
from skyeye.serve.answer import LocatedBox, make_answer
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.schemas import ResponseFormat

Coordinates = Literal["pixels", "normalized", "map"]
_COORDINATES: tuple[Coordinates, ...] = ("pixels", "normalized", "map")
_TOP = ("text", "coordinates", "crs", "boxes")
_OF_BOX = ("label", "box", "polygon")
_FORM = (
    'boxes can be answered: {"boxes": [{"label": string, "box": [x1, y1, x2, y2], "polygon": [[x, y], ...] or null}]},'
    ' with "text", "coordinates" (pixels, normalized or map) and "crs" beside them if you like'
)


@dataclass(frozen=True)
class Size:
    """What boxes are meant on: width and height in pixels, and where it lies on the map."""

    width: int
    height: int
    place: Georeference | None = None


@dataclass(frozen=True)
class BoxesFormat:
    """The object that an answer is written as.

    Attributes:
        coordinates: in pixels, in fractions of width and height, or on the map.
        crs: of the map; None: that of the picture.
        top, of_box: the keys that are asked for.
        as_list: only the list of the boxes, each ``x_min``, ``y_min``, ``x_max``, ``y_max``.
    """

    coordinates: Coordinates = "pixels"
    crs: str | None = None
    top: tuple[str, ...] = _TOP[:2] + _TOP[3:]
    of_box: tuple[str, ...] = _OF_BOX
    as_list: bool = False

    @classmethod
    def of(cls, asked: ResponseFormat | None) -> BoxesFormat | None:
        """What a request asks for; None: words.

        Raises:
            ApiError: an object that a model of boxes cannot fill.
        """
        if asked is None or asked.type == "text":
            return None
        if asked.json_schema is None:
            return cls()
        schema = asked.json_schema.schema_
        top = _properties(schema, schema)
        items = top.get("boxes", {}).get("items") if isinstance(top.get("boxes"), Mapping) else None
        of_box = _properties(items, schema) if isinstance(items, Mapping) else {}
        if not of_box or not set(top) <= set(_TOP) or not set(of_box) <= set(_OF_BOX):
            raise ApiError(f"no answer has this shape. {_FORM}", param="response_format.json_schema.schema")
        allowed = _values(top.get("coordinates"), schema) or ["pixels"]
        coordinates = next((each for each in _COORDINATES if each in allowed), None)
        if coordinates is None:
            what = f"coordinates are {', '.join(_COORDINATES)}, not {', '.join(map(str, allowed))}"
            raise ApiError(what, param="response_format.json_schema.schema.properties.coordinates")
        crs = next(iter(_values(top.get("crs"), schema)), None)
        return cls(coordinates, None if crs is None else str(crs), tuple(top), tuple(of_box))

    def check(self, size: Size | None) -> None:
        """Refuse what cannot be answered about this picture.

        Raises:
            ApiError: there is none, or it has no coordinates.
        """
        if size is None:
            raise ApiError("boxes are asked for, and no picture is given", param="messages")
        if self.coordinates != "map":
            return
        if size.place is None:
            what = "map coordinates are asked for, and the picture has none: send the GeoTIFF itself"
            raise ApiError(what, param="messages")
        if self.crs is not None:
            try:
                size.place.to_crs([(0.0, 0.0)], self.crs)
            except Exception as error:  # of rasterio, which has many
                what = f"crs: {self.crs!r} is no coordinate system that this picture can be placed in"
                raise ApiError(what, param="response_format") from error

    def write(self, text: str, style: PromptStyle, question: str, size: Size) -> str:
        """The object, as JSON."""
        found = make_answer(text, style, (size.width, size.height), question=question).boxes
        if self.as_list:
            sides = [_scaled(box.box, size) for box in found]
            return json.dumps([dict(zip(("x_min", "y_min", "x_max", "y_max"), each, strict=True)) for each in sides])
        whole: dict[str, Any] = {
            "text": text,
            "coordinates": self.coordinates,
            "crs": (self.crs or size.place.crs) if self.coordinates == "map" and size.place else None,
            "boxes": [self._box(box, size) for box in found],
        }
        return json.dumps({key: whole[key] for key in self.top}, ensure_ascii=False)

    def _box(self, found: LocatedBox, size: Size) -> dict[str, Any]:
        sides: Sequence[float] = found.box
        polygon = found.polygon
        if self.coordinates == "normalized":
            sides = _scaled(sides, size)
            polygon = polygon and tuple((round(x / size.width, 6), round(y / size.height, 6)) for x, y in polygon)
        elif self.coordinates == "map" and size.place is not None:
            corners = size.place.to_map(found.corners)
            if self.crs is not None:
                corners = size.place.to_crs(found.corners, self.crs)
            xs, ys = [x for x, _ in corners], [y for _, y in corners]
            sides, polygon = (min(xs), min(ys), max(xs), max(ys)), tuple(corners)
        whole = {"label": found.label, "box": list(sides), "polygon": polygon and [list(corner) for corner in polygon]}
        return {key: whole[key] for key in self.of_box}


def _scaled(sides: Sequence[float], size: Size) -> list[float]:
    scale = (size.width, size.height, size.width, size.height)
    return [round(side / whole, 6) for side, whole in zip(sides, scale, strict=True)]


def _resolved(node: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a schema, or what it refers to inside the schema."""
    for _ in range(8):
        if not isinstance(node, Mapping):
            return {}
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return node
        found: Any = root
        for key in reference[2:].split("/"):
            found = found.get(key) if isinstance(found, Mapping) else None
        node = found
    return {}


def _properties(node: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found = _resolved(node, root).get("properties")
    return found if isinstance(found, Mapping) else {}


def _values(node: Any, root: Mapping[str, Any]) -> list[Any]:
    """The values that a property may have, where its schema lists them."""
    node = _resolved(node, root)
    if "const" in node:
        return [node["const"]]
    listed = node.get("enum", [])
    return list(listed) if isinstance(listed, list) else []
