"""Folders in LLaVA's layout: written and read back, and what is wrong with those that people have."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from skyeye.cli import main
from skyeye.config.catalogue import MODELS, table
from skyeye.config.load import load_model
from skyeye.config.schema import (
    LanguageConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.converters import llava
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import save_checkpoint
from skyeye.models.tokenizer import train_tokenizer
from skyeye.models.vision import load_vision_weights

VISION = VisionConfig(
    architecture="clip",
    image_size=28,
    patch_size=14,
    width=16,
    depth=3,
    heads=2,
    mlp_ratio=2.0,
    layers=[-2],
    resize="pad",
)
PIXELS = torch.linspace(-1, 1, 3 * 28 * 28).view(1, 3, 28, 28)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A folder of ours that holds a whole model, without adapters."""
    folder = tmp_path_factory.mktemp("ours") / "model"
    torch.manual_seed(1)
    tokenizer = train_tokenizer(["how many ships are there ?", "two"], 600)
    text = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    model = ModelConfig(
        vision=VISION,
        vision_norm=False,
        projector=MLPProjectorConfig(join_tokens=1),
        language=LanguageConfig(config=text),
        lora=LoraConfig(r=0),
        prompt=PromptConfig(style="llava_v1", pad_token=None),
    )
    built = build_model(model, tokenizer)
    save_checkpoint(folder, built, built.state_dict(), processor=SkyEyeProcessor.from_config(model, tokenizer))
    return folder


@pytest.fixture(scope="module")
def whole(ours, tmp_path_factory):
    """The same in LLaVA's layout, with its tower in a folder of its own."""
    folder = tmp_path_factory.mktemp("llava") / "whole"
    convert(ours, folder, layout="llava")
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copied")


@pytest.fixture
def adapters(whole, tmp_path):
    """(folder of adapters, folder of their language model)."""
    base = shutil.copytree(whole, tmp_path / "vicuna")
    found = torch.load(base / "pytorch_model.bin", weights_only=True)
    torch.save({n: t for n, t in found.items() if "mm_projector" not in n}, base / "pytorch_model.bin")
    edit(base / "config.json", mm_vision_tower=None, model_type="llama")
    folder = shutil.copytree(whole, tmp_path / "adapters")
    (folder / "pytorch_model.bin").unlink()
    lora = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    lora |= {"base_model_name_or_path": "lmsys/vicuna"}
    (folder / "adapter_config.json").write_text(json.dumps(lora))
    names = [f"base_model.model.model.layers.{i}.self_attn.q_proj" for i in range(2)]
    tensors = {
        f"{name}.lora_{p}.weight": torch.randn(*s) for name in names for p, s in (("A", (2, 16)), ("B", (16, 2)))
    }
    torch.save(tensors, folder / "adapter_model.bin")
    others = {f"base_model.model.{name}": tensor for name, tensor in found.items() if "mm_projector" in name}
    torch.save(others, folder / "non_lora_trainables.bin")
    return folder, base


def edit(file, **changes) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def logits(model, processor) -> torch.Tensor:
    ids = processor.builder.prompt(1, [Turn("how many ships ?", "")])
    with torch.no_grad():
        return model(torch.tensor([ids]), pixel_values=PIXELS).logits


def test_written_and_read_back_it_computes_the_same(ours, whole):
    before, after = open_checkpoint(ours), open_checkpoint(whole, family="geochat")
    assert after[1].prompt["style"] == "geochat" and after[1].image_resize == "pad"
    other = open_checkpoint(whole, family="vhm")  # GeoChat's own code makes 504 pixels of any tower
    assert_close(logits(other[0], before[1]), logits(*before), atol=0, rtol=0)


def test_adapters_are_opened_beside_their_base_and_written_again(adapters, tmp_path):
    folder, base = adapters
    named = open_checkpoint(folder, base=base, family="vhm")
    found = open_checkpoint(folder, family="vhm")  # it lies beside them under the name that they state
    expected = logits(*named)
    assert_close(logits(*found), expected, atol=0, rtol=0)
    convert(folder, tmp_path / "ours", base=base, family="vhm")
    assert not (tmp_path / "ours" / "model-00001-of-00001.safetensors").exists()
    assert json.loads((tmp_path / "ours" / "base.json").read_text())["language"]["source"] == str(base)
    assert_close(logits(*open_checkpoint(tmp_path / "ours")), expected, atol=0, rtol=0)
    convert(tmp_path / "ours", tmp_path / "again", layout="llava")
    for file in ("adapter_model.bin", "non_lora_trainables.bin"):
        written, original = (torch.load(place / file, weights_only=True) for place in (tmp_path / "again", folder))
        assert written.keys() == original.keys()
        assert all(torch.equal(written[name], original[name]) for name in original)


def test_a_recipe_starts_from_a_published_folder(whole, ours):
    model, _ = open_checkpoint(ours)
    for name, parameter in model.named_parameters():
        if not name.startswith("vision_tower"):
            parameter.data.zero_()
    load_checkpoint(model, whole)
    assert all(bool(parameter.any()) for name, parameter in model.named_parameters() if name.endswith("weight"))


def test_another_base_than_the_adapters_is_told(adapters, tmp_path, caplog):
    folder, base = adapters
    other = base.rename(tmp_path / "llama")
    with caplog.at_level(logging.WARNING):
        open_checkpoint(folder, base=other, family="vhm")
    assert "trained beside lmsys/vicuna; the base given is" in caplog.text
    narrow = torch.load(other / "pytorch_model.bin", weights_only=True)
    narrow["model.layers.0.mlp.up_proj.weight"] = torch.zeros(20, 16)
    torch.save(narrow, other / "pytorch_model.bin")
    with pytest.raises(SkyEyeError, match="mis-shaped.*up_proj.*trained beside lmsys/vicuna"):
        open_checkpoint(folder, base=other, family="vhm")
    other.rename(tmp_path / "elsewhere")
    with pytest.raises(SkyEyeError, match="language model lmsys/vicuna is not on this machine.*--base FOLDER"):
        open_checkpoint(folder, family="vhm")


def test_a_missing_tower_is_one_line(copied):
    shutil.rmtree(copied / "vision_tower")
    with pytest.raises(SkyEyeError, match="its vision tower vision_tower is not on this machine.*put its folder"):
        open_checkpoint(copied)


def test_gelu_where_the_tower_says_quick_gelu(copied, ours):
    edit(copied / "vision_tower" / "config.json", hidden_act="gelu")
    model, _ = open_checkpoint(copied, family="vhm")
    assert model.config.towers[0]["activation"] == "gelu"
    before = open_checkpoint(ours)
    assert not torch.allclose(logits(model, before[1]), logits(*before), atol=1e-6)
    with pytest.raises(SkyEyeError, match="trained with activation gelu, the recipe says quick_gelu"):
        load_vision_weights(before[0].vision_tower, copied / "vision_tower")


def test_positions_of_another_grid_are_stretched_by_the_family_s_rule(whole, caplog):
    with caplog.at_level(logging.INFO):
        model, _ = open_checkpoint(whole, family="geochat")
    assert "position embedding resized 5 -> 1297 tokens" in caplog.text
    assert model.config.tokens_per_image == 36 * 36


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_use_im_start_end": True}, "asks for mm_use_im_start_end"),
        ({"mm_projector_type": "qformer"}, "asks for mm_projector_type qformer"),
        ({"mm_vision_select_feature": "cls_patch"}, "asks for mm_vision_select_feature cls_patch"),
        ({"model_type": "llava_mpt"}, "asks for model_type llava_mpt"),
        ({"hidden_size": 20}, "mis-shaped"),
    ],
)
def test_what_the_layout_may_ask_for_and_nothing_here_does(copied, change, message):
    edit(copied / "config.json", **change)
    with pytest.raises(SkyEyeError, match=message):
        open_checkpoint(copied, family="vhm")


def test_a_tower_of_another_kind_is_called_so(copied):
    edit(copied / "vision_tower" / "config.json", model_type="dinov2")
    with pytest.raises(SkyEyeError, match="describes a model of type 'dinov2', no CLIP tower"):
        open_checkpoint(copied, family="vhm")


def test_other_files_than_the_model_that_is_named(copied):
    edit(copied / "config.json", model_type="geochat")
    with pytest.raises(SkyEyeError, match="its files say that they are of geochat, not of vhm"):
        open_checkpoint(copied, family="vhm")
    edit(copied / "config.json", mm_vision_tower=0)
    with pytest.raises(SkyEyeError, match="config.json: names no vision tower"):
        open_checkpoint(copied)


def test_parts_that_are_not_whole(copied, adapters):
    (copied / "vision_tower" / "config.json").unlink()
    with pytest.raises(SkyEyeError, match="vision_tower: the vision tower has no config.json"):
        open_checkpoint(copied)
    with pytest.raises(SkyEyeError, match="it holds its language model itself"):
        open_checkpoint(copied, base=adapters[1])
    (adapters[0] / "non_lora_trainables.bin").unlink()
    with pytest.raises(SkyEyeError, match="4 missing: projector.*put non_lora_trainables.bin beside its adapters"):
        open_checkpoint(adapters[0], family="vhm")
    shutil.copy(adapters[1] / "pytorch_model.bin", adapters[1] / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(SkyEyeError, match="stands in another file of this folder, too"):
        open_checkpoint(adapters[0], family="vhm")


def test_a_folder_without_a_tokenizer_names_what_is_missing(copied):
    for file in copied.glob("*token*"):
        file.unlink()
    with pytest.raises(SkyEyeError, match="tokenizer"):
        open_checkpoint(copied, family="vhm")


def test_what_the_layout_has_no_place_for(ours, tmp_path):
    folder = shutil.copytree(ours, tmp_path / "normed")
    width = VISION.width
    edit(folder / "config.json", vision_norm=True)
    tensors = load_file(folder / "model.safetensors")
    tensors |= {"vision_norm.weight": torch.ones(width), "vision_norm.bias": torch.zeros(width)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SkyEyeError, match="model.vision_norm is true"):
        convert(folder, tmp_path / "out", layout="llava")


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.family in llava.VARIANTS])
def test_what_no_file_says_is_what_the_recipe_says(name):
    variant, recipe = llava.VARIANTS[MODELS[name].family], load_model(MODELS[name].path)
    vision = recipe.towers[0]
    assert (variant.style, variant.position_resize) == (recipe.prompt.style, vision.position_resize)
    assert (variant.image_size or 336, vision.resize, vision.activation) == (vision.image_size, "pad", "quick_gelu")
    known = llava.KNOWN_TOWERS["clip-vit-large-patch14-336"]
    assert all(getattr(vision, key) == value for key, value in known.items() if key != "image_size")


def test_a_model_of_the_list_is_asked_by_its_name(whole, tmp_path, capsys):
    Image.new("RGB", (40, 20), (90, 120, 60)).save(tmp_path / "pier.png")
    ask = ["--image", str(tmp_path / "pier.png"), "--ask", "how many ships ?", "--max-new-tokens", "3"]
    assert main(["chat", "vhm", *ask]) == 2
    said = capsys.readouterr().err
    assert "is a model of the list, whose files have to be given (--weights FOLDER" in said and "with FitzPC/" in said
    assert main(["chat", "vhn", "--weights", str(whole), *ask]) == 2
    assert "no model of the list is called 'vhn'; did you mean 'vhm'?" in capsys.readouterr().err
    assert main(["chat", "vhm", "--weights", str(whole), "--resize", "crop", *ask]) == 0
    assert "> how many ships ?" in capsys.readouterr().out
    assert main(["export", str(whole), str(tmp_path / "out"), "--model", "rs_llava", "--dtype", "fp32"]) == 0
    assert open_checkpoint(tmp_path / "out")[1].prompt["style"] == "rs_llava"
    capsys.readouterr()
    assert main(["models", "list"]) == 0 and main(["models", "show", "vhm"]) == 0
    printed = capsys.readouterr().out
    assert table() in printed and MODELS["vhm"].path.read_text(encoding="utf-8") in printed
