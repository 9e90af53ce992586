"""What every prompt style has in common: how it writes questions, answers and boxes, and reads boxes back.

A style knows no token ids: it gives a conversation as :class:`Segment` texts, each of which
:mod:`skyeye.data.sequence` tokenises on its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from skyeye.data.geometry.box_text import (
    HUNDREDTHS,
    BoxNotation,
    Size,
    compacted_with_places,
    find_answer_boxes,
    read_answer_boxes,
)
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Turn
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError

IMAGE_MARK = "<ImageHere>"  # where an image stands in a text, before it is cut into segments


@dataclass(frozen=True)
class Segment:
    """A piece of a conversation that is tokenised on its own.

    Attributes:
        kind: ``text``; ``image``, the place of one image's tokens; ``begin``, the tokenizer's first token.
        learnt: its tokens are targets.
    """

    text: str = ""
    kind: Literal["text", "image", "begin"] = "text"
    learnt: bool = False


IMAGE, BEGIN = Segment(kind="image"), Segment(kind="begin")


class PromptStyle(ABC):
    """How one model family writes a conversation.

    Args:
        boxes: how it writes boxes.
    """

    #: Whether it has a place for what a system says first.
    has_system: ClassVar[bool] = False
    #: Whether questions about the same images may share what stands before them.
    shares_prefix: ClassVar[bool] = True
    #: What opens the question of a task.
    tags: ClassVar[dict[str, str]] = {}
    #: How words that boxes belong to are written.
    phrase: ClassVar[str] = "{}"
    #: What opens a question about a pair of images: which is which. No family has a word for it.
    pair: ClassVar[str] = "The first image was taken before, the second after."

    def __init__(self, boxes: BoxNotation):
        self.boxes = boxes

    @property
    def needs_size(self) -> bool:
        """Whether boxes can be written and read only with the size of the image."""
        return self.boxes.needs_size

    @abstractmethod
    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        """A conversation to learn from: the first question with its images, the answers (learnt), further questions."""

    @abstractmethod
    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        """A conversation whose last answer is to be given: what :meth:`training` holds before it, as it is asked."""

    @abstractmethod
    def ends(self) -> list[str]:
        """Texts that end an answer, besides the tokenizer's last token."""

    def question(self, turn: Turn, size: Size | None = None) -> str:
        """The question of a turn: tag, words and boxes; of a pair of images also which of them is the earlier.

        Args:
            size: width and height of the image in pixels; needed where the notation needs it.
        """
        words, task = self._written(turn.question, turn.question_mentions, size), TASKS[turn.task]
        if task.images == "pair":
            words = f"{self.pair} {words}".rstrip()
        tag = self.tags.get(task.name) or self.tags.get(task.like or "")
        if not tag:
            return words
        return f"{tag} {words}" if words else tag

    def answer(self, turn: Turn) -> str:
        """The answer of a turn: words and boxes."""
        return self._written(turn.answer, turn.answer_mentions)

    def read_boxes(self, text: str, size: Size | None = None) -> list[Box | OrientedBox]:
        """Every well-formed box of an answer, in order.

        Args:
            size: width and height of the image in pixels; needed where the notation needs it.
        """
        if self.boxes.form == "braces" and self.boxes.scale == HUNDREDTHS:
            return read_answer_boxes(text, size)
        return [box for box, _ in self.placed_boxes(text, size)]

    def placed_boxes(self, text: str, size: Size | None = None) -> list[tuple[Box | OrientedBox, tuple[int, int]]]:
        """The boxes of :meth:`read_boxes`, each with the place from its first character to behind its last; boxes that
        are written in one list have that of the list."""
        if self.boxes.form == "braces" and self.boxes.scale == HUNDREDTHS:
            compact, places = compacted_with_places(text)
            return [
                (box, (places[found.start], places[found.end - 1] + 1))
                for found in find_answer_boxes(compact, size)
                for box in found.boxes
            ]
        placed = [(box, (found.start, found.end)) for found in self.boxes.find(text, size) for box in found.boxes]
        return [
            (box, place)
            for box, place in placed
            if isinstance(box, OrientedBox) or (box.x1 <= box.x2 and box.y1 <= box.y2)
        ]

    def read_phrases(self, text: str) -> list[tuple[str, list[Box | OrientedBox]]]:
        """The boxes of an answer by the words they belong to, in order; ``""``: boxes before any marked phrase."""
        pieces = [("", text)]
        if self.phrase != "{}":
            opening, closing = (part.strip() for part in self.phrase.split("{}"))
            mark = f"{re.escape(opening)}((?:(?!{re.escape(opening)}|{re.escape(closing)}).)*){re.escape(closing)}"
            head, *rest = re.split(mark, text, flags=re.DOTALL)
            behind = [piece.split(opening)[0] for piece in rest[1::2]]  # an unclosed mark ends the words before it
            pieces = [("", head), *zip((words.strip() for words in rest[::2]), behind, strict=True)]
        found = [(words, self.read_boxes(behind)) for words, behind in pieces]
        return [(words, boxes) for words, boxes in found if words or boxes]

    def _written(self, text: str, mentions: Sequence[Mention], size: Size | None = None) -> str:
        if not mentions:
            return text
        first, *rest = text.split(MARK)
        return first + "".join(self._mention(m, size) + behind for m, behind in zip(mentions, rest, strict=True))

    def _mention(self, mention: Mention, size: Size | None = None) -> str:
        boxes = self._write_boxes(mention.boxes, size)
        if mention.phrase is None:
            return boxes
        words = self.phrase.replace("{}", mention.phrase)
        return f"{words} {boxes}" if boxes else words

    def _write_boxes(self, boxes: Sequence[Box | OrientedBox], size: Size | None) -> str:
        return self.boxes.write_list(boxes, size if self.boxes.needs_size else None)


def with_images(text: str) -> list[Segment]:
    """A text as segments, an image at each :data:`IMAGE_MARK`."""
    first, *rest = text.split(IMAGE_MARK)
    segments = [Segment(first)]
    for behind in rest:
        segments += [IMAGE, Segment(behind)]
    return segments


def refuse_image_mark(question: str) -> None:
    """Refuse a question that would be taken for the place of an image.

    Raises:
        SkyEyeError: it is one.
    """
    if IMAGE_MARK in question:
        raise SkyEyeError(f"the question contains {IMAGE_MARK}", remedy="take it out of the text")
