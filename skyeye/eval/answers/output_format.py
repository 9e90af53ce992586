"""What a model's output format leaves around an answer: end tokens, the prompt, role names, fences, JSON, quotes.

None of it is said by the model about the picture, so it costs no point: it is taken off where that has one meaning, and
counted. Case, full stops and other marks stay; the metrics compare without them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable

LONGEST_OBJECT = 4000  # characters of an answer that is looked at as JSON
_ROUNDS = 6  # traces within each other: a fence in an assistant's turn, with JSON in it
#: Keys of an object under which a model puts its answer.
_KEYS = ("answer", "final_answer", "response", "caption", "output", "prediction", "text", "label", "result")

_END = re.compile(
    r"</s>|<eos>|<end_of_turn>|\[EOS\]|<pad>|\[PAD\]"
    r"|<\|(?:im_end|endoftext|eot_id|end_of_text|end|end▁of▁sentence|eos|return)\|>|<\uff5cend▁of▁sentence\uff5c>"
)
_BEGIN = re.compile(r"\s*(?:(?:<s>|<bos>|\[BOS\]|<unk>|<\|begin_of_text\|>|<pad>|\[PAD\])\s*)+")
_TURN = r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|"
#: How a prompt begins that was decoded with the answer, and where its answer begins.
_PROMPT = re.compile(
    rf"\s*(?:<s>\s*)*(?:\[INST\]|USER:|###\s*(?:Human|User|Instruction):|(?:{_TURN})(?:system|user)\b|A chat between )",
    re.IGNORECASE,
)
_ANSWER_BEGINS = re.compile(
    r"\[/INST\]|ASSISTANT:|###\s*Response:|<\|im_start\|>assistant\s|<\|assistant\|>"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model\s",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"\s*(?:\*\*|#{1,4}\s*)?(?:assistant|(?:the |final )?answer|response|caption|output|gpt|bot)(?:\*\*)?"
    r"\s*[:\uff1a](?:\*\*)?"
    r"|\s*(?:<\|im_start\|>|#{1,4}\s*)?assistant[ \t]*\n",
    re.IGNORECASE,
)
# One run of blanks at most before each: two neighbours that both match blanks would take a hostile text for ever.
_NEXT_TURN = re.compile(
    r"\n[ \t]{0,9}(?:user|human)[ \t]{0,9}:|(?-i:\bUSER:)"
    r"|#{2,4}[ \t]{0,9}(?:human|user|assistant|instruction)[ \t]{0,9}:"
    r"|\[INST\]|<\|im_start\|>user\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```[a-zA-Z]*\s")
_TAGS = (re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE), re.compile(r"\s*\\boxed\{([^{}]*)\}\s*\Z"))
_PAIRS = ('""', "''", "``", "“”", "\u2018\u2019", "«»", "「」")
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\0"


def without_output_format(text: str) -> tuple[str, tuple[str, ...]]:
    """An answer without the traces of its format, and the kinds that were taken off; itself where there is none."""
    removed: dict[str, None] = {}
    for _ in range(_ROUNDS):
        before = text
        for kind, step in _STEPS.items():
            if (shorter := step(text)) is not None and shorter != text:
                text = shorter.strip()
                removed[kind] = None
        if text == before:
            break
    return text, tuple(removed)


def _without_invisible(text: str) -> str | None:
    bare = text.strip()
    return stripped if (stripped := bare.strip(_INVISIBLE)) != bare else None


def _without_reasoning(text: str) -> str | None:
    """A model that thinks aloud ends that with ``</think>``; its beginning may stand in the prompt."""
    _, end, answer = text.rpartition("</think>")
    return answer if end else None


def _without_prompt(text: str) -> str | None:
    begins = _ANSWER_BEGINS.search(text)
    return text[begins.end() :] if begins and (_PROMPT.match(text) or not text[: begins.start()].strip()) else None


def _without_begin(text: str) -> str | None:
    begin = _BEGIN.match(text)
    return text[begin.end() :] if begin else None


def _without_end(text: str) -> str | None:
    """Up to the first end token: what a decoder that does not stop there writes behind it is no answer."""
    end = _END.search(text)
    if end is None:
        return None
    return text[: end.start()] if text[: end.start()].strip() else text[end.end() :]


def _without_role(text: str) -> str | None:
    role = _ROLE.match(text)
    return text[role.end() :] if role else None


def _without_next_turn(text: str) -> str | None:
    following = _NEXT_TURN.search(text)
    answer = text[: following.start()] if following else text.rstrip().removesuffix("###")
    return answer if answer.strip() and (following or text.rstrip().endswith("###")) else None


def _without_fence(text: str) -> str | None:
    bare = text.strip()
    opened, inner = _FENCE.match(bare), bare.removesuffix("```")
    if opened is None or inner == bare or "```" in inner[opened.end() :]:
        return None
    return inner[opened.end() :]


def _without_tag(text: str) -> str | None:
    for tag in _TAGS:
        if len(found := tag.findall(text)) == 1:
            return found[0]
    return None


def _without_json(text: str) -> str | None:
    """``{"answer": "yes"}`` and ``["yes"]``, as JSON or as Python writes it; boxes are left to who reads boxes."""
    bare = text.strip()
    if len(bare) > LONGEST_OBJECT or (bare[:1], bare[-1:]) not in (("{", "}"), ("[", "]")):
        return None
    value = _value(bare)
    if isinstance(value, dict):
        if any(isinstance(item, list) and len(item) >= 4 for item in value.values()):
            return None  # a box, with a label beside it
        named = [item for key, item in value.items() if str(key).lower().replace(" ", "_") in _KEYS]
        value = named[0] if len(named) == 1 else None
    elif not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _value(text: str) -> object:
    """The value that a text writes, in JSON or Python; None where it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _without_quotes(text: str) -> str | None:
    bare = text.strip()
    for stars in ("**", "*"):
        inner = bare.removeprefix(stars).removesuffix(stars)
        if len(bare) - len(inner) == 2 * len(stars) and inner and "*" not in inner:
            return inner
    inner = bare[1:-1]
    if len(bare) > 2 and bare[0] + bare[-1] in _PAIRS and bare[0] not in inner and bare[-1] not in inner:
        return inner
    return None


#: In this order: a prompt holds begin and end tokens of its own, and a fence may hold JSON with quotes in it.
_STEPS: dict[str, Callable[[str], str | None]] = {
    "invisible characters": _without_invisible,
    "reasoning block": _without_reasoning,
    "role prefix": _without_role,
    "echoed prompt": _without_prompt,
    "begin token": _without_begin,
    "end token": _without_end,
    "next turn": _without_next_turn,
    "markdown fence": _without_fence,
    "answer tag": _without_tag,
    "JSON object": _without_json,
    "quotes": _without_quotes,
}
