"""``--dtype int8 | int4``: a language model in 8 and 4 bits, for inference."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from skyeye.config.schema import LanguageConfig, LoraConfig
from skyeye.errors import SkyEyeError
from skyeye.models import precision as precisions
from skyeye.models import quantized
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.inspection import describe_checkpoint
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import refuse_what_does_not_fit, resolve_precision
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.quantized import put_quantized, quantizable
from skyeye.models.save import export_checkpoint
from skyeye.models.tokenizer import train_tokenizer

library = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BLOCKS = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_config):
    """A folder with everything, whose adapters add something."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = tiny_config(lora=LoraConfig(r=4, alpha=8, target_modules=["q_proj", "v_proj"]))
    config = replace(config, language=LanguageConfig(config=BLOCKS))
    tokenizer = train_tokenizer(["how many ships are there"], 600)
    torch.manual_seed(1)
    model = build_model(config, tokenizer)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    SkyEyeProcessor.from_config(config, tokenizer).save_pretrained(folder)
    return folder


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.language_model(input_ids=torch.arange(3, 40)[None]).logits.float()


@pytest.mark.parametrize(("bits", "error"), [(8, 0.02), (4, 0.25)])
@pytest.mark.parametrize("keep", [False, True])
@library
def test_answers_come_close_to_those_of_float32(checkpoint, monkeypatch, bits, error, keep):
    """Rounding to 256 steps a row costs about 1 % of a product's length, NF4 about 10 %."""
    expected = _logits(open_checkpoint(checkpoint)[0])
    kind = f"int{bits}"
    model, _ = open_checkpoint(checkpoint, quantize=kind, keep_adapters=keep)
    found = _logits(model)
    assert 0 < (found - expected).norm() / expected.norm() < error
    types = {type(layer).__name__ for name, layer in model.language_model.named_modules() if name.endswith(LAYERS[2:])}
    assert {"Linear8bitLt" if bits == 8 else "Linear4bit"} <= types
    assert (model.config.lora is not None) == keep
    assert any("lora_" in name for name, _ in model.named_parameters()) == keep


@library
@pytest.mark.parametrize(("kind", "size"), [("int8", 1.0), ("int4", 0.5)])
def test_the_weight_of_a_layer_is_held_in_few_bits_and_its_bias_stays(kind, size):
    model = nn.Sequential(nn.Linear(64, 128))
    weight, bias = model[0].weight.detach().clone(), model[0].bias
    put_quantized(model, "0", weight, kind, torch.float32, "cpu")
    assert model[0].weight.nbytes == 64 * 128 * size and model[0].bias is bias
    x = torch.randn(5, 64)
    expected = x @ weight.T + bias
    assert (model[0](x) - expected).norm() / expected.norm() < 0.15


@library
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slab", [1, 3 * 128, 1 << 20])
def test_a_weight_that_is_rounded_slab_by_slab_is_the_librarys(monkeypatch, dtype, slab):
    from bitsandbytes.nn import Int8Params, Params4bit

    monkeypatch.setattr(quantized, "SLAB", slab)
    weight = torch.randn(320, 128)  # 640 blocks: their scales are rounded in blocks of 256
    model = nn.Sequential(nn.Linear(128, 320))
    put_quantized(model, "0", weight, "int8", dtype, "cpu")
    whole = Int8Params(weight.to(dtype), requires_grad=False, has_fp16_weights=False).to("cpu")
    assert torch.equal(model[0].weight.data, whole.data) and torch.equal(model[0].weight.SCB, whole.SCB)
    put_quantized(model, "0", weight, "int4", dtype, "cpu")
    whole = Params4bit(weight.to(dtype), requires_grad=False, quant_type="nf4").to("cpu")
    found, expected = model[0].weight.quant_state.as_dict(packed=True), whole.quant_state.as_dict(packed=True)
    assert torch.equal(model[0].weight.data, whole.data) and found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@library
def test_adapters_are_added_before_the_rounding(checkpoint):
    """Row by row 8 bits keep the largest number: that of the sum."""
    whole = open_checkpoint(checkpoint, keep_adapters=False)[0].state_dict()
    name = next(name for name in whole if name.endswith("q_proj.weight"))
    model, _ = open_checkpoint(checkpoint, quantize="int8", keep_adapters=False)
    layer = model.get_submodule(name.removesuffix(".weight"))
    torch.testing.assert_close(layer.weight.SCB, whole[name].abs().amax(dim=1), rtol=2e-3, atol=0)


def test_head_embeddings_and_adapters_stay_as_they_are(tiny_config):
    config = tiny_config(lora=LoraConfig(r=2, target_modules=["q_proj"]))
    model = build_model(replace(config, language=LanguageConfig(config=BLOCKS)), vocab_size=640)
    names = quantizable(model.language_model)
    layers = model.config.text_config.num_hidden_layers
    assert len(names) == len(LAYERS) * layers
    assert all(name.removesuffix(".weight").removesuffix(".base_layer").endswith(LAYERS) for name in names)


def test_a_layer_that_is_no_whole_number_of_blocks_stays_as_it_is(tiny_config):
    narrow = LanguageConfig(config={**BLOCKS, "intermediate_size": 96})
    names = quantizable(build_model(replace(tiny_config(), language=narrow), vocab_size=640).language_model)
    assert len(names) == 2 * 4 and not any("mlp" in name for name in names)


def test_without_the_library_it_is_refused_in_one_line(checkpoint, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(SkyEyeError, match="--dtype: int8 needs the package bitsandbytes") as error:
        open_checkpoint(checkpoint, quantize="int8")
    assert "\n" not in str(error.value)


def test_the_rest_computes_in_what_is_fastest(monkeypatch):
    monkeypatch.setattr(precisions, "fastest_precision", lambda device: "bf16")
    assert resolve_precision("int4", "cpu", 10) == torch.bfloat16


@pytest.mark.parametrize(("kind", "fits"), [("int8", False), ("int4", True), (None, False)])
def test_what_it_needs_is_counted_with_its_bits(monkeypatch, kind, fits):
    """A million of 4 bits are 516 kB, of 8 bits 1 MB; another million in float32 are 4 MB."""
    monkeypatch.setattr(precisions.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 4_600_000}))
    tensors = {"a": torch.empty(1_000_000, device="meta"), "b": torch.empty(1_000_000, device="meta")}
    check = (tensors, dict.fromkeys(tensors, torch.float32), "cpu", "x", {"a"}, kind)
    if fits:
        return refuse_what_does_not_fit(*check)
    with pytest.raises(SkyEyeError, match="choose a smaller --dtype"):
        refuse_what_does_not_fit(*check)


@library
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_an_export_in_few_bits_opens_as_the_model_that_was_quantised(checkpoint, tmp_path, kind):
    """Adapters are in the weights, the file is as small as its layers, and the logits are those of --dtype."""
    out = tmp_path / "out"
    export_checkpoint(checkpoint, out, quantize=kind)
    expected = _logits(open_checkpoint(checkpoint, quantize=kind, keep_adapters=False)[0])
    model, _ = open_checkpoint(out)
    assert torch.equal(_logits(model), expected)
    assert torch.equal(_logits(SkyEyeForConditionalGeneration.from_pretrained(out)), expected)
    held = load_file(out / "model.safetensors")
    assert held["language_model.model.layers.0.mlp.up_proj.weight"].nbytes == 128 * 64 * (1 if kind == "int8" else 0.5)
    assert not any("lora_" in name or name.endswith("weight_format") for name in held)
    export_checkpoint(out, tmp_path / "again")
    assert torch.equal(_logits(open_checkpoint(tmp_path / "again")[0]), expected)


@library
def test_what_a_quantised_export_cannot_do_is_said(checkpoint, tmp_path):
    out = tmp_path / "out"
    export_checkpoint(checkpoint, out, quantize="int8")
    assert "[128 x 64]  int8" in describe_checkpoint(out)
    with pytest.raises(SkyEyeError, match="held in int8, and cannot be made int4"):
        open_checkpoint(out, quantize="int4")
    for use in (lambda: convert(out, tmp_path / "x.pth"), lambda: convert(out, tmp_path / "x", layout="llava")):
        with pytest.raises(SkyEyeError, match="held in 8 or 4 bits, to be asked and nothing else.*exported from"):
            use()
    with pytest.raises(SkyEyeError, match="held in 8 or 4 bits"):
        load_checkpoint(open_checkpoint(checkpoint)[0], out)
    held = load_file(out / "model.safetensors")
    name = "language_model.model.layers.0.mlp.up_proj"
    save_file(held | {f"{name}.SCB": held[f"{name}.SCB"][:3].clone()}, out / "model.safetensors", {"format": "pt"})
    with pytest.raises(SkyEyeError, match=r"up_proj\.weight.*no weight in int8: a part is missing or damaged"):
        open_checkpoint(out)


@library
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells anonymous memory")
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_what_was_needed_on_the_way_is_given_back(kind):
    """Between quantised layers, which stay, the C library would keep the room of what they were made from."""
    layers, width, inner = 16, 512, 2048
    model = nn.ModuleList([nn.Linear(width, inner, bias=False, device="meta") for _ in range(layers)])
    value = torch.randn(inner, width, dtype=torch.bfloat16)
    put_quantized(nn.ModuleList([nn.Linear(width, inner, bias=False)]), "0", value, kind, torch.float32, "cpu")
    before = _anonymous()
    for number in range(layers):
        put_quantized(model, str(number), value, kind, torch.float32, "cpu")
    held = layers * width * inner * quantized.BYTES[kind]
    assert _anonymous() - before < 1.15 * held + 4 * width * inner


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
