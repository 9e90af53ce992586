"""The words of a model family around a question: a :class:`PromptStyle` for each, named by ``model.prompt.style``.

A style says the system text, the template of a turn, where the images stand, the tags of the tasks, how a box is
written and read, and what ends an answer. It knows no token ids: it gives a conversation as :class:`Segment` texts,
each of which :mod:`skyeye.data.sequence` tokenises on its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import jinja2

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.box_text import NOTATIONS, SKYEYE, BoxNotation, Size, read_answer_boxes
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Turn
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_IMAGE = "<ImageHere>"  # where an image stands in a text, before it is cut into segments


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
    #: What opens the question of a task.
    tags: ClassVar[dict[str, str]] = {}
    #: How words that boxes belong to are written.
    phrase: ClassVar[str] = "{}"

    def __init__(self, boxes: BoxNotation):
        self.boxes = boxes

    @abstractmethod
    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        """A conversation to learn from: the first question with its images, the answers (learnt), further questions."""

    @abstractmethod
    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        """A conversation whose last answer is to be given: what :meth:`training` holds before it, as it is asked."""

    @abstractmethod
    def ends(self) -> list[str]:
        """Texts that end an answer, besides the tokenizer's last token."""

    def question(self, turn: Turn) -> str:
        """The question of a turn: tag, words and boxes."""
        words, tag = self._written(turn.question, turn.question_mentions), self.tags.get(turn.task)
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
        if self.boxes.form == "braces":
            return read_answer_boxes(text, size)
        boxes = [box for found in self.boxes.find(text, size) for box in found.boxes]
        return [box for box in boxes if isinstance(box, OrientedBox) or (box.x1 <= box.x2 and box.y1 <= box.y2)]

    def read_phrases(self, text: str) -> list[tuple[str, list[Box | OrientedBox]]]:
        """The boxes of an answer by the words they belong to, in order; ``""``: boxes before any marked phrase."""
        pieces = [("", text)]
        if self.phrase != "{}":
            opening, closing = self.phrase.split("{}")
            mark = f"{re.escape(opening)}((?:(?!{re.escape(opening)}|{re.escape(closing)}).)*){re.escape(closing)}"
            head, *rest = re.split(mark, text, flags=re.DOTALL)
            behind = [piece.split(opening)[0] for piece in rest[1::2]]  # an unclosed mark ends the words before it
            pieces = [("", head), *zip((words.strip() for words in rest[::2]), behind, strict=True)]
        found = [(words, self.read_boxes(behind)) for words, behind in pieces]
        return [(words, boxes) for words, boxes in found if words or boxes]

    def _written(self, text: str, mentions: Sequence[Mention]) -> str:
        if not mentions:
            return text
        first, *rest = text.split(MARK)
        return first + "".join(self._mention(m) + behind for m, behind in zip(mentions, rest, strict=True))

    def _mention(self, mention: Mention) -> str:
        boxes = self.boxes.write_list(mention.boxes)
        if mention.phrase is None:
            return boxes
        words = self.phrase.replace("{}", mention.phrase)
        return f"{words} {boxes}" if boxes else words


class MiniGPTv2(PromptStyle):
    """MiniGPT-v2 and SkyEyeGPT (docs/sequence.md): ``[INST] <Img>image</Img> [vqa] how many ships? [/INST]2</s>``.

    Args:
        template: a turn of the user, with ``{}`` for the instruction.
        end: what ends an answer.
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
        as_trained: bool = False,
    ):
        super().__init__(boxes)
        self.template, self.end, self.as_trained = template, end, as_trained

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
        if _IMAGE in question:
            raise SkyEyeError(f"the question contains {_IMAGE}", remedy="take it out of the text")
        instruction = f"{f'<Img>{_IMAGE}</Img>' * n_images} {question}{space}" if n_images else question
        return _with_images(self._turn(instruction).text)

    def _turn(self, instruction: str) -> Segment:
        return Segment(self.template.replace("{}", instruction))


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
                segments += _with_images(text)
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
            segments += _with_images(learnt)
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
            if _IMAGE in question:
                raise SkyEyeError(f"the question contains {_IMAGE}", remedy="take it out of the text")
            if not number and n_images:
                question = f"{_IMAGE * n_images}\n{question}"
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


def read_tag(text: str) -> tuple[str | None, str]:
    """The task that a tag of MiniGPT-v2 at the beginning of a text names, and the text behind it.

    Of tasks with one tag it is the first; None: the text begins with no tag.
    """
    for task, tag in MiniGPTv2.tags.items():
        if text.startswith(f"{tag} "):
            return task, text.removeprefix(f"{tag} ")
    return None, text


def prompt_style(prompt: PromptConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> PromptStyle:
    """The style that a recipe names.

    Args:
        tokenizer: of the model; None where only single questions and answers are written or read.

    Raises:
        SkyEyeError: the tokenizer has no chat template and the style needs one.
    """
    own = NOTATIONS[prompt.boxes] if prompt.boxes else None
    if prompt.style == "chat_template":
        boxes = replace(own or NOTATIONS["thousandths"], clip=prompt.clip_boxes)
        return ChatTemplate(tokenizer, boxes, system=prompt.system, template=prompt.chat_template)
    return MiniGPTv2(
        replace(own or SKYEYE, clip=prompt.clip_boxes),
        template=prompt.template,
        end=prompt.end_symbol,
        as_trained=prompt.evaluation_layout == "training",
    )


def unplaced_system(style: str) -> str:
    """What is told of words of the system before a conversation, in a style that has no place for them."""
    return f"has no place in the style {style} and is not written; model.prompt.style: chat_template has one"


def _with_images(text: str) -> list[Segment]:
    first, *rest = text.split(_IMAGE)
    segments = [Segment(first)]
    for behind in rest:
        segments += [IMAGE, Segment(behind)]
    return segments
