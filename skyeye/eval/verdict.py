"""From numbers to plain words: does the model see, does it listen, and what has it not learnt?

The bars are those of the project's own demo: questions and classes at least 20 points above shuffled images; grounding
at least 40 % with shuffled images at most half of it, and at least 15 points above shuffled phrases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from skyeye.eval.results import BenchmarkResult, EvalResults, MetricValue

SEES_BY = 20.0
GROUNDS_FROM = 40.0
LISTENS_BY = 15.0


@dataclass(frozen=True)
class Verdict:
    """What one benchmark says: sentences for a reader, and the bars with whether they are passed."""

    benchmark: str
    title: str
    sentences: list[str]
    checks: list[tuple[str, bool]]


def verdict(results: EvalResults) -> list[Verdict]:
    """One verdict per benchmark."""
    return [_one(name, result) for name, result in results.benchmarks.items()]


def _one(name: str, result: BenchmarkResult) -> Verdict:
    metric, family = result.protocol.main_metric, result.protocol.family
    value, shuffled = result.main.value, result.main.shuffled_images
    if value is None:
        return Verdict(name, result.protocol.title, ["Nothing could be scored."], [])
    if shuffled is None:
        seen = _not_tested(metric, value, family, result.counts["images"])
    elif family == "captions":
        seen = _captions_see(metric, value, shuffled)
    else:
        seen = _sees(metric, value, shuffled, result.counts["records"])
    sentences = [seen]
    if value >= 1:
        sentences += [*_types(result), *_listens(result)]
    return Verdict(name, result.protocol.title, sentences, _checks(family, metric, result.main))


def _not_tested(metric: str, value: float, family: str, images: int) -> str:
    score = f"{metric} {value:.1f}" if family == "captions" else f"{value:.1f} {metric}"
    if images != 1:
        return f"{score}; it was not asked with shuffled images, so whether it sees was not tested."
    one = "there is one picture only" if family == "captions" else "all questions show the same picture"
    return f"{score}; whether it sees could not be tested, because {one}."


def _sees(metric: str, value: float, shuffled: float, n: int) -> str:
    both = f"{value:.1f} {metric}, {shuffled:.1f} with a wrong picture"
    if value < 1:
        return f"Has not learnt this: {both}."
    if value - shuffled < max(2 * _error(value, shuffled, n), 2.0):
        return f"Does not see: {both}. What is right comes from the words and from habit."
    if value - shuffled < SEES_BY:
        return f"Sees a little: {both}."
    return f"Sees: {both}."


def _captions_see(metric: str, value: float, shuffled: float) -> str:
    both = f"{metric} {value:.1f}, {shuffled:.1f} when it is shown wrong pictures"
    if value <= 1.2 * shuffled or value < 1:
        return f"The captions do not depend on the picture: {both}."
    return f"The captions {'follow' if value >= 2 * shuffled else 'follow a little'} the picture: {both}."


def _types(result: BenchmarkResult) -> list[str]:
    """Which kinds of questions are answered by looking, which are not. Silent where there are many kinds (classes)."""
    parts = _parts(result.metrics, result.protocol.main_metric)
    if not 1 < len(parts) <= 6 or any(None in (x.value, x.shuffled_images) for x in parts.values()):
        return []
    learnt, missing = [], []
    for label, x in parts.items():
        n = result.counts.get(label, 1)
        words = f"{label.replace('_', ' ')} ({x.value:.0f} against {x.shuffled_images:.0f} with shuffled images)"
        close = x.value - x.shuffled_images < max(2 * _error(x.value, x.shuffled_images, n), 5.0)
        (missing if close else learnt).append(words)
    lines = []
    if learnt:
        lines.append(f"Learnt: {', '.join(learnt)}.")
    if missing:
        lines.append(f"Not learnt: {', '.join(missing)}.")
    return lines


def _parts(metrics: Mapping[str, MetricValue], metric: str) -> dict[str, MetricValue]:
    return {name.split("/", 1)[1]: value for name, value in metrics.items() if name.startswith(f"{metric}/")}


def _listens(result: BenchmarkResult) -> list[str]:
    shuffled, same = result.main.shuffled_phrases, result.main.value_on_shuffled_phrases_items
    if shuffled is None:
        return []
    gap, n = same - shuffled, result.counts["shuffled_phrases items"]
    words = "box" if result.protocol.family == "identify" else "words"
    both = f"{same:.1f} with its own {words}, {shuffled:.1f} with the {words} of another object of the scene"
    if gap >= LISTENS_BY:
        return [f"Listens: {both}."]
    if gap >= max(2 * _error(same, shuffled, n), 2.0):
        return [f"Listens a little: {both}."]
    fits = result.metrics.get("any_object@0.5", MetricValue(None)).value
    where = f" {fits:.0f} % of its boxes fit some object, but not the one named." if fits else ""
    return [f"Does not use the {words}: only {gap:.1f} points above shuffled phrases ({both}).{where}"]


def _checks(family: str, metric: str, main: MetricValue) -> list[tuple[str, bool]]:
    value, images, phrases = main.value, main.shuffled_images, main.shuffled_phrases
    checks = []
    if family in ("vqa", "classification") and images is not None:
        checks.append((f"at least {SEES_BY:.0f} points above shuffled images", value - images >= SEES_BY))
    if family == "refer":
        grounds = value >= GROUNDS_FROM and (images is None or images <= value / 2)
        checks.append((f"{metric} at least {GROUNDS_FROM:.0f} %, with shuffled images at most half of it", grounds))
        if phrases is not None:
            listens = main.value_on_shuffled_phrases_items - phrases >= LISTENS_BY
            checks.append((f"at least {LISTENS_BY:.0f} points above shuffled phrases", listens))
    return checks


def _error(a: float, b: float, n: int) -> float:
    """Standard error of the difference of two percentages of n items each (as if independent)."""
    return math.sqrt((max(a * (100 - a), 0) + max(b * (100 - b), 0)) / max(n, 1))
