"""The words of RSGPT, which has none: the image, the question behind an end token, the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from skyeye.data.geometry.box_text import NOTATIONS, BoxNotation
from skyeye.data.prompts.base import IMAGE, PromptStyle, Segment
from skyeye.data.record import Turn

_END = "</s>"  # InstructBLIP gives its LLaMA tokenizer this one to begin with, too


class Rsgpt(PromptStyle):
    """InstructBLIP with a Vicuna, as LAVIS writes it; it knows one round, and further ones are written alike."""

    has_system: ClassVar[bool] = False

    def __init__(self, boxes: BoxNotation = NOTATIONS["fractions"]):
        super().__init__(boxes)

    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments = [IMAGE] * n_images
        for turn in turns:
            segments += [Segment(_END + self.question(turn)), Segment(self.answer(turn) + _END, learnt=True)]
        return segments

    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        *before, last = turns
        segments = [Segment(segment.text, segment.kind) for segment in self.training(n_images, before)]
        return [*segments, Segment(_END + self.question(last))]

    def ends(self) -> list[str]:
        return [_END]
