"""Checkpoints of the reference: loaded strictly, described, converted both ways bit by bit."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    VisionConfig,
)
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.converters.minigpt_v2 import is_trained, reference_name
from skyeye.models.inspection import describe_checkpoint, inspect_checkpoint
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.weights import read_tensors


def trained_tensors(model) -> dict[str, torch.Tensor]:
    return {reference_name(n): t for n, t in model.state_dict().items() if is_trained(reference_name(n))}


def scrambled(model):
    """The same model with other adapters and another projection, so that loading has something to do."""
    other = copy.deepcopy(model)
    for name, tensor in other.state_dict().items():
        if is_trained(reference_name(name)):
            tensor.normal_()
    return other


@dataclass
class ReferenceFile:
    """What the reference's runner wrote at the end of its last epoch, and the file's structure."""

    path: Path
    layout: dict


@pytest.fixture
def published(golden) -> ReferenceFile:
    (path,) = golden.glob("checkpoint_*.pth")
    return ReferenceFile(path, json.loads(path.with_suffix(".layout.json").read_text()))


@pytest.mark.golden
class TestReferenceFile:
    def test_loads_completely(self, golden, golden_model, published):
        before = {n: t.clone() for n, t in golden_model.state_dict().items()}
        load_checkpoint(golden_model, published.path)
        expected = load_file(golden / "train_accum1.safetensors")
        found = trained_tensors(golden_model)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        for name, tensor in golden_model.state_dict().items():
            assert is_trained(reference_name(name)) or torch.equal(tensor, before[name]), name

    def test_is_described(self, golden, published):
        layout, lora = published.layout, json.loads((golden / "sizes.json").read_text())["lora"]
        found = inspect_checkpoint(published.path)
        assert found["config"] == layout["config"] and found["epoch"] == layout["epoch"]
        assert sum(group["count"] for group in found["tensors"]) == len(layout["model"])
        assert found["rank"] == lora["r"]
        text = describe_checkpoint(published.path)
        assert f'"init_lr": {layout["config"]["run"]["init_lr"]}' in text
        assert all(f"{name}.lora_A.weight" in text for name in lora["target_modules"]) and "llama_proj.weight" in text

    def test_becomes_a_directory_on_the_parts_of_a_recipe(
        self, golden, golden_config, golden_model, published, tmp_path
    ):
        tower = tmp_path / "tower.safetensors"
        save_file(golden_model.vision_tower.backbone.state_dict(), tower)
        vision = dataclasses.replace(golden_config.vision, weights=str(tower))
        convert(published.path, tmp_path / "ours", base=dataclasses.replace(golden_config, vision=vision))
        assert sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors")) == [
            "adapter_model.safetensors",
            "model.safetensors",
        ]
        model = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "ours")
        expected = load_file(golden / "train_accum1.safetensors")
        assert all(torch.equal(tensor, expected[name]) for name, tensor in trained_tensors(model).items())
        assert SkyEyeProcessor.from_pretrained(tmp_path / "ours").image_size == golden_config.vision.image_size

    def test_a_full_file_needs_everything(self, golden, golden_model, tmp_path):
        tensors = load_file(golden / "model.safetensors")
        del tensors["ln_vision.bias"]
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(SkyEyeError, match="1 missing: ln_vision.bias"):
            load_checkpoint(golden_model, tmp_path / "model.safetensors")

    def test_names_of_a_written_file_are_the_reference_s(self, golden, golden_model, published, tmp_path):
        golden_model.save_pretrained(tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "all.pth", everything=True)
        written = torch.load(tmp_path / "all.pth", weights_only=True)
        whole = load_file(golden / "model.safetensors")
        kept = {name for name in whole if not name.endswith("inv_freq")}
        assert written["model"].keys() == kept
        assert all(torch.equal(written["model"][name], whole[name]) for name in kept)
        convert(tmp_path / "ours", tmp_path / "trained.pth")
        written = torch.load(tmp_path / "trained.pth", weights_only=True)
        assert written.keys() == published.layout.keys()
        assert written["model"].keys() == {name for name in published.layout["model"] if not name.endswith("inv_freq")}


def full_size_layout(hidden: int, inputs: int, layers: int, rank: int) -> dict[str, list[int]]:
    """Names and shapes of what the reference stores of a model of this size."""
    shapes = {}
    for layer in range(layers):
        attention = f"llama_model.base_model.model.model.layers.{layer}.self_attn"
        for name in ("q_proj", "v_proj"):
            shapes[f"{attention}.{name}.lora_A.weight"] = [rank, hidden]
            shapes[f"{attention}.{name}.lora_B.weight"] = [hidden, rank]
        shapes[f"{attention}.rotary_emb.inv_freq"] = [64]
    return shapes | {"llama_proj.weight": [hidden, inputs], "llama_proj.bias": [hidden]}


class TestFullSize:
    """Files of full-size shapes; all tensors share one stored number, so the files are small."""

    @pytest.fixture
    def write(self, tmp_path):
        def write(shapes: dict[str, list[int]]):
            tensors = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
            torch.save({"model": tensors, "config": {"run": {"init_lr": 1e-5}}, "epoch": 3}, tmp_path / "full.pth")
            return tmp_path / "full.pth"

        return write

    @pytest.mark.golden
    def test_the_published_layout_fits_the_full_model(self, golden, published, write):
        (path,) = set(golden.glob("checkpoint_*.layout.json")) - {published.path.with_suffix(".layout.json")}
        layout = json.loads(path.read_text())
        shapes = {name: entry["shape"] for name, entry in layout["model"].items()}
        hidden, inputs = shapes["llama_proj.weight"]
        adapters = re.findall(r"layers\.(\d+)\.\S+\.(\w+)\.lora_A\.", " ".join(shapes))
        rank = next(shape[0] for name, shape in shapes.items() if ".lora_A." in name)
        (head_half,) = {shape[0] for name, shape in shapes.items() if name.endswith("rotary_emb.inv_freq")}
        text = {
            "model_type": "llama",
            "hidden_size": hidden,
            "num_hidden_layers": 1 + max(int(layer) for layer, _ in adapters),
            "num_attention_heads": hidden // (2 * head_half),
        }
        config = ModelConfig(
            # how many tokens the full-size model joins is no number of this set: the published four
            vision=VisionConfig(width=inputs // LinearProjectorConfig.join_tokens),
            language=LanguageConfig(config=text),
            lora=LoraConfig(r=rank, target_modules=sorted({name for _, name in adapters})),
        )
        with torch.device("meta"):
            model = build_model(config)
        load_checkpoint(model, write(shapes))
        loaded = {reference_name(name): p for name, p in model.named_parameters() if not p.is_meta}
        assert loaded.keys() == {name for name in shapes if not name.endswith("inv_freq")}
        assert sum(parameter.numel() for parameter in loaded.values()) == layout["n_trainable"]

    def test_what_it_is_for_is_said(self, write, tiny_model):
        with pytest.raises(SkyEyeError) as error:
            load_checkpoint(tiny_model, write(full_size_layout(4096, 5632, 32, 64)))
        message = str(error.value)
        assert "LLaMA-2-7B (hidden size 4096) behind EVA-CLIP-g, 4 tokens joined (input width 5632)" in message
        assert "its adapters have rank 64, the model's 2" in message
        assert "and 112 more" in message  # 120 of the 128 adapters are of layers that the tiny model lacks
        assert "\n" not in message

    def test_13b_is_not_7b(self, write):
        text = {"model_type": "llama", "hidden_size": 5120, "num_hidden_layers": 32, "intermediate_size": 64}
        with torch.device("meta"):
            model = build_model(ModelConfig(language=LanguageConfig(config=text | {"num_attention_heads": 40})))
        with pytest.raises(SkyEyeError, match=r"is for LLaMA-2-7B .*; the model here has LLaMA-2-13B"):
            load_checkpoint(model, write(full_size_layout(4096, 5632, 32, 64)))

    def test_described_in_a_few_lines(self, write):
        text = describe_checkpoint(write(full_size_layout(4096, 5632, 32, 64)))
        assert "32 of  llama_model.base_model.model.model.layers.*.self_attn.q_proj.lora_A.weight  [64 x 4096]" in text
        assert "LoRA adapters of rank 64" in text and '"init_lr": 1e-05' in text and len(text.splitlines()) < 30


class TestSpellings:
    @pytest.mark.parametrize("style", ["old", "new", "module", "with frequencies", "bare"])
    def test_every_style_loads(self, tiny_model, tmp_path, style):
        tensors = {name: t.clone() for name, t in trained_tensors(tiny_model).items()}
        if style == "new":
            tensors = {n.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default."): t
                       for n, t in tensors.items()}  # fmt: skip
        elif style == "module":
            tensors = {f"module.{name}": tensor for name, tensor in tensors.items()}
        elif style == "with frequencies":
            tensors["llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
        torch.save(tensors if style == "bare" else {"model": tensors}, tmp_path / "c.pth")
        other = scrambled(tiny_model)
        load_checkpoint(other, tmp_path / "c.pth")
        assert all(torch.equal(t, tiny_model.state_dict()[n]) for n, t in other.state_dict().items())

    @pytest.mark.parametrize("head", ["lm_head.", "lm_head.0."])
    @pytest.mark.parametrize("base", [".", ".base_layer."])
    def test_full_files(self, tiny_model, tmp_path, head, base):
        tensors = {
            reference_name(n).replace(".lm_head.", f".{head}"): t.clone() for n, t in tiny_model.state_dict().items()
        }
        tensors = {n.replace("q_proj.weight", f"q_proj{base}weight"): t for n, t in tensors.items()}
        torch.save({"model": tensors}, tmp_path / "c.pth")
        other = scrambled(tiny_model)
        load_checkpoint(other, tmp_path / "c.pth")
        assert all(torch.equal(t, tiny_model.state_dict()[n]) for n, t in other.state_dict().items())

    def test_two_spellings_of_one_tensor(self, tiny_model, tmp_path):
        tensors = trained_tensors(tiny_model)
        name = next(name for name in tensors if "lora_A" in name)
        tensors[name.replace("lora_A.", "lora_A.default.")] = tensors[name]
        torch.save({"model": tensors}, tmp_path / "c.pth")
        with pytest.raises(SkyEyeError, match="twice, under two spellings"):
            load_checkpoint(tiny_model, tmp_path / "c.pth")


class TestStrictness:
    def test_every_difference_is_listed(self, tiny_model, tmp_path):
        tensors = trained_tensors(tiny_model)
        gone = next(name for name in tensors if "lora_B" in name)
        del tensors[gone]
        tensors["llama_proj.extra"] = torch.zeros(2)
        tensors["llama_proj.bias"] = torch.zeros(5)
        torch.save({"model": tensors}, tmp_path / "c.pth")
        with pytest.raises(SkyEyeError) as error:
            load_checkpoint(tiny_model, tmp_path / "c.pth")
        for part in (f"1 missing: {gone}", "1 unexpected: llama_proj.extra", "llama_proj.bias is (5,), expected (16,)"):
            assert part in str(error.value)

    def test_adapters_are_not_dropped(self, tiny_model, tiny_config, tmp_path):
        torch.save({"model": trained_tensors(tiny_model)}, tmp_path / "c.pth")
        without = build_model(tiny_config(lora=LoraConfig(r=0)))
        with pytest.raises(SkyEyeError, match="8 unexpected: .*lora_A.*adapters have rank 2, the model's None"):
            load_checkpoint(without, tmp_path / "c.pth")

    def test_nothing_is_loaded_when_something_is_wrong(self, tiny_model, tmp_path):
        tensors = {name: torch.full_like(t, 9.0) for name, t in trained_tensors(tiny_model).items()}
        tensors["stranger"] = torch.zeros(1)
        torch.save({"model": tensors}, tmp_path / "c.pth")
        before = {name: t.clone() for name, t in tiny_model.state_dict().items()}
        with pytest.raises(SkyEyeError):
            load_checkpoint(tiny_model, tmp_path / "c.pth")
        assert all(torch.equal(t, before[name]) for name, t in tiny_model.state_dict().items())

    def test_a_folder_that_is_no_checkpoint(self, tiny_model, tmp_path):
        with pytest.raises(SkyEyeError, match="not a skyeye checkpoint"):
            load_checkpoint(tiny_model, tmp_path)
        with pytest.raises(SkyEyeError, match="no model.safetensors"):
            inspect_checkpoint(tmp_path)
        with pytest.raises(SkyEyeError, match="no such checkpoint"):
            inspect_checkpoint(tmp_path / "nothing")

    def test_a_damaged_file_is_told(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
        with pytest.raises(SkyEyeError, match="not a readable safetensors file"):
            describe_checkpoint(tmp_path)
        (tmp_path / "c.pth").write_bytes(b"PK")
        with pytest.raises(SkyEyeError, match="not a readable PyTorch weights file"):
            describe_checkpoint(tmp_path / "c.pth")

    def test_a_file_of_an_old_torch_is_read_and_told_when_it_is_cut_short(self, tmp_path):
        """Before torch 1.6 these files were no ZIP archives, which alone can be memory-mapped."""
        tensors, path = {"model": {"a": torch.arange(3.0)}}, tmp_path / "old.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
        assert read_tensors(path)["a"].tolist() == [0.0, 1.0, 2.0]
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(SkyEyeError, match="unexpected EOF.*download it again if it is cut short"):
            read_tensors(path)


class TestOurDirectory:
    @pytest.mark.parametrize("tied", [False, True])
    def test_loads_onto_a_model(self, tiny_config, tmp_path, tied):
        text = tiny_config().language.config | {"tie_word_embeddings": tied}
        config = tiny_config(language=LanguageConfig(config=text))
        source, target = build_model(config), build_model(config)
        source.save_pretrained(tmp_path / "c")
        load_checkpoint(target, tmp_path / "c")
        assert all(torch.equal(t, source.state_dict()[n]) for n, t in target.state_dict().items())

    def test_is_described(self, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path)
        (tmp_path / "recipe.yaml").write_text("name: tiny\nseed: 42\n")
        (tmp_path / "manifest.json").write_text('{"step": 7}')
        found = inspect_checkpoint(tmp_path)
        assert found["values"] == sum(t.numel() for t in tiny_model.state_dict().values())
        assert found["manifest"] == {"step": 7} and found["rank"] == 2
        text = describe_checkpoint(tmp_path)
        assert "seed: 42" in text and '"model_type": "skyeye"' in text


class TestConvert:
    @pytest.fixture
    def ours(self, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path / "ours")
        (tmp_path / "ours/recipe.yaml").write_text("name: tiny\n")
        return tmp_path / "ours"

    def same(self, first, second) -> None:
        a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    def test_there_and_back_with_a_base(self, tiny_model, ours, tmp_path):
        convert(ours, tmp_path / "c.pth")
        scrambled(tiny_model).save_pretrained(tmp_path / "base")
        (tmp_path / "base/tokenizer.json").write_text("{}")
        convert(tmp_path / "c.pth", tmp_path / "back", base=tmp_path / "base")
        self.same(ours, tmp_path / "back")
        assert (tmp_path / "back/tokenizer.json").read_text() == "{}"
        assert SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "back").config.lora["r"] == 2

    def test_there_and_back_without_a_base(self, ours, tmp_path):
        convert(ours, tmp_path / "c.pth", everything=True)
        convert(tmp_path / "c.pth", tmp_path / "back")
        self.same(ours, tmp_path / "back")

    def test_and_there_again(self, ours, tmp_path):
        convert(ours, tmp_path / "a.pth")
        convert(tmp_path / "a.pth", tmp_path / "back", base=ours)
        convert(tmp_path / "back", tmp_path / "b.pth")
        a, b = (torch.load(tmp_path / f"{name}.pth", weights_only=True)["model"] for name in "ab")
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    @pytest.mark.parametrize("projector", [MLPProjectorConfig(), LinearProjectorConfig(join_tokens=1)], ids=str)
    def test_other_projectors(self, tiny_config, tmp_path, projector):
        model = build_model(tiny_config(projector=projector, lora=LoraConfig(r=2, projector=True)))
        model.save_pretrained(tmp_path / "ours")
        convert(tmp_path / "ours", tmp_path / "c.pth")
        scrambled(model).save_pretrained(tmp_path / "base")
        convert(tmp_path / "c.pth", tmp_path / "back", base=tmp_path / "base")
        self.same(tmp_path / "ours", tmp_path / "back")

    def test_a_base_is_asked_for(self, ours, tmp_path):
        convert(ours, tmp_path / "c.pth")
        with pytest.raises(SkyEyeError, match="holds only what was trained.*name a base"):
            convert(tmp_path / "c.pth", tmp_path / "back")
        assert not (tmp_path / "back").exists()

    def test_nothing_is_overwritten(self, ours, tmp_path):
        (tmp_path / "c.pth").write_text("precious")
        with pytest.raises(SkyEyeError, match="exists already"):
            convert(ours, tmp_path / "c.pth")
        assert (tmp_path / "c.pth").read_text() == "precious"

    def test_nothing_half_written_stays(self, tiny_config, ours, tmp_path, monkeypatch):
        convert(ours, tmp_path / "c.pth")
        build_model(tiny_config(lora=LoraConfig(r=3))).save_pretrained(tmp_path / "base")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(SkyEyeError, match="mis-shaped"):
            convert(tmp_path / "c.pth", tmp_path / "back", base=tmp_path / "base")
        assert sorted(tmp_path.iterdir()) == before

        def full(*_):
            raise OSError("No space left on device")

        monkeypatch.setattr("shutil.copy", full)
        with pytest.raises(SkyEyeError, match="No space"):
            convert(tmp_path / "c.pth", tmp_path / "back", base=ours)

        def full_in_rust(*_, **__):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full_in_rust)
        with pytest.raises(SkyEyeError, match="back: cannot be written: No space left on device .make room"):
            convert(tmp_path / "c.pth", tmp_path / "back", base=ours)
        monkeypatch.setattr("os.replace", full)
        with pytest.raises(SkyEyeError, match="No space"):
            convert(ours, tmp_path / "d.pth")
        assert sorted(tmp_path.iterdir()) == before
