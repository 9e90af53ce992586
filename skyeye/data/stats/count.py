"""Counting: the records of a target go by once, and only counts of them are kept."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from skyeye.data.boxes import OrientedBox
from skyeye.data.check.images import look_at_all
from skyeye.data.record import Record
from skyeye.data.target import Target, records_of

TOP_ANSWERS = 30  # kept of each task
MOST_ANSWERS = 50_000  # distinct answers counted of a task; with more, the answers are free text
SHORT_ANSWERS = frozenset({"vqa", "classification", "identify"})  # tasks whose answers are counted


class Lengths(NamedTuple):
    """Tokens of one record: of the prefix that its image's questions share, of its branch, and how many are learnt."""

    prefix: int
    branch: int
    learnt: int


def measure(
    target: Target,
    count_tokens: Callable[[Record], Lengths | None],
    tokenizer: str,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Count everything in a target.

    Args:
        count_tokens: lengths of a record; None where no sequence can be made of it.
        tokenizer: what ``count_tokens`` counts with, in words.
        workers: threads that look at the images' sizes.
        progress: called with (images looked at, images).

    Returns:
        JSON values; docs/data_check.md explains the keys. Lengths are in tokens, sides of boxes in hundredths of the
        image, sides of images in pixels.

    Raises:
        SkyEyeError: a source cannot be read, or there is no record.
    """
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    splits: Counter[str] = Counter()
    turns: Counter[int] = Counter()
    tokens: dict[str, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    boxes: dict[str, Counter[int]] = {"longer side": Counter(), "shorter side": Counter(), "a record": Counter()}
    answers: dict[str, Counter[str] | None] = {}
    shown: Counter[tuple[str, ...]] = Counter()
    prefixes: dict[tuple[str, ...], int] = {}
    unmeasured = apart = branches = 0
    for record in records_of(target):
        sources[record.source][record.task] += 1
        splits[record.split] += 1
        turns[len(record.turns)] += 1
        if record.images:
            shown[record.images] += 1
        lengths = count_tokens(record)
        if lengths is None:
            unmeasured += 1
        else:
            tokens[record.task]["question"][lengths.branch - lengths.learnt] += 1
            tokens[record.task]["learnt"][lengths.learnt] += 1
            apart += lengths.prefix + lengths.branch
            branches += lengths.branch
            # a text without an image has no prefix to share
            prefixes[record.images or (f"\0{len(prefixes)}",)] = lengths.prefix
        _count_boxes(record, boxes)
        _count_answer(record, answers)
    sizes = _image_sizes({image for images in shown for image in images}, workers, progress)
    tasks = sum(sources.values(), Counter())
    return {
        "target": str(target.path),
        "tokenizer": tokenizer,
        "records": sum(tasks.values()),
        "images": len({image for images in shown for image in images}),
        "sources": {name: dict(of.most_common()) for name, of in sources.items()},
        "splits": dict(splits.most_common()),
        "tasks": dict(tasks.most_common()),
        "turns": _histogram(turns),
        "samples_per_image": _histogram(Counter(shown.values())),
        "tokens": {task: {part: _histogram(of) for part, of in parts.items()} for task, parts in tokens.items()},
        "tokens_total": {
            "separate_rows": apart,
            "shared_prefix": branches + sum(prefixes.values()),
            "records_without_sequence": unmeasured,
        },
        "boxes": {what: _histogram(of) for what, of in boxes.items()},
        "answers": {
            task: None if of is None else {"distinct": len(of), "top": dict(of.most_common(TOP_ANSWERS))}
            for task, of in answers.items()
        },
        "image_sizes": sizes,
    }


def _count_boxes(record: Record, boxes: Mapping[str, Counter[int]]) -> None:
    found = [box for turn in record.turns for mention in turn.mentions for box in mention.boxes]
    if found:
        boxes["a record"][len(found)] += 1
    for place in found:
        box = place.upright() if isinstance(place, OrientedBox) else place
        shorter, longer = sorted((round(100 * (box.x2 - box.x1)), round(100 * (box.y2 - box.y1))))
        boxes["shorter side"][shorter] += 1
        boxes["longer side"][longer] += 1


def _count_answer(record: Record, answers: dict[str, Counter[str] | None]) -> None:
    if record.task not in SHORT_ANSWERS or len(record.turns) != 1:
        return
    known = answers.setdefault(record.task, Counter())
    if known is not None:
        known[record.turns[0].answer.strip().casefold()] += 1
        if len(known) > MOST_ANSWERS:
            answers[record.task] = None


def _image_sizes(
    images: set[str], workers: int, progress: Callable[[int, int], None] | None
) -> dict[str, dict[str, int] | int]:
    """``width x height`` -> images, the most frequent first; and how many cannot be read."""
    sizes: Counter[str] = Counter()
    unreadable = 0
    for number, look in enumerate(look_at_all(sorted(images), decode=False, workers=workers), start=1):
        if look.size is None:
            unreadable += 1
        else:
            sizes["{} x {}".format(*look.size)] += 1
        if progress is not None:
            progress(number, len(images))
    return {"unreadable": unreadable, "sizes": dict(sizes.most_common())}


def _histogram(counts: Counter[int]) -> dict[str, Any] | None:
    """Least, median, mean, 95th percentile and greatest of a counted number, and the counts; None of no number."""
    total = counts.total()
    if not total:
        return None
    ordered = sorted(counts.items())
    return {
        "least": ordered[0][0],
        "median": _quantile(ordered, total, 0.5),
        "mean": round(sum(value * count for value, count in ordered) / total, 2),
        "p95": _quantile(ordered, total, 0.95),
        "most": ordered[-1][0],
        "counts": {str(value): count for value, count in ordered},
    }


def _quantile(ordered: list[tuple[int, int]], total: int, share: float) -> int:
    """The smallest value that at least ``share`` of the numbers do not exceed."""
    below, wanted = 0, math.ceil(share * total)
    for value, count in ordered:
        below += count
        if below >= wanted:
            return value
    raise AssertionError("a share is at most 1")
