"""Fixtures that many tests share."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import settings
from PIL import Image
from safetensors import safe_open

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import Record, Turn
from skyeye.eval.metrics.captions import CaptionScorer
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer
from skyeye.synth import write_scenes

settings.register_profile("skyeye", deadline=None)  # a busy machine is no failure
settings.load_profile("skyeye")
# PyTorch keeps compiled kernels under names that do not say for which instructions they are: on another processor, or
# an imitated one, they crash.
_INSTRUCTIONS = torch.backends.cpu.get_cpu_capability().lower()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}_{_INSTRUCTIONS}"
_CACHE = tempfile.TemporaryDirectory(prefix="skyeye-cache-")  # indexes of sources: not into anybody's own
os.environ["SKYEYE_CACHE"] = _CACHE.name
torch.set_num_threads(1)  # on models of a few thousand parameters threads cost more than they bring


def pytest_configure(config: pytest.Config) -> None:
    """Only tests that are marked so see a GPU: the others are written for a CPU (narrow heads, two processes that would
    share one card), and say the same wherever they run. So `-m gpu` asks for those alone."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole training runs come first: a long file that begins last would leave the other process without work."""
    items.sort(key=lambda item: "train" not in item.path.relative_to(Path(__file__).parent).parts)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference's numbers; another set of the same layout is tested by setting SKYEYE_GOLDEN."""
    return Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parent / "golden").resolve()


@pytest.fixture(scope="session")
def golden_images(golden) -> list[Path]:
    """The images of the batches in the order of ``pixels``: all but those that are there for pre-processing alone."""
    with safe_open(golden / "preprocess.safetensors", "pt") as file:
        others = {key.split(".size")[0] for key in file.keys()}
    named = json.loads((golden / "generation.json").read_text())["images"]
    return sorted(path for path in (golden / "images").iterdir() if path.stem in named or path.stem not in others)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test draws the same random numbers, alone or in a suite."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_parts():
    """A random model of few parameters that says different things, and its processor; it reads 120 tokens."""
    torch.manual_seed(0)
    words = ["how many ships are there?", "two white ships", "where are they? {<10><20><40><70>}", "<p>a ship</p>"]
    tokenizer = train_tokenizer(words, 800)
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=8, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=2),
        language=LanguageConfig(
            config={
                "model_type": "llama",
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 120,
            }
        ),
        lora=LoraConfig(r=2),
        prompt=PromptConfig(),
    )
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model, SkyEyeProcessor.from_config(config, tokenizer)


@pytest.fixture(scope="session")
def written() -> Callable[[Record], Record]:
    """A function: a record -> the record with its turns in MiniGPT-v2's words, tags and boxes in the text."""
    style = MiniGPTv2()

    def write(record: Record) -> Record:
        turns = tuple(Turn(style.question(turn), style.answer(turn)) for turn in record.turns)
        return replace(record, turns=turns)

    return write


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "world"
    write_scenes(out, images=12, seed=3, held_out=4, size=56)
    return out


@pytest.fixture
def recipe(tmp_path, world) -> Callable[..., Path]:
    """A function that writes the recipe with some sections replaced, and returns its path."""

    def write(**changes) -> Path:
        stage = {
            "mixture": [{"source": "world"}],
            "steps": 4,
            "images_per_step": 4,
            "questions_per_image": 3,
            "optimizer": {"lr": 3e-3, "min_lr": 1e-4, "warmup_lr": 1e-3, "warmup_steps": 1},
        }
        content = {
            "name": "test",
            "output_dir": str(tmp_path / "run"),
            "seed": 7,
            "model": {
                "vision": {"image_size": 28, "patch_size": 7, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2.0},
                "projector": {"join_tokens": 4},
                "language": {
                    "config": {
                        "model_type": "llama",
                        "hidden_size": 16,
                        "intermediate_size": 24,
                        "num_hidden_layers": 2,
                        "num_attention_heads": 2,
                        "max_position_embeddings": 512,
                    }
                },
                "tokenizer": {"train_vocab_size": 700, "box_tokens": True},
                "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
            },
            "sources": {"world": {"format": "synthetic", "path": str(world)}},
            "stages": [
                {"name": "pretrain", "vision": "full", "projector": "full", "language": "full", **stage},
                {"name": "single_task", **stage},
            ],
            "run": {"precision": "fp32", "workers": 0, "log_every": 1, "checkpoint_every": 2},
        }
        content.update(changes)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real samples, which is no part of the project."""
    folder = Path(os.environ.get("SKYEYE_SHARED") or Path(__file__).resolve().parents[1] / "../shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"real samples are not on this machine: no folder {folder} (set SKYEYE_SHARED)")
    return folder


@pytest.fixture
def write_images() -> Callable[..., None]:
    """Writes blank images of the given names below a folder."""

    def write(folder: Path, *names: str, size: tuple[int, int] = (10, 10)) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(folder / name)

    return write


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., ModelConfig]:
    """A function that describes a model of a few thousand parameters; keyword arguments replace whole sections."""

    def config(**changes) -> ModelConfig:
        text = {
            "model_type": "llama",
            "vocab_size": 130,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        }
        sections = {
            "vision": VisionConfig(image_size=28, patch_size=7, width=16, depth=2, heads=2, mlp_ratio=2.0),
            "projector": LinearProjectorConfig(join_tokens=4),
            "language": LanguageConfig(config=text),
            "lora": LoraConfig(r=2, alpha=4, dropout=0.0),
        }
        return ModelConfig(**(sections | changes))

    return config


@pytest.fixture
def tiny_model(tiny_config):
    """A tiny model whose adapters do something: LoRA starts at zero effect, which would hide mistakes."""
    model = build_model(tiny_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
    return model.eval()


@pytest.fixture
def held_by_another() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """A function that locks a file in a process of its own, which holds it to its end: ``held_by_another(path)``."""
    words = "import sys; from pathlib import Path; from skyeye.data.locks import lock_file; "
    words += "print(lock_file(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    children = []

    def hold(path: Path) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        children.append(subprocess.Popen([sys.executable, "-c", words, str(path)], **pipes))
        assert children[-1].stdout.readline().endswith(", None)\n")
        return children[-1]

    yield hold
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def read_jsonl() -> Callable[[Path], list[dict[str, Any]]]:
    """The objects of a file with one in each line."""
    # not splitlines(): an answer may hold U+2028 and the like
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture
def without_java(monkeypatch) -> None:
    """METEOR takes seconds to start; its own tests are in metrics/test_captions.py."""
    scorer = CaptionScorer(java=None)
    # by full path: "skyeye.eval.metrics.captions" as an attribute is the function, not the module
    for module in ("skyeye.eval.metrics.captions", "skyeye.eval.write", "skyeye.eval.score"):
        monkeypatch.setattr(importlib.import_module(module), "default_scorer", lambda: scorer)
