"""A plan as text for a terminal."""

from __future__ import annotations

from typing import Any

from skyeye.plan.hardware import GIB
from skyeye.plan.pairs import COUNTED_PAIRS
from skyeye.plan.plan import COUNTED_TOKENS

_COMPONENTS = ("weights", "gradients", "optimizer", "activations", "logits", "working", "buffers", "update", "total")


def format_text(plan: dict[str, Any]) -> str:
    """The tables and sentences that ``skyeye plan`` prints."""
    lines = [
        f"{plan['recipe']}: {plan['gpus']} GPUs of {plan['gpu_memory_gib']:g} GiB, {plan['reserve_gib']:g} of it kept"
        f" for what torch does not count; precision {plan['precision']}, frozen weights {plan['frozen']}",
        f"data: {plan['data']}",
        "",
        *_parameters(plan),
    ]
    for stage in plan["stages"]:
        lines += ["", *_stage(plan, stage)]
    lines += ["", f"all stages: {_hours(plan)}"]
    lines += [f"note: {sentence}" for sentence in plan["warnings"]]
    return "\n".join(lines)


def _parameters(plan: dict[str, Any]) -> list[str]:
    names = [stage["stage"] for stage in plan["stages"]]
    rows = [["part", "parameters", "GiB", *names]]
    for part, size in plan["parameters"].items():
        if not size["values"]:
            continue
        states = [_state(part, stage) for stage in plan["stages"]]
        rows.append([part, f"{size['values']:,}", _gib(size["bytes"]), *states])
    total = {key: sum(size[key] for size in plan["parameters"].values()) for key in ("values", "bytes")}
    trained = [f"{stage['trained']:,} trained" for stage in plan["stages"]]
    rows.append(["all", f"{total['values']:,}", _gib(total["bytes"]), *trained])
    return _table(rows)


def _state(part: str, stage: dict[str, Any]) -> str:
    if part == "adapters":
        learnt = "pairs_per_step" in stage or "lora" in (stage["projector"], stage["language"])
        return "trained" if learnt else "at rest"
    return {"frozen": "frozen", "lora": "adapted", "full": "trained"}[stage[part]]


def _stage(plan: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    lines = _of_pairs(plan, stage) if "pairs_per_step" in stage else _of_packs(plan, stage)
    most = "most pairs that fit" if "pairs_per_step" in stage else "largest pack that fits"
    rows = [["GiB a GPU", "checkp.", *_COMPONENTS, "fits", most]]
    for row in stage["strategies"]:
        rows.append(
            [
                row["strategy"] + (" *" if _chosen(plan, row) else ""),
                "yes" if row["checkpointing"] else "no",
                *(_gib(row[name]) for name in _COMPONENTS),
                "yes" if row["fits"] else "no",
                _most(row["largest_pairs"]) if "pairs" in row else _largest(row["largest_pack"]),
            ]
        )
    return [*lines, *_table(rows)]


def _of_pairs(plan: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    steps = "steps (how many is not known)" if stage["steps"] is None else f"{stage['steps']:,} steps"
    shares = ", ".join(f"{row['pairs']:,} under {row['strategy']}" for row in stage["strategies"])
    return [
        f"stage {stage['stage']}: {steps} of {stage['pairs_per_step']:,} pairs; of a GPU {shares}",
        f"  {stage['flops_per_step'] / 1e12:.3g} TFLOP a step, {_hours(stage)} on {stage['processes']} GPU(s) at"
        f" {plan['mfu']:.0%} of {plan['peak_tflops']:g} TFLOP/s",
    ]


def _hours(of: dict[str, Any]) -> str:
    return "hours not known" if of["hours"] is None else f"{of['hours']:.1f} hours"


def _most(pairs: int | None) -> str:
    if pairs is None:
        return "none"
    return f"{pairs:,} a GPU" + (" or more" if pairs >= COUNTED_PAIRS[-1] else "")


def _of_packs(plan: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    lines = [
        f"stage {stage['stage']}: {stage['steps']:,} steps of {stage['images_per_step']:.0f} images,"
        f" {stage['samples_per_step']:.0f} samples, {stage['tokens_per_step']:,.0f} tokens,"
        f" {stage['targets_per_step']:,.0f} of them learnt; {stage['tokens'] / 1e6:,.1f} M tokens in all",
        f"  {stage['flops'] / 1e18:.3g} EFLOP, {stage['hours']:.1f} hours on {stage['processes']} GPU(s) at"
        f" {plan['mfu']:.0%} of {plan['peak_tflops']:g} TFLOP/s",
    ]
    for processes, pack in stage["packs"].items():
        lines.append(
            f"  largest pack with {processes} process(es): {pack['tokens']:,} tokens, {pack['images']} images,"
            f" {pack['targets']:,} learnt"
        )
    return lines


def _largest(pack: dict[str, int] | None) -> str:
    if pack is None:
        return "none"
    more = " or more" if pack["tokens"] >= COUNTED_TOKENS[-1] else ""
    return f"{pack['tokens']:,} tokens, {pack['images']} images{more}"


def _chosen(plan: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether this is what the recipe says."""
    return (row["strategy"], row["checkpointing"]) == (plan["strategy"], plan["gradient_checkpointing"])


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _table(rows: list[list[str]]) -> list[str]:
    """Columns in line: the first and the last to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(_cell(text, width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cell(text: str, width: int) -> str:
    return text.rjust(width) if text.replace(",", "").replace(".", "").isdigit() else text.ljust(width)
