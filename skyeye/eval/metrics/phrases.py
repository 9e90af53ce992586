"""Answers in a few free words: yes or no, things named, a letter, and refusals of questions about what is not there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skyeye.data.formats.base.choices import LETTERS
from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, percent
from skyeye.eval.metrics.choices import letters_said
from skyeye.eval.metrics.normalise import normalise_answer
from skyeye.eval.results import Answer

_WORD = re.compile(r"[a-z']+")
#: Words of an answer that says that what was asked for is not there or cannot be told.
_REFUSES = re.compile(
    r"\b(?:no|not|none|cannot|can't|can not|unable|unknown|unclear|impossible|invalid|absent|missing|doesn't|don't"
    r"|isn't|aren't|couldn't|without|neither|nothing|sorry|false premise)\b",
    re.IGNORECASE,
)


def yes_no(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """Whether an answer says yes or no, against ``references['answer']``; one that says both or neither is wrong.

    ``said_yes``: how many answers do, which tells who says it always.
    """
    said = [_yes_or_no(answer.text) for answer in answers]
    truths = [_yes_or_no(str(record.references["answer"])) for record in records]
    hits = [a is not None and a == b for a, b in zip(said, truths, strict=True)]
    statistics = {
        "accuracy": percent(hits),
        "said_yes": percent([a == "yes" for a in said]),
        "chance": percent([0.5] * len(records)),
    }
    items = [{"truth": t, "correct": h, "said": s} for t, h, s in zip(truths, hits, said, strict=True)]
    return Scores(statistics, items, {"answers without yes or no": sum(a is None for a in said)})


def named(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """Which of the words of ``references['answer']`` (``red, white``) an answer holds, as VHM scores colours.

    ``share_named`` is the mean share of them, ``accuracy`` counts the answers that hold all.
    """
    truths = [[one.strip() for one in str(r.references["answer"]).split(",") if one.strip()] for r in records]
    shares = [_share(answer.text, truth) for answer, truth in zip(answers, truths, strict=True)]
    statistics = {"share_named": percent(shares), "accuracy": percent([share == 1 for share in shares])}
    items = [
        {"truth": ", ".join(truth), "correct": share == 1, "share": round(share, 4)}
        for truth, share in zip(truths, shares, strict=True)
    ]
    return Scores(statistics, items, {"answers that refuse": sum(refuses(answer.text) for answer in answers)})


def letter(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The letter that an answer names against that of ``references['answer']``, where the options stand in the
    question as it was published. ``chance`` over the questions whose options were counted (``references['letters']``).
    """
    of = [LETTERS[: record.references.get("letters", 5)] for record in records]
    truths = [letters_said(str(record.references["answer"]), known) for record, known in zip(records, of, strict=True)]
    said = [letters_said(answer.text, known) for answer, known in zip(answers, of, strict=True)]
    hits = [bool(a) and a == b for a, b in zip(said, truths, strict=True)]
    counted = ["letters" in record.references for record in records]
    statistics = {"accuracy": percent(hits), "chance": percent([1 / len(known) for known in of], counted)}
    items = [{"truth": t, "correct": h, "said": s} for t, h, s in zip(truths, hits, said, strict=True)]
    return Scores(statistics, items, {"answers that name no option": sum(not a for a in said)})


def refusal(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """Questions about what is not in the image: right is who says so. An answer is a refusal when it is the published
    one, or says that something is not there or cannot be told (no, not, none, cannot, unknown ...)."""
    hits = [
        refuses(answer.text) or _same(answer.text, str(record.references["answer"]))
        for answer, record in zip(answers, records, strict=True)
    ]
    items = [{"truth": str(r.references["answer"]), "correct": hit} for r, hit in zip(records, hits, strict=True)]
    return Scores({"refused": percent(hits)}, items, {"empty answers": sum(not a.text.strip() for a in answers)})


def refuses(text: str) -> bool:
    """Whether an answer says that what was asked for is not there or cannot be told."""
    return _REFUSES.search(text) is not None


def _yes_or_no(text: str) -> str | None:
    words = set(_WORD.findall(text.lower()))
    said = words & {"yes", "no"}
    return said.pop() if len(said) == 1 else None


def _share(text: str, truth: Sequence[str]) -> float:
    squeezed = re.sub(r"\s+", "", text.lower())
    return sum(re.sub(r"\s+", "", one.lower()) in squeezed for one in truth) / len(truth) if truth else 0.0


def _same(a: str, b: str) -> bool:
    return normalise_answer(a) == normalise_answer(b)
