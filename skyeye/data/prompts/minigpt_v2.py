"""The words of MiniGPT-v2, which are SkyEyeGPT's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.box_text import SKYEYE, BoxNotation
from skyeye.data.prompts.base import BEGIN, IMAGE_MARK, PromptStyle, Segment, refuse_image_mark, with_images
from skyeye.data.record import Turn


class MiniGPTv2(PromptStyle):
    """MiniGPT-v2 and SkyEyeGPT (docs/sequence.md): ``[INST] <Img>image</Img> [vqa] how many ships? [/INST]2</s>``.

    Args:
        template: a turn of the user, with ``{}`` for the instruction.
        end: what ends an answer.
        tags: of tasks, instead of MiniGPT-v2's.
        as_trained: ask as in training rows; otherwise as the reference's evaluation does, whose prompts open with two
            begin tokens and have one space less.
    """

    tags: ClassVar[dict[str, str]] = {
        "caption": "[caption]",
        "video_caption": "[caption]",
        "vqa": "[vqa]",
        "classification": "[vqa]",
        "refer": "[refer]",
        "identify": "[identify]",
        "detection": "[detection]",
        "grounding": "[grounding]",
    }
    phrase: ClassVar[str] = "<p>{}</p>"

    def __init__(
        self,
        boxes: BoxNotation = SKYEYE,
        *,
        template: str = PromptConfig.template,
        end: str = PromptConfig.end_symbol,
        tags: Mapping[str, str] | None = None,
        as_trained: bool = False,
    ):
        super().__init__(boxes)
        self.template, self.end, self.as_trained = template, end, as_trained
        if tags is not None:
            self.tags = dict(tags)  # type: ignore[misc]  # of models that were tuned on other data

    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments = [BEGIN]
        for number, turn in enumerate(turns):
            if number:
                segments += [BEGIN, self._turn(self.question(turn) + " ")]
            else:
                segments += self._opening(n_images, self.question(turn), " ")
            segments.append(Segment(self.answer(turn) + self.end, learnt=True))
        return segments

    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        space = " " if self.as_trained else ""
        first, *later = turns
        segments = [BEGIN] if self.as_trained else [BEGIN, BEGIN]
        segments += self._opening(n_images, self.question(first), space)
        for before, turn in zip(turns, later, strict=False):
            answer = Segment(self.answer(before) + self.end)
            segments += [answer, BEGIN, self._turn(self.question(turn) + space)]
        return segments

    def ends(self) -> list[str]:
        return [self.end]

    def _opening(self, n_images: int, question: str, space: str) -> list[Segment]:
        """The first instruction: images, question, and the space that training puts behind. Without images the question
        stays bare, as in the reference."""
        refuse_image_mark(question)
        instruction = f"{f'<Img>{IMAGE_MARK}</Img>' * n_images} {question}{space}" if n_images else question
        return with_images(self._turn(instruction).text)

    def _turn(self, instruction: str) -> Segment:
        return Segment(self.template.replace("{}", instruction))


def read_tag(text: str) -> tuple[str | None, str]:
    """The task that a tag of MiniGPT-v2 at the beginning of a text names, and the text behind it.

    Of tasks with one tag it is the first; None: the text begins with no tag.
    """
    for task, tag in MiniGPTv2.tags.items():
        if text.startswith(f"{tag} "):
            return task, text.removeprefix(f"{tag} ")
    return None, text
