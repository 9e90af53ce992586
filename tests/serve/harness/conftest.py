"""A random checkpoint, pictures, and stand-ins for the kits with the signatures that the adapters rely on.

Every test of an adapter runs against the stand-in and, where the kit itself is installed, against the kit.
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.record import Record, Turn
from skyeye.generation.answer import answer
from skyeye.models.build import build_model
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A random model that says different things to different pictures and questions."""
    torch.manual_seed(5)
    tokenizer = train_tokenizer(
        ["[vqa] is there a plane ? yes no", "[refer] where is the ship ? {<1><2><3><4>}"] * 3, 520
    )
    language = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=16, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=1),
        language=LanguageConfig(config={**language, "num_attention_heads": 2, "max_position_embeddings": 256}),
        lora=LoraConfig(r=2, alpha=4),
        prompt=PromptConfig(),
    )
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    SkyEyeProcessor.from_config(config, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> list[str]:
    """Three pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(3)]


@pytest.fixture(scope="session")
def expected(checkpoint):
    """What ``skyeye.generation.answer`` answers: (question, files, longest answer) -> text."""
    model, processor = open_checkpoint(checkpoint)
    model.eval()

    def ask(question: str, images: Sequence[str], max_new_tokens: int) -> str:
        record = Record("r", "s", "vqa", "test", tuple(images), (Turn(question, ""),))
        return answer(model, processor, [record], max_new_tokens=max_new_tokens)[0]

    return ask


def standing_in(monkeypatch, modules: dict[str, dict]) -> None:
    """Put modules with these contents where ``import`` finds them, until the test ends."""
    for name, content in modules.items():
        module = ModuleType(name)
        module.__path__ = []  # others may lie in it
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def adapter(monkeypatch, name: str) -> ModuleType:
    """The adapter, imported anew with the kit that is there now."""
    monkeypatch.delitem(sys.modules, f"skyeye.serve.harness.{name}", raising=False)
    module = importlib.import_module(f"skyeye.serve.harness.{name}")
    monkeypatch.delitem(sys.modules, f"skyeye.serve.harness.{name}")
    return module


def kinds(kit: str) -> list[str]:
    """What the tests of an adapter run against here."""
    return ["stand-in"] + ["real"] * (importlib.util.find_spec(kit) is not None)


class StandInLmms(abc.ABC):
    """lmms_eval.api.model.lmms of version 0.7.3, as far as adapters and tests go."""

    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook = StandInCacheHook()
        self.task_dict = {}

    @abc.abstractmethod
    def loglikelihood(self, requests): ...

    @abc.abstractmethod
    def generate_until(self, requests): ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests): ...

    @property
    def rank(self):
        return self._rank

    def clean(self):
        self.task_dict = {}


class StandInCacheHook:
    def add_partial(self, attr, req, res):
        pass


@dataclass
class StandInInstance:
    """lmms_eval.api.instance.Instance of version 0.7.3."""

    request_type: str
    arguments: tuple
    idx: int
    metadata: dict = field(default_factory=dict)

    def __post_init__(self):
        self.task_name = self.metadata["task"]

    @property
    def args(self):
        return self.arguments if isinstance(self.arguments, tuple) else (self.arguments,)


@dataclass(frozen=True)
class StandInManifest:
    """lmms_eval.models.registry_v2.ModelManifest of version 0.7.3."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class StandInBaseModel:
    """vlmeval.vlm.base.BaseModel of ms-vlmeval 0.0.20, without its guessing of file types."""

    INTERLEAVE = False
    allowed_types: ClassVar[list[str]] = ["text", "image", "video"]

    def __init__(self):
        self.dump_image_func = None

    def use_custom_prompt(self, dataset):
        return False

    def set_dump_image(self, dump_image_func):
        self.dump_image_func = dump_image_func

    def generate_inner(self, message, dataset=None):
        raise NotImplementedError

    def generate(self, message, dataset=None):
        for item in message:
            assert item["type"] in self.allowed_types, f"Invalid input type: {item['type']}"
        return self.generate_inner(message, dataset)


@pytest.fixture
def stand_ins() -> SimpleNamespace:
    """The classes that stand in, to be compared with the real ones."""
    return SimpleNamespace(
        lmms=StandInLmms, Instance=StandInInstance, ModelManifest=StandInManifest, BaseModel=StandInBaseModel
    )


@pytest.fixture(params=kinds("lmms_eval"))
def lmms_eval(request, monkeypatch) -> ModuleType:
    """The adapter for lmms-eval."""
    if request.param == "stand-in":
        empty: dict = {}
        standing_in(
            monkeypatch,
            {
                "lmms_eval": empty,
                "lmms_eval.api": empty,
                "lmms_eval.api.instance": {"Instance": StandInInstance},
                "lmms_eval.api.model": {"lmms": StandInLmms},
                "lmms_eval.api.registry": {"register_model": lambda *names: lambda cls: cls},
                "lmms_eval.models": empty,
                "lmms_eval.models.registry_v2": {"ModelManifest": StandInManifest},
            },
        )
    return adapter(monkeypatch, "lmms_eval")


@pytest.fixture(params=kinds("vlmeval"))
def vlmevalkit(request, monkeypatch) -> ModuleType:
    """The adapter for VLMEvalKit."""
    if request.param == "stand-in":
        standing_in(
            monkeypatch,
            {
                "vlmeval": {},
                "vlmeval.config": {"supported_VLM": {}},
                "vlmeval.vlm": {},
                "vlmeval.vlm.base": {"BaseModel": StandInBaseModel},
            },
        )
    return adapter(monkeypatch, "vlmevalkit")
