"""Questions with options: how they are asked, and the same question with its options in another order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.record import Record, Turn

LETTERS = "ABCDEFGHIJKLMNOP"
INSTRUCTION = "Answer with the letter of the option."
_LABEL = re.compile(r"\s*\(?([A-P])[).:]\s*")
_BETWEEN = re.compile(r"(?:^|[\s;,|])\(?([A-P])[).:]\s+")


def options_in(value: Any, where: str) -> list[str]:
    """The options of a question: a list of texts, or one text with a letter before each; letters are taken off.

    Raises:
        BadRecord: fewer than two, or more than there are letters, or the letters are not in order.
    """
    if isinstance(value, str):
        parts = _BETWEEN.split(value)
        labels, texts = parts[1::2], [part.strip().rstrip(";,|").strip() for part in parts[2::2]]
    else:
        given = [str(option).strip() for option in value] if isinstance(value, (list, tuple)) else []
        matches = [_LABEL.match(option) for option in given]
        labelled = all(
            match is not None and match[1] == letter for match, letter in zip(matches, LETTERS, strict=False)
        )
        labels = list(LETTERS[: len(given)])
        texts = [o[m.end() :].strip() if labelled and m else o for o, m in zip(given, matches, strict=True)]
    if (
        not 2 <= len(texts) <= len(LETTERS)
        or labels != list(LETTERS[: len(texts)])
        or not all(texts)
        or len(set(texts)) < len(texts)
    ):
        raise BadRecord("no options", where, f"options are not two or more, all different: {str(value)[:60]!r}")
    return texts


def letters_in(value: Any, options: Sequence[str], where: str) -> str:
    """The letters of the right options, in order: of ``B``, ``(B)``, ``B. ship``, ``A,C`` or the text of an option.

    Raises:
        BadRecord: it names none of the options.
    """
    text = str(value).strip() if isinstance(value, (str, int, float)) else ""
    known = LETTERS[: len(options)]
    if text in options:
        return LETTERS[list(options).index(text)]
    label = _LABEL.match(text)
    found = (
        [label[1]] if label is not None else re.findall(r"[A-P]", text) if re.fullmatch(r"[A-P\s,;&()]+", text) else []
    )
    if not found or any(letter not in known for letter in found):
        raise BadRecord("no answer", where, f"{text[:40]!r} is none of the options {known[0]} to {known[-1]}")
    return "".join(sorted(set(found)))


def asked(question: str, options: Sequence[str]) -> str:
    """The question with its options, in the order given."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question}\n{listed}\n{INSTRUCTION}"


def choice_record(question: str, options: Sequence[str], letters: str, *, task: str = "vqa", **about: Any) -> Record:
    """A record of a question with options.

    Args:
        letters: of the right ones.
        about: of the record: ``id``, ``source``, ``split``, ``images``, ``where``; ``references`` go with those of the
            choice.
    """
    references = {
        **about.pop("references", {}), "question": question, "options": list(options), "answer": letters,
    }  # fmt: skip
    turn = Turn(asked(question, options), letters, task)
    return Record(task=task, turns=(turn,), references=references, **about)


def reordered(record: Record, order: Sequence[int], number: int) -> Record:
    """The record with its options in another order, as the ``number``-th time that it is asked.

    Args:
        order: for each place the number of the option that comes there.
    """
    options: list[str] = record.references["options"]
    right = {options[LETTERS.index(letter)] for letter in record.references["answer"]}
    now = [options[place] for place in order]
    letters = "".join(letter for letter, option in zip(LETTERS, now, strict=False) if option in right)
    references = {**record.references, "options": now, "answer": letters, "asked": record.id}
    turn = replace(record.turns[0], question=asked(record.references["question"], now), answer=letters)
    return replace(record, id=f"{record.id}:{number}", turns=(turn, *record.turns[1:]), references=references)
