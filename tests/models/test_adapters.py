"""Variants of LoRA against their formulas; saved, loaded, and refused where they would silently mean something else."""

from __future__ import annotations

import math

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch.utils._python_dispatch import TorchDispatchMode

from skyeye.config.schema import LanguageConfig, LoraConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpoint import convert, load_checkpoint
from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.language import AdapterDropout, is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import in_precision
from skyeye.models.quantized import check_quantization, quantization_arguments

RANK, ALPHA = 4, 6


@pytest.fixture
def adapted(tiny_config):
    """A function that builds a tiny model with adapters of a variant that are not zero."""

    def make(variant: str, fill: bool = True) -> SkyEyeForConditionalGeneration:
        model = build_model(tiny_config(lora=LoraConfig(r=RANK, alpha=ALPHA, dropout=0.0, variant=variant)))
        for name, parameter in model.named_parameters():
            if fill and is_adapter(name):
                parameter.data = torch.randn_like(parameter).abs() + 0.1
        return model.eval()

    return make


def _first(model):
    return next(module for name, module in model.named_modules() if name.endswith("layers.0.self_attn.q_proj"))


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_a_layer_computes_the_formula_of_its_variant(adapted, variant):
    layer = _first(adapted(variant))
    base, a, b = layer.base_layer.weight, layer.lora_A["default"].weight, layer.lora_B["default"].weight
    scale = ALPHA / math.sqrt(RANK) if variant == "rslora" else ALPHA / RANK
    weight = base + scale * (b @ a)
    if variant == "dora":  # equation 5 of the paper: rows of length m
        lengths = layer.lora_magnitude_vector["default"].weight
        weight = lengths[:, None] * weight / weight.pow(2).sum(dim=1).sqrt()[:, None]
    x = torch.randn(3, base.shape[1])
    torch.testing.assert_close(layer(x), x @ weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_fresh_adapters_change_nothing(adapted, variant):
    model = adapted(variant, fill=False)
    layer, x = _first(model), torch.randn(3, _first(model).base_layer.weight.shape[1])
    torch.testing.assert_close(layer(x), layer.base_layer(x))


def test_adapters_of_dora_are_trained_with_their_magnitudes_and_stay_in_float32(adapted):
    model = adapted("dora")
    trained = {name for name, parameter in model.language_model.named_parameters() if parameter.requires_grad}
    assert sum("lora_magnitude" in name for name in trained) == sum(".lora_A." in name for name in trained) > 0
    assert all(is_adapter(name) for name in trained)
    in_precision(model, torch.bfloat16)
    assert {p.dtype for name, p in model.named_parameters() if is_adapter(name)} == {torch.float32}


def test_adapters_of_dora_that_rest_still_set_lengths_in_training(adapted):
    model, ids = adapted("dora"), torch.randint(3, 100, (1, 6))
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data.zero_()
    expected = model(ids).logits
    model.set_trainable(projector="full", language="frozen")
    torch.testing.assert_close(model.train()(ids).logits, expected)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_saved_and_loaded_a_variant_is_the_same_model(adapted, tmp_path, variant):
    model, ids = adapted(variant), torch.randint(3, 100, (1, 6))
    model.save_pretrained(tmp_path / "saved")
    expected = model(ids).logits
    loaded = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    assert loaded.config.lora["variant"] == variant
    assert torch.equal(loaded(ids).logits, expected)
    other = adapted(variant)  # with other values everywhere
    load_checkpoint(other, tmp_path / "saved")
    assert torch.equal(other(ids).logits, expected)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_the_format_of_the_reference_is_for_lora_only(adapted, tmp_path, variant):
    adapted(variant).save_pretrained(tmp_path / "ours")
    with pytest.raises(SkyEyeError, match=f"variant {variant}"):
        convert(tmp_path / "ours", tmp_path / "theirs.pth")
    assert not (tmp_path / "theirs.pth").exists()
    adapted("lora").save_pretrained(tmp_path / "lora")
    convert(tmp_path / "lora", tmp_path / "lora.pth")
    for path in ("lora.pth", "lora"):
        with pytest.raises(SkyEyeError, match="model.lora.variant: lora"):
            load_checkpoint(adapted(variant), tmp_path / path)


def test_merged_into_the_base_dora_computes_the_same(adapted):
    model, ids = adapted("dora"), torch.randint(3, 100, (1, 6))
    expected = model(ids).logits
    model.language_model.merge_adapter()
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-3, atol=1e-4)


def test_weights_in_four_bits_are_refused_where_something_is_missing(tiny_config, golden, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("skyeye.models.quantized.find_spec", lambda name: None)
    language = LanguageConfig(pretrained=str(golden / "tiny_llama"), quantize="nf4")
    with pytest.raises(SkyEyeError, match="a CUDA GPU and the package bitsandbytes") as refused:
        build_model(tiny_config(language=language))
    assert "model.language.quantize" in str(refused.value) and "run.frozen=bf16" in str(refused.value)
    monkeypatch.setattr("skyeye.models.quantized.find_spec", lambda name: name)
    with pytest.raises(SkyEyeError, match="need a CUDA GPU "):
        check_quantization()


def test_weights_in_four_bits_go_to_the_gpu_of_their_process(monkeypatch):
    monkeypatch.setattr("skyeye.models.quantized.check_quantization", lambda: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert quantization_arguments()["device_map"] == {"": 3}
    monkeypatch.delenv("LOCAL_RANK")
    assert quantization_arguments()["device_map"] == {"": 0}


@pytest.mark.gpu
def test_weights_in_four_bits_train_adapters_and_are_saved_as_a_plain_model(tiny_config, golden, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    pytest.importorskip("bitsandbytes")
    model = build_model(tiny_config(language=LanguageConfig(pretrained=str(golden / "tiny_llama"), quantize="nf4")))
    in_precision(model, torch.bfloat16).cuda()
    assert type(_first(model).base_layer).__name__ == "Linear4bit"
    ids = torch.randint(3, 60, (2, 9), device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        model(ids, labels=ids).loss.backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(".lora_B." in name for name in moved)
    model.eval().save_pretrained(tmp_path / "saved")
    plain = SkyEyeForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=torch.float32).cuda().eval()
    assert type(_first(plain).base_layer) is torch.nn.Linear
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(plain(ids).logits, model(ids).logits, rtol=5e-2, atol=5e-2)


class _Casts(TorchDispatchMode):
    """Counts the casts to float32 of tensors as wide as what adapters are given."""

    def __init__(self, width: int):
        super().__init__()
        self.width, self.count = width, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype == torch.float32 != arguments[0].dtype:
            self.count += arguments[0].shape[-1:] == (self.width,) and arguments[0].ndim == 3
        return result


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_under_autocast_take_what_they_are_given(tiny_config, dropout, checkpointing):
    """The loss is that of PEFT's way, which casts it to float32 first; dropout rounds once more there."""
    model = build_model(tiny_config(lora=LoraConfig(r=2, alpha=4, dropout=dropout)))
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data.normal_(std=0.2)
    in_precision(model, torch.bfloat16).train()
    if checkpointing:
        checkpoint_layers(model)
    ids = torch.randint(3, 100, (2, 9))
    losses, casts = [], []
    for way in ("ours", "PEFT's"):
        if way == "PEFT's":
            for layer in model.modules():
                if isinstance(layer, LoraLayer):
                    layer._forward_pre_hooks.clear()
                    layer.cast_input_dtype_enabled = True
        torch.manual_seed(5)
        with _Casts(16) as counted, torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        casts.append(counted.count)
    assert casts[1] >= casts[0] + 4  # two layers with two adapters each
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if dropout else 0)


def test_adapters_without_autocast_still_cast(tiny_model):
    model = in_precision(tiny_model, torch.bfloat16)
    ids = torch.randint(3, 100, (1, 6))
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(ids).logits
    torch.testing.assert_close(model(ids).logits.float(), expected.float(), rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("rate", [0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_adapters_drops_its_share_and_keeps_the_mean(rate, dtype):
    torch.manual_seed(0)
    x = torch.ones(301, 333, dtype=dtype, requires_grad=True)  # no multiple of four
    dropout = AdapterDropout(rate)
    y = dropout(x)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)], rel=1e-4 if dtype == torch.float32 else 1e-2)
    dropped = (y == 0).float()
    deviation = (rate * (1 - rate) / x.numel()) ** 0.5
    assert dropped.mean().item() == pytest.approx(rate, abs=5 * deviation)
    # neighbours, which come from the same random number, are independent
    both = (dropped[:, 1:] * dropped[:, :-1]).mean().item()
    assert both == pytest.approx(rate**2, abs=5 * (rate**2 / x.numel()) ** 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    torch.manual_seed(0)
    assert torch.equal(dropout(x), y) and torch.equal(dropout.eval()(x), x)


def test_adapters_of_both_parts_have_that_dropout_and_none_without_a_rate(tiny_config):
    for rate in (0.5, 0.0):
        model = build_model(tiny_config(lora=LoraConfig(r=2, dropout=rate, projector=True)))
        inside = [layer.lora_dropout["default"] for layer in model.modules() if isinstance(layer, LoraLayer)]
        kinds = {type(dropout) for dropout in inside}
        assert kinds == ({AdapterDropout} if rate else {torch.nn.Identity})
