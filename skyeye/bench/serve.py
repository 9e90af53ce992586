"""``skyeye bench serve``: answers a second and their delay through ``skyeye serve``, against answering one by one.

The server has processes of its own on the loopback interface; the clients are here, so all share the machine's cores.
The baseline is what a program does without a server: each picture decoded and encoded, its question answered by
``generate``, one after the other, without HTTP, with as many threads as torch takes. The server chooses their number
(:mod:`skyeye.serve.api.threads`), so that the baseline is told with one thread, too. Rounds alternate, so what slows
the machine slows all of them.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from skyeye.bench.clients import Asked, Load, made_requests, run_clients
from skyeye.bench.common import machine
from skyeye.bench.model import sizes
from skyeye.bench.soak import soak
from skyeye.data.images.load import to_rgb
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.limit import room_for_answer, tokens_read
from skyeye.serve.model import Model, load

CLIENTS = (1, 4, 16, 64)
#: Different pictures, in turn: more than a server keeps, so each is decoded and encoded whenever it is asked about.
PICTURES = 512
QUESTIONS = (
    "[vqa] is there a red plane ?",
    "[refer] where is the white ship ?",
    "[caption] briefly describe the image",
)
NAME = "measured"


def bench_serve(
    checkpoint: Path,
    *,
    rows: int = 32,
    replicas: int = 1,
    rounds: int = 3,
    seconds: float = 3.0,
    requests: int = 0,
    bad: float = 0.0,
    hang_up: float = 0.0,
) -> dict[str, Any]:
    """Measure a checkpoint.

    Args:
        rows, replicas: of the server.
        rounds: of the baseline and of each number of clients.
        seconds: of each of these.
        requests: that are sent afterwards by 64 clients, and counted one by one; see :func:`skyeye.bench.soak.soak`.
        bad, hang_up: shares of these.

    Raises:
        SkyEyeError: the checkpoint cannot be opened, or the server does not start.
    """
    asked = made_requests(PICTURES, 0, QUESTIONS)
    with server(checkpoint, rows, replicas) as (port, process):
        result = {"benchmark": "serve", **_speeds(checkpoint, port, asked, rounds, seconds)}
        if requests:
            result["requests"] = asyncio.run(soak(port, process.pid, NAME, asked, requests, bad, hang_up))
    return {**result, "rows": rows, "replicas": replicas, "machine": machine(torch.device("cpu"))}


def _speeds(checkpoint: Path, port: int, asked: Sequence[Asked], rounds: int, seconds: float) -> dict[str, Any]:
    model = load(checkpoint, device="cpu")
    bodies = itertools.cycle([json.dumps(each.body(NAME)).encode() for each in asked])
    alone = OneByOne(model, asked)
    alone.run(0.5)
    asyncio.run(_loaded(port, 16, bodies, 0.5))
    plain: list[float] = []
    by_one_thread: list[float] = []
    loads: dict[int, list[Load]] = {clients: [] for clients in CLIENTS}
    for _ in range(rounds):
        plain.append(alone.run(seconds))
        with _one_thread():
            by_one_thread.append(alone.run(seconds))
        for clients in CLIENTS:
            loads[clients].append(asyncio.run(_loaded(port, clients, bodies, seconds)))
    rates = {clients: [each.rate for each in found] for clients, found in loads.items()}
    return {
        "one_by_one_per_second": round(median(plain), 2),
        "one_by_one_by_one_thread_per_second": round(median(by_one_thread), 2),
        "clients": {clients: _summary(found, plain) for clients, found in loads.items()},
        "ratio_16_clients": _ratio(rates[16], plain),
        "ratio_16_clients_to_one_thread": _ratio(rates[16], by_one_thread),
        "rounds": rounds,
        "seconds": seconds,
        "sizes": sizes(model.network),
    }


def _ratio(rates: Sequence[float], plain: Sequence[float]) -> float:
    return round(median(a / b for a, b in zip(rates, plain, strict=True)), 2)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


async def _loaded(port: int, clients: int, bodies: Iterator[bytes], seconds: float) -> Load:
    end = time.perf_counter() + seconds
    return await run_clients(port, clients, bodies, lambda: time.perf_counter() < end)


def _summary(found: Sequence[Load], plain: Sequence[float]) -> dict[str, Any]:
    together = Load([each for load in found for each in load.seconds])
    ratios = [load.rate / rate for load, rate in zip(found, plain, strict=True)]
    return {
        "per_second": round(median(load.rate for load in found), 2),
        "ratio": round(median(ratios), 2),
        "ratio_least_and_greatest": [round(min(ratios), 2), round(max(ratios), 2)],
        "milliseconds": {f"p{share}": round(1000 * together.percentile(share / 100), 1) for share in (50, 90, 99)},
        "failed": sum(count for load in found for status, count in load.statuses.items() if status != 200),
    }


class OneByOne:
    """Requests answered one after the other, as a program does without a server."""

    def __init__(self, model: Model, asked: Sequence[Asked]):
        self.model, self._asked = model, itertools.cycle(asked)

    def run(self, seconds: float) -> float:
        """Answers a second."""
        began, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds or not count:
            self.answer(next(self._asked))
            count += 1
        return count / spent if spent else 0.0

    @torch.inference_mode()
    def answer(self, asked: Asked) -> str:
        """By ``generate``."""
        network, processor = self.model.network, self.model.processor
        pixels = processor.pixels(to_rgb(Image.open(io.BytesIO(asked.picture))))[None]
        ids = self.model.builder.prompt(1, [Turn(asked.question, "")])
        said = network.generate(
            torch.tensor([ids]),
            image_features=network.encode_images(pixels),
            max_new_tokens=room_for_answer(tokens_read(network), ids, asked.tokens, "request"),
            do_sample=False,
            eos_token_id=self.model.builder.end_token_ids,
        )
        return processor.decode(said[0])


@contextmanager
def server(checkpoint: Path, rows: int, replicas: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """``skyeye serve`` of a checkpoint in a process of its own: its port, and the process. It is ended by SIGTERM.

    Raises:
        SkyEyeError: it does not start.
    """
    command = [sys.executable, "-m", "skyeye", "serve", str(checkpoint), "--device", "cpu", "--name", NAME]
    command += ["--port", "0", "--rows", str(rows), "--replicas", str(replicas), "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = (process.stdout and process.stdout.readline()) or ""
        if "http://" not in line:
            raise SkyEyeError(f"the server does not start: {line.strip() or 'see above'}", where="skyeye serve")
        yield int(line.rsplit(":", 1)[1].split("/")[0]), process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def format_text(result: dict[str, Any]) -> str:
    """The result as a table."""
    alone, by_one = (result[f"one_by_one{by}_per_second"] for by in ("", "_by_one_thread"))
    lines = [
        f"one by one, without a server: {alone} answers a second ({result['machine']['threads']} threads)",
        f"by one thread {by_one}; 16 clients have {result['ratio_16_clients_to_one_thread']} of that",
        "",
    ]
    lines += ["| clients | answers a second | ratio | p50 ms | p90 ms | p99 ms | failed |", "|---" * 7 + "|"]
    for clients, row in result["clients"].items():
        times = row["milliseconds"]
        low, high = row["ratio_least_and_greatest"]
        ratio = f"{row['ratio']} ({low} to {high})"
        cells = [clients, row["per_second"], ratio, times["p50"], times["p90"], times["p99"], row["failed"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    if told := result.get("requests"):
        lines += ["", *(f"{name.replace('_', ' ')}: {value}" for name, value in told.items())]
    return "\n".join(lines)
