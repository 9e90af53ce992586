"""Transformers' own way: pipeline, auto classes and chat template know our models after ``import skyeye``."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from skyeye.errors import SkyEyeError
from skyeye.serve.model import Model

CODE = """
import sys
import skyeye
assert not {"torch", "transformers"} & sys.modules.keys()
import transformers
from transformers import AutoTokenizer
assert not {"skyeye.models.modeling", "timm"} & sys.modules.keys()
from transformers import pipeline
made = pipeline("image-text-to-text", model=sys.argv[1], trust_remote_code=False)
print(type(made.model).__name__, type(made.processor).__name__)
"""


@pytest.fixture(scope="module")
def folder(small_parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "model"
    for part in small_parts:
        part.save_pretrained(folder)
    return folder


def test_in_a_fresh_interpreter_import_skyeye_suffices(folder):
    found = subprocess.run([sys.executable, "-c", CODE, folder], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.split()[-2:] == ["SkyEyeForConditionalGeneration", "SkyEyeProcessor"]


def test_a_pipeline_answers_as_our_own_model(folder, small_parts):
    asked = pipeline("image-text-to-text", model=str(folder), trust_remote_code=False, max_new_tokens=6, device="cpu")
    picture, question = Image.new("RGB", (40, 30), "teal"), "how many ships are there?"
    expected = Model(*small_parts).ask(picture, question, max_new_tokens=6).text
    messages = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": question}]}]
    (said,) = asked(text=messages, return_full_text=False)
    assert said["generated_text"] == expected
    (whole,) = asked(text=messages)
    assert whole["generated_text"][-1] == {"role": "assistant", "content": expected}
    (said,) = asked(images=[picture], text=question, return_full_text=False)
    assert said["generated_text"] == expected
    several = asked(text=[messages, messages], return_full_text=False)
    assert [one[0]["generated_text"] for one in several] == [expected] * 2


def test_auto_classes_and_chat_template(folder, tmp_path):
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    picture = Image.new("RGB", (40, 30), "teal")
    picture.save(tmp_path / "p.png")
    question = "how many ships are there?"
    history = [
        {
            "role": "user",
            "content": [{"type": "image", "path": str(tmp_path / "p.png")}, {"type": "text", "text": "a"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "two white ships"}]},
        {"role": "user", "content": question},
    ]
    written = processor.apply_chat_template(history)
    assert written == (
        "<s><s>[INST] <Img><ImageHere></Img> a [/INST]two white ships</s><s>[INST] how many ships are there? [/INST]"
    )
    batch = processor.apply_chat_template(history, tokenize=True, return_dict=True, add_generation_prompt=True)
    assert batch["pixel_values"].shape == (1, 3, 28, 28)
    texts = ("a", "two white ships", question)
    plain = [{**message, "content": text} for message, text in zip(history, texts, strict=True)]
    expected = processor(images=picture, text=plain)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    answer = processor.batch_decode(model.generate(**batch, max_new_tokens=4))
    assert answer == processor.batch_decode(model.generate(**expected, max_new_tokens=4))


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([{"role": "assistant", "content": "a"}], "alternates between user and assistant and ends with user"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "ends with user"),
        ([{"role": "user", "content": [{"type": "video", "video": "x"}]}], "'video' is no kind of content"),
        ([{"role": "user", "content": [{"type": "image"}]}], "an image without its picture"),
        ([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "no place in the style minigpt_v2"),
        ([{"role": "user", "content": [{"type": "image", "path": "/gone.png"}]}], "/gone.png: the image is missing"),
    ],
)
def test_chats_that_cannot_be_asked_are_refused(small_parts, messages, error):
    with pytest.raises(SkyEyeError, match=error):
        small_parts[1].apply_chat_template(messages)
