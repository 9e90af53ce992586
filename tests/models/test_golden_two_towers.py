"""Both sides of RemoteCLIP, GeoRSCLIP and SkyCLIP in each layout of their files, against open_clip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_models import need, read_json, tensors
from torch.testing import assert_close

from skyeye.config.schema import ModelConfig, TextConfig, VisionConfig
from skyeye.models.contrastive import ContrastiveObjective
from skyeye.models.two_towers import TwoTowers, TwoTowersConfig
from skyeye.models.two_towers.build import load_published
from skyeye.models.two_towers.words import load_caption_tokenizer

pytestmark = pytest.mark.golden

#: File -> the model that it holds.
FILES = {
    "RemoteCLIP-tiny.pt": "remoteclip",
    "SkyCLIP-tiny-epoch_20.pt": "gelu",
    "RS5M-tiny-old.pt": "georsclip",
    "RS5M-tiny.pt": "georsclip",
}
FEATURES = {"atol": 4e-6, "rtol": 0}


@pytest.fixture(scope="module")
def golden():
    return need("clip_towers")


def section(golden: Path, name: str) -> ModelConfig:
    """The model of the golden folder in our words."""
    told = read_json(golden / "sizes.json")["models"][name]
    vision, text = told["vision"], told["text"]
    activation = "quick_gelu" if told["quick_gelu"] else "gelu"
    tower = VisionConfig(
        architecture="clip",
        width=vision["width"],
        depth=vision["layers"],
        heads=told["vision_heads"],
        patch_size=vision["patch_size"],
        mlp_ratio=vision["mlp_ratio"],
        activation=activation,
        image_size=vision["image_size"],
    )
    sizes = {"width": text["width"], "depth": text["layers"], "heads": told["text_heads"]}
    side = TextConfig(
        **sizes,
        context=text["context_length"],
        vocab_size=text["vocab_size"],
        activation=activation,
        embedding=told["embed_dim"],
    )
    return ModelConfig(vision=tower, text=side)


def opened(golden: Path, file: str) -> TwoTowers:
    made = TwoTowers(TwoTowersConfig.of(section(golden, FILES[file]))).eval()
    load_published(made, golden / file)
    return made


@torch.no_grad()
@pytest.mark.parametrize("file", FILES)
def test_features_and_similarity(golden, file):
    stored, pixels = (
        tensors(golden / f"{FILES[file]}.safetensors"),
        tensors(golden / "remoteclip.safetensors")["pixels"],
    )
    model = opened(golden, file)
    images, texts = model.embed_images(pixels), model.embed_texts(stored["text_ids"].long())
    assert_close(images, stored["image_features.normalised"], **FEATURES)
    assert_close(texts, stored["text_features.normalised"], **FEATURES)
    assert_close(model.scale(), stored["logit_scale.exp"].reshape(()), atol=1e-4, rtol=0)
    assert_close(model(pixels, stored["text_ids"].long()), stored["similarity"], atol=6e-5, rtol=0)


def test_ids_of_captions(golden):
    told = read_json(golden / "tokens.json")
    open_clip = pytest.importorskip("open_clip", reason="CLIP's vocabulary lies in open_clip")
    vocabulary = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    words = load_caption_tokenizer(vocabulary, 77)
    assert (words.begin, words.end, words.vocab_size) == (told["sot"], told["eot"], told["vocab_size"])
    assert words(told["captions"]).tolist() == told["ids"]
    few = told["captions"][: len(told["context_length_16"])]
    assert load_caption_tokenizer(vocabulary, 16)(few).tolist() == told["context_length_16"]


@pytest.mark.parametrize("file", ["RemoteCLIP-tiny.pt", "SkyCLIP-tiny-epoch_20.pt"])
def test_contrastive_loss_and_gradients(golden, file):
    stored, pixels = (
        tensors(golden / f"{FILES[file]}.safetensors"),
        tensors(golden / "remoteclip.safetensors")["pixels"],
    )
    model = opened(golden, file)
    loss = ContrastiveObjective(model)(pixels[:6], stored["text_ids"][:6].long(), torch.ones(6, dtype=torch.bool))
    loss.backward()
    assert_close(loss, stored["contrastive_loss_of_the_first_six_pairs"].reshape(()), atol=2e-6, rtol=0)
    tower, text = model.vision_tower.backbone, model.text_tower.backbone
    ours = {
        "visual.conv1.weight": tower.patch_embed.proj.weight,
        "visual.ln_pre.weight": tower.norm_pre.weight,
        "ln_final.weight": text.final_layer_norm.weight,
        "positional_embedding": text.embeddings.position_embedding.weight,
        "logit_scale": model.projector.logit_scale,
    }
    gradients = {name: parameter.grad for name, parameter in ours.items()}
    gradients["visual.proj"] = model.projector.image.weight.grad.T
    gradients["text_projection"] = model.projector.text.weight.grad.T
    for name, gradient in gradients.items():
        expected = stored[f"grad.{name}"]
        assert_close(gradient.reshape(expected.shape), expected, atol=6e-6, rtol=0)
