"""What vLLM is told, on stand-ins for its registries: it is not installed beside the tests."""

from __future__ import annotations

import ast
import importlib.util
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from skyeye.config.schema import QFormerProjectorConfig
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import plain_name
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.serve.vllm.supported import refuse_unknown_ends, refuse_unsupported

ROOT = Path(__file__).parents[3]
GROUP = "vllm.general_plugins"


@pytest.fixture
def registries(monkeypatch) -> SimpleNamespace:
    """vLLM's registries, as far as the plugin uses them."""
    told = SimpleNamespace(models={}, tokenizers={}, renderers={}, configs={})
    parts = {
        "vllm.config": {"ModelConfig": object},
        "vllm.model_executor.models.config": {"MODELS_CONFIG_MAP": told.configs, "VerifyAndUpdateConfig": object},
        "vllm.model_executor.models.registry": {
            "ModelRegistry": SimpleNamespace(register_model=told.models.__setitem__)
        },
        "vllm.renderers.registry": {"RENDERER_REGISTRY": _registry(told.renderers)},
        "vllm.tokenizers.registry": {"TokenizerRegistry": _registry(told.tokenizers)},
    }
    for name, members in parts.items():
        pieces = name.split(".")
        for end in range(1, len(pieces)):
            monkeypatch.setitem(sys.modules, ".".join(pieces[:end]), ModuleType(".".join(pieces[:end])))
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "skyeye.serve.vllm.settings", raising=False)
    yield told
    sys.modules.pop("skyeye.serve.vllm.settings", None)  # it was made of stand-ins


def _registry(entries: dict) -> SimpleNamespace:
    return SimpleNamespace(register=lambda mode, module, name: entries.__setitem__(mode, (module, name)))


def plugin() -> EntryPoint:
    """The entry point as this checkout declares it; the installed metadata may be those of another one."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    return EntryPoint("skyeye", declared["skyeye"], GROUP)


def has_class(module: str, name: str) -> bool:
    """Whether a file of ours, which is not imported, has a class of this name."""
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text())
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body)


def test_everything_that_is_named_is_there(registries):
    plugin().load()()
    plugin().load()()  # each process of vLLM may call it again
    [(architecture, place)] = registries.models.items()
    assert architecture == SkyEyeForConditionalGeneration.__name__  # what config.json says
    assert has_class(*place.split(":"))
    for entries in (registries.tokenizers, registries.renderers):
        assert list(entries) == ["skyeye"] and has_class(*entries["skyeye"])
    assert not any(name.startswith("skyeye.serve.vllm.m") for name in sys.modules), "nothing of it is imported"


def test_our_tokenizer_and_greedy_answers_unless_it_is_said_otherwise(registries, tiny_config, tmp_path):
    plugin().load()()
    change = registries.configs["SkyEyeForConditionalGeneration"].verify_and_update_model_config
    config = described(tiny_config())
    usual = SimpleNamespace(hf_config=config, model=str(tmp_path), tokenizer_mode="auto", override_generation_config={})
    change(usual)
    assert usual.tokenizer_mode == "skyeye" and usual.override_generation_config == {"temperature": 0.0}
    said = SimpleNamespace(
        hf_config=config, model=str(tmp_path), tokenizer_mode="hf", override_generation_config={"temperature": 0.7}
    )
    change(said)
    assert said.tokenizer_mode == "hf" and said.override_generation_config == {"temperature": 0.7}


def described(model, **changes) -> SkyEyeConfig:
    """The configuration of a merged export."""
    return SkyEyeConfig.of(model, **{"text_config": model.language.config, "lora": None} | changes)


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        ({"lora": {"r": 2}}, "adapters", "--merged"),
        ({"quantized": "int4"}, "int4", "--quantize"),
        ({"text_config": {"model_type": "gemma"}}, "gemma", "skyeye serve"),
    ],
    ids=["adapters", "quantised", "language model"],
)
def test_other_models_are_refused(tiny_config, tmp_path, changes, what, remedy):
    refuse_unsupported(described(tiny_config()), tmp_path)
    with pytest.raises(SkyEyeError, match=what) as refused:
        refuse_unsupported(described(tiny_config(), **changes), tmp_path)
    assert remedy in refused.value.remedy and refused.value.where == str(tmp_path)


def test_a_base_elsewhere_and_a_projector_that_reads_the_question_are_refused(tiny_config, tmp_path):
    with pytest.raises(SkyEyeError, match="qformer.*reads the question"):
        refuse_unsupported(described(tiny_config(projector=QFormerProjectorConfig())), tmp_path)
    (tmp_path / "base.json").write_text("{}")
    with pytest.raises(SkyEyeError, match="leaves out its base"):
        refuse_unsupported(described(tiny_config()), tmp_path)


def test_ends_that_vllm_does_not_know_are_refused(tmp_path):
    refuse_unknown_ends([2, 7], [2, 7, None], tmp_path)
    with pytest.raises(SkyEyeError, match="does not name 7"):
        refuse_unknown_ends([2, 7], [2, None], tmp_path)


def test_names_of_weights_are_those_that_vllm_reads(tiny_config):
    """Its LLaMA takes the names of transformers' own; tower and projector are our modules there."""
    config = described(tiny_config())
    with torch.device("meta"):
        names = {plain_name(name) for name in SkyEyeForConditionalGeneration(config).state_dict()}
        theirs = AutoModelForCausalLM.from_config(config.text_config).state_dict()
    opening = "language_model."
    assert {name.removeprefix(opening) for name in names if name.startswith(opening)} == set(theirs)
    assert {name.split(".")[0] for name in names} == {"vision_tower", "vision_norm", "projector", "language_model"}
