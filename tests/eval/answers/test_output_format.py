"""What a model's format leaves around an answer is taken off; what it says stays as it is."""

from __future__ import annotations

import time

import pytest

from skyeye.eval.answers.output_format import without_output_format

TRACES = {
    "yes</s>": ("yes", ("end token",)),
    "<s> yes</s></s></s>": ("yes", ("begin token", "end token")),
    "yes<|im_end|>\n<|im_start|>user\nis there": ("yes", ("end token",)),
    "yes<|eot_id|>": ("yes", ("end token",)),
    "<pad><pad>yes": ("yes", ("begin token",)),
    "ASSISTANT: yes": ("yes", ("role prefix",)),
    "assistant\nyes": ("yes", ("role prefix",)),
    "**Answer:** yes": ("yes", ("role prefix",)),
    "### Response: a ship": ("a ship", ("role prefix",)),
    "Final answer: 3": ("3", ("role prefix",)),
    "[INST] <Img></Img> [vqa] is there a road? [/INST] yes</s>": ("yes", ("echoed prompt", "end token")),
    "USER: <image>\nIs there a road? ASSISTANT: No": ("No", ("echoed prompt",)),
    "A chat between a user and an assistant. USER: Is it? ASSISTANT: No</s>": ("No", ("echoed prompt", "end token")),
    "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>": (
        "yes",
        ("echoed prompt", "end token"),
    ),
    "<|start_header_id|>assistant<|end_header_id|>\n\nyes": ("yes", ("echoed prompt",)),
    "yes\nUSER: how many?": ("yes", ("next turn",)),
    "yes ### Human: how many?": ("yes", ("next turn",)),
    "yes###": ("yes", ("next turn",)),
    "<think>Let me see: a road.</think>\n\nyes": ("yes", ("reasoning block",)),
    "<think>so</think><answer>yes</answer>": ("yes", ("reasoning block", "answer tag")),
    r"\boxed{12}": ("12", ("answer tag",)),
    "```\nyes\n```": ("yes", ("markdown fence",)),
    '```json\n{"answer": "yes"}\n```': ("yes", ("markdown fence", "JSON object")),
    '{"answer": 12, "confidence": 0.9}': ("12", ("JSON object",)),
    "{'answer': 'yes'}": ("yes", ("JSON object",)),
    '["yes"]': ("yes", ("JSON object",)),
    '"yes"': ("yes", ("quotes",)),
    "'yes'": ("yes", ("quotes",)),
    "“yes”": ("yes", ("quotes",)),
    "`yes`": ("yes", ("quotes",)),
    "**yes**": ("yes", ("quotes",)),
    "\ufeffyes\u200b": ("yes", ("invisible characters",)),
    '</s>ASSISTANT: "yes"': ("yes", ("end token", "role prefix", "quotes")),
}


@pytest.mark.parametrize("text", TRACES)
def test_a_trace_of_the_format_is_taken_off_and_named(text):
    assert without_output_format(text) == TRACES[text]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "Yes.",
        "  a ship, two planes ",
        "1,000",
        "{<12><34><56><78>}",
        "<p>red plane</p> {<12><34><56><78>|<30>}<delim>{<1><2><3><4>}",
        "[0.12, 0.34, 0.56, 0.78]",
        "[[1, 2, 3, 4]]",
        "<box>(120,340),(560,780)</box>",
        '[{"bbox_2d": [1, 2, 3, 4], "label": "plane"}]',
        '{"bbox_2d": [1, 2, 3, 4], "label": "plane"}',
        '{"answer": true}',
        '{"answer": [0.1, 0.2, 0.3, 0.4]}',
        '{"answer": "yes", "label": "no"}',
        '"one" and "two"',
        "the user: a farmer",
        "the answer is yes",
        "many planes are parked; the answer: 12",
        "a heading\n### Description\na ship",
        "the dog's house",
        "12%",
        "*",
        "",
        "''",
        "<unk",
    ],
)
def test_what_is_said_stays_to_the_letter(text):
    assert without_output_format(text) == (text, ())


@pytest.mark.parametrize(
    "part", ["USER:", "ASSISTANT:", "```", "<s>", "{", "[", "</think>", "\n", "#", '"', "<answer>"]
)
def test_hostile_answers_take_no_time(part):
    started = time.monotonic()
    without_output_format((part * 16384)[:16384])
    without_output_format("[INST]" + (part * 16384)[:16384])
    assert time.monotonic() - started < 2
