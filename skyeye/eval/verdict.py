"""From numbers to plain words: does the model see, does it listen, and what has it not learnt?

The bars are those of the project's own demo: questions and classes at least 20 points above *blind*; grounding at least
40 % with *blind* at most half of it, and at least 15 points above *deaf*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SEES_BY = 20.0
GROUNDS_FROM = 40.0
LISTENS_BY = 15.0

#: Keys of a benchmark in scores.json that are no metrics.
NOT_METRICS = frozenset({"counts", "protocol"})


@dataclass(frozen=True)
class Verdict:
    """What one benchmark says: sentences for a reader, and the bars with whether they are passed."""

    benchmark: str
    title: str
    sentences: list[str]
    checks: list[tuple[str, bool]]


def metrics_of(entry: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """The metrics of one benchmark of scores.json, without counts and protocol."""
    return {name: value for name, value in entry.items() if name not in NOT_METRICS}


def verdict(scores: dict[str, Any]) -> list[Verdict]:
    """One verdict per benchmark of a ``scores.json``."""
    return [_one(name, entry) for name, entry in scores.items() if name != "about"]


def _one(name: str, entry: dict[str, Any]) -> Verdict:
    protocol, counts = entry["protocol"], entry["counts"]
    main, family = protocol["main_metric"], protocol["family"]
    triple = entry.get(main) or {"value": None, "blind": None, "deaf": None}
    value, blind = triple["value"], triple["blind"]
    if value is None:
        return Verdict(name, protocol["title"], ["Nothing could be scored."], [])
    if blind is None:
        seen = _not_asked_blind(main, value, family, counts["images"])
    else:
        seen = (
            _captions_see(main, value, blind) if family == "captions" else _sees(main, value, blind, counts["records"])
        )
    sentences = [seen]
    if value >= 1:
        sentences += [*_types(entry, main), *_listens(triple, entry, counts)]
    return Verdict(name, protocol["title"], sentences, _checks(family, main, triple))


def _not_asked_blind(metric: str, value: float, family: str, images: int) -> str:
    score = f"{metric} {value:.1f}" if family == "captions" else f"{value:.1f} {metric}"
    if images != 1:
        return f"{score}; it was not asked blind, so whether it sees was not tested."
    one = "there is one picture only" if family == "captions" else "all questions show the same picture"
    return f"{score}; whether it sees could not be tested, because {one}."


def _sees(metric: str, value: float, blind: float, n: int) -> str:
    both = f"{value:.1f} {metric}, {blind:.1f} with a wrong picture"
    if value < 1:
        return f"Has not learnt this: {both}."
    if value - blind < max(2 * _error(value, blind, n), 2.0):
        return f"Does not see: {both}. What is right comes from the words and from habit."
    if value - blind < SEES_BY:
        return f"Sees a little: {both}."
    return f"Sees: {both}."


def _captions_see(metric: str, value: float, blind: float) -> str:
    both = f"{metric} {value:.1f}, {blind:.1f} when it is shown wrong pictures"
    if value <= 1.2 * blind or value < 1:
        return f"The captions do not depend on the picture: {both}."
    return f"The captions {'follow' if value >= 2 * blind else 'follow a little'} the picture: {both}."


def _types(entry: dict[str, Any], main: str) -> list[str]:
    """Which kinds of questions are answered by looking, which are not. Silent where there are many kinds (classes)."""
    parts = {name.split("/", 1)[1]: x for name, x in metrics_of(entry).items() if name.startswith(f"{main}/")}
    if not 1 < len(parts) <= 6 or any(x["value"] is None or x["blind"] is None for x in parts.values()):
        return []
    learnt, missing = [], []
    for label, x in parts.items():
        n = entry["counts"].get(label, 1)
        words = f"{label.replace('_', ' ')} ({x['value']:.0f} against {x['blind']:.0f} blind)"
        close = x["value"] - x["blind"] < max(2 * _error(x["value"], x["blind"], n), 5.0)
        (missing if close else learnt).append(words)
    lines = []
    if learnt:
        lines.append(f"Learnt: {', '.join(learnt)}.")
    if missing:
        lines.append(f"Not learnt: {', '.join(missing)}.")
    return lines


def _listens(triple: dict[str, float | None], entry: dict[str, Any], counts: dict[str, int]) -> list[str]:
    deaf = triple["deaf"]
    if deaf is None:
        return []
    same = triple["value_on_deaf_items"]
    gap, n = same - deaf, counts["deaf items"]
    words = "box" if entry["protocol"]["family"] == "identify" else "words"
    both = f"{same:.1f} with its own {words}, {deaf:.1f} with the {words} of another object of the scene"
    if gap >= LISTENS_BY:
        return [f"Listens: {both}."]
    if gap >= max(2 * _error(same, deaf, n), 2.0):
        return [f"Listens a little: {both}."]
    fits = entry.get("any_object@0.5")
    where = (
        f" {fits['value']:.0f} % of its boxes fit some object, but not the one named." if fits and fits["value"] else ""
    )
    return [f"Does not use the {words}: only {gap:.1f} points above deaf ({both}).{where}"]


def _checks(family: str, metric: str, triple: dict[str, float | None]) -> list[tuple[str, bool]]:
    value, blind, deaf = triple["value"], triple["blind"], triple["deaf"]
    checks = []
    if family in ("vqa", "classification") and blind is not None:
        checks.append((f"at least {SEES_BY:.0f} points above blind", value - blind >= SEES_BY))
    if family == "refer":
        grounds = value >= GROUNDS_FROM and (blind is None or blind <= value / 2)
        checks.append((f"{metric} at least {GROUNDS_FROM:.0f} %, blind at most half of it", grounds))
        if deaf is not None:
            checks.append(
                (f"at least {LISTENS_BY:.0f} points above deaf", triple["value_on_deaf_items"] - deaf >= LISTENS_BY)
            )
    return checks


def _error(a: float, b: float, n: int) -> float:
    """Standard error of the difference of two percentages of n items each (as if independent)."""
    return math.sqrt((max(a * (100 - a), 0) + max(b * (100 - b), 0)) / max(n, 1))
