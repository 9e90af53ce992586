"""The processor: prompts and answers equal to the reference's, and saved and read back whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from skyeye.config.schema import LinearProjectorConfig, ModelConfig, PromptConfig, VisionConfig
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import box_token_ids, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def processor(golden) -> SkyEyeProcessor:
    sizes = json.loads((golden / "sizes.json").read_text())
    generation = json.loads((golden / "generation.json").read_text())
    # the reference's chat has a template of its own, which training need not share
    before, after = (
        generation["prompts"][0].removeprefix("<s>").split(f"<Img><ImageHere></Img> {generation['questions'][0]}")
    )
    model = ModelConfig(
        vision=VisionConfig(image_size=sizes["vision"]["image_size"], patch_size=sizes["vision"]["patch"]),
        projector=LinearProjectorConfig(join_tokens=sizes["projector"]["join_tokens"]),
        prompt=PromptConfig(
            template=f"{before}{{}}{after}", end_symbol=sizes["end_symbol"], pad_token=sizes["pad_token"]
        ),
    )
    return SkyEyeProcessor.from_config(model, load_tokenizer(golden / "tiny_llama"))


@pytest.fixture(scope="module")
def small() -> SkyEyeProcessor:
    tokenizer = train_tokenizer(["is there a plane ? yes"], vocab_size=600)
    return SkyEyeProcessor(tokenizer, tokens_per_image=4, image_size=8)


def picture(grey: int) -> Image.Image:
    return Image.new("RGB", (10, 6), (grey, grey, grey))


@pytest.mark.golden
def test_prompts_and_pixels_equal_the_reference(golden, golden_images, processor):
    generation = json.loads((golden / "generation.json").read_text())
    expected = load_file(golden / "generation.safetensors")
    names = [path.stem for path in golden_images]
    places = [names.index(name) for name in generation["images"]]
    files = [golden_images[place] for place in places]
    batch = processor(files, generation["questions"])
    real = expected["attention_mask"].bool()
    assert torch.equal(batch["attention_mask"].bool(), real)
    assert torch.equal(batch["input_ids"][real], expected["input_ids"][real])
    assert (batch["input_ids"][~real] == processor.builder.pad_token_id).all()
    assert torch.equal(batch["pixel_values"], load_file(golden / "vision.safetensors")["pixels"][places])


@pytest.mark.golden
def test_answers_equal_the_reference(golden, processor):
    generation = json.loads((golden / "generation.json").read_text())
    for run in [*generation["runs"], generation["early_stop"]]:
        assert processor.batch_decode(run["raw_ids"]) == run["answers"]
    chat = generation["chat"]
    assert processor.decode(torch.tensor(chat["turn1_ids_greedy"])) == chat["turn1_text"]


@pytest.mark.golden
def test_a_saved_processor_is_the_same(processor, small, tmp_path):
    prompt, mean = {"max_txt_len": 77, "template": "{}"}, (0.5, 0.5, 0.5)
    other = SkyEyeProcessor(small.tokenizer, 9, 6, mean, mean, prompt={**prompt, "evaluation_layout": "training"})
    for number, original in enumerate([processor, other]):
        original.save_pretrained(tmp_path / str(number))
        again = SkyEyeProcessor.from_pretrained(tmp_path / str(number))
        # what is written is what was there, down to the prompt format
        assert json.loads(again.to_json_string()) == json.loads(original.to_json_string())
        first, second = (p(picture(9), "price $$ 5$$ [vqa] ?") for p in (original, again))
        assert all(torch.equal(first[key], second[key]) for key in ("input_ids", "attention_mask", "pixel_values"))
    assert (again.prompt["max_txt_len"], again.prompt["pad_token"]) == (77, "$$")
    assert again.box_token_ids == box_token_ids(small.tokenizer)


def test_one_text_and_a_list_of_one_are_the_same(small):
    one, many = small(picture(3), "is there a plane ?"), small([picture(3)], ["is there a plane ?"])
    assert one.keys() == many.keys() and all(torch.equal(one[key], many[key]) for key in one)
    assert one["input_ids"].tolist() == [small.builder.prompt(1, [Turn("is there a plane ?", "")])]


def test_a_batch_is_padded_on_the_left_and_its_pictures_come_in_order(small, tmp_path):
    picture(30).save(tmp_path / "c.png")
    chat = [
        {"role": "user", "content": "is there a plane ?"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "a ?"},
    ]
    batch = small([[picture(10), picture(20)], None, str(tmp_path / "c.png")], ["a ?", "is there ?", chat])
    prompts = [
        small.builder.prompt(2, [Turn("a ?", "")]),
        small.builder.prompt(0, [Turn("is there ?", "")]),
        small.builder.prompt(1, [Turn("is there a plane ?", "yes"), Turn("a ?", "")]),
    ]
    length = max(map(len, prompts))
    pad = small.tokenizer.pad_token_id
    assert batch["input_ids"].tolist() == [[pad] * (length - len(prompt)) + prompt for prompt in prompts]
    assert batch["attention_mask"].sum(1).tolist() == list(map(len, prompts))
    greys = [pixels[0, 0, 0] * small.image_std[0] + small.image_mean[0] for pixels in batch["pixel_values"]]
    assert [round(float(grey) * 255) for grey in greys] == [10, 20, 30]
    assert (batch["input_ids"] == -1).sum() == small.tokens_per_image * len(batch["pixel_values"])


def test_the_processor_of_a_recipe_has_its_numbers(small):
    model = ModelConfig(
        vision=VisionConfig(image_size=56, patch_size=14, mean=(0.1, 0.2, 0.3), std=(1, 2, 3)),
        projector=LinearProjectorConfig(join_tokens=2),
        prompt=PromptConfig(template="Q {} A", max_context_len=99),
    )
    made = SkyEyeProcessor.from_config(model, small.tokenizer)
    assert (made.tokens_per_image, made.image_size) == (8, 56)
    assert (made.image_mean, made.image_std) == ((0.1, 0.2, 0.3), (1, 2, 3))
    assert made.builder.prompt_config == model.prompt
    assert made.box_token_ids == box_token_ids(small.tokenizer)


def test_texts_alone_have_no_pixels(small):
    assert set(small(text="is there ?")) == set(small(text=["is there ?", "a"])) == {"input_ids", "attention_mask"}


def test_a_deep_picture_is_stretched_as_from_a_file(small, tmp_path):
    deep = Image.fromarray(np.linspace(200, 2750, 60).reshape(6, 10).astype(np.uint16))
    deep.save(tmp_path / "deep.png")
    pixels = small(deep, "a")["pixel_values"]
    assert torch.equal(pixels, small(tmp_path / "deep.png", "a")["pixel_values"])
    assert pixels.max() - pixels.min() > 3  # of about 3.7 between black and white: value // 256 would give 0.05


@pytest.mark.parametrize(
    ("images", "text", "message"),
    [
        ([picture(1)], ["a", "b"], "2 texts need a list"),
        (picture(1), ["a"], "1 texts need a list"),
        (None, [{"role": "assistant", "content": "a"}], "alternates"),
        (None, [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "alternates"),
        (None, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "ends with a question"),
    ],
)
def test_what_does_not_fit_together_is_refused(small, images, text, message):
    with pytest.raises(ValueError, match=message):
        small(images, text)


def test_a_missing_picture_is_named(small, tmp_path):
    with pytest.raises(SkyEyeError, match="none.png: the image is missing"):
        small(tmp_path / "none.png", "a")


def test_an_answer_ends_at_the_end_symbol(small):
    encode = small.tokenizer.encode
    answer = encode("yes a plane", add_special_tokens=False)
    pad, eos, bos = small.tokenizer.pad_token_id, small.tokenizer.eos_token_id, small.tokenizer.bos_token_id
    assert small.decode([bos, *answer, eos, pad, pad]) == "yes a plane"
    assert small.decode(torch.tensor([*answer, eos, *answer])) == "yes a plane"
    assert small.decode([-1, *encode("yes ", add_special_tokens=False)]) == "yes"
    spelt_out = [small.tokenizer.convert_tokens_to_ids(letter) for letter in "</s>"]
    assert small.decode([*answer, *spelt_out, *answer]) == "yes a plane"
    assert small.batch_decode(torch.tensor([[eos, pad], [answer[0], eos]])) == ["", "yes"]


def test_training_rows_come_from_the_sequence_builder(small):
    chat = [{"role": "user", "content": "is there ?"}, {"role": "assistant", "content": "yes"}]
    assert small.build_training_row(1, chat) == small.builder.row(1, [Turn("is there ?", "yes")])
    with pytest.raises(ValueError, match="ends with an answer"):
        small.build_training_row(1, chat[:1])
