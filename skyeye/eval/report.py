"""Scores and predictions as one HTML page that needs nothing else (pictures inside, no network), and as Markdown."""

from __future__ import annotations

import base64
import io
import random
from collections import Counter
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
from PIL import Image

from skyeye.data.boxes import Box, parse_boxes
from skyeye.data.images import load_image
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics import LOWER_IS_BETTER
from skyeye.eval.verdict import Verdict, metrics_of, verdict

#: Pictures of a gallery: so many right and so many wrong answers.
GALLERY = 6
PICTURE_SIDE = 320  # pixels of the longer side in the page
SEED = 0  # of the choice of pictures

Predictions = dict[str, dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Outline:
    """A box to draw over a picture, in percent of its width and height. ``kind``: truth, answer or asked."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True)
class Example:
    """One answer as the page shows it."""

    pictures: list[str]  # data: URLs
    outlines: list[Outline]
    question: str
    answer: str
    truth: list[str]
    boxed: bool  # the answer is numbers of boxes rather than words
    note: str
    others: list[tuple[str, str]]  # (condition, what was answered then)


@dataclass
class Section:
    """One benchmark."""

    name: str
    verdict: Verdict
    protocol: dict[str, Any]
    counts: dict[str, int]
    rows: list[list[str]]
    parts: list[list[str]]
    galleries: list[tuple[str, list[Example]]] = field(default_factory=list)


def report(scores: dict[str, Any], predictions: Predictions) -> str:
    """The page as HTML text.

    Args:
        scores: content of ``scores.json``.
        predictions: benchmark -> condition (seen, blind, deaf) -> rows of its prediction file.
    """
    sections = [_section(x, scores[x.benchmark], predictions.get(x.benchmark, {})) for x in verdict(scores)]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("skyeye.eval").joinpath("report.html.jinja").read_text(encoding="utf-8"))
    return template.render(about=scores["about"], sections=sections)


def markdown(scores: dict[str, Any]) -> str:
    """The table of all scores and the verdicts, for reading in a terminal or a repository."""
    about = scores["about"]
    lines = [
        f"# Scores of {about.get('checkpoint', 'predictions')}",
        "",
        f"{about['date']}; units: {about['units']}. *blind*: images permuted among the questions. *deaf*: words "
        "permuted among the objects of a scene, beside the score on the same items.",
        "",
        "| benchmark | metric | score | blind | deaf (score on same items) | records |",
        "|---|---|---|---|---|---|",
    ]
    verdicts = verdict(scores)
    for item in verdicts:
        entry = scores[item.benchmark]
        for row in _rows(entry):
            lines.append(f"| {item.benchmark} | {' | '.join(row)} | {entry['counts']['records']} |")
    for item in verdicts:
        lines += ["", f"## {item.benchmark}: {item.title}", "", " ".join(item.sentences)]
        lines += [f"- {'reached' if passed else 'NOT reached'}: {bar}" for bar, passed in item.checks]
        protocol = scores[item.benchmark]["protocol"]
        lines += [
            "",
            f"Protocol: {protocol['metric']}. Decoding: {protocol['decoding']}.",
            f"Asked: `{_one_line(protocol['question'])}`",
        ]
        lines += [f"Note: {note}" for note in protocol["notes"]]
    return "\n".join(lines) + "\n"


def _section(item: Verdict, entry: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> Section:
    section = Section(item.benchmark, item, entry["protocol"], entry["counts"], _rows(entry), _parts(entry))
    seen = rows.get("seen", [])
    others = {c: {row["id"]: row for row in rows[c]} for c in ("blind", "deaf") if c in rows}
    if entry["protocol"]["family"] == "captions":
        ranked = sorted(seen, key=lambda row: row["cider"])
        half = min(GALLERY, len(ranked) // 2)
        shown = [("Closest to the references", ranked[::-1][:half]), ("Furthest from the references", ranked[:half])]
    else:
        shown = [
            (title, _varied([row for row in seen if row["correct"] is wanted]))
            for title, wanted in (("Right", True), ("Wrong", False))
        ]
    section.galleries = [(title, [_example(row, others) for row in chosen]) for title, chosen in shown if chosen]
    return section


def _varied(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a gallery, drawn at random, but one of each kind (question type, class) before a second of any."""
    shuffled = random.Random(SEED).sample(rows, len(rows))
    seen: Counter[str] = Counter()
    rank = []
    for row in shuffled:
        kind = str(row.get("type") or (row["truth"] if isinstance(row["truth"], str) else ""))
        rank.append(seen[kind])
        seen[kind] += 1
    order = sorted(range(len(shuffled)), key=rank.__getitem__)
    return [shuffled[i] for i in order[:GALLERY]]


def _rows(entry: dict[str, Any]) -> list[list[str]]:
    """Metric, score, blind, deaf as text; parts of a metric (``accuracy/count``) are left to :func:`_parts`."""
    return [_row(name, triple) for name, triple in metrics_of(entry).items() if "/" not in name]


def _parts(entry: dict[str, Any]) -> list[list[str]]:
    return [
        [*_row(name.split("/", 1)[1].replace("_", " "), triple), str(entry["counts"].get(name.split("/", 1)[1], ""))]
        for name, triple in metrics_of(entry).items()
        if "/" in name
    ]


def _row(name: str, triple: dict[str, float | None]) -> list[str]:
    deaf = _number(triple["deaf"])
    if triple["deaf"] is not None:
        deaf += f" ({_number(triple.get('value_on_deaf_items'))})"
    shown = f"{name} (less is better)" if name in LOWER_IS_BETTER else name
    return [shown, _number(triple["value"]), _number(triple["blind"]), deaf]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _example(row: dict[str, Any], others: dict[str, dict[str, dict[str, Any]]]) -> Example:
    truth = row["truth"]
    boxes_are_truth = bool(truth) and isinstance(truth, list) and isinstance(truth[0], list)
    outlines = [_outline(Box(*box), "truth") for box in truth] if boxes_are_truth else []
    outlines += [_outline(box, "answer") for box in parse_boxes(row["answer"])]
    outlines += [_outline(box, "asked") for box in parse_boxes(row["question"])]
    said = [(condition, of[row["id"]]["answer"]) for condition, of in others.items() if row["id"] in of]
    if boxes_are_truth:  # the numbers of further boxes would say nothing to a reader
        said = []
    texts = [] if boxes_are_truth else list(truth) if isinstance(truth, list) else [str(truth)]
    note = ""
    if "iou" in row:
        note = f"IoU {row['iou']:.2f}"
    elif row["correct"] is None and "cider" in row:
        note = f"CIDEr {row['cider']:.0f}"
    pictures = [url for path in row["images"] if (url := _picture(path))]
    return Example(pictures, outlines, row["question"], row["answer"], texts, boxes_are_truth, note, said)


def _outline(box: Box, kind: str) -> Outline:
    inside = box.clipped()
    return Outline(
        *(round(100 * v, 2) for v in (inside.x1, inside.y1, inside.x2 - inside.x1, inside.y2 - inside.y1)), kind=kind
    )


def _picture(path: str) -> str | None:
    """A small JPEG as a data: URL; None when the file is gone since (the page then says so)."""
    try:
        image = load_image(path)
    except SkyEyeError:
        return None
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _one_line(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
