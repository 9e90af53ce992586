"""``model.prompt``: the words around a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Whose words: minigpt_v2, and with the tags of UAVIT-1M minigpt_v2_uav; chat_template: the tokenizer's own, for any
#: model; plain: image and caption alone; the others are those of LLaVA and of families made from it
#: (skyeye/data/prompts/llava.py).
Style = Literal[
    "minigpt_v2",
    "minigpt_v2_uav",
    "chat_template",
    "plain",
    "llava_v1",
    "rs_llava",
    "uavit",
    "geochat",
    "vhm",
    "lhrs",
    "lhrs_nova",
    "rsgpt",
]


@dataclass
class PromptConfig:
    """How a conversation becomes text; see docs/sequence.md."""

    style: Style = "minigpt_v2"
    # how boxes are written (skyeye/data/geometry/box_text.py); null: as the style does
    boxes: (
        Literal["skyeye", "geochat", "fractions", "thousandths", "vhm", "bbox", "qwen", "braces_1000", "bbox_2d"] | None
    ) = None
    clip_boxes: bool = True  # reference: false, it writes <116> for a box that leaves the image
    template: str = "[INST] {} [/INST]"  # of minigpt_v2
    end_symbol: str = "</s>"  # of minigpt_v2
    system: str | None = None  # what the system says first; null: what the style says. minigpt_v2 and plain say nothing
    chat_template: str | None = None  # of chat_template: Jinja text instead of the tokenizer's
    pad_token: str | None = "$$"  # null: the tokenizer's own
    max_txt_len: int = 1024  # tokens of answer (single turn) or of everything after the first prompt
    max_context_len: int = 3800  # tokens of the first prompt
    cut_images: bool = False  # reference: true, max_context_len cuts the prompt wherever it falls, images included
    # reference: prompts of evaluation and chat open with two <s> and have one space before [/INST], where training rows
    # have one <s> and two spaces; those of LLaVA's styles have the system text of their test scripts. training: as in
    # training rows.
    evaluation_layout: Literal["reference", "training"] = "reference"
