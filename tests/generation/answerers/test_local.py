"""Models of transformers as answerers: what they are asked is what their own generation answers."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.answerers.local import LocalAnswerer, batches, resize_rule
from skyeye.generation.answerers.local_loading import load_local

SIZES = [(60, 40), (150, 90), (56, 56)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{n}.png" for n in range(3)]
    for n, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        Image.radial_gradient("L").resize(size).convert("RGB").point(lambda v, n=n: (v + 40 * n) % 256).save(path)
    return [str(path) for path in paths]


def _record(number, images=(), system=None):
    turn = Turn(f"What is it{'?' * (1 + 3 * number)}", "", system=system)
    return Record(f"r{number}", "x", "vqa", "test", tuple(images), (turn,))


def _answerer(folder, **more):
    model, processor = load_local(folder)
    return LocalAnswerer(model, processor, lambda record: record.turns[0].question, **more)


def _by_transformers(folder, record, longest):
    """The answer as the documentation of transformers says how to get it."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    content = [{"type": "image", "image": Image.open(image)} for image in record.images]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": record.turns[0].question}]}]
    if record.turns[0].system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": record.turns[0].system}]})
    inputs = processor.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=longest)
    return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_answers_are_those_of_transformers_alone_and_in_batches(family, request, pictures):
    folder = request.getfixturevalue(f"{family}_folder")
    system = "be brief" if family == "qwen" else None
    records = [
        _record(0, pictures[:1]),
        _record(1, pictures[1:]),  # two pictures
        _record(2),  # none
        _record(3, pictures[2:], system),
        _record(4, pictures[1:2]),
    ]
    together = dict(_answerer(folder, batch_size=4).answers(records, 6))
    assert together.keys() == set(range(5))
    for index, record in enumerate(records):
        assert together[index].text == _by_transformers(folder, record, 6), index
    assert all(reply.cut for reply in together.values() if reply.text), "a random model does not end within six letters"


def test_the_longest_question_comes_first_and_alone(pictures):
    records = [_record(0), _record(1, pictures[:1]), _record(2, pictures[:1]), _record(3, pictures[:1]), _record(4)]
    texts = [record.turns[0].question for record in records]
    assert list(batches(records, texts, 2)) == [[3], [2, 1], [4, 0]]


def test_what_the_model_is_and_how_it_decodes(qwen_folder, llava_folder):
    qwen = _answerer(qwen_folder)
    assert qwen.about["model_type"] == "qwen2_5_vl" and qwen.about["dtype"] == "float32"
    assert qwen.decoding(9) == (
        "greedy, one beam, at most 9 new tokens, asked once; the model's own repetition penalty of 1.05"
    )
    rule = resize_rule(qwen.processor)
    assert (rule.factor, rule.least, rule.most) == (28, 3_136, 12_544)
    for size in SIZES:  # the rule is that of the processor: patches of 14 pixels, merged 2 x 2
        grid = qwen.processor.image_processor(Image.new("RGB", size), return_tensors="pt")["image_grid_thw"][0]
        assert rule(size) == (int(grid[2]) * 14, int(grid[1]) * 14)
    llava = _answerer(llava_folder)
    assert resize_rule(llava.processor) is None
    assert llava.decoding(9) == "greedy, one beam, at most 9 new tokens, asked once"


def test_a_question_that_does_not_fit_is_named(llava_folder, pictures):
    long = Record("long", "x", "vqa", "test", tuple(pictures[:1]), (Turn("a" * 600, ""),))
    with pytest.raises(
        SkyEyeError, match=r"record long: the prompt has 6\d\d tokens with its images, the model reads 512"
    ):
        list(_answerer(llava_folder).answers([_record(0, pictures[:1]), long], 6))


def test_a_template_without_a_system_says_so(llava_folder, pictures):
    with pytest.raises(SkyEyeError, match="record r0: the chat template cannot write this question: no system here"):
        list(_answerer(llava_folder).answers([_record(0, pictures[:1], "be brief")], 6))


def test_a_precision_that_is_asked_for(llava_folder):
    model, _ = load_local(llava_folder, "bf16")
    assert model.dtype == torch.bfloat16


def _without(folder, copy, *names):
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*names))
    return copy


def test_folders_that_cannot_be_asked(llava_folder, tmp_path):
    plain = _without(llava_folder, tmp_path / "no template", "chat_template*")
    with pytest.raises(SkyEyeError, match="has no processor with a chat template"):
        load_local(plain)
    weightless = _without(llava_folder, tmp_path / "no weights", "*.safetensors")
    with pytest.raises(SkyEyeError, match="transformers cannot open the weights"):
        load_local(weightless)
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(SkyEyeError, match="is of kind llama, which takes no pictures beside text"):
        load_local(text)
    (text / "config.json").write_text(json.dumps({"model_type": "skyeye"}))
    with pytest.raises(SkyEyeError, match=r"is a checkpoint of this project \(leave out hf:\)"):
        load_local(text)
    (text / "config.json").write_text("{")
    with pytest.raises(SkyEyeError, match=r"transformers cannot open config.json"):
        load_local(text)
