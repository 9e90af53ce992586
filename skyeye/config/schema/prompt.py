"""``model.prompt``: the words around a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class PromptConfig:
    """How a conversation becomes text; see docs/sequence.md."""

    template: str = "[INST] {} [/INST]"
    end_symbol: str = "</s>"
    pad_token: str = "$$"
    max_txt_len: int = 1024  # tokens of answer (single turn) or of everything after the first prompt
    max_context_len: int = 3800  # tokens of the first prompt
    cut_images: bool = False  # reference: true, max_context_len cuts the prompt wherever it falls, images included
    # reference: prompts of evaluation and chat open with two <s> and have one space before [/INST], where training rows
    # have one <s> and two spaces. training: as in training rows.
    evaluation_layout: Literal["reference", "training"] = "reference"
