"""The report of a check: as JSON values, and in words for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.curate.check.findings import Kind, Tally
from skyeye.curate.check.images import Seen


def build_report(
    about: Mapping[str, Any],
    sources: Mapping[str, SourceConfig],
    tallies: Mapping[str, Tally],
    beside: Tally,
    readable: Mapping[str, int],
    seen: Sequence[Seen],
    vocabulary: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The report as JSON values; docs/data_check.md says what each key means.

    Args:
        about: opens the report: what was checked, and how.
        beside: what was found about files that no record names.
        readable: of each source, distinct images that can be read.
        seen: the look of every image, shown or not.
        vocabulary: the comparison of answers.
    """
    everything = [*tallies.values(), beside]
    reported, findings = (_sum(kinds) for kinds in ([t.reported for t in everything], [t.findings for t in everything]))
    for entry in vocabulary.values():
        for side in ("never in evaluation", "never in training"):
            if entry.get(side):
                findings[f"answer {side}"] = findings.get(f"answer {side}", 0) + len(entry[side])
    return {
        **about,
        "sound": all(tally.sound for tally in everything),
        "records_in": sum(tally.records_in for tally in everything),
        "records_out": sum(tally.records_out for tally in everything),
        "reported": reported,
        "images": sum(look.size is not None for look in seen),
        "unreadable_images": sum(look.error is not None for look in seen),
        "findings": findings,
        "vocabulary": vocabulary,
        "sources": [
            {
                "name": name,
                "format": source.format,
                "path": source.path,
                "images_folder": source.images,
                "split": source.split,
                "sound": tallies[name].sound,
                "records_in": tallies[name].records_in,
                "records_out": tallies[name].records_out,
                "reported": _sum([tallies[name].reported]),
                "images": readable[name],
                "findings": _sum([tallies[name].findings]),
                "splits": dict(tallies[name].splits),
                "tasks": dict(tallies[name].tasks),
                "details": _details(tallies[name]),
            }
            for name, source in sources.items()
        ],
        "details": _details(beside),
    }


def format_text(report: Mapping[str, Any]) -> str:
    """A report for reading: a line per source, then what was found, errors first."""
    rows = [("source", "format", "records", "out", "reported", "images")]
    for part in (*report["sources"], {"name": "total", "format": "", **report}):
        skipped = sum(part["reported"].values())
        numbers = (part["records_in"], part["records_out"], skipped, part["images"])
        rows.append((_short(part["name"], 40), part["format"], *map(str, numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = zip(row, widths, ("<", "<", ">", ">", ">", ">"), strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, width, side in cells))
    told = [(part["name"], kind) for part in report["sources"] for kind in part["details"]]
    told += [("", kind) for kind in report["details"]]
    for severity, heading in (("error", "errors"), ("note", "notes")):
        found = [(name, kind) for name, kind in told if kind["severity"] == severity]
        lines += ["", f"{heading}:"] if found else []
        for name, kind in found:
            example = kind["examples"][0]
            lines.append(f"  {_short(name, 40) + ': ' if name else ''}{kind['count']} x {kind['kind']}")
            lines.append(f"    {_short(example['where'])}: {_short(example['what'])}")
    lines += _answers_in_words(report["vocabulary"])
    lines += ["", "sound" if report["sound"] else "NOT sound: see the errors above"]
    return "\n".join(lines)


def _answers_in_words(vocabulary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, entry in vocabulary.items():
        for side in ("never in evaluation", "never in training"):
            if entry.get(side):
                some = ", ".join(f"{_short(answer, 30)} ({count})" for answer, count in list(entry[side].items())[:5])
                lines.append(f"  {name}: {len(entry[side])} of {entry['answers']} answers {side}: {some}")
    return ["", "answers:", *lines] if lines else []


def _details(tally: Tally) -> list[dict[str, Any]]:
    """Every kind with its first places, errors first, then the most frequent."""
    kinds = [(True, kind, found) for kind, found in tally.reported.items()]
    kinds += [(False, kind, found) for kind, found in tally.findings.items()]
    kinds.sort(key=lambda entry: (not entry[2].error, -entry[2].count, entry[1]))
    return [{"kind": kind, "skipped": skipped, **found.as_json()} for skipped, kind, found in kinds]


def _sum(parts: Sequence[Mapping[str, Kind]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update({kind: found.count for kind, found in part.items()})
    return dict(total.most_common())


def _short(text: str, length: int = 160) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)  # no control sequences for the terminal
    return printable if len(printable) <= length else f"{printable[: length - 3]}..."
