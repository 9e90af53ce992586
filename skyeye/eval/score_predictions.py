"""Scores of answers that are on disk, ours or another system's: no model is needed, and no image where records do
without. What does not fit the benchmark is counted and named, never guessed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skyeye.data.formats.images import ABSENT
from skyeye.data.notations import detect_notation, is_ambiguous
from skyeye.data.record import Record
from skyeye.data.reference import parse_reference
from skyeye.eval.answers import Matched, Prediction, convert_boxes, match, read_predictions
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks.base import MissingImages
from skyeye.eval.benchmarks.conditions import Task
from skyeye.eval.benchmarks.published import size_note
from skyeye.eval.evaluate import about_scoring, write_results
from skyeye.eval.metrics.bootstrap import intervals
from skyeye.eval.metrics.sizes import sizes
from skyeye.eval.score import images_of, protocol, rounded

DECODING = "not known: the answers were read from a file"


def score_file(
    predictions: Path,
    benchmark: Benchmark,
    data_root: Path,
    *,
    notation: str | None = None,
    answer_key: str | None = None,
    out_dir: Path | None = None,
    missing_images: MissingImages = "keep",
) -> dict[str, Any]:
    """Score a prediction file (see :mod:`skyeye.eval.answers` for the kinds of files).

    A record without an answer, or with two, counts as answered with nothing; ``metrics_of_answered`` is what the
    others alone would score.

    Args:
        notation: how the answers write boxes (:mod:`skyeye.data.notations`); None: as this project does.
        answer_key: under which name the answers stand, where the file holds the truth under another.
        out_dir: also write predictions, tables and report there, as ``skyeye eval`` does.
        missing_images: what becomes of records whose image is missing or broken; those left out are in no divisor.

    Returns:
        ``metrics`` and ``intervals`` by name, ``counts``, and in full ``unknown``, ``missing``, ``double`` (ids) and
        ``unreadable`` (lines); ``reasons`` for unknown and double ones, and by what ``ids`` name records; the ``keys``
        under which ids and answers stood; ``hints`` where the file seems to mean something else; ``protocol`` and
        ``about``.

    Raises:
        SkyEyeError: the file or the data cannot be read.
    """
    started = time.time()
    given, problems = read_predictions(predictions, answer_key)
    records, left_out = benchmark.load(data_root, missing_images)
    matched = match(given, records)
    said = in_our_notation(matched.answers, records, notation)
    answers = [answer or "" for answer in said]
    scores = benchmark.metric(records, answers)
    counts = {
        "records": len(records),
        "answered": sum(answer is not None for answer in matched.answers),
        "missing": len(matched.missing),
        "double": len(matched.double),
        "unknown": len(matched.unknown),
        "unreadable": sum(problem.count for problem in problems),
    }
    about = {"checkpoint": str(predictions), "data_root": str(data_root), "notation": notation}
    about["missing_images"] = missing_images
    if out_dir is not None:
        odd = {kind: counts[kind] for kind in ("missing", "double", "unknown", "unreadable")}
        task = Task(benchmark, records, None, None, [], left_out, benchmark.max_new_tokens, odd)
        write_results([task], {benchmark.name: {"seen": said}}, out_dir, about, started, decoding=DECODING)
    return {
        "benchmark": benchmark.name,
        "metrics": {name: rounded(value) for name, value in scores.metrics.items()},
        "intervals": {
            name: None if ends is None else [rounded(end) for end in ends]
            for name, ends in intervals(scores, images_of(records)).items()
        },
        "metrics_of_answered": _of_answered(benchmark, records, answers, matched),
        "counts": counts | scores.counts,
        "unknown": matched.unknown,
        "missing": matched.missing,
        "double": matched.double,
        "reasons": matched.reasons,
        "ids": matched.way,
        "keys": {
            "id": sorted({prediction.keys[0] for prediction in given}),
            "answer": sorted({prediction.keys[1] for prediction in given}),
        },
        "hints": [
            *_hint_at_ids(matched, records, given),
            *_hint_at_boxes(matched.answers, scores.counts, notation),
        ],
        "unreadable": [{"kind": p.kind, "where": p.where, "what": p.what} for p in problems],
        "left_out": [{"kind": p.kind, "where": p.where, "what": p.what} for p in left_out],
        "size": size_note(benchmark, records) if benchmark.published else None,
        "protocol": protocol(benchmark, records, scores, DECODING),
        "about": {**about, **about_scoring(started)},
    }


def in_our_notation(answers: Sequence[str | None], records: Sequence[Record], notation: str | None) -> list[str | None]:
    """Answers with their boxes as this project writes them; None stays None."""
    of_images = sizes(records) if notation is not None else [None] * len(records)
    return [
        None if answer is None else convert_boxes(answer, notation, size)
        for answer, size in zip(answers, of_images, strict=True)
    ]


def told(result: dict[str, Any], shown: int = 10) -> str:
    """A result in words: the table of metrics, and what did not fit, the first few of each kind by name."""
    counts, lines = result["counts"], [f"{result['benchmark']}: {result['protocol']['title']}", ""]
    width = max(len(name) for name in result["metrics"])
    for name, value in result["metrics"].items():
        ends = result["intervals"].get(name)
        within = f"  ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
        lines.append(f"{name:<{width}}  {'–' if value is None else f'{value:.2f}':>7}{within}")
    lines += ["", f"{counts['answered']:,} of {counts['records']:,} records answered."]
    lines += [f"error: {hint}" for hint in result["hints"]]
    keys = {what: _few([repr(key[:40]) for key in names], shown) for what, names in result["keys"].items()}
    lines.append(f"Read: ids under {keys['id']}, taken for {result['ids']}; answers under {keys['answer']}.")
    parts = {name.partition("/")[2] for name in result["metrics"]}  # their counts say how many there are of a kind
    told_above = parts | {"records", "answered", "missing", "double", "unknown", "unreadable"}
    numbers = [f"{name} {count:,}" for name, count in counts.items() if count and name not in told_above]
    lines += [f"Counted: {', '.join(numbers)}."] if numbers else []
    words = {
        "missing": "no answer; counts as answered with nothing",
        "double": "several answers; none counts",
        "unknown": "belongs to no record",
    }
    for kind, meaning in words.items():
        if result[kind]:
            names = [_on_a_line(name, 80) for name in result[kind]]
            lines.append(f"{kind} {len(names):,} ({meaning}): {_few(names, shown)}")
    if result["unreadable"]:
        wrong = [_on_a_line(f"{problem['where']}: {problem['what']}", 400) for problem in result["unreadable"]]
        lines.append(f"unreadable {counts['unreadable']:,}: {_few(wrong, shown)}")
    if result["left_out"]:
        wrong = [_on_a_line(f"{problem['where']}: {problem['what']}", 400) for problem in result["left_out"]]
        lines.append(f"left out of the data set {len(wrong):,}: {_few(wrong, 1)}")
    if result["metrics_of_answered"] is not None:
        main = result["protocol"]["main_metric"]
        value = result["metrics_of_answered"][main]
        lines.append(f"Of the answered records alone: {main} {'–' if value is None else f'{value:.2f}'}")
    if result["size"]:
        lines.append(f"Size: {result['size']}")
    lines += [f"Note: {note}" for note in result["protocol"]["notes"]]
    lines.append(f"Protocol: {result['protocol']['metric']}; {result['protocol']['interval']}.")
    return "\n".join(lines)


def _on_a_line(text: str, longest: int) -> str:
    """Text of a file for a terminal, which obeys control characters: these are written out."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)


def _few(names: Sequence[str], shown: int) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _hint_at_ids(matched: Matched, records: Sequence[Record], given: Sequence[Prediction]) -> list[str]:
    """What ids look like, for a file of which none names a record."""
    if matched.double or any(answer is not None for answer in matched.answers):
        return []
    record = records[0]
    forms = [f"{record.id!r}"]
    if "published_id" in record.references:
        forms.append(f"{record.references['published_id']!r} (as published)")
    image = parse_reference(record.images[0])[0].removeprefix(ABSENT) if len(record.images) == 1 else record.id
    if Path(image).name != record.id and sum(other.images == record.images for other in records) == 1:
        forms.append(f"{Path(image).name!r} (its image)")
    theirs = _on_a_line(given[0].key, 80)
    return [
        f"no prediction names a record; the first record is called {' or '.join(forms)}, the first id is '{theirs}'"
    ]


def _hint_at_boxes(answers: Sequence[str | None], counts: Mapping[str, int], notation: str | None) -> list[str]:
    """The notation that the answers may be in, where no box was found in any of them."""
    said = [answer for answer in answers if answer]
    if not said or counts.get("answers without a box") != len(answers):
        return []
    found = Counter(detect_notation(answer) or ("brackets" if is_ambiguous(answer) else None) for answer in said)
    likely = next((name for name, _ in found.most_common() if name not in (None, "skyeye", notation)), None)
    names = {"brackets": ("pixels", "thousandths"), "fractions": ("fractions", "padded")}.get(likely, (likely,))
    options = " or ".join(f"--boxes {name}" for name in names if name not in (None, notation))
    how = f"as --boxes {notation} says" if notation else "in this project's notation"
    return [f"no answer holds a box {how}; {found[likely]:,} look like {options}"] if options else []


def _of_answered(
    benchmark: Benchmark, records: Sequence[Record], answers: Sequence[str], matched: Matched
) -> dict[str, float | None] | None:
    """The metrics over the records that have an answer; None when all have one, or none has."""
    places = [place for place, answer in enumerate(matched.answers) if answer is not None]
    if not places or len(places) == len(records):
        return None
    scores = benchmark.metric([records[i] for i in places], [answers[i] for i in places])
    return {name: rounded(value) for name, value in scores.metrics.items()}
