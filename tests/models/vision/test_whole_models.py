"""Models with levels and several towers are models like any other: saved, loaded, adapted, generated from."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from PIL import Image

from skyeye.config.schema import LoraConfig, MLPProjectorConfig, VisionConfig
from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation.engine import answer_groups
from skyeye.generation.requests import PromptGroup
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert
from skyeye.models.flops import StepFlops
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import load_tokenizer
from skyeye.models.vision.pixels import split_pixels

EVA = VisionConfig(image_size=28, patch_size=7, width=16, depth=3, heads=2, mlp_ratio=2.0)
SMALL = VisionConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
EYES = {
    "levels": {"vision": replace(EVA, layers=[1, -2])},
    "two towers": {"vision": [EVA, SMALL], "projector": MLPProjectorConfig(join_tokens=4)},
    "levels of two towers": {"vision": [replace(EVA, layers=[2, 3]), replace(SMALL, layers=[1])], "vision_norm": False},
}


@pytest.fixture(params=EYES)
def config(request, tiny_config):
    return tiny_config(**EYES[request.param], lora=LoraConfig(r=2, alpha=4, dropout=0.0, projector=True))


@pytest.fixture
def model(config):
    """Weights so large that answers differ from image to image."""
    made = build_model(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return made.eval()


def inputs(model) -> dict[str, torch.Tensor]:
    image = [IMAGE_TOKEN_ID] * model.tokens_per_image
    ids = torch.tensor([[5, *image, 6, 7], [8, *image, 9, 3]])
    return {"input_ids": ids, "pixel_values": torch.randn(2, *model.config.pixel_shape)}


def test_round_trip(model, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    again = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "ours").eval()
    for name in ("vision_shape", "pixel_shape", "tokens_per_image", "vision_norm"):
        assert getattr(again.config, name) == getattr(model.config, name)
    batch = inputs(model)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_round_trip_through_the_references_format(model, config, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs.pth", everything=True)
    convert(tmp_path / "theirs.pth", tmp_path / "again")
    again = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "again").eval()
    batch = inputs(model)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_the_picture_decides_through_every_tower(model):
    batch = inputs(model)
    logits = model(**batch).logits
    sizes = [tower["image_size"] for tower in model.config.towers]
    ends = [0, *torch.tensor([3 * size * size for size in sizes]).cumsum(0).tolist()]
    for begin, end in itertools.pairwise(ends):
        flat = batch["pixel_values"].flatten(1).clone()
        flat[:, begin:end] = torch.randn(2, end - begin)
        other = model(**batch | {"pixel_values": flat.reshape(batch["pixel_values"].shape)}).logits
        assert not torch.allclose(other, logits)


def test_generation_equals_separate_prompts(model):
    shown = torch.randn(1, *model.config.pixel_shape)
    prefix = [4] + [IMAGE_TOKEN_ID] * model.tokens_per_image
    prompts = [[*prefix, *torch.randint(10, 130, (length,)).tolist()] for length in (3, 5, 2, 4)]
    with torch.no_grad():
        group = PromptGroup(prompts, model.encode_images(shown), [6] * len(prompts))
    found = {answer.prompt: answer.ids for answer in answer_groups(model, [group], rows=2, eos_token_id=[])}
    for number, prompt in enumerate(prompts):
        (ids,) = model.generate(
            torch.tensor([prompt]), shown, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
        ).tolist()
        assert found[number] == ids
    assert len(set(map(tuple, found.values()))) > 1


def test_the_processor_makes_the_pixels_of_every_tower(model, config, golden, tmp_path):
    tokenizer = load_tokenizer(golden / "tiny_llama")
    processor = SkyEyeProcessor.from_config(config, tokenizer)
    assert processor.tokens_per_image == model.tokens_per_image
    picture = Image.frombytes("RGB", (30, 20), torch.randint(0, 256, (1800,), dtype=torch.uint8).numpy().tobytes())
    batch = processor([picture, picture], ["what is this?", "where?"])
    assert batch["pixel_values"].shape == (2, *model.config.pixel_shape)
    if isinstance(config.vision, list):
        for part, section in zip(split_pixels(batch["pixel_values"], [28, 8]), config.vision, strict=True):
            alone = SkyEyeProcessor(tokenizer, 4, section.image_size, section.mean, section.std)
            assert torch.equal(part[0], alone.pixels(picture))
    processor.save_pretrained(tmp_path)
    again = SkyEyeProcessor.from_pretrained(tmp_path)
    assert torch.equal(again.pixels(picture), batch["pixel_values"][0])


def test_operations_of_an_image_are_those_of_all_its_towers(tiny_config):
    both, *alone = (build_model(tiny_config(vision=vision)) for vision in ([EVA, SMALL], EVA, SMALL))
    for trained in ("frozen", "full"):
        for model in (both, *alone):
            model.set_trainable(vision=trained)
        together, *each = (StepFlops(TrainingObjective(model)).image.total for model in (both, *alone))
        assert together == sum(each) > 0


def test_text_alone_runs_what_images_run(model):
    model.set_trainable(vision="full", projector="full", language="lora")
    ids = torch.randint(1, 100, (2, 6))
    TrainingObjective(model).train()(ids, labels=ids).backward()
    reached = [p.grad is not None for name, p in model.vision_tower.named_parameters()]
    assert reached and all(reached)
