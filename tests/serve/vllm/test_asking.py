"""Chats as vLLM hands them over become the ids of our own prompts, in every prompt style."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from skyeye.config.schema import PromptConfig
from skyeye.config.schema.prompt import Style
from skyeye.data.record import Turn
from skyeye.data.sequence import SequenceBuilder
from skyeye.models.tokenizer import train_tokenizer
from skyeye.serve.api.errors import ApiError
from skyeye.serve.vllm.asking import prompt_ids

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
#: Of what confuses tokenizers and templates: special tokens, marks, blanks, other scripts, box numbers.
PIECES = (
    "<unk>",
    "</s>",
    "<s>",
    "$$",
    "[INST]",
    "<image>",
    "<ImageHer",
    "{{",
    "%}",
    " ",
    "  ",
    "\n",
    "飞机",
    "é",
    "<10>",
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=8).map("".join)
PICTURE = {"type": "image"}


@pytest.fixture(scope="module")
def builders() -> dict[str, SequenceBuilder]:
    """Of every style; an image has 4 tokens."""
    tokenizer = train_tokenizer(["how many ships are there ?", "two ships", "USER: ASSISTANT: [INST]"] * 3, 700)
    return {
        style: SequenceBuilder(
            tokenizer, PromptConfig(style=style, chat_template=TEMPLATE if style == "chat_template" else None), 4
        )
        for style in get_args(Style)
    }


def said(text: str) -> str:
    """A text as requests are read: without outer blanks and without marks of boxes."""
    return text.replace("\ufffc", " ").strip()


@given(st.sampled_from(get_args(Style)), TEXTS, TEXTS, TEXTS, TEXTS, st.integers(0, 2))
@hypothesis_settings(max_examples=150)
def test_ids_are_those_of_our_prompt(builders, style, question, answer, later, system, pictures):
    builder = builders[style]
    question, later = f"{question} how many ?", f"{later} where ?"
    parts = [*[PICTURE] * pictures, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": [{"type": "text", "text": later}]})
    first = Turn(said(question), said(answer))
    if builder.style.has_system:
        messages.insert(0, {"role": "system", "content": system})
        first = Turn(first.question, first.answer, system=said(system))
    expected = builder.prompt(pictures, [first, Turn(said(later), "")])
    assert prompt_ids(builder, messages) == expected
    assert expected.count(-1) == 4 * pictures


def test_a_segment_is_tokenised_by_itself(builders):
    """Of the text as a whole other ids would come: a blank opens every text that the tokenizer is given."""
    builder = builders["minigpt_v2"]
    ids = prompt_ids(builder, [{"role": "user", "content": [PICTURE, {"type": "text", "text": "how many ?"}]}])
    encode = builder.tokenizer.encode
    opening, closing = encode("[INST] <Img>", add_special_tokens=False), encode("</Img> how many ? [/INST]")[1:]
    assert ids == [1, 1, *opening, -1, -1, -1, -1, *closing]
    assert ids != encode("<s><s>[INST] <Img></Img> how many ? [/INST]", add_special_tokens=False)


def test_the_tag_of_a_task_is_written(builders):
    messages = [{"role": "user", "content": [PICTURE, {"type": "text", "text": "the white ship"}]}]
    written = [{"role": "user", "content": [PICTURE, {"type": "text", "text": "[refer] the white ship"}]}]
    builder = builders["minigpt_v2"]
    assert prompt_ids(builder, messages, {"task": "refer"}) == prompt_ids(builder, written)


@pytest.mark.parametrize(
    ("messages", "options", "reason"),
    [
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], {}, "user, assistant"),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": [PICTURE]},
            ],
            {},
            "first message",
        ),
        ([{"role": "system", "content": "be short"}, {"role": "user", "content": "a"}], {}, "system"),
        ([{"role": "user", "content": [{"type": "video"}]}], {}, "video"),
        ([{"role": "user", "content": "a <ImageHere> b"}], {}, "<ImageHere>"),
        ([{"role": "user", "content": "a"}], {"task": "dance"}, "dance"),
        ([{"role": "user", "content": "a"}], {"tools": [{"type": "function"}]}, "tools"),
        ([{"role": "user", "content": "a"}], {"response_format": {"type": "json_object"}}, "skyeye serve"),
        (
            [{"role": "user", "content": "Detect all instances of 'ship' in this image. JSON 0-1 \"x_min\""}],
            {},
            "skyeye serve",
        ),
    ],
    ids=["roles", "late picture", "system", "video", "mark", "task", "tools", "boxes as JSON", "geoai's list"],
)
def test_what_cannot_be_asked_is_refused(builders, messages, options, reason):
    with pytest.raises(ApiError, match=reason):
        prompt_ids(builders["minigpt_v2"], messages, options)
