"""The words of any instruct model, by its tokenizer's own template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

import jinja2

from skyeye.data.geometry.box_text import NOTATIONS, BoxNotation
from skyeye.data.prompts.base import IMAGE_MARK, PromptStyle, Segment, refuse_image_mark, with_images
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTemplate(PromptStyle):
    """Any instruct model by its tokenizer's own Jinja template: the images stand before the first question.

    The template writes the begin token itself. It has to write a conversation so that what it wrote of the turns so far
    stays as the conversation goes on; this is checked.

    Args:
        tokenizer: with a chat template, unless one is given. None: questions and answers can be written and read, not
            whole conversations.
        system: what the system says first where the conversation has no text of its own for it; None: nothing, or what
            the template says by itself.
        template: Jinja text instead of the tokenizer's.
    """

    has_system: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        boxes: BoxNotation = NOTATIONS["thousandths"],
        *,
        system: str | None = None,
        template: str | None = None,
    ):
        super().__init__(boxes)
        self.tokenizer = tokenizer
        self.template: str | None = template or (None if tokenizer is None else tokenizer.chat_template)
        self.system = system
        if tokenizer is not None and not self.template:
            raise SkyEyeError(
                "the tokenizer has no chat template",
                where="model.prompt.style",
                remedy="give one as model.prompt.chat_template, or choose another style",
            )

    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments: list[Segment] = []
        for text, is_answer in self._pieces(n_images, turns):
            if not is_answer:
                segments += with_images(text)
                continue
            # what stands behind the end (a line break) is never generated, so it opens the next question
            learnt = text.rstrip() if self.end else text
            segments.append(Segment(learnt, learnt=True))
            if behind := text[len(learnt) :]:
                segments.append(Segment(behind))
        return segments

    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments: list[Segment] = []
        for text, is_answer in self._pieces(n_images, turns, answered=False):
            learnt = text.rstrip() if is_answer and self.end else text
            segments += with_images(learnt)
            if behind := text[len(learnt) :]:
                segments.append(Segment(behind))
        return segments

    def ends(self) -> list[str]:
        return [self.end] if self.end else []

    def _pieces(self, n_images: int, turns: Sequence[Turn], answered: bool = True) -> list[tuple[str, bool]]:
        """The conversation cut at its answers: (text, whether it is an answer with what ends it).

        Args:
            answered: False leaves the last answer out.
        """
        own = turns[0].system
        messages = self._opening(self.system if own is None else own)
        pieces: list[tuple[str, bool]] = []
        written = ""
        for number, turn in enumerate(turns):
            question = self.question(turn)
            refuse_image_mark(question)
            if not number and n_images:
                question = f"{IMAGE_MARK * n_images}\n{question}"
            for role, content in (("user", question), ("assistant", self.answer(turn))):
                messages.append({"role": role, "content": content})
                text = self._render(messages, ask=role == "user")
                if not text.startswith(written):
                    raise SkyEyeError(
                        "the chat template writes earlier turns in another way once the conversation goes on",
                        where="model.prompt.style",
                        remedy="give a template as model.prompt.chat_template that keeps what it has written",
                    )
                pieces.append((text[len(written) :], role == "assistant"))
                written = text
                if role == "user" and not answered and number + 1 == len(turns):
                    return pieces
        return pieces

    @cached_property
    def end(self) -> str:
        """What the template writes behind an answer, without blanks; empty: nothing."""
        messages = self._opening(self.system)
        messages += [{"role": "user", "content": "a"}, {"role": "assistant", "content": "zzz"}]
        return self._render(messages, ask=False).rpartition("zzz")[2].strip()

    @staticmethod
    def _opening(system: str | None) -> list[dict[str, str]]:
        return [] if system is None else [{"role": "system", "content": system}]

    def _render(self, messages: list[dict[str, str]], ask: bool) -> str:
        if self.tokenizer is None:
            raise ValueError("without a tokenizer there is no template for whole conversations")
        try:
            text = self.tokenizer.apply_chat_template(
                messages, chat_template=self.template, tokenize=False, add_generation_prompt=ask
            )
            return cast(str, text)  # ids only with tokenize=True
        except jinja2.TemplateError as error:
            raise SkyEyeError(
                f"the chat template cannot write this conversation: {error}",
                where="model.prompt.chat_template",
                remedy="a template without a place for the system refuses model.prompt.system and system turns of data",
            ) from error
