#!/usr/bin/env python
"""Memory while a checkpoint is opened, beside the bytes of its weights: made models of three sizes, in every precision.

    python scripts/load_peaks.py                              # about a gigabyte of memory, 0.8 GB of disk, minutes
    python scripts/load_peaks.py --layers 4 --dtypes int8

Every model is opened in a process of its own. What is measured is its anonymous memory (RssAnon of Linux) above that
before, every five milliseconds: pages of mapped files, which the system takes back when it wants, are not counted. The
library that quantises is loaded before.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.config.schema import LanguageConfig, LinearProjectorConfig, ModelConfig, VisionConfig
from skyeye.generation.answer import open_to_answer
from skyeye.generation.opening import Opening
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.quantized import BYTES
from skyeye.models.tokenizer import train_tokenizer

WIDTH, INNER = 1024, 2816  # of LLaMA's shapes; the largest layer has WIDTH x INNER weights


def make(folder: Path, layers: int) -> None:
    """Write a model of random weights, in bfloat16."""
    language = {"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": layers}
    language |= {"num_attention_heads": 8, "max_position_embeddings": 512}
    vision = VisionConfig(image_size=28, patch_size=7, width=16, depth=2, heads=2, mlp_ratio=2.0)
    config = ModelConfig(
        vision=vision, projector=LinearProjectorConfig(join_tokens=4), language=LanguageConfig(config=language)
    )
    tokenizer = train_tokenizer(["how many ships are there"], 600)
    torch.set_default_dtype(torch.bfloat16)
    try:
        build_model(config, tokenizer).save_pretrained(folder)
    finally:
        torch.set_default_dtype(torch.float32)
    SkyEyeProcessor.from_config(config, tokenizer).save_pretrained(folder)


def anonymous() -> int:
    """Bytes of memory of this process that no file holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def measure(folder: Path, dtype: str) -> tuple[int, int, int]:
    """Bytes of the weights; most memory while the model is opened, and memory afterwards, above that before."""
    torch.set_num_threads(1)
    if dtype in BYTES:
        from bitsandbytes.nn import Int8Params, Params4bit

        kind = Int8Params if dtype == "int8" else Params4bit
        kind(torch.ones(64, 64), requires_grad=False).to("cpu")
    before, seen, ended = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            seen.append(anonymous())

    watching = threading.Thread(target=watch)
    watching.start()
    model, _ = open_to_answer(folder, Opening(dtype=dtype, device="cpu"))
    ended.set()
    watching.join()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return weights, max(seen) - before, anonymous() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=[4, 8, 16], metavar="N")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16", "int8", "int4"], metavar="DTYPE")
    options = parser.parse_args()
    print(f"one layer of {WIDTH} x {INNER}: {WIDTH * INNER * 4 / 1e6:.0f} MB in fp32")
    print("layers  dtype  weights MB  peak MB  peak / weights  afterwards MB  seconds")
    for layers in options.layers:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), layers)
            for dtype in options.dtypes:
                began = time.perf_counter()
                with ProcessPoolExecutor(1, get_context("spawn")) as process:
                    weights, peak, after = process.submit(measure, Path(folder), dtype).result()
                took = time.perf_counter() - began
                row = f"{layers:6}  {dtype:5}  {weights / 1e6:10.0f}  {peak / 1e6:7.0f}  {peak / weights:14.2f}"
                print(f"{row}  {after / 1e6:13.0f}  {took:7.0f}", flush=True)


if __name__ == "__main__":
    main()
