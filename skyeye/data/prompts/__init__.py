"""The words of a model family around a question: a :class:`PromptStyle` for each, named by ``model.prompt.style``.

A style says the system text, the template of a turn, where the images stand, the tags of the tasks, how a box is
written and read, and what ends an answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.box_text import NOTATIONS, SKYEYE
from skyeye.data.prompts.base import BEGIN, IMAGE, IMAGE_MARK, PromptStyle, Segment
from skyeye.data.prompts.chat_template import ChatTemplate
from skyeye.data.prompts.llava import DIALECTS, Llava, Plain
from skyeye.data.prompts.minigpt_v2 import MiniGPTv2, read_tag
from skyeye.data.prompts.rsgpt import Rsgpt
from skyeye.data.prompts.uavit import UAVIT_TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "BEGIN",
    "IMAGE",
    "IMAGE_MARK",
    "ChatTemplate",
    "Llava",
    "MiniGPTv2",
    "Plain",
    "PromptStyle",
    "Rsgpt",
    "Segment",
    "prompt_style",
    "read_tag",
    "unplaced_system",
]


def prompt_style(prompt: PromptConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> PromptStyle:
    """The style that a recipe names.

    Args:
        tokenizer: of the model; None where only single questions and answers are written or read.

    Raises:
        SkyEyeError: the tokenizer has no chat template and the style needs one.
    """
    own = NOTATIONS[prompt.boxes] if prompt.boxes else None
    as_trained = prompt.evaluation_layout == "training"
    if prompt.style in DIALECTS:
        dialect = DIALECTS[prompt.style]
        boxes = replace(own or dialect.boxes, clip=prompt.clip_boxes)
        return Llava(dialect, boxes, system=prompt.system, as_trained=as_trained)
    if prompt.style in ("plain", "rsgpt"):
        kind = Plain if prompt.style == "plain" else Rsgpt
        return kind(replace(own or NOTATIONS["fractions"], clip=prompt.clip_boxes))
    if prompt.style == "chat_template":
        boxes = replace(own or NOTATIONS["thousandths"], clip=prompt.clip_boxes)
        return ChatTemplate(tokenizer, boxes, system=prompt.system, template=prompt.chat_template)
    return MiniGPTv2(
        replace(own or SKYEYE, clip=prompt.clip_boxes),
        template=prompt.template,
        end=prompt.end_symbol,
        tags=UAVIT_TAGS if prompt.style == "minigpt_v2_uav" else None,
        as_trained=as_trained,
    )


def unplaced_system(style: str) -> str:
    """What is told of words of the system before a conversation, in a style that has no place for them."""
    have = "model.prompt.style: chat_template and those of LLaVA have one"
    return f"has no place in the style {style} and is not written; {have}"
