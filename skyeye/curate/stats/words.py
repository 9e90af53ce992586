"""Counts as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SUMMARY = ("least", "median", "mean", "p95", "most")


def format_text(stats: Mapping[str, Any]) -> str:
    """What was measured, as tables of plain text."""
    total = stats["tokens_total"]
    lines = [
        f"{stats['records']} records, {stats['images']} images; splits: {_counted(stats['splits'])}",
        f"tokens counted with: {stats['tokenizer']}",
        "",
        *_table(["source", *stats["tasks"], "all"], _source_rows(stats)),
        "",
        *_table(["", *_SUMMARY], summary_rows(stats)),
        "",
        f"all tokens: {total['separate_rows']} in separate rows, {total['shared_prefix']} with shared prefixes",
    ]
    if total["records_without_sequence"]:
        lines.append(f"{total['records_without_sequence']} records give no sequence; skyeye data show says why")
    sizes = stats["image_sizes"]
    some = _counted(dict(list(sizes["sizes"].items())[:6]))
    lines.append(f"image sizes ({len(sizes['sizes'])} different): {some}; unreadable: {sizes['unreadable']}")
    for task, answers in stats["answers"].items():
        if answers is None:
            lines.append(f"answers of {task}: free text")
        else:
            some = _counted(dict(list(answers["top"].items())[:8]))
            lines.append(f"answers of {task} ({answers['distinct']} different): {some}")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def summary_rows(stats: Mapping[str, Any]) -> list[list[str]]:
    """A row (name, least, median, mean, p95, most) for each number that was measured."""
    parts = {"turns": stats["turns"], "samples an image": stats["samples_per_image"]}
    for task, lengths in stats["tokens"].items():
        parts |= {f"tokens of {task}, {part}": histogram for part, histogram in lengths.items()}
    parts |= {f"boxes, {what}" + (" in %" if "side" in what else ""): of for what, of in stats["boxes"].items()}
    return [[name, *(str(of[key]) for key in _SUMMARY)] for name, of in parts.items() if of is not None]


def _source_rows(stats: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        [name, *(str(of.get(task, 0)) for task in stats["tasks"]), str(sum(of.values()))]
        for name, of in stats["sources"].items()
    ]
    return [*rows, ["all", *map(str, stats["tasks"].values()), str(stats["records"])]]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in (head, *rows)
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
