"""Questions with options: the letter that an answer names, over all the orders in which the options were shown."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from skyeye.data.formats.base.choices import LETTERS
from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, Statistic, percent, ratio
from skyeye.eval.results import Answer

#: A letter or several at the beginning, with nothing or a mark behind: "B", "(B)", "B. a ship", "A, C"; not "A ship".
_FIRST = re.compile(r"\W*([A-P](?:\s*(?:,|;|and|&)\s*[A-P]\b)*|[A-P]{2,})(?=\s*(?:$|[).:,;\]]))")
_NAMED = re.compile(r"(?:answer|option|choice)s?(?:\s+(?:is|are))?\s*:?\s*\(?([A-P])\b\)?(?!\s+[a-z])", re.IGNORECASE)


def choices(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The option that an answer names, by its letter or else in its own words, against ``references['answer']``.

    ``accuracy`` is over all questions as they were asked: each once for every order of ``references['options']``.
    ``circular_accuracy`` counts a question (``references['asked']``) as right when all its orders are answered right,
    ``voted_accuracy`` when most of them name the right option, a tie is wrong. ``chance`` and ``circular_chance`` are
    what an answerer would score that draws a letter each time: of a question with one right option among n, 1 / n, and
    of its n orders (1 / n) ** n; where several are right a set of letters is drawn. Parts by ``references['type']`` or
    the list ``references['types']``. Questions of which not all orders were asked are in ``accuracy`` alone.
    """
    options = [record.references["options"] for record in records]
    said = [letters_said(answer.text, of) for answer, of in zip(answers, options, strict=True)]
    truths = [record.references["answer"] for record in records]
    hits = [a == b for a, b in zip(said, truths, strict=True)]
    drawn = [1 / (len(o) if len(t) == 1 else 2 ** len(o) - 1) for o, t in zip(options, truths, strict=True)]
    groups = _groups(records)
    whole = [members for members in groups.values() if len(members) == len(options[members[0]])]
    voted = {tuple(members): _voted(members, said, options) for members in whole}
    right = {tuple(m): {options[m[0]][LETTERS.index(letter)] for letter in truths[m[0]]} for m in whole}
    statistics = {
        "accuracy": percent(hits),
        "chance": percent(drawn),
        "circular_accuracy": _of_groups(whole, [all(hits[i] for i in m) for m in whole], len(records)),
        "circular_chance": _of_groups(whole, [math.prod(drawn[i] for i in m) for m in whole], len(records)),
        "voted_accuracy": _of_groups(whole, [voted[tuple(m)] == right[tuple(m)] for m in whole], len(records)),
    }
    parts, counts = _by_type(records, hits)
    counts |= {"answers that name no option": sum(not letters for letters in said)}
    if len(whole) < len(groups):
        counts["questions not asked in every order"] = len(groups) - len(whole)
    items = [
        {"truth": truth, "correct": hit, "said": letters, "type": ", ".join(_types(record)) or None}
        for record, truth, hit, letters in zip(records, truths, hits, said, strict=True)
    ]
    return Scores(statistics | parts, items, counts)


def letters_said(answer: str, options: Sequence[str]) -> str:
    """The letters that an answer names, in order; empty where it names none of the options, or several in words."""
    known = set(LETTERS[: len(options)])
    text = answer.strip()
    match = _FIRST.match(text) or _NAMED.search(text)
    found = set(re.findall(r"[A-P]", match[1].upper().replace("AND", ","))) if match is not None else set()
    if found and found <= known:
        return "".join(sorted(found))
    words = _plain(text)
    named = [LETTERS[n] for n, option in enumerate(options) if _plain(option) == words]
    if not named:
        within = [n for n, option in enumerate(options) if re.search(rf"\b{re.escape(_plain(option))}\b", words)]
        longer = [n for n in within if not any(n != m and _plain(options[n]) in _plain(options[m]) for m in within)]
        named = [LETTERS[n] for n in longer]
    return named[0] if len(named) == 1 else ""


def _groups(records: Sequence[Record]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for number, record in enumerate(records):
        groups[record.references.get("asked", record.id)].append(number)
    return groups


def _voted(members: Sequence[int], said: Sequence[str], options: Sequence[Sequence[str]]) -> set[str]:
    """The options that most of the answers to one question name; none where two sets are named as often."""
    votes = Counter(frozenset(options[i][LETTERS.index(letter)] for letter in said[i]) for i in members if said[i])
    best = votes.most_common(2)
    return set(best[0][0]) if best and (len(best) == 1 or best[0][1] > best[1][1]) else set()


def _of_groups(groups: Sequence[Sequence[int]], values: Sequence[float], items: int) -> Statistic:
    """The percentage of questions, counted at the first of the times that each is asked."""
    rows = np.zeros((items, 2))
    for members, value in zip(groups, values, strict=True):
        rows[members[0]] = float(value), 1
    return Statistic(rows, lambda sums: 100 * ratio(sums[..., 0], sums[..., 1]))


def _types(record: Record) -> list[str]:
    kinds = record.references.get("types") or [record.references.get("type")]
    return [re.sub(r"[^a-z0-9]+", "_", str(kind).lower()).strip("_") for kind in kinds if kind is not None]


def _by_type(records: Sequence[Record], hits: Sequence[bool]) -> tuple[dict[str, Statistic], dict[str, int]]:
    of = [_types(record) for record in records]
    members = {kind: [kind in own for own in of] for kind in sorted({kind for own in of for kind in own})}
    parts = {f"accuracy/{kind}": percent(hits, inside) for kind, inside in members.items()}
    return parts, {kind: sum(inside) for kind, inside in members.items()}


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())
