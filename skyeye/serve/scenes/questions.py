"""What is asked of every window of a scene, as a person writes it on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from skyeye.data.record import Turn
from skyeye.data.tasks import FREE, TASKS
from skyeye.errors import SkyEyeError

#: Written before a question like the name of a task: the question that counting is trained with, and its number.
COUNT = "count"
_TAGGED = re.compile(r"\s*\[\s*([\w ]+?)\s*\]\s*(.*?)\s*", re.DOTALL)
_ASKING = re.compile(
    r"(?:where (?:is|are|can i (?:locate|find))|give me the (?:location|position)s? of|locate|find|detect|show)\s+"
)
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTED = re.compile(rf"(?:(?:the|an?|all|every|each|{'|'.join(_NUMBERS)}|\d+)\s+)+")
_NUMBER = re.compile(rf"\d+|\b(?:{'|'.join(_NUMBERS)})\b")


@dataclass(frozen=True)
class Question:
    """A question that every window is asked.

    Attributes:
        asked: as the person wrote it.
        turn: as the model is asked; its prompt style writes the tag of the task.
        finds: ``boxes``, ``text``, or ``either``, what the answer turns out to hold.
        label: what its boxes are called; None: by the words that the answer gives them.
        condition: asked as well; boxes count only in windows where this is answered with yes.
    """

    asked: str
    turn: Turn
    finds: Literal["boxes", "text", "either"]
    label: str | None = None
    condition: Turn | None = None


def parse_question(text: str, condition: str | None = None) -> Question:
    """``[detection] planes``, ``[classification] forest, river``, ``[count] ships``, ``[caption]``, or free words.

    Args:
        condition: a question that is answered with yes or no, such as ``[vqa] is there a plane ?``.

    Raises:
        SkyEyeError: the name in brackets is no task, or nothing is asked.
    """
    turn = _turn(text)
    task = turn.task
    finds: Literal["boxes", "text", "either"]
    if task == FREE:
        finds = "either"
    else:
        finds = "boxes" if TASKS[task].answer == "boxes" or task == "grounding" else "text"
    if condition is not None and finds == "text":
        raise SkyEyeError("a condition is for questions whose answers are boxes", where=f"--if {condition!r}")
    label = label_of(turn.question) if task in ("detection", "refer") else None
    return Question(text.strip(), turn, finds, label, None if condition is None else _turn(condition))


def turns_of(questions: Sequence[Question]) -> list[Turn]:
    """Everything that a window is asked, each once."""
    asked = [turn for question in questions for turn in (question.turn, question.condition) if turn is not None]
    return list(dict.fromkeys(asked))


def label_of(words: str) -> str:
    """What an object is called by words that ask for it or name it: ``where is the red plane ?`` -> ``red plane``,
    ``the three ships`` -> ``ships``."""
    plain = " ".join(words.lower().split()).strip(" ?.!,;:")
    plain = _ASKING.sub("", plain, count=1) if _ASKING.match(plain) else plain
    found = _COUNTED.match(plain)
    return plain[found.end() :] if found else plain


def is_yes(answer: str) -> bool:
    """Whether an answer says yes."""
    return answer.strip().lower().split(",")[0].strip(" .!").split(" ")[0] in ("yes", "true")


def number_in(answer: str) -> int | None:
    """The first number of an answer, in digits or in words up to ten."""
    found = _NUMBER.search(answer.lower())
    if found is None:
        return None
    return _NUMBERS.index(found[0]) if found[0] in _NUMBERS else int(found[0])


def _turn(text: str) -> Turn:
    tagged = _TAGGED.fullmatch(text)
    if tagged is None:
        if not text.strip():
            raise SkyEyeError("nothing is asked", where="--ask", remedy='e.g. --ask "[detection] planes"')
        return Turn(text.strip(), "", FREE)
    task, words = tagged[1].lower().replace(" ", "_"), tagged[2]
    if task == COUNT:
        return Turn(f"what is the number of {_needed(words, text)} ?", "", "vqa")
    if task not in TASKS or TASKS[task].images != "one":
        known = ", ".join(f"[{name}]" for name, each in TASKS.items() if each.images == "one")
        raise SkyEyeError(f"[{tagged[1]}] is no task", where=f"--ask {text!r}", remedy=f"known: {known}, [{COUNT}]")
    if task == "classification" and "," in words and "?" not in words:
        listed = ", ".join(word.strip() for word in words.split(",") if word.strip())
        words = f"Classify the image within one of the given classes: {listed}. Answer with one word or short phrase."
    if task in ("caption", "grounding") and not words:
        words = "briefly describe the image"
    return Turn(_needed(words, text), "", task)


def _needed(words: str, text: str) -> str:
    if not words:
        raise SkyEyeError("nothing is asked behind the task", where=f"--ask {text!r}", remedy="e.g. [detection] planes")
    return words
