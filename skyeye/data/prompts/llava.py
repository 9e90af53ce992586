"""The words of LLaVA and of the models that were made from it: a system text, then rounds of question and answer.

::

    <s>SYSTEM USER: image \\nquestion ASSISTANT: answer</s>USER: question ASSISTANT: answer</s>
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from skyeye.data.geometry.box_text import GEOCHAT, NOTATIONS, SKYEYE, BoxNotation
from skyeye.data.prompts.base import BEGIN, IMAGE, PromptStyle, Segment
from skyeye.data.prompts.uavit import UAVIT_TAGS
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Dialect:
    """The words of one family.

    Attributes:
        system: what the system says before a conversation that is learnt from.
        asked_system: what it says when the family's own scripts ask; None: the same.
        opening: what stands before the images of the first question, with ``{}`` for the system's words.
        later: what stands before every further question.
        behind: what stands behind a question.
        end: what stands behind an answer, and ends it.
        boxes: how boxes are written.
        tags: what opens the question of a task.
        phrase: how words that boxes belong to are written.
    """

    system: str
    asked_system: str | None = None
    opening: str = "{} USER: "
    later: str = "USER: "
    behind: str = " ASSISTANT:"
    end: str = "</s>"
    boxes: BoxNotation = NOTATIONS["fractions"]
    tags: Mapping[str, str] = field(default_factory=dict)
    phrase: str = "{}"


_LHRS = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user"
    " provides, and assist the user with a variety of tasks using natural language."
)
_V1 = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and"
    " polite answers to the user's questions."
)
_V1_HUMAN = _V1.replace("user", "human")
_RS_LLAVA = (
    "The assistant provides helpful, detailed, and polite responses to the human's questions. If the assistant is"
    " unsure about the answer, it will respectfully communicate, 'I'm sorry, I do not know the answer' to maintain"
    " clarity and honesty in the interaction."
)
_NOVA = f"{_V1} If your don't know the answer to a question, please don't share false information."  # its own words
_LHRS_TAGS = {"refer": "[VG]", "classification": "[CLS]", "vqa": "[VQA]", "identify": "[Identify]"}
#: ``model.prompt.style`` -> the words of a family; what they were read from is said in docs/models.md.
DIALECTS: dict[str, Dialect] = {
    "llava_v1": Dialect(_V1),
    "rs_llava": Dialect(_V1, _RS_LLAVA),
    "geochat": Dialect(
        _V1,
        _V1_HUMAN,
        boxes=replace(GEOCHAT, joiner=""),
        tags={
            "refer": "[refer]",
            "grounding": "[grounding]",
            "identify": "[identify]",
        },
        phrase="<p> {} </p>",
    ),
    "uavit": Dialect(
        _V1,
        boxes=replace(SKYEYE, joiner=""),
        tags=UAVIT_TAGS,
        phrase="<p>{}</p>",
    ),
    "lhrs": Dialect(
        _LHRS,
        opening="[INST] <<SYS>>\n{}\n<</SYS>>\n\n",
        later="<s>[INST] ",
        behind=" [/INST]",
        end=" </s>",
        tags=_LHRS_TAGS,
    ),
    "lhrs_nova": Dialect(
        _NOVA,
        opening="<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n",
        later="<|start_header_id|>user<|end_header_id|>\n\n",
        behind="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        end="<|eot_id|>",
        boxes=NOTATIONS["bbox"],
        tags=_LHRS_TAGS,
    ),
    "vhm": Dialect(
        _V1,
        boxes=NOTATIONS["vhm"],
        tags={"classification": "{CLS}", "vqa": "{VQA}", "refer": "{VG}", "detection": "{VG}"},
    ),
}


class Llava(PromptStyle):
    """A family whose words are a :class:`Dialect`.

    Args:
        boxes: instead of the dialect's.
        system: instead of both of the dialect's.
        as_trained: ask with the system text of training rows.
    """

    has_system: ClassVar[bool] = True

    def __init__(
        self, dialect: Dialect, boxes: BoxNotation | None = None, *, system: str | None = None, as_trained: bool = False
    ):
        super().__init__(boxes or dialect.boxes)
        self.dialect = dialect
        self.tags, self.phrase = dict(dialect.tags), dialect.phrase  # type: ignore[misc]  # of this family, not of the class
        self.system = dialect.system if system is None else system
        as_trained = as_trained or system is not None or dialect.asked_system is None
        self.asked_system = self.system if as_trained else str(dialect.asked_system)

    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments = self._first(n_images, turns[0], self.system)
        for number, turn in enumerate(turns):
            if number:
                segments.append(self._later(turn))
            segments.append(Segment(self.answer(turn) + self.dialect.end, learnt=True))
        return segments

    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        segments = self._first(n_images, turns[0], self.asked_system)
        for before, turn in itertools.pairwise(turns):
            segments += [Segment(self.answer(before) + self.dialect.end), self._later(turn)]
        return segments

    def ends(self) -> list[str]:
        return [self.dialect.end.strip()]

    def _first(self, n_images: int, turn: Turn, system: str) -> list[Segment]:
        system = system if turn.system is None else turn.system
        opening = self.dialect.opening.replace("{}", system).lstrip()
        question = self.question(turn).strip() + self.dialect.behind
        if not n_images:
            return [BEGIN, Segment(opening + question)]
        return [BEGIN, Segment(opening), *[IMAGE] * n_images, Segment("\n" + question)]

    def _later(self, turn: Turn) -> Segment:
        return Segment(self.dialect.later + self.question(turn).strip() + self.dialect.behind)


class Plain(PromptStyle):
    """What projectors are pre-trained on: the image, then its caption and a line break. The question is not written.

    Nothing stands between the images and the caption, so captions cannot share a prefix.
    """

    shares_prefix: ClassVar[bool] = False

    def training(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        if len(turns) > 1:
            what = f"a conversation of {len(turns)} turns has no place in the style plain: an image and a caption"
            raise SkyEyeError(what, remedy="choose another model.prompt.style, or a source of captions")
        return [*self.asking(n_images, turns), Segment(self.answer(turns[0]) + "\n", learnt=True)]

    def asking(self, n_images: int, turns: Sequence[Turn]) -> list[Segment]:
        return [BEGIN, *[IMAGE] * n_images]

    def ends(self) -> list[str]:
        return ["\n"]
