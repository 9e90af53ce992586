"""A server on the loopback interface, in a thread of the test's process."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import openai
import pytest
import torch
import uvicorn
from PIL import Image

from skyeye.generation.requests import SharedAnswer, Token
from skyeye.serve.api.app import build_app
from skyeye.serve.api.limits import Limits, Sources
from skyeye.serve.api.listening import open_to_clients, take_address
from skyeye.serve.api.server import server_of
from skyeye.serve.api.service import Service
from skyeye.serve.api.worker import Worker

FEW, NONE = Limits(rows=4), Sources()


@dataclass
class Running:
    """A server that runs, its service, and its address."""

    server: uvicorn.Server
    service: Service
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, key: str = "none", **settings) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30, **settings)


@contextmanager
def running(parts, limits: Limits = FEW, sources: Sources = NONE, keys=()) -> Iterator[Running]:
    model, processor = parts
    service = Service(Worker(model.eval(), processor, limits), processor, "tiny", sources, keys)
    listening = take_address("127.0.0.1", 0)
    open_to_clients(listening)
    server = server_of(build_app(service), limits, log_level="warning")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(server, service, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive() and not service.worker.alive


@pytest.fixture
def serve(parts) -> Iterator[Callable[..., Running]]:
    """A function that starts a server of its own, for as long as the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **settings: stack.enter_context(running(parts, *arguments, **settings))


@pytest.fixture(scope="session")
def served(parts, tmp_path_factory) -> Iterator[Running]:
    """A server for tests that leave nothing behind. It may read the files of one folder."""
    folder = tmp_path_factory.mktemp("allowed")
    with running(parts, sources=Sources((folder,))) as found:
        yield found


def data_url(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def about(question: str, *urls: str) -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


class Scripted:
    """A generation that says a given text, whatever is asked; in pieces of one token, slowly if wanted."""

    def __init__(self, processor, text: str, seconds: float = 0.0):
        self.processor, self.text, self.seconds, self.in_work = processor, text, seconds, 0
        self.cancelled: list[tuple[int, int]] = []

    def stream(self, groups):
        ids = self.processor.tokenizer.encode(self.text, add_special_tokens=False)
        ids = [*ids, self.processor.builder.end_token_ids[0]]
        for number, group in enumerate(each for each in groups if each is not None):
            self.in_work = 1
            for prompt in range(len(group.prompts)):
                for token in ids[: group.max_new_tokens[prompt]]:
                    time.sleep(self.seconds)
                    if (number, prompt) not in self.cancelled:
                        yield Token(number, prompt, token, None)
                self.in_work = 0
                if (number, prompt) not in self.cancelled:
                    yield SharedAnswer(number, prompt, ids[: group.max_new_tokens[prompt]])

    def cancel(self, group: int, prompt: int) -> None:
        self.cancelled.append((group, prompt))


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """A function that sets how many threads torch computes with, for as long as the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def scripted(monkeypatch):
    """A function: servers that are started afterwards say this text."""

    def says(text: str, seconds: float = 0.0) -> None:
        monkeypatch.setattr(
            "skyeye.serve.api.worker.Worker._new_generation",
            lambda worker: Scripted(worker.processor, text, seconds),
        )

    return says
