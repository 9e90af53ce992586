"""From the answers about windows to the features of a scene, still in its pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.georeference import corners_of
from skyeye.data.images.reference import parse_reference
from skyeye.serve.scenes.answers import Said
from skyeye.serve.scenes.journal import Chunk
from skyeye.serve.scenes.merge import Detection, cut_sides, merge
from skyeye.serve.scenes.plan import Tile
from skyeye.serve.scenes.questions import COUNT, Question, is_yes, label_of, number_in, turns_of
from skyeye.serve.scenes.scene import Scene
from skyeye.serve.scenes.support import supports


@dataclass(frozen=True)
class Feature:
    """An object, or what was said of a window.

    Attributes:
        kind: ``object`` or ``tile``; a tile is the part of a window that no other one stands for.
        corners: (4, 2) in pixels of the scene, clockwise.
        properties: plain values by name; the same names for all features of a kind.
    """

    kind: str
    corners: np.ndarray
    properties: dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """Everything about one scene.

    Attributes:
        asked, empty: windows; those without data are not asked.
        unreadable: (window, why).
        counts: boxes of all windows before they were merged (``boxes``), and of those left out the ones without area
            (``unusable``), of windows in which the condition of their question does not hold (``unconfirmed``), of
            answers below the least certainty (``unsure``); objects that too few windows have found (``unsupported``).
    """

    scene: Scene
    features: tuple[Feature, ...]
    asked: int
    empty: int
    unreadable: tuple[tuple[int, str], ...]
    counts: Counter[str]

    @property
    def path(self) -> str:
        """The file or address of the scene."""
        return parse_reference(self.scene.reference)[0]

    def of_kind(self, kind: str) -> list[Feature]:
        """Objects or tiles."""
        return [feature for feature in self.features if feature.kind == kind]


@dataclass(frozen=True)
class Rules:
    """What counts, of the boxes of all windows.

    Attributes:
        iou: overlap from which on two boxes are one object.
        min_score: answers below this certainty give no boxes.
        min_support: share of the windows that show an object whole which must have found it.
    """

    iou: float = 0.5
    min_score: float = 0.0
    min_support: float = 0.5


USUAL = Rules()


def findings(scene: Scene, questions: Sequence[Question], chunks: Sequence[Chunk], rules: Rules = USUAL) -> Findings:
    """Merge the answers about all windows."""
    places = {turn: place for place, turn in enumerate(turns_of(questions))}
    counts: Counter[str] = Counter()
    boxes: list[Detection] = []
    tiles: list[Feature] = []
    answered = {index: said for chunk in chunks for index, said in chunk.answers.items()}
    for index in sorted(answered):
        tile = scene.tiles[index]
        for number, question in enumerate(questions):
            said = answered[index][places[question.turn]]
            if question.finds == "text" or (question.finds == "either" and not said.boxes):
                tiles.append(_tile_feature(tile, question, said))
                continue
            condition = question.condition
            if condition is not None and not is_yes(answered[index][places[condition]].text):
                counts["unconfirmed"] += len(said.boxes)
            elif said.score is not None and said.score < rules.min_score:
                counts["unsure"] += len(said.boxes)
            else:
                boxes += _detections(scene, tile, number, question, said, counts)
    counts["boxes"] = len(boxes)
    merged = merge(boxes, rules.iou)
    shares = supports(merged, scene.tiles, sorted(answered), scene.size)
    kept = [pair for pair in zip(merged, shares, strict=True) if pair[1] >= rules.min_support]
    counts["unsupported"] = len(merged) - len(kept)
    objects = [_object_feature(each, share, questions[each.question]) for each, share in kept]
    unreadable = tuple(each for chunk in chunks for each in chunk.unreadable)
    empty = sum(len(chunk.empty) for chunk in chunks)
    return Findings(scene, (*objects, *tiles), len(answered), empty, unreadable, counts)


def _detections(
    scene: Scene, tile: Tile, number: int, question: Question, said: Said, counts: Counter[str]
) -> Iterator[Detection]:
    left, top, right, bottom = tile.window
    for phrase, box in said.boxes:
        corners = _corners(box, right - left, bottom - top)
        if corners is None:
            counts["unusable"] += 1
            continue
        points = tuple((left + x, top + y) for x, y in corners)
        label = question.label or label_of(phrase) or "object"
        oriented = isinstance(box, OrientedBox)
        found = Detection(number, label, phrase, points, oriented, said.score, tile.scale, (tile.window,))
        yield Detection(**{**vars(found), "cut": cut_sides(found.extent, tile.window, scene.size)})


def _corners(box: Box | OrientedBox, width: int, height: int) -> list[tuple[float, float]] | None:
    """In pixels of the window, clockwise; None of a box that has no area in it."""
    if isinstance(box, Box):
        inside = box.clipped()
        if not inside.area:
            return None
        box = OrientedBox.from_box(inside)
    numbers = box.to_pixels(width, height)
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    turn = sum(points[i - 1][0] * points[i][1] - points[i][0] * points[i - 1][1] for i in range(4))
    if not abs(turn) > 1e-9 * width * height or not box.upright().clipped().area:
        return None
    return points if turn > 0 else points[::-1]


def _object_feature(found: Detection, support: float, question: Question) -> Feature:
    left, top, right, bottom = found.extent
    properties = {
        "label": found.label,
        "phrase": found.phrase,
        "score": None if found.score is None else round(found.score, 4),
        "question": question.asked,
        "scale": found.scale,
        "windows": len(found.windows),
        "support": round(support, 4),
        "cut": bool(found.cut),
        "oriented": found.oriented,
        **_pixels(left, top, right, bottom),
    }
    return Feature("object", np.array(found.corners), properties)


def _tile_feature(tile: Tile, question: Question, said: Said) -> Feature:
    counting = question.asked.strip().lower().startswith(f"[{COUNT}]")
    properties = {
        "question": question.asked,
        "answer": said.text,
        "number": number_in(said.text) if counting else None,
        "score": None if said.score is None else round(said.score, 4),
        "scale": tile.scale,
        **_pixels(*tile.cell),
    }
    return Feature("tile", corners_of([tile.cell])[0], properties)


def _pixels(left: float, top: float, right: float, bottom: float) -> dict[str, float]:
    numbers = {"column": left, "row": top, "width": right - left, "height": bottom - top}
    return {name: round(float(value), 2) for name, value in numbers.items()}
