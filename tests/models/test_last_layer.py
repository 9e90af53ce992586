"""The last layer computes what is read, and what is read is what the whole layer computes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from test_prefix_attention import everything_trained, layout
from torch.testing import assert_close

from skyeye.config.schema import AlignmentConfig, LanguageConfig, LoraConfig
from skyeye.models.build import build_model
from skyeye.models.last_layer import tokenwise_parts
from skyeye.models.losses import IGNORE_INDEX
from skyeye.models.objective import TrainingObjective

#: Language models beside LLaMA: with norms of queries and keys, biases, grouped heads, experts, a layer of other names.
LANGUAGES = {
    "llama": {},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"head_dim": 16, "num_key_value_heads": 1},
    "mixtral": {"num_local_experts": 3, "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "gemma2": {"head_dim": 16, "attn_logit_softcapping": None, "sliding_window": 4096, "num_key_value_heads": 2},
    "phi3": {"pad_token_id": 0},
}


def language(tiny_config, kind: str, **lora):
    """A model of which everything is trained, with adapters that add something."""
    config = tiny_config()
    text = {**config.language.config, "model_type": kind, **LANGUAGES[kind]}
    lora = {"r": 2, "target_modules": ["o_proj"] if kind == "phi3" else ["q_proj", "v_proj"], **lora}
    model = build_model(replace(config, language=LanguageConfig(config=text), lora=LoraConfig(**lora)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
    everything_trained(model)
    return model.eval()


def last_layer(model):
    return model.language_model.get_decoder().layers[-1]


def results(model, inputs: dict, logits: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs, logits=logits).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, inputs: dict) -> None:
    """``all`` computes the whole layer."""
    whole, narrow = results(model, inputs, "all"), results(model, inputs, "supervised")
    assert_close(narrow[0], whole[0], atol=1e-6, rtol=1e-6)
    assert narrow[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        assert_close(narrow[1][name], gradient, atol=1e-6, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture
def counted(monkeypatch):
    """A function: model -> a list that gets how many tokens the MLP of its last layer computes."""

    def count(model) -> list[int]:
        seen: list[int] = []
        mlp = last_layer(model).mlp
        real = mlp.forward
        monkeypatch.setattr(mlp, "forward", lambda x: seen.append(x.shape[:-1].numel()) or real(x))
        return seen

    return count


@pytest.mark.parametrize("kind", LANGUAGES)
def test_loss_and_gradients_are_those_of_the_whole_layer(tiny_config, kind, counted):
    model = language(tiny_config, kind)
    packed, separate = layout(model, torch.Generator().manual_seed(1))
    assert_same(model, packed)
    assert_same(model, separate[1])
    seen = counted(model)
    model(**packed, logits="supervised")
    assert seen == [int((packed["labels"] != IGNORE_INDEX).sum())]


@pytest.mark.parametrize("variant", ["dora", "rslora"])
def test_kinds_of_adapters(tiny_config, variant):
    model = language(tiny_config, "llama", variant=variant, target_modules=["q_proj", "o_proj", "down_proj"])
    assert_same(model, layout(model, torch.Generator().manual_seed(2))[0])


def test_gradient_checkpointing_computes_the_same_places_again(tiny_config, counted):
    model = language(tiny_config, "llama").train()
    packed, _ = layout(model, torch.Generator().manual_seed(3))
    plain = results(model, packed, "supervised")
    model.gradient_checkpointing_enable()
    seen = counted(model)
    again = results(model, packed, "supervised")
    assert len(seen) == 2 and seen[0] == seen[1] < packed["input_ids"].numel()
    assert_close(again, plain)


def test_rows_without_targets_give_gradients_of_zero(tiny_config):
    model = language(tiny_config, "llama")
    packed, _ = layout(model, torch.Generator().manual_seed(4))
    packed["labels"] = torch.full_like(packed["labels"], IGNORE_INDEX)
    loss, gradients = results(model, packed, "supervised")
    assert loss == 0
    assert gradients and not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("layers", [1, 2])
def test_a_loss_in_the_middle_of_the_layers_reads_what_it_read(tiny_config, layers, counted):
    """The middle of one layer is its output, so that one is computed everywhere."""
    config = tiny_config()
    text = {**config.language.config, "num_hidden_layers": layers}
    model = build_model(replace(config, language=LanguageConfig(config=text)))
    packed, _ = layout(model, torch.Generator().manual_seed(5))
    boxes = torch.full((*packed["input_ids"].shape, 4), IGNORE_INDEX)
    boxes[:, -2:] = torch.tensor([9, 8, 70, 60])
    objective = TrainingObjective(model.train(), alignment=AlignmentConfig(phrases=2.0))
    packed["pixel_values"] = packed["pixel_values"].clone()
    embeddings = model.embed(packed["input_ids"], model.encode_images(packed["pixel_values"]))
    of_rows = {name: packed[name] for name in ("group_ids", "branch_ids", "position_ids")}
    whole = model.predict(embeddings, packed["labels"], "all", middle=True, **of_rows)
    expected = whole.loss() + 2.0 * objective.phrase_reader.loss(whole.middle[:, -2:].flatten(0, 1), boxes[0, -2:]) / 2
    seen = counted(model)
    assert_close(objective(**packed, phrase_boxes=boxes), expected)
    assert (seen[0] == packed["input_ids"].numel()) == (layers == 1)


def test_a_copy_narrows_its_own_layer(tiny_config, counted):
    model = language(tiny_config, "llama")
    other = copy.deepcopy(model)
    packed, _ = layout(model, torch.Generator().manual_seed(6))
    first, second = counted(model), counted(other)
    other(**packed, logits="supervised")
    assert not first and second[0] < packed["input_ids"].numel()


def test_an_error_in_the_layer_leaves_nothing_behind(tiny_config, monkeypatch):
    model = language(tiny_config, "llama")
    packed, _ = layout(model, torch.Generator().manual_seed(7))
    before = results(model, packed, "all")
    with monkeypatch.context() as patch:
        patch.setattr(last_layer(model).mlp.up_proj, "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(**packed, logits="supervised")
    assert_close(results(model, packed, "all"), before)


def test_layers_of_other_names_are_computed_everywhere():
    assert not tokenwise_parts(torch.nn.TransformerEncoderLayer(8, 2))
