"""Answers for a reader: examples with pictures and drawn boxes, and the rows that the page can search."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.geometry.box_text import SKYEYE
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.load import image_size
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import box_of, read_answer
from skyeye.html.thumbnails import Outline, outline, thumbnail

GALLERY = 10  # answers in one gallery
MOST_PICTURES = 60  # of a benchmark
MOST_FRAMES = 2  # pictures of one answer: the first ones, e.g. frames of a video
PICTURE_SIDE = 280  # pixels of the longer side in the page
MOST_ROWS = 2000  # of a benchmark that can be searched
LONGEST_TEXT = 600  # characters of a question or an answer in the page
SEED = 0  # of every choice

Row = Mapping[str, Any]  # one line of a prediction file
T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One answer with its pictures.

    Attributes:
        anchor: its name within the page.
        pictures: data: URLs; where one is missing, ``missing`` says why.
        further: pictures that are not shown.
        outlines: boxes of truth, answer and question, over the first picture.
        answers: (whose, what was said, right or wrong or None); one unless several are compared.
        truth: as text; empty where the truth is boxes, which are drawn.
        note: the measure of the answer.
    """

    anchor: str
    pictures: list[str]
    missing: str
    further: int
    outlines: list[Outline]
    question: str
    answers: list[tuple[str, str, bool | None]]
    others: list[tuple[str, str]]  # (condition, what was said then)
    truth: list[str]
    note: str


@dataclass
class Pictures:
    """Thumbnails of one benchmark: each reference is read once, and the page takes so many in all."""

    left: int = MOST_PICTURES
    known: dict[str, tuple[str, str]] = field(default_factory=dict)  # reference -> (URL, why there is none)

    def of(self, references: Sequence[str]) -> tuple[list[str], str]:
        """(URLs, why a picture is missing)."""
        urls, missing = [], ""
        for reference in references[:MOST_FRAMES]:
            if self.left <= 0:
                return urls, missing or f"the page holds {MOST_PICTURES} pictures of a benchmark"
            if reference not in self.known:
                self.known[reference] = _embedded(reference)
            url, why = self.known[reference]
            missing = missing or why
            if url:
                urls.append(url)
                self.left -= 1
        return urls, missing if references else "it has no picture"


def _embedded(reference: str) -> tuple[str, str]:
    if reference.startswith(ABSENT):
        return "", f"the image {reference.removeprefix(ABSENT)} is not here"
    try:
        return thumbnail(reference, PICTURE_SIDE), ""
    except (SkyEyeError, ValueError) as error:  # ValueError: a name that no file can have (a zero, half a character)
        return "", str(error)


def quality(row: Row) -> float | None:
    """How good an answer is, for ranking within one benchmark: IoU, CIDEr, F1 of the boxes, or right (1) and wrong (0);
    None where it was not judged."""
    for key in ("iou", "cider"):
        if row.get(key) is not None:
            return float(row[key])
    if row.get("pairs") is not None and row["found"] + len(row["truth"]):
        return 2 * row["pairs"] / (row["found"] + len(row["truth"]))
    return None if row.get("correct") is None else float(row["correct"])


def measure(row: Row) -> str:
    """The quality of an answer in words; nothing where right or wrong says it all."""
    if row.get("iou") is not None:
        return f"IoU {row['iou']:.2f}"
    if row.get("pairs") is not None:
        return f"{row['pairs']} of {len(row['truth'])} boxes found, {row['found']} named"
    return "" if row.get("cider") is None else f"CIDEr {row['cider']:.0f}"


def kind(row: Row) -> str:
    """The type of the question, or the class where the truth is one; nothing elsewhere."""
    if row.get("type") is not None:
        return str(row["type"])
    return str(row["truth"]) if "named" in row else ""


def chosen(rows: Sequence[Row], name: str) -> list[tuple[str, list[Row]]]:
    """The galleries of a benchmark: best, worst and random answers, with their titles.

    Answers that are only right or wrong have no best: of those the gallery takes one of each kind before a second.
    """
    mixed = varied(rows, name)
    judged = [(value, row) for row in mixed if (value := quality(row)) is not None]
    graded = any(row.get(key) is not None for _, row in judged[:1] for key in ("iou", "cider", "pairs"))
    if graded:
        half = min(GALLERY, len(judged) // 2)
        best = [row for _, row in sorted(judged, key=lambda pair: -pair[0])][:half]
        worst = [row for _, row in sorted(judged, key=lambda pair: pair[0])][:half]
        galleries = [("Best answers", best), ("Worst answers", worst)]
    else:
        galleries = [
            (title, [row for value, row in judged if value == wanted][:GALLERY])
            for title, wanted in (("Right answers", 1.0), ("Wrong answers", 0.0))
        ]
    drawn = random.Random(f"{SEED} random {name}").sample(range(len(rows)), min(GALLERY, len(rows)))
    galleries.append(("Random answers", [rows[index] for index in drawn]))
    return [(title, found) for title, found in galleries if found]


def varied(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows in random order, but one of each kind (question type, class) before a second of any."""
    shuffled = random.Random(f"{SEED} {name}").sample(rows, len(rows))
    seen: Counter[str] = Counter()
    turns = []
    for row in shuffled:
        turns.append(seen[kind(row)])
        seen[kind(row)] += 1
    return [shuffled[index] for index in sorted(range(len(rows)), key=turns.__getitem__)]


def example(
    anchor: str, row: Row, said: Sequence[tuple[str, Row]], pictures: Pictures, others: Iterable[tuple[str, str]] = ()
) -> Example:
    """An answer as the page shows it.

    Args:
        anchor: its name within the page.
        row: question and truth are taken from it.
        said: (whose, row) of one answer or of two to compare; their boxes are drawn as ``answer`` and ``answer2``.
        pictures: where the thumbnails come from.
        others: (condition, answer) of the controls; not shown where answers are boxes, whose numbers say nothing.
    """
    outlines = [outline(corners, "truth") for corners in true_corners(row)]
    for style, (_, of) in zip(("answer", "answer2"), said, strict=False):
        outlines += [outline(box, style) for box in _answered_boxes(of)]
    outlines += [outline(box, "asked") for box in _asked_boxes(row)]
    urls, missing = pictures.of(row["images"])
    return Example(
        anchor,
        urls,
        missing,
        max(0, len(row["images"]) - MOST_FRAMES),
        outlines,
        clipped(row["question"]),
        [(whose, clipped(of["answer"]), of.get("correct")) for whose, of in said],
        [] if has_boxes(row) else [(condition, clipped(answer)) for condition, answer in others],
        [] if has_boxes(row) else [clipped(text) for text in texts_of(row)],
        " | ".join(filter(None, (measure(of) for _, of in said))),
    )


def _answered_boxes(row: Row) -> list[Box | OrientedBox]:
    """The boxes of an answer: as they were scored, else those that its text names."""
    if row.get("boxes") is None:
        return _boxes(row["answer"], row)
    return _inside([box_of(numbers) for numbers in row["boxes"]])


def _asked_boxes(row: Row) -> list[Box | OrientedBox]:
    """Those of the question; read from its words where it stands in a file of somebody else."""
    if "question_boxes" in row:
        return _inside([box_of(numbers) for numbers in row["question_boxes"]])
    return _boxes(row["question"], row)


def _boxes(text: str, row: Row) -> list[Box | OrientedBox]:
    """The boxes of a text, inside the picture; turned ones in the picture's own proportions where it can be read."""
    size = None
    if "|" in text and row["images"] and not row["images"][0].startswith(ABSENT):
        with suppress(SkyEyeError, ValueError):  # that there is no picture is said under the answer
            size = image_size(row["images"][0])
    return _inside(read_answer(text, size).boxes)


def _inside(boxes: Iterable[Box | OrientedBox]) -> list[Box | OrientedBox]:
    return [box.clipped() if isinstance(box, Box) else box for box in boxes]


def has_boxes(row: Row) -> bool:
    """Whether the truth of a row is boxes rather than words."""
    truth = row["truth"]
    return bool(truth) and isinstance(truth, list) and isinstance(truth[0], list)


def true_corners(row: Row) -> list[Sequence[float]]:
    """The true boxes; the oriented polygon in place of the box around it where there is one."""
    if not has_boxes(row):
        return []
    boxes = [list(Box(*box).clipped()) for box in row["truth"]]
    polygons = row.get("polygons") or []
    if len(polygons) != len(boxes):  # which belongs to which is not said
        return boxes + [polygon for polygon in polygons if polygon]
    return [polygon or box for box, polygon in zip(boxes, polygons, strict=True)]


def texts_of(row: Row) -> list[str]:
    """The truth as texts."""
    if has_boxes(row):
        return [SKYEYE.write_list(Box(*box) for box in row["truth"])]
    return [str(text) for text in row["truth"]] if isinstance(row["truth"], list) else [str(row["truth"])]


def clipped(text: str) -> str:
    """At most :data:`LONGEST_TEXT` characters."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def sample(rows: Sequence[T], urgency: Callable[[T], int], name: str) -> list[T]:
    """At most :data:`MOST_ROWS` rows in their order: those of the lowest ``urgency`` number, then what chance draws."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    order = random.Random(f"{SEED} rows {name}").sample(range(len(rows)), len(rows))
    order.sort(key=lambda index: urgency(rows[index]))
    return [rows[index] for index in sorted(order[:MOST_ROWS])]


def searchable(rows: Sequence[Row], shown: Mapping[str, str], name: str) -> dict[str, Any]:
    """The rows of a benchmark for the search of the page, as the script wants them.

    Args:
        rows: all answers.
        shown: id -> anchor of the answers with a picture, which are all among the rows.
        name: of the benchmark.
    """
    picked = sample(rows, lambda row: row["id"] not in shown, name)
    marks = {None: "not judged", True: "right", False: "wrong"}
    return {
        "fields": ["asked", "answer", "truth"],
        "rows": [
            [
                row["id"],
                kind(row),
                marks[row.get("correct")],
                measure(row),
                shown.get(row["id"], ""),
                clipped(row["question"]),
                clipped(row["answer"]),
                clipped(" / ".join(texts_of(row))),
            ]
            for row in picked
        ],
        "all": len(rows),
    }
