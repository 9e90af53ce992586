"""Published CLIPs with other sides than a vision transformer and its text: ResNets (RemoteCLIP, S-CLIP) and GRAFT."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close
from transformers import CLIPConfig, CLIPModel, CLIPVisionModelWithProjection

from skyeye.config.schema import ModelConfig, TextConfig, TokenizerConfig, VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.converters.two_towers import split_sides
from skyeye.models.tokenizer import train_tokenizer
from skyeye.models.two_towers import TwoTowers, TwoTowersConfig
from skyeye.models.two_towers.build import build_two_towers, load_published, load_text_side, open_two_towers
from skyeye.models.two_towers.pooling import AttentionPooling
from skyeye.models.two_towers.words import CaptionTokenizer

IDS = torch.tensor([[48, 3, 5, 49, 0, 0], [48, 7, 49, 0, 0, 0]])
TEXT = {"width": 16, "depth": 2, "heads": 2, "context": 6, "vocab_size": 50, "embedding": 12}


@pytest.fixture(scope="module")
def resnet():
    """A CLIP of open_clip with the smallest of OpenAI's ResNets, whose norms have seen something."""
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    vision = {"image_size": 64, "layers": [3, 4, 6, 3], "width": 64}
    text = {"context_length": 6, "vocab_size": 50, "width": 16, "heads": 2, "layers": 2}
    model = open_clip.model.CLIP(12, vision, text, quick_gelu=True)
    with torch.no_grad():
        model.encode_image(torch.randn(2, 3, 64, 64))
        model.visual.attnpool.positional_embedding.normal_()
    return model.eval()


def of_resnet(pooling: str = "attention") -> TwoTowers:
    vision = VisionConfig(architecture="timm", name="resnet50_clip", image_size=64)
    return TwoTowers(TwoTowersConfig.of(ModelConfig(vision=vision, text=TextConfig(**TEXT, pooling=pooling)))).eval()


@torch.no_grad()
def test_both_sides_of_a_resnet_are_those_of_open_clip(resnet, tmp_path):
    """In the file of a trainer, as S-CLIP's are; RemoteCLIP's has the same names without module."""
    content = {f"module.{name}": tensor for name, tensor in resnet.state_dict().items()}
    torch.save({"epoch": 25, "name": "s-clip", "state_dict": content}, tmp_path / "RN50.pt")
    for bare, with_module in zip(split_sides(resnet.state_dict()), split_sides(content), strict=True):
        assert list(bare) == list(with_module)
    ours = of_resnet()
    load_published(ours, tmp_path / "RN50.pt")
    pixels = torch.randn(3, 3, 64, 64)
    assert_close(ours.embed_images(pixels), resnet.encode_image(pixels, normalize=True), atol=4e-6, rtol=0)
    assert_close(ours.embed_texts(IDS), resnet.encode_text(IDS, normalize=True), atol=4e-6, rtol=0)
    assert_close(ours.scale(), resnet.logit_scale.exp(), atol=1e-4, rtol=0)


def test_a_resnet_without_its_pooling_is_told_what_to_set(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "RN50.pt")
    with torch.device("meta"):
        plain = of_resnet("token")
    with pytest.raises(SkyEyeError, match="unexpected: .*projector.image.*set model.text.pooling: attention"):
        load_published(plain, tmp_path / "RN50.pt")
    vision = VisionConfig(architecture="clip", image_size=28, patch_size=14, width=64, depth=1, heads=2)
    with pytest.raises(SkyEyeError, match="CLIP's ResNets, and the tower has a class token"):
        TwoTowers(TwoTowersConfig.of(ModelConfig(vision=vision, text=TextConfig(**TEXT, pooling="attention"))))
    with pytest.raises(SkyEyeError, match="heads of 64 features, and the tower has 100"):
        AttentionPooling(100, 8, 4)


@torch.no_grad()
def test_pooling_by_attention():
    """A query of zeros attends to all alike: the mean of the places and of their mean, positions added."""
    pooling = AttentionPooling(64, 64, 2)
    for linear in (pooling.query, pooling.value, pooling.out):
        linear.weight.zero_()
        linear.bias.zero_()
    for linear in (pooling.value, pooling.out):
        linear.weight.fill_diagonal_(1.0)
    tokens = torch.stack([torch.full((64,), 1.0), torch.full((64,), 5.0)])[None]
    expected = 3.0 + pooling.positions.mean(dim=0)  # (3 + 1 + 5) / 3
    assert_close(pooling(tokens), expected[None])


@pytest.fixture(scope="module")
def graft(tmp_path_factory):
    """(GRAFT's backbone, its file; the CLIP beside which it was trained, its folder)."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 6, "eos_token_id": 49}
    vision = {**sizes, "image_size": 28, "patch_size": 14, "projection_dim": 12}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    clip = CLIPModel(config).eval()
    backbone = CLIPVisionModelWithProjection(clip.config.vision_config).eval()
    for model in (clip, backbone):
        for parameter in model.parameters():
            parameter.data.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("graft")
    clip.save_pretrained(folder / "clip")
    content = {f"satellite_image_backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    content |= {"projector.0.weight": torch.ones(16), "projector.0.bias": torch.zeros(16)}
    content |= {"projector.1.weight": torch.zeros(12, 16), "logit_scale": torch.tensor(1 / 0.07)}
    torch.save({"state_dict": content, "epoch": 3}, folder / "graft.ckpt")
    return backbone, folder / "graft.ckpt", clip, folder / "clip"


def of_graft(**text) -> ModelConfig:
    sizes = {"image_size": 28, "patch_size": 14, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
    return ModelConfig(vision=VisionConfig(architecture="clip", **sizes), text=TextConfig(**TEXT, **text))


@torch.no_grad()
def test_graft_sees_for_the_texts_of_its_clip(graft):
    backbone, file, clip, folder = graft
    ours = TwoTowers(TwoTowersConfig.of(of_graft())).eval()
    load_text_side(ours, folder)
    load_published(ours, file, texts_are_there=True)
    pixels = torch.randn(2, 3, 28, 28)
    assert_close(ours.embed_images(pixels), normalize(backbone(pixels).image_embeds, dim=-1), atol=2e-6, rtol=0)
    theirs = clip.get_text_features(IDS)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
    assert_close(ours.embed_texts(IDS), normalize(theirs, dim=-1), atol=2e-6, rtol=0)
    assert_close(ours.scale(), clip.logit_scale.exp())


def test_a_recipe_and_a_file_by_its_recipe_put_the_same_sides_together(graft, tmp_path, monkeypatch):
    _, file, _, folder = graft
    words = CaptionTokenizer(train_tokenizer(["a ship"], 600), 6)
    monkeypatch.setattr(words, "vocab_size", 50)
    monkeypatch.setattr("skyeye.models.two_towers.build.tokenizer_of", lambda base: words)
    base = of_graft(weights=str(folder))
    base.tokenizer, base.checkpoint = TokenizerConfig(path="clip"), str(file)
    opened, _ = open_two_towers(file, base)
    built = build_two_towers(base, words)
    assert built.config.text["weights"] is None  # a folder of ours holds everything
    pairs = zip(opened.state_dict().items(), built.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(mine, theirs) for (name, mine), (other, theirs) in pairs)


def test_a_side_of_pictures_alone_wants_its_texts(graft):
    _, file, _, _ = graft
    with pytest.raises(SkyEyeError, match="holds the side of pictures alone.*set model.text.weights"):
        load_published(TwoTowers(TwoTowersConfig.of(of_graft())), file)
    with pytest.raises(SkyEyeError, match="model.text.weights nobody/clip: is not on this machine .hf download"):
        load_text_side(TwoTowers(TwoTowersConfig.of(of_graft())), "nobody/clip")
    other = TwoTowers(TwoTowersConfig.of(of_graft(activation="gelu")))
    with pytest.raises(SkyEyeError, match="trained with activation quick_gelu, the recipe says gelu"):
        load_text_side(other, graft[3])
