"""Text cleaning, and how an annotation becomes instruction and answer, against the reference."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.geometry.box_text import SKYEYE
from skyeye.data.geometry.boxes import Box
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import Turn
from skyeye.data.text import MAX_CAPTION_WORDS, caption_text, first_question

pytestmark = pytest.mark.golden


def image_instruction(question: str, n_images: int) -> str:
    """The instruction of a training row, as the reference writes it before its chat template."""
    _, *segments, _ = MiniGPTv2(template="{}").training(n_images, [Turn(question, "a")])
    return "".join("<ImageHere>" if segment.kind == "image" else segment.text for segment in segments)


@pytest.fixture(scope="module")
def samples(golden) -> dict:
    return json.loads((golden / "dataset_samples.json").read_text())


def test_caption_texts_equal_the_reference(golden):
    for case in json.loads((golden / "text_processor.json").read_text()):
        assert caption_text(case["in"]) == case["out"]


@given(st.text(max_size=400))
def test_a_cleaned_caption_stays_as_it_is(text):
    once = caption_text(text)
    assert caption_text(once) == once
    assert len(once.split(" ")) <= MAX_CAPTION_WORDS


def asked(sample: dict, tag: str) -> str:
    """What a sample asks behind its task tag, in one of the wordings that the reference draws at random."""
    before, after = image_instruction(f"[{tag}] \n", 1).split("\n")
    instruction = sample["instruction_input"]
    assert instruction.startswith(before) and instruction.endswith(after)
    question = instruction.removeprefix(before).removesuffix(after)
    assert image_instruction(f"[{tag}] {question}", 1) == instruction
    return question


def test_caption_sample(samples):
    sample = samples["caption"]
    assert asked(sample, "caption").strip()
    assert caption_text(sample["annotation"]["caption"]) == sample["answer"]


def test_vqa_sample(samples):
    sample = samples["vqa"]
    question = caption_text(sample["annotation"]["question"])
    assert asked(sample, "vqa").endswith(question)


def test_refer_and_identify_samples(samples):
    refer, identify = samples["refer"], samples["identify"]
    phrase = caption_text(refer["raw_sentence"])
    box = replace(SKYEYE, clip=False).write(Box.from_xywh_pixels(*refer["xywh"], *refer["image_size"]))
    assert phrase in asked(refer, "refer")
    assert box == refer["answer"]
    assert box in asked(identify, "identify")
    assert phrase == identify["answer"]


def test_text_only_samples(samples):
    for sample in samples["text_only"]:
        (instance,) = sample["annotation"]["instances"]
        question = " ".join(filter(None, [instance["instruction_with_input"], instance["constraints"]]))
        assert image_instruction(caption_text(question), 0) == sample["instruction_input"]
        assert caption_text(instance["output"]) == sample["answer"]


def test_conversation_samples(samples):
    for sample in samples["conversation"]:
        texts = [message["value"] for message in sample["annotation"]["conversations"]]
        first, *later = texts[::2]
        questions = [image_instruction(first_question(first), 1), *(question + " " for question in later)]
        assert questions == sample["conv_q"].split(sample["connect_sym"])
        assert texts[1::2] == sample["conv_a"].split(sample["connect_sym"])


def test_first_question_loses_the_image_marker_wherever_it_stands():
    assert first_question("<image>\nWhat  is\nthis?\n") == "What  isthis?"
    assert first_question("What is this?\n<image>") == "What is this?"
