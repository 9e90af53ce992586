"""``skyeye bench dtype``: memory, speed and answers of a checkpoint in each precision, beside float32."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import psutil
import torch

from skyeye.bench.common import machine
from skyeye.data.record import Record
from skyeye.generation.answer import answer, open_to_answer
from skyeye.generation.opening import Opening
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor

#: Precisions that are compared; the first is what the others are compared with.
KINDS = ("fp32", "bf16", "int8", "int4")
#: Questions whose logits are compared: of the token that follows each.
COMPARED = 8


class Measured(NamedTuple):
    """What a process measured: bytes of the weights, its peak above its start (bytes), seconds of loading, seconds and
    tokens of the answers, the answers, and the logits behind some questions."""

    weights: int
    peak: int
    loading: float
    answering: float
    tokens: int
    answers: list[str]
    logits: torch.Tensor


def bench_dtypes(
    checkpoint: str, records: Sequence[Record], opening: Opening, kinds: Sequence[str] = KINDS, max_new_tokens: int = 32
) -> dict[str, Any]:
    """Open a checkpoint in each precision, in a process of its own, and ask it the same questions.

    Args:
        opening: how, but for the precision.
        kinds: the first is what the others are compared with.

    Raises:
        SkyEyeError: as for opening and asking.
    """
    rows, first = [], None
    for kind in kinds:
        how = Opening(opening.base, kind, opening.device, opening.keep_adapters)
        with ProcessPoolExecutor(1, get_context("spawn")) as process:  # its peak of memory is its own
            found = process.submit(measure, checkpoint, records, how, max_new_tokens).result()
        first = first or found
        rows.append({"dtype": kind, **compared(found, first)})
    return {"benchmark": "dtype", "questions": len(records), "rows": rows, "machine": machine(_device(opening))}


def measure(checkpoint: str, records: Sequence[Record], opening: Opening, max_new_tokens: int) -> Measured:
    """Open, and answer; once unmeasured, so that what is made at the first product is there."""
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    model, processor = open_to_answer(checkpoint, opening)
    loading, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if model.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(model.device)
    answer(model, processor, records[:1], max_new_tokens=2)
    began = time.perf_counter()
    said = answer(model, processor, records, max_new_tokens=max_new_tokens)
    spent = time.perf_counter() - began
    tokens = sum(len(processor.tokenizer(text, add_special_tokens=False).input_ids) + 1 for text in said)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return Measured(weights, peak, loading, spent, tokens, said, _logits(model, processor, records[:COMPARED]))


@torch.no_grad()
def _logits(
    model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, records: Sequence[Record]
) -> torch.Tensor:
    """(questions, vocabulary): of the first token of each answer."""
    found = []
    for record in records:
        ids = torch.tensor([processor.builder.prompt(len(record.images), record.turns[:1])], device=model.device)
        pixels = torch.stack([processor.pixels(image) for image in record.images]) if record.images else None
        pixels = None if pixels is None else pixels.to(model.device)
        found.append(model(ids, pixel_values=pixels).logits[0, -1].float().cpu())
    return torch.stack(found)


def compared(found: Measured, first: Measured) -> dict[str, float]:
    """The figures of one precision; ``same``: share of the answers that are those of ``first``."""
    same = sum(a == b for a, b in zip(found.answers, first.answers, strict=True)) / len(first.answers)
    return {
        "weights_mb": round(found.weights / 1e6, 1),
        "peak_mb": round(found.peak / 1e6, 1),
        "loading_s": round(found.loading, 2),
        "tokens_per_second": round(found.tokens / found.answering, 1),
        "same": round(same, 3),
        "logits": round((found.logits - first.logits).abs().max().item(), 4),
    }


def format_text(result: dict[str, Any]) -> str:
    """A table."""
    first = result["rows"][0]["dtype"]
    lines = [f"dtype  weights MB  peak of loading MB  loading s  tokens/s  same answers as {first}  logits differ by"]
    for row in result["rows"]:
        sizes = f"{row['dtype']:5}  {row['weights_mb']:10.1f}  {row['peak_mb']:18.1f}  {row['loading_s']:9.2f}"
        lines.append(f"{sizes}  {row['tokens_per_second']:8.1f}  {row['same']:21.1%}  {row['logits']:16.4f}")
    return "\n".join([*lines, f"{result['questions']} questions, greedy"])


def _device(opening: Opening) -> torch.device:
    return torch.device(opening.device or ("cuda" if torch.cuda.is_available() else "cpu"))
