"""A recipe's model section becomes a model."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model, check_model

FAMILIES = {
    "llama": {},
    "qwen2": {"num_key_value_heads": 2},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 1.0},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_language_models(tiny_config, family):
    text = tiny_config().language.config | {"model_type": family} | FAMILIES[family]
    targets = ["c_attn"] if family == "gpt2" else ["q_proj", "v_proj"]
    model = build_model(tiny_config(language=LanguageConfig(config=text), lora=LoraConfig(r=2, target_modules=targets)))
    model.eval()
    ids = torch.randint(3, 100, (2, 7))
    labels = ids.clone()
    labels[:, :3] = -100
    alone = model.language_model(ids).logits
    torch.testing.assert_close(model(ids).logits, alone)
    every = model(ids, labels=labels)
    # Softcapping comes after the output head: it must not be lost when only some positions pass it.
    torch.testing.assert_close(
        model(ids, labels=labels, logits="supervised").logits, every.logits[:, 2:-1].flatten(0, 1)
    )
    assert model.generate(ids, max_new_tokens=3).shape == (2, 3)


@pytest.fixture
def language_directory(tiny_model, tmp_path):
    """A pretrained language model on disk, which asks for sampling by default as LLaMA-2-chat does."""
    base = tiny_model.language_model.unload()
    base.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9)
    base.save_pretrained(tmp_path / "language")
    return tmp_path / "language"


def test_pretrained_language_model(tiny_config, language_directory):
    config = tiny_config(language=LanguageConfig(pretrained=str(language_directory)))
    model = build_model(config, vocab_size=120)
    published = AutoModelForCausalLM.from_pretrained(language_directory, dtype=torch.float32)
    assert torch.equal(model.get_input_embeddings().weight, published.get_input_embeddings().weight)
    assert not model.generation_config.do_sample
    half = build_model(config, precision=torch.bfloat16)
    dtypes = {".lora_" in name: p.dtype for name, p in half.language_model.named_parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_a_tokenizer_that_is_too_large(tiny_config, language_directory):
    with pytest.raises(SkyEyeError, match="the tokenizer has 131 tokens, the language model 130"):
        build_model(tiny_config(language=LanguageConfig(pretrained=str(language_directory))), vocab_size=131)


def test_no_such_language_model(tiny_config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkyEyeError, match="model.language.pretrained: no language model configuration"):
        build_model(tiny_config(language=LanguageConfig(pretrained=str(tmp_path / "empty"))))


def test_language_weights_missing(tiny_config, language_directory):
    (language_directory / "model.safetensors").unlink()
    with pytest.raises(SkyEyeError, match="language: holds no weights"):
        build_model(tiny_config(language=LanguageConfig(pretrained=str(language_directory))))


def test_unknown_family(tiny_config):
    with pytest.raises(SkyEyeError, match="model.language.config: .*lama"):
        build_model(tiny_config(language=LanguageConfig(config={"model_type": "lama"})))


def test_lora_on_layers_that_do_not_exist(tiny_config):
    with pytest.raises(SkyEyeError, match="no layer is called any of query.*q_proj"):
        build_model(tiny_config(lora=LoraConfig(target_modules=["query"])))


def test_vocabulary_of_a_fresh_model(tiny_config):
    assert build_model(tiny_config(), vocab_size=77).get_output_embeddings().weight.shape[0] == 77


def test_the_full_model_on_the_meta_device():
    """LLaMA-2-7B behind EVA-CLIP-g: as many parameters as the published sizes say, and no memory."""
    with torch.device("meta"):
        model = build_model(ModelConfig(language=LanguageConfig(config={"model_type": "llama"})))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.config.tokens_per_image == 256
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == 56_627_200  # the released file: x 3 (weights, two Adam moments) x 4 bytes = 679.5 MB
    language = sum(p.numel() for n, p in model.language_model.named_parameters() if ".lora_" not in n)
    assert language == 6_738_415_616


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 15}, r"^model.language.config: .*hidden size \(15\) is not a multiple"),
        ({"hidden_size": "wide"}, r"^model.language.config: .*expected int, got str"),
        ({"num_layers": 2}, "^model.language.config.num_layers: llama has no setting num_layers; did you mean"),
        ({"hiden_size": 16}, "^model.language.config.hiden_size: llama has no setting hiden_size; did you mean"),
    ],
)
def test_settings_of_a_language_model_that_it_does_not_know_are_refused(tiny_config, changes, message):
    config = tiny_config()
    config.language.config |= changes
    with pytest.raises(SkyEyeError, match=message):
        check_model(config)


def test_adapters_for_a_layer_that_is_not_there_are_refused_though_others_are(tiny_config):
    config = tiny_config(lora=LoraConfig(r=2, target_modules=["q_proj", "w_proj", "up"]))
    with pytest.raises(SkyEyeError, match="no layer is called w_proj or up .*linear layers are down_proj, gate_proj"):
        check_model(config)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"image_size": 10}, "takes no images of 10 x 10 pixels"),
        ({"arguments": {"num_heads": 5}}, "dim should be divisible by num_heads"),
    ],
)
def test_a_timm_tower_that_cannot_be_built_is_told_in_one_line(tiny_config, vision, message):
    tower = VisionConfig(architecture="timm", name="vit_tiny_patch16_224", **{"image_size": 32, **vision})
    with pytest.raises(SkyEyeError, match=message):
        check_model(tiny_config(vision=tower))
