"""Text normalisation before exact matching: the rules of the public VQA evaluation, which MiniGPT-v2 uses too.

Two levels. ``punctuation`` only removes marks; ``full`` also lower-cases, writes numbers zero to ten as digits, drops
articles and restores the apostrophe of contractions. The rules are odd in places ("what? yes!" keeps a trailing space);
they are kept as they are because published numbers were computed with them.
"""

from __future__ import annotations

import re
from typing import Literal

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

_NUMBERS = {"none": "0"} | {
    word: str(value) for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
_ARTICLES = {"a", "an", "the"}


def _contractions() -> dict[str, str]:
    """Contraction without apostrophe -> with it. Forms that are words of their own (shed, well) are left out."""
    families = {
        "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
        "'ve": "could might must should would they we what where who you",
        "'d": "he how it somebody someone something there they where who you",
        "'ll": "how it somebody someone something they what who why you",
        "'re": "there they what why you",
        "'s": "he how somebody someone something that there what when where who why",
    }
    whole = {"maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all"}
    return whole | {
        stem + ending.replace("'", ""): stem + ending for ending, stems in families.items() for stem in stems.split()
    }


_CONTRACTIONS = _contractions()


def strip_punctuation(text: str) -> str:
    """Remove marks that touch a space, replace the others by a space; full stops go unless a digit follows.

    A comma between digits ("1,000") makes every mark of the text vanish without a space.
    """
    joined = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if joined or beside_space else " ")
    return _FULL_STOP.sub("", result)


def normalise_answer(text: str, level: Literal["punctuation", "full"] = "full") -> str:
    """The text as it is compared in exact matching."""
    stripped = strip_punctuation(text)
    if level == "punctuation":
        return stripped
    words = [_NUMBERS.get(word, word) for word in stripped.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, ground_truths: list[str]) -> float:
    """Consensus accuracy in 0..1 of the VQA challenge, for several human answers to one question.

    Each truth is left out in turn; the answer scores min(1, matches among the others / 3); the mean counts. As in the
    public evaluation, truths that all agree are compared as written, without normalisation.
    """
    answer = normalise_answer(" ".join(answer.split()))
    truths = list(ground_truths)
    if len(set(truths)) > 1:
        truths = [normalise_answer(truth) for truth in truths]
    matches = sum(truth == answer for truth in truths)
    return sum(min(1.0, (matches - (truth == answer)) / 3) for truth in truths) / len(truths)
