"""A folder of LlavaForConditionalGeneration: transformers alone loads it, and computes what we compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from transformers import AutoProcessor, LlavaForConditionalGeneration

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.converters.llava_hf import IMAGE, export_llava_hf
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import save_checkpoint
from skyeye.models.tokenizer import train_tokenizer

TEXT = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
QUESTION = "how many ships are there ?"


def folder(tmp_path, layers=(-2,), style="llava_v1", resize="pad", projector=None, **text):
    """A checkpoint of ours with adapters that do something."""
    torch.manual_seed(1)
    tokenizer = train_tokenizer([QUESTION, "two", "USER: ASSISTANT: A chat between a curious user"] * 3, 600)
    config = ModelConfig(
        vision=VisionConfig(
            architecture="clip",
            image_size=28,
            patch_size=14,
            width=16,
            depth=3,
            heads=2,
            mlp_ratio=2.1,  # of 16: 33.6, of which timm takes 33
            layers=list(layers),
            resize=resize,
        ),
        vision_norm=False,
        projector=projector or MLPProjectorConfig(join_tokens=1),
        language=LanguageConfig(config={**TEXT, **text}),
        lora=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        prompt=PromptConfig(style=style, pad_token=None),
    )
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    save_checkpoint(
        tmp_path / "ours", model, model.state_dict(), processor=SkyEyeProcessor.from_config(config, tokenizer)
    )
    return tmp_path / "ours"


@pytest.mark.parametrize(
    ("layers", "style", "resize", "tied"),
    [((-2,), "llava_v1", "pad", False), ((1, 2, 3), "vhm", "crop", True), ((-1,), "geochat", "stretch", False)],
)
def test_logits_and_prompts_are_ours(tmp_path, layers, style, resize, tied):
    ours = folder(tmp_path, layers, style, resize, tie_word_embeddings=tied)
    export_llava_hf(ours, tmp_path / "hf", dtype="fp32")
    model, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert type(model).__module__.startswith("transformers.")
    assert not any(info.values()), info
    network, processor = open_checkpoint(ours)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    pixels = processor.pixels(picture)[None]
    ids = processor.builder.prompt(1, [Turn(QUESTION, "")])
    image_id = model.config.image_token_index
    theirs = [image_id if token == -1 else token for token in ids]
    with torch.no_grad():
        expected = network(torch.tensor([ids]), pixel_values=pixels).logits
        found = model.eval()(input_ids=torch.tensor([theirs]), pixel_values=pixels).logits
    vocabulary = expected.shape[-1]
    assert found.shape[-1] % 64 == 0 and image_id < found.shape[-1]
    assert_close(found[..., :vocabulary], expected, rtol=1e-4, atol=1e-4)
    assert (found.argmax(-1) == expected.argmax(-1)).all(), "a row for the image token is never the likeliest"
    reader = AutoProcessor.from_pretrained(tmp_path / "hf")
    assert type(reader).__name__ == "LlavaProcessor"
    chat = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]}]
    written = reader.apply_chat_template(chat, add_generation_prompt=True)
    assert written == processor.builder.written(1, [Turn(QUESTION, "")]).replace("<ImageHere>", IMAGE)
    batch = reader.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert batch["input_ids"][0].tolist() == theirs
    assert (batch["pixel_values"] - pixels).abs().mean() < 0.02, "the same picture up to the rounding of resizing"


def test_several_turns_are_written_as_ours(tmp_path):
    ours = folder(tmp_path)
    export_llava_hf(ours, tmp_path / "hf", dtype="fp32")
    _, processor = open_checkpoint(ours)
    reader = AutoProcessor.from_pretrained(tmp_path / "hf")
    chat = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "where ?"},
    ]
    turns = [Turn(QUESTION, "two"), Turn("where ?", "")]
    expected = processor.builder.written(1, turns).replace("<ImageHere>", IMAGE)
    assert reader.apply_chat_template(chat, add_generation_prompt=True) == expected


def test_other_shapes_are_refused_before_anything_is_written(tmp_path):
    ours = folder(tmp_path, projector=LinearProjectorConfig(join_tokens=4))
    with pytest.raises(SkyEyeError, match="model.projector is not mlp with join_tokens: 1.*skyeye export"):
        export_llava_hf(ours, tmp_path / "hf")
    assert not (tmp_path / "hf").exists() and not list(tmp_path.glob(".hf*"))
    (tmp_path / "hf").mkdir()
    with pytest.raises(SkyEyeError, match="exists already"):
        export_llava_hf(ours, tmp_path / "hf")
