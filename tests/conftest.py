"""Fixtures that many tests share."""

from __future__ import annotations

import base64
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
        encoded: dict[str, bytes] = {}  # by the end of the name: hundreds of large ones would take seconds
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (end := Path(name).suffix) not in encoded:
                Image.new("RGB", size).save(folder / name)
                encoded[end] = (folder / name).read_bytes()
            else:
                (folder / name).write_bytes(encoded[end])

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


_QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAVA_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}USER: "
    "{% for p in m.content %}{% if p.type == 'image' %}<image>\n{% else %}{{ p.text }}{% endif %}{% endfor %} "
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _letters(end: str, *special: str):
    """A tokenizer that knows bytes and nothing else."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letters = Tokenizer(models.BPE(tokens, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token=end, extra_special_tokens=list(special), model_max_length=4096
    )


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory) -> Path:
    """A random Qwen2.5-VL of a few thousand parameters, as transformers saves it."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    special = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    special |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    tokenizer = _letters("<|im_end|>", "<|im_start|>", *special.values())
    sizes = {"hidden_size": 32, "intermediate_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={"vocab_size": len(tokenizer), "max_position_embeddings": 512, **sizes, **heads, **ids}
        | {"rope_parameters": rope},
        vision_config={"depth": 1, "num_heads": 2, "out_hidden_size": 32, "fullatt_block_indexes": [0], **sizes},
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in special.items()},
    )
    pictures = Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 16})
    folder = tmp_path_factory.mktemp("qwen")
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.update(do_sample=True, temperature=0.7, repetition_penalty=1.05)
    model.save_pretrained(folder)
    Qwen2_5_VLProcessor(pictures, tokenizer, Qwen2VLVideoProcessor(), chat_template=_QWEN_TEMPLATE).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory) -> Path:
    """A random LLaVA of a few thousand parameters, as transformers saves it."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = _letters("</s>", "<image>")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 512,
            **sizes,
            **ids,
        },
        vision_config={"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14, **sizes},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    folder = tmp_path_factory.mktemp("llava")
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=56),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_LLAVA_TEMPLATE,
    ).save_pretrained(folder)
    return folder


class ChatServer(ThreadingHTTPServer):
    """A server of OpenAI's shapes that answers as a test says.

    Attributes:
        answer: the text of a question and the bytes of its images -> the reply's text.
        faults: what becomes of the next requests instead: a status with a body and headers, ``cut``, ``slow``, or bytes
            that are sent as they are.
        seen: the bodies of all requests, and ``keys`` what they were authorised by.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.answer: Callable[[str, list[bytes]], str] = lambda text, images: "yes"
        self.faults: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.models, self.finish, self.slow_seconds = ["tiny"], "stop", 1.0
        self.address = f"http://127.0.0.1:{self.server_port}/v1"


class _Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is the test's."""

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": name} for name in self.server.models]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        self.server.keys.append(self.headers["Authorization"])
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif isinstance(fault, bytes):
            self._send(200, fault)
        elif isinstance(fault, tuple):
            self._send(*fault)
        else:
            time.sleep(self.server.slow_seconds if fault == "slow" else 0)
            self._send(200, json.dumps(self._completion(body)).encode())

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        images = [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]
        text = self.server.answer(parts[-1]["text"], [base64.b64decode(image) for image in images])
        message = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": self.server.finish}],
        }

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # who asked did not wait
            self.close_connection = True


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
