"""Frozen weights in low precision: which, what it changes, what comes back from disk."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from skyeye.config.load import load_recipe
from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.data.sequence import Branch, GroupSequence, pack
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import in_precision
from skyeye.models.pretrained import open_checkpoint
from skyeye.train.run import train
from skyeye.train.setup import never_trained

LLAMA = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


@pytest.fixture
def small() -> SkyEyeForConditionalGeneration:
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=7, width=16, depth=1, heads=2, mlp_ratio=2.0),
        language=LanguageConfig(config={**LLAMA, "num_attention_heads": 2}),
        lora=LoraConfig(r=4, dropout=0.0),
    )
    model = build_model(config, vocab_size=100)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def _loss(model: SkyEyeForConditionalGeneration) -> torch.Tensor:
    branches = [Branch([5 + n, 7, 9 + n, 2], [-100, -100, 9 + n, 2], None) for n in range(3)]
    batch = pack([GroupSequence(("a",), [1, 3, *[-1] * 4], branches)], 0)
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        return model.train()(**batch, pixel_values=pixels, logits="none").loss


def _kinds(model, *parts: str) -> set[torch.dtype]:
    return {p.dtype for name, p in model.named_parameters() if any(part in name for part in parts)}


def test_only_the_named_parts_are_lowered(small):
    in_precision(small, torch.bfloat16, ["vision"])
    assert _kinds(small, "vision_tower") == {torch.bfloat16}
    assert _kinds(small, "language_model", "projector", "vision_norm") == {torch.float32}
    in_precision(small, torch.float16, ["vision", "language"])
    assert _kinds(small, "embed_tokens", "base_layer", "lm_head", "vision_tower") == {torch.float16}
    assert _kinds(small, "lora_A", "lora_B", "projector", "vision_norm") == {torch.float32}


def test_the_loss_and_the_gradients_are_the_same_within_rounding(small):
    """bfloat16 has 8 bits: a rounded weight is off by 2 ** -9 at most; autocast rounds them for each product anyway."""
    exact = _loss(small)
    exact.backward()
    gradients = {name: p.grad.clone() for name, p in small.named_parameters() if p.requires_grad}
    small.zero_grad()
    low = _loss(in_precision(small, torch.bfloat16))
    low.backward()
    assert low.item() != exact.item() and low.item() == pytest.approx(exact.item(), rel=2**-7)
    for name, p in small.named_parameters():
        if p.requires_grad:
            assert p.grad.dtype == torch.float32
            assert (p.grad - gradients[name]).norm() < 0.1 * gradients[name].norm() + 1e-6, name


def test_a_part_that_some_stage_trains_in_full_keeps_float32(recipe, tmp_path):
    path = recipe(run={"precision": "bf16", "frozen": "bf16", "workers": 0, "log_every": 1, "checkpoint_every": 2})
    assert never_trained(load_recipe(path).stages) == []
    assert never_trained(load_recipe(path, ["stages.0.language=lora"]).stages) == ["language"]
    train(path, ["stages.0.language=lora"])
    stored = load_file(tmp_path / "run" / "checkpoints" / "single_task" / "model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in stored.items()}
    assert kinds["vision_tower.backbone.pos_embed"] == torch.float32
    assert {k for n, k in kinds.items() if n.startswith("language_model") and "lora_" not in n} == {torch.bfloat16}
    assert {kind for name, kind in kinds.items() if "lora_" in name or "projector" in name} == {torch.float32}


def test_a_mixed_export_loads_without_rounding_what_was_trained(recipe, tmp_path):
    path = recipe(run={"precision": "bf16", "frozen": "bf16", "workers": 0, "log_every": 1, "checkpoint_every": 2})
    last = train(path, ["stages.0.vision=frozen"])
    stored = load_file(last / "model.safetensors")
    assert stored["vision_tower.backbone.pos_embed"].dtype == torch.bfloat16
    for model in (SkyEyeForConditionalGeneration.from_pretrained(last), open_checkpoint(last)[0]):
        loaded = model.state_dict()
        assert {tensor.dtype for tensor in loaded.values() if tensor.is_floating_point()} == {torch.float32}
        assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in stored.items())


def test_a_run_goes_on_after_a_stage_in_the_same_precision(recipe, tmp_path):
    """The second stage of a resumed run starts from the export of the first; the end is that of a run in one go."""
    settings = {"precision": "bf16", "frozen": "bf16", "workers": 0, "log_every": 1, "checkpoint_every": 2}
    frozen = ["stages.0.vision=frozen", "stages.0.language=lora"]
    whole = train(recipe(run=settings), [*frozen, f"output_dir={tmp_path / 'whole'}"])
    first = [*frozen, f"output_dir={tmp_path / 'halves'}"]
    train(recipe(run=settings), first)
    halves = tmp_path / "halves" / "checkpoints" / "single_task"
    for file in halves.iterdir():  # as if the run had been ended between the stages
        file.unlink()
    halves.rmdir()
    for state in (tmp_path / "halves" / "states").glob("single_task-*"):
        for file in state.iterdir():
            file.unlink()
        state.rmdir()
    train(recipe(run=settings), first, resume=True)
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, halves))
    assert all(one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one)


def test_another_precision_than_that_of_the_products_is_refused(recipe):
    with pytest.raises(SkyEyeError, match="run.frozen: bf16 weights .* set precision, too"):
        load_recipe(recipe(), ["run.frozen=bf16"])
