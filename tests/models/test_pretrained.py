"""The only loader: whole checkpoints, checkpoints that name their base, files of the reference; precision, merging."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from skyeye import cli
from skyeye.config.schema import LanguageConfig, LoraConfig, TokenizerConfig
from skyeye.errors import SkyEyeError
from skyeye.models import precision as precisions
from skyeye.models.base import NO_BASE, Base, BasePart, base_of, read_base
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.inspection import describe_checkpoint
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import refuse_what_does_not_fit, resolve_precision
from skyeye.models.pretrained import open_checkpoint, parts_held
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer
from skyeye.train.checkpoint.export import export


class OneProcess:
    """What an export asks of Accelerate, in a process of its own."""

    is_main_process, num_processes = True, 1

    def wait_for_everyone(self) -> None: ...


class Trained:
    def __init__(self, model):
        self.model, self.accelerator = model, OneProcess()


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny_config):
    """A recipe's model section whose tower and language model are files."""
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = train_tokenizer(["how many ships are there"], 600)
    tokenizer.save_pretrained(folder / "language")
    torch.manual_seed(1)
    fresh = build_model(tiny_config(lora=LoraConfig(r=0)), tokenizer)
    fresh.language_model.save_pretrained(folder / "language")
    save_file(fresh.vision_tower.backbone.state_dict(), folder / "tower.safetensors")
    config = tiny_config(lora=LoraConfig(r=4, alpha=8, target_modules=["q_proj", "v_proj"]))
    return replace(
        config,
        vision=replace(config.vision, weights=str(folder / "tower.safetensors")),
        language=LanguageConfig(pretrained=str(folder / "language")),
        tokenizer=TokenizerConfig(path=str(folder / "language")),
    )


@pytest.fixture(scope="module")
def trained(parts):
    """A model of these parts whose adapters and projector are not those it starts with; and its processor."""
    tokenizer = SkyEyeProcessor.from_config(parts, train_tokenizer(["how many ships are there"], 600)).tokenizer
    torch.manual_seed(2)
    model = build_model(parts, tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name or name.startswith("projector."):
                parameter.normal_(std=0.05)
    return model.eval(), SkyEyeProcessor.from_config(parts, tokenizer)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, parts, trained):
    """The export of a stage in which tower and language model were frozen."""
    model, processor = trained
    target = tmp_path_factory.mktemp("run") / "checkpoints" / "one"
    export(Trained(model), processor, target, {"step": 1}, "name: x\n", base_of(parts, {"vision", "language"}))
    return target


@pytest.fixture(scope="module")
def logits(trained):
    """The logits of a model for one picture and five words."""
    model, _ = trained
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (1, 5), generator=generator)
    ids = torch.cat([torch.full((1, model.tokens_per_image), -1), ids], dim=1)
    pixels = torch.randn(1, *model.config.pixel_shape, generator=generator)

    @torch.no_grad()
    def of(other):
        return other(ids, pixel_values=pixels).logits.float()

    return of


def test_an_export_holds_what_was_trained_and_names_its_base(exported, trained, parts):
    model, _ = trained
    held = {**load_file(exported / "model.safetensors"), **load_file(exported / "adapter_model.safetensors")}
    few = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n or n.startswith("projector."))
    assert sum(tensor.numel() for tensor in held.values()) == few
    base = json.loads((exported / "base.json").read_text())
    assert base["language"]["source"] == parts.language.pretrained
    assert base["vision"][0]["source"] == parts.vision.weights
    assert parts_held(exported) == set()


@pytest.mark.parametrize("keep", [True, False])
def test_it_opens_as_the_model_that_was_exported(exported, trained, logits, keep):
    model, processor = open_checkpoint(exported, keep_adapters=keep)
    difference = (logits(model) - logits(trained[0])).abs().max().item()
    assert difference == 0 if keep else difference < 1e-5
    assert (model.config.lora is None) == (not keep) and not model.training
    assert any(".lora_" in name for name in model.state_dict()) == keep
    assert processor.tokenizer.get_vocab() == trained[1].tokenizer.get_vocab()
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_of_several_towers_those_with_a_file_are_left_out():
    part = BasePart("a", None)
    names = ["vision_tower.towers.0.backbone.x", "vision_tower.towers.1.backbone.x", "language_model.x", "projector.x"]
    assert [NO_BASE.covers(name) for name in names] == [False] * 4
    assert [Base((None, part)).covers(name) for name in names] == [False, True, False, False]
    assert [Base((), part).covers(name) for name in [*names, "language_model.x.lora_A"]] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_from_pretrained_finds_the_base(exported, trained, logits):
    assert torch.equal(logits(SkyEyeForConditionalGeneration.from_pretrained(exported)), logits(trained[0]))
    assert torch.equal(logits(AutoModelForImageTextToText.from_pretrained(exported)), logits(trained[0]))
    half = SkyEyeForConditionalGeneration.from_pretrained(exported, dtype="bfloat16")
    assert half.language_model.dtype == torch.bfloat16
    with pytest.raises(SkyEyeError, match="cannot be opened with device_map.*skyeye export"):
        SkyEyeForConditionalGeneration.from_pretrained(exported, device_map="auto")


def test_peft_reads_the_adapters(exported, trained, parts):
    base = AutoModelForCausalLM.from_pretrained(parts.language.pretrained, dtype=torch.float32)
    peft = PeftModel.from_pretrained(base, exported).eval()
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        expected, found = trained[0].language_model(ids).logits, peft(ids).logits
        without = AutoModelForCausalLM.from_pretrained(parts.language.pretrained, dtype=torch.float32)(ids).logits
    assert torch.equal(found, expected) and not torch.equal(without, expected)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_adapters_in_the_weights_are_adapters_beside_them(parts, tmp_path, logits, variant, trained):
    config = replace(parts, lora=replace(parts.lora, variant=variant, projector=True))
    model = build_model(config, trained[1].tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    export(Trained(model.eval()), trained[1], tmp_path / "x", {}, "", base_of(config, {"vision", "language"}))
    opened, _ = open_checkpoint(tmp_path / "x", keep_adapters=False)
    torch.testing.assert_close(logits(opened), logits(model), atol=1e-5, rtol=1e-4)
    assert "lora" not in " ".join(opened.state_dict())


def test_low_precision_rounds_once_and_only_what_is_large(exported, trained, logits):
    merged, _ = open_checkpoint(exported, precision=torch.bfloat16, keep_adapters=False)
    beside, _ = open_checkpoint(exported, precision=torch.bfloat16)
    layer = trained[0].language_model.base_model.model.model.layers[0].self_attn.q_proj
    whole = layer.base_layer.weight + layer.lora_B["default"].weight @ layer.lora_A["default"].weight * (8 / 4)
    found = merged.language_model.model.layers[0].self_attn.q_proj.weight
    assert torch.equal(found, whole.to(torch.bfloat16))
    dtypes = {name.split(".")[0]: p.dtype for name, p in beside.named_parameters() if ".lora_" not in name}
    assert dtypes == {"vision_tower": torch.bfloat16, "vision_norm": torch.float32, "projector": torch.float32,
                      "language_model": torch.bfloat16}  # fmt: skip
    assert {p.dtype for n, p in beside.named_parameters() if ".lora_" in n} == {torch.float32}
    exact = logits(trained[0])
    assert (logits(merged) - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_precision_by_part(exported):
    model, _ = open_checkpoint(exported, precision={"language": torch.float16})
    assert model.vision_tower.dtype == torch.float32 and model.language_model.dtype == torch.float16


def test_a_reference_file_with_a_recipe_and_with_a_folder(exported, trained, parts, tmp_path, logits):
    convert(exported, tmp_path / "adapters.pth")
    for base in (parts, exported):
        model, processor = open_checkpoint(tmp_path / "adapters.pth", base=base)
        assert torch.equal(logits(model), logits(trained[0]))
        assert processor.prompt == asdict(parts.prompt)
    with pytest.raises(SkyEyeError, match="holds only what was trained.*--base RECIPE"):
        open_checkpoint(tmp_path / "adapters.pth")


def test_a_run_goes_on_from_it_beside_the_same_base_only(exported, trained, parts, logits):
    model = build_model(parts, trained[1].tokenizer).eval()
    load_checkpoint(model, exported)
    assert torch.equal(logits(model), logits(trained[0]))


def another_base(parts, folder):
    model = AutoModelForCausalLM.from_pretrained(parts.language.pretrained)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(folder)
    return folder


def test_another_base_is_refused_by_name(exported, parts, tmp_path):
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in exported.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    other = str(another_base(parts, tmp_path / "other"))
    elsewhere = replace(parts, language=replace(parts.language, pretrained=other))
    with pytest.raises(SkyEyeError, match=f"its language model {other} is another one than it was trained beside"):
        open_checkpoint(copied, base=elsewhere)
    base = read_base(copied)
    replace(base, language=BasePart(str(tmp_path / "gone"), base.language.fingerprint)).write(copied)
    with pytest.raises(SkyEyeError, match="its language model .*gone is not there.*--base RECIPE"):
        open_checkpoint(copied)
    model, _ = open_checkpoint(copied, base=parts)  # it has moved: the recipe says where to
    assert model.config.lora is not None


def test_what_is_damaged_is_told(exported, parts, tmp_path):
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in exported.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    whole = (copied / "adapter_model.safetensors").read_bytes()
    (copied / "adapter_model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(SkyEyeError, match="adapter_model.safetensors: not a readable safetensors file"):
        open_checkpoint(copied)
    (copied / "adapter_model.safetensors").unlink()
    with pytest.raises(SkyEyeError, match=r"\d+ missing: language_model.*lora_A"):
        open_checkpoint(copied)
    (copied / "base.json").write_text('{"vision": 3}')
    with pytest.raises(SkyEyeError, match="base.json: is no description of a base"):
        open_checkpoint(copied)
    with pytest.raises(SkyEyeError, match="no such checkpoint"):
        open_checkpoint(tmp_path / "nowhere")


def test_a_whole_checkpoint_opens_too(trained, tmp_path, logits):
    model, processor = trained
    export(Trained(copy.deepcopy(model)), processor, tmp_path / "x", {}, "")
    assert not (tmp_path / "x/base.json").exists() and parts_held(tmp_path / "x") == {"vision", "language"}
    assert torch.equal(logits(open_checkpoint(tmp_path / "x")[0]), logits(model))


def test_a_whole_checkpoint_without_its_norm_is_refused(trained, tmp_path):
    """The reference leaves its norm out, which it never trains; of a folder with everything it was trained."""
    model, processor = trained
    export(Trained(copy.deepcopy(model)), processor, tmp_path / "x", {}, "")
    tensors = load_file(tmp_path / "x/model.safetensors")
    assert tensors.pop("vision_norm.weight") is not None
    save_file(tensors, tmp_path / "x/model.safetensors", {"format": "pt"})
    with pytest.raises(SkyEyeError, match="1 missing: vision_norm.weight"):
        open_checkpoint(tmp_path / "x")


@pytest.fixture
def in_shards(parts, tmp_path):
    """The same parts, with the language model in several files; and the last of these."""
    folder = tmp_path / "shards"
    AutoModelForCausalLM.from_pretrained(parts.language.pretrained).save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    return replace(parts, language=replace(parts.language, pretrained=str(folder))), shards[-1]


def test_a_truncated_shard_is_named(in_shards, trained, tmp_path):
    """Whatever it is needed for: a file of the reference, an export that names its base, a model to train."""
    parts, shard = in_shards
    model, processor = trained
    export(Trained(model), processor, tmp_path / "x", {"step": 1}, "", base_of(parts, {"vision", "language"}))
    convert(tmp_path / "x", tmp_path / "x.pth")
    open_checkpoint(tmp_path / "x.pth", base=parts)
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(SkyEyeError, match=f"{shard.name}: not a readable safetensors file") as error:
        open_checkpoint(tmp_path / "x.pth", base=parts)
    assert "\n" not in str(error.value)
    with pytest.raises(SkyEyeError, match=f"{shard.name}: not a readable safetensors file"):
        open_checkpoint(tmp_path / "x")  # not: another one than it was trained beside
    with pytest.raises(SkyEyeError, match=f"{shard.name}: not a readable safetensors file"):
        build_model(parts, processor.tokenizer)


def test_a_model_that_does_not_fit_is_refused_with_what_each_precision_needs(monkeypatch):
    monkeypatch.setattr(precisions.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3_000_000}))
    tensors = {"a": torch.empty(1_000_000, device="meta"), "b": torch.empty(1_000_000, device="meta")}
    refuse_what_does_not_fit(tensors, {"a": torch.int8, "b": torch.bfloat16}, "cpu", "x")  # 3 MB exactly
    with pytest.raises(
        SkyEyeError,
        match=r"x: needs 0.0 GB \(0.0 in fp32, 0.0 in bf16 and fp16, 0.0 in int8, 0.0 in int4\); free: 0.0 GB",
    ):
        refuse_what_does_not_fit(tensors, dict.fromkeys(tensors, torch.bfloat16), "cpu", "x")


def test_auto_takes_what_multiplies_faster_where_it_is_worth_it(monkeypatch):
    times = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr(precisions, "_seconds", lambda dtype, *_: times[dtype])
    assert resolve_precision("auto", "cpu", 1000) == torch.float32  # a small model
    assert resolve_precision("auto", "cpu", 7_000_000_000) == torch.bfloat16
    times[torch.bfloat16] = 20.0  # emulated
    assert resolve_precision("auto", "cpu", 7_000_000_000) == torch.float32
    assert resolve_precision("fp16", "cpu", 7_000_000_000) == torch.float16


def test_show_tells_of_the_base(exported):
    assert "adapter" in describe_checkpoint(exported).lower()


@pytest.mark.parametrize("merged", [True, False])
def test_a_self_contained_folder(exported, trained, logits, tmp_path, merged):
    words = ["export", str(exported), str(tmp_path / "out"), "--dtype", "fp32", *(["--merged"] if merged else [])]
    assert cli.main(words) == 0
    assert not (tmp_path / "out/base.json").exists() and parts_held(tmp_path / "out") == {"vision", "language"}
    model = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert (model.config.lora is None) == merged
    torch.testing.assert_close(logits(model), logits(trained[0]), atol=1e-5, rtol=1e-4)
    assert cli.main(words) == 2  # it is there already


def test_adapters_that_add_nothing_are_called_out(exported, parts, trained, tmp_path):
    assert "ZERO" not in describe_checkpoint(exported)
    model = build_model(parts, trained[1].tokenizer)  # LoRA starts at zero
    export(Trained(model), trained[1], tmp_path / "x", {}, "", base_of(parts, {"vision", "language"}))
    assert "4 of 4 adapters are ZERO and change nothing" in describe_checkpoint(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", lambda config: {}, "config.json: says no model_type; a checkpoint of skyeye is expected"),
        ("config.json", lambda config: {**config, "model_type": "llama"}, "describes a model of type 'llama'"),
        ("config.json", lambda config: {**config, "vision": None, "text_config": 3}, "describes no vision, no text_c"),
        ("config.json", lambda config: [config], "config.json: holds a list, not settings"),
        ("config.json", lambda config: {**config, "lora": 5}, "cannot be opened: "),
        ("processor_config.json", lambda config: {}, "makes 256 tokens of 448 pixels, the model takes 4 of 28"),
    ],
)
def test_a_folder_whose_settings_are_not_of_its_model(trained, tmp_path, name, change, words):
    """What is missing in a configuration is filled in: ``{}`` was a model of seven billion parameters."""
    for part in trained:
        part.save_pretrained(tmp_path)
    (tmp_path / name).write_text(json.dumps(change(json.loads((tmp_path / name).read_text()))))
    with pytest.raises(SkyEyeError, match=words):
        open_checkpoint(tmp_path)
    if name == "config.json" and "cannot" not in words:
        with pytest.raises(SkyEyeError, match=words):
            convert(tmp_path, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty .0 bytes."),
        (b"<!DOCTYPE html>", "is a web page"),
        (b'{"a": ', "is no JSON: Expecting value"),
        (b"\x80", "is no JSON"),
    ],
)
def test_a_configuration_that_is_something_else(trained, tmp_path, content, words, capsys):
    for part in trained:
        part.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SkyEyeError, match=f"config.json: {words}"):
        open_checkpoint(tmp_path)
    capsys.readouterr()  # progress of saving
    assert cli.main(["checkpoint", "show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_pretrained_parts_go_straight_to_their_device(parts):
    model = build_model(parts, precision=torch.bfloat16, device="meta")
    elsewhere = {n.split(".")[0] for n, p in model.named_parameters() if not p.is_meta and ".lora_" not in n}
    assert elsewhere == {"projector", "vision_norm"}
