"""Boxes of an answer as files that other programs read: COCO and CSV. GeoJSON is :meth:`Answer.to_geojson`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from skyeye.data.geometry.polygons import polygon_area
from skyeye.serve.answer import Answer

COLUMNS = ("label", "x1", "y1", "x2", "y2", "corners", "certainty", "marks", "crs", "map_corners")


def to_coco(answer: Answer, name: str) -> dict[str, Any]:
    """The boxes in the layout of COCO's annotations; an oriented one also has its corners as segmentation.

    Args:
        name: of the picture's file.
    """
    labels = list(dict.fromkeys(box.label for box in answer.boxes))
    width, height = (0, 0) if answer.image is None else answer.image.size
    annotations = []
    for number, box in enumerate(answer.boxes, start=1):
        x1, y1, x2, y2 = box.box
        segmentation = [] if box.polygon is None else [[value for corner in box.polygon for value in corner]]
        area = polygon_area(list(box.corners))
        entry: dict[str, Any] = {"id": number, "image_id": 1, "category_id": labels.index(box.label) + 1}
        entry |= {"bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)], "area": round(area, 2), "iscrowd": 0}
        annotations.append(entry | {"segmentation": segmentation, "score": box.certainty, "marks": list(box.marks)})
    return {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": number, "name": label or "object"} for number, label in enumerate(labels, start=1)],
        "annotations": annotations,
    }


def to_csv(answer: Answer) -> str:
    """The boxes as a table with a line of headings: pixels and, of a picture that has them, coordinates of its map."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for box in answer.boxes:
        placed = [] if answer.place is None else answer.place.to_map(box.corners)
        crs = "" if answer.place is None else answer.place.crs
        certainty = "" if box.certainty is None else box.certainty
        pixels = _points(box.corners, 2)
        writer.writerow([box.label, *box.box, pixels, certainty, "; ".join(box.marks), crs, _points(placed, 3)])
    return text.getvalue()


def _points(points: Sequence[tuple[float, float]], digits: int) -> str:
    return " ".join(f"{x:.{digits}f},{y:.{digits}f}" for x, y in points)
