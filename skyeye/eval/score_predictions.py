"""Scores of answers that are on disk, ours or another system's: no model is needed, and no image where records do
without. What does not fit the benchmark is counted and named, never guessed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skyeye.data.files import check_new_folder
from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.formats.base.problems import Problem
from skyeye.data.geometry.box_text import detect_notation, is_ambiguous
from skyeye.data.images.reference import parse_reference
from skyeye.data.record import Record
from skyeye.eval.answers import Matched, Prediction, match, read_predictions
from skyeye.eval.answers.boxes import AUTO, in_notation, read_boxes
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.benchmarks.base import MissingImages
from skyeye.eval.benchmarks.conditions import BenchmarkRun
from skyeye.eval.benchmarks.published import size_note
from skyeye.eval.box_detective import Verdict, detect
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.bootstrap import intervals
from skyeye.eval.near_zero import near_zero
from skyeye.eval.report.to_text import on_a_line
from skyeye.eval.results import Answer, PredictionFileScores, Protocol
from skyeye.eval.score import images_of, protocol, rounded, said_of
from skyeye.eval.write import about_scoring, write_results

DECODING = "not known: the answers were read from a file"


@dataclass(frozen=True)
class PredictionFile:
    """What a file of another system is, beyond what it says itself.

    Attributes:
        path: the file; see :mod:`skyeye.eval.answers.read` for the kinds of files.
        notation: how its answers write boxes (:mod:`skyeye.data.geometry.box_text`); None: as this project does;
            ``auto``: as fifty of its answers tell.
        answer_key: under which name the answers stand, where the file holds the truth under another.
    """

    path: Path
    notation: str | None = None
    answer_key: str | None = None


@dataclass(frozen=True)
class _Read:
    """A prediction file joined with the records of a benchmark."""

    given: list[Prediction]
    problems: list[Problem]  # lines that hold no prediction
    records: list[Record]
    skipped: list[Problem]
    matched: Matched
    answers: list[Answer | None]
    verdict: Verdict | None  # on the boxes, where it was asked for


def score_file(
    file: PredictionFile,
    benchmark: Benchmark,
    data_root: Path,
    *,
    out_dir: Path | None = None,
    missing_images: MissingImages = "keep",
) -> PredictionFileScores:
    """Score a prediction file.

    A record without an answer, or with two, counts as answered with nothing; ``metrics_of_answered`` is what the
    others alone would score. What is only the trace of a model's output format is taken off first, and counted.

    Args:
        out_dir: also write predictions, tables and report there, as ``skyeye eval`` does.
        missing_images: what becomes of records whose image is missing or broken; those skipped are in no divisor.

    Raises:
        SkyEyeError: the file or the data cannot be read, or there is no such notation.
    """
    started = time.time()
    in_notation(file.notation)  # told before anything is read
    if out_dir is not None:
        check_new_folder(out_dir)
    given, problems = read_predictions(file.path, file.answer_key)
    records, skipped = benchmark.load(data_root, missing_images)
    matched = match(given, records)
    answers, verdict = answers_of(matched.answers, records, benchmark, file.notation)
    read = _Read(given, problems, records, skipped, matched, answers, verdict)
    about = {"checkpoint": str(file.path), "data_root": str(data_root), "notation": file.notation}
    about |= {"boxes": str(verdict)} if verdict else {}
    about["missing_images"] = missing_images
    if out_dir is not None:
        odd = {kind: n for kind, n in _counts(read).items() if kind not in ("records", "answered")}
        odd |= {f"with {kind} taken off": n for kind, n in _output_format(given).items()}
        run = BenchmarkRun(benchmark, records, benchmark.max_new_tokens, skipped=skipped, odd_answers=odd)
        write_results(
            [run], {benchmark.name: {"seen": read.answers}}, out_dir, about, started, decoding=lambda _: DECODING
        )
    return _scored(read, benchmark, file.notation, {**about, **about_scoring(started)})


def answers_of(
    texts: Sequence[str | None], records: Sequence[Record], benchmark: Benchmark, notation: str | None
) -> tuple[list[Answer | None], Verdict | None]:
    """Texts as answers, with their boxes where the benchmark scores boxes; None stays None. And what the detective says
    of the boxes, where ``notation`` asks it."""
    answers = [Answer(text or "") for text in texts]
    verdict = _verdict(texts, records, benchmark, notation)
    if benchmark.output == "boxes":
        read = verdict.read if verdict is not None and verdict.frame is not None else in_notation(notation)
        answers = read_boxes(records, answers, read)
    return [None if text is None else answer for text, answer in zip(texts, answers, strict=True)], verdict


def _verdict(
    texts: Sequence[str | None], records: Sequence[Record], benchmark: Benchmark, notation: str | None
) -> Verdict | None:
    """What the detective says of boxes in answers, where it is asked."""
    if notation != AUTO or benchmark.output != "boxes":
        return None
    said = [(record, text) for record, text in zip(records, texts, strict=True) if text]
    return detect([record for record, _ in said], [text for _, text in said])


def _scored(read: _Read, benchmark: Benchmark, notation: str | None, about: dict[str, Any]) -> PredictionFileScores:
    scores = benchmark.metric(read.records, said_of(read.answers))
    matched = read.matched
    return PredictionFileScores(
        benchmark=benchmark.name,
        metrics=_rounded(scores),
        intervals={
            name: None if ends is None else (rounded(ends[0]), rounded(ends[1]))
            for name, ends in intervals(scores, images_of(read.records)).items()
        },
        metrics_of_answered=_of_answered(benchmark, read),
        counts=_counts(read) | scores.counts,
        unknown=matched.unknown,
        missing=matched.missing,
        double=matched.double,
        repeated=matched.repeated,
        output_format=_output_format(read.given),
        reasons=matched.reasons,
        ids=matched.way,
        keys={
            "id": sorted({prediction.keys[0] for prediction in read.given}),
            "answer": sorted({prediction.keys[1] for prediction in read.given}),
        },
        hints=[
            *([str(read.verdict)] if read.verdict is not None and read.verdict.frame is None else []),
            *_hint_at_ids(matched, read.records, read.given),
            *(
                _hint_at_boxes(matched.answers, scores.counts, notation)
                or near_zero(benchmark, read.records, read.answers, scores)
            ),
        ],
        unreadable=_listed(read.problems),
        skipped=_listed(read.skipped),
        size=size_note(benchmark, read.records) if benchmark.published else None,
        protocol=_with_frame(protocol(benchmark, read.records, scores, DECODING), read.verdict),
        about=about,
    )


def _with_frame(how: Protocol, verdict: Verdict | None) -> Protocol:
    return how if verdict is None or verdict.frame is None else replace(how, notes=(*how.notes, str(verdict)))


def _counts(read: _Read) -> dict[str, int]:
    return {
        "records": len(read.records),
        "answered": sum(answer is not None for answer in read.answers),
        "missing": len(read.matched.missing),
        "double": len(read.matched.double),
        "repeated": len(read.matched.repeated),
        "unknown": len(read.matched.unknown),
        "unreadable": sum(problem.count for problem in read.problems),
    }


def _output_format(given: Sequence[Prediction]) -> dict[str, int]:
    """What was taken off how many answers, the most frequent first."""
    return dict(Counter(kind for prediction in given for kind in prediction.traces).most_common())


def _rounded(scores: Scores) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in scores.metrics.items()}


def _listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"kind": p.kind, "where": p.where, "what": p.what} for p in problems]


def _of_answered(benchmark: Benchmark, read: _Read) -> dict[str, float | None] | None:
    """The metrics over the records that have an answer; None when all have one, or none has."""
    places = [place for place, answer in enumerate(read.answers) if answer is not None]
    if not places or len(places) == len(read.records):
        return None
    return _rounded(benchmark.metric([read.records[i] for i in places], [read.answers[i] for i in places]))


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
    theirs = on_a_line(given[0].key, 80)
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
