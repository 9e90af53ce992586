"""``skyeye bench parts``: speed of a part by itself, and what its precision or its compilation changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from skyeye.bench.common import machine
from skyeye.bench.generate import Answering
from skyeye.bench.model import sizes
from skyeye.bench.train import TrainingStep
from skyeye.data.packing import pack_step
from skyeye.data.sequence import GroupSequence, pack
from skyeye.models.flops import supervised
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.prefix_attention import FLEX_BLOCK, additive_mask, attention, flex_mask, lay_out, split_mask

#: Steps of which the losses are compared, and the learning rate at which they change.
STEPS, RATE = 30, 1e-3


def bench_tower(model: SkyEyeForConditionalGeneration, seconds: float, images: int = 16) -> dict[str, Any]:
    """Images a second of the vision tower in its own precision, as it is and, on a GPU, compiled."""
    model, device = model.eval(), model.device
    pixels = torch.randn(images, *model.config.pixel_shape, device=device)

    @torch.inference_mode()
    def encode() -> int:
        model.encode_patches(pixels)
        return images

    found = {"eager": _rate(encode, device, seconds)}
    if device.type == "cuda":
        model.vision_tower.compile()
        found["compiled"] = _rate(encode, device, seconds)
    return {"images_per_second": found, **_about(model)}


def bench_decode(
    model: SkyEyeForConditionalGeneration, groups: Sequence[GroupSequence], seconds: float
) -> dict[str, Any]:
    """Answers a second with shared prefixes, as they are and, on a GPU, with the compiled decode."""
    low = next(model.language_model.parameters()).dtype != torch.float32
    found = {}
    for name, stance in (("eager", "force_eager"), ("compiled", "default")):
        if name == "compiled" and model.device.type != "cuda":
            continue
        work, rates = Answering(model, groups, 32, 1, None), []
        with torch.compiler.set_stance(stance), torch.autocast(model.device.type, torch.bfloat16, enabled=low):
            work.shared()
            began = time.perf_counter()
            while not rates or time.perf_counter() - began < seconds:
                rates.append(work.shared())
        found[name] = round(sorted(rates)[len(rates) // 2], 3)
    return {"answers_per_second": found, **_about(model)}


def bench_attention(
    model: SkyEyeForConditionalGeneration, groups: Sequence[GroupSequence], seconds: float, budget: int = 4096
) -> dict[str, Any]:
    """Milliseconds of one layer's attention over the largest pack, forward and with backward, in each form of the mask.

    Heads, their width and type are those of the language model; FlexAttention is measured on a GPU only. Layout and
    block mask are made before the time is taken: a step makes them once for all layers.

    Args:
        budget: tokens of a pack.
    """
    device, text = model.device, model.config.text_config
    flex = device.type == "cuda"
    largest = max(pack_step(groups, processes=1, budget=budget)[0], key=lambda packed: sum(map(len, packed)))
    ids = pack(largest, 0, FLEX_BLOCK if flex else 1)
    group_ids, branch_ids = (ids[name].to(device) for name in ("group_ids", "branch_ids"))
    dtype = next(model.language_model.parameters()).dtype
    split = split_mask(group_ids, branch_ids)
    forms: dict[str, tuple[Any, dict[str, Any]]] = {
        "split": (split, {"prefix_layout": lay_out(split)}),
        "additive": (additive_mask(group_ids, branch_ids, dtype), {}),
    }
    if flex:
        forms["flex"] = flex_mask(group_ids, branch_ids), {}
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    queries, keys = text.num_attention_heads, text.num_key_value_heads or text.num_attention_heads
    shapes = [(1, heads, group_ids.shape[1], width) for heads in (queries, keys, keys)]
    inputs = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes]
    layer = _layer_of(model)
    found: dict[str, dict[str, float]] = {"forward": {}, "forward_and_backward": {}}
    for name, (mask, layout) in forms.items():
        run = partial(attention, layer, *inputs, mask, **layout)
        found["forward"][name] = _milliseconds(run, device, seconds)
        both = partial(_with_backward, run)
        found["forward_and_backward"][name] = _milliseconds(both, device, seconds)
    return {
        "milliseconds": found,
        "tokens": group_ids.shape[1],
        "images": len(largest),
        **_about(model),
    }


def _layer_of(model: SkyEyeForConditionalGeneration) -> torch.nn.Module:
    """An attention layer: the plain form asks it how many heads share a key."""
    return next(m for m in model.language_model.modules() if hasattr(m, "layer_idx") and hasattr(m, "q_proj"))


def _with_backward(run: Callable[[], tuple[torch.Tensor, Any]]) -> None:
    run()[0].sum().backward()


def _milliseconds(run: Callable[[], Any], device: torch.device, seconds: float) -> float:
    def once() -> int:
        run()
        return 1

    return round(1e3 / _rate(once, device, seconds), 3)


def bench_precisions(
    make: Callable[[torch.dtype], SkyEyeForConditionalGeneration], groups: Sequence[GroupSequence], seconds: float
) -> dict[str, Any]:
    """The losses of the same steps with frozen weights and products in bf16 and in fp16, and their largest difference.

    Args:
        make: the same model in a precision.
        seconds: that the steps of the first may take; then there are fewer.
    """
    found: dict[str, list[float]] = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        step = TrainingStep(make(dtype), groups, budget=4096, autocast=dtype)
        until = time.perf_counter() + (seconds if not found else float("inf"))
        found[name] = _losses(step, dtype == torch.float16, len(found["bf16"]) if found else STEPS, until)
    pairs = zip(found["bf16"], found["fp16"], strict=True)
    difference = max(abs(one - other) for one, other in pairs)
    return {"losses": found, "largest_difference": round(difference, 5), **_about(step.model)}


def _losses(step: TrainingStep, scaled: bool, steps: int, until: float) -> list[float]:
    """Of ``steps`` steps, fewer where the time is up before.

    Args:
        scaled: losses are scaled up, as fp16 needs it.
    """
    said: list[float] = []
    packs, targets = pack_step(step.groups, processes=1, budget=step.budget)[0], supervised(step.groups)
    scaler = torch.amp.GradScaler(step.device.type, enabled=scaled)
    for group in step.optimizer.param_groups:
        group["lr"] = RATE
    while len(said) < steps and (not said or time.perf_counter() < until):
        losses = [step.loss(pack, True, targets) for pack in packs]
        scaler.scale(sum(losses)).backward()
        scaler.step(step.optimizer)
        scaler.update()
        step.optimizer.zero_grad()
        said.append(round(sum(loss.item() for loss in losses), 5))
    return said


def _rate(work: Callable[[], int], device: torch.device, seconds: float) -> float:
    """Of what ``work`` does in a second, after two unmeasured rounds."""
    work(), work()
    done, began = 0, time.perf_counter()
    while not done or time.perf_counter() - began < seconds:
        done += work()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return round(done / (time.perf_counter() - began), 3)


def _about(model: SkyEyeForConditionalGeneration) -> dict[str, Any]:
    found = {"sizes": sizes(model), "machine": machine(model.device)}
    if model.device.type == "cuda":
        found["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(model.device) / 2**30, 3)
    return found
