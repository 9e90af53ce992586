"""A result as Markdown, for a terminal or a repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyeye.eval.report import tables
from skyeye.eval.verdict import verdict


def markdown(scores: Mapping[str, Any]) -> str:
    """The table of all scores; for each benchmark the verdict, the table against published numbers, the protocol."""
    about = scores["about"]
    name = tables.name_of(about)
    lines = [
        f"# Scores of {cell(about.get('checkpoint', 'predictions'))}",
        "",
        f"{about['date']}; units: {about['units']}. *blind*: images permuted among the questions. *deaf*: words "
        "permuted among the objects of a scene, beside the score on the same items. In brackets behind a score: its "
        "interval.",
        "",
        "| benchmark | metric | score | blind | deaf (score on same items) | records |",
        "|---|---|---|---|---|---|",
    ]
    verdicts = verdict(dict(scores))
    for item in verdicts:
        entry = scores[item.benchmark]
        for row in tables.metric_rows(entry):
            score = f"{row.score} ({row.interval})" if row.interval else row.score
            cells = [item.benchmark, row.metric, score, row.blind, row.deaf, str(entry["counts"]["records"])]
            lines.append(f"| {' | '.join(map(cell, cells))} |")
    not_there = scores["about"].get("not_there") or {}
    if not_there:
        lines += ["", "Not asked, because the data are not there:", ""]
        lines += [f"- {name}: {cell(reason)}" for name, reason in not_there.items()]
    for item in verdicts:
        entry = scores[item.benchmark]
        lines += ["", f"## {item.benchmark}: {cell(item.title)}", "", cell(" ".join(item.sentences))]
        lines += [f"- {'reached' if passed else 'NOT reached'}: {bar}" for bar, passed in item.checks]
        lines += _quoted(entry, name)
        words, comparable = tables.size(entry)
        counted = tables.counts_in_words(entry)
        counted += ([words if comparable else f"**{words}**"]) if words else []
        if entry["counts"]["left out"]:
            counted.append(f"{entry['counts']['left out']:,} left out")
        lines += ["", f"{'; '.join(counted)}.", ""]
        lines += [
            f"- {what}: {_code(said) if what == 'Asked' else cell(said)}"
            for what, said in tables.protocol_in_words(entry)
        ]
        lines += [f"- Note: {cell(note)}" for note in entry["protocol"]["notes"]]
    return encodable("\n".join(lines) + "\n")


def _quoted(entry: Mapping[str, Any], name: str) -> list[str]:
    table = tables.quoted(entry, name)
    if table is None:
        return []
    ours = [
        (f"{text} ({interval})" if interval else text, best)
        for (text, best), interval in zip(table.ours.cells, table.intervals, strict=True)
    ]
    rows = [(f"{cell(row.method)} (quoted)", row.cells) for row in table.rows] + [(f"**{cell(name)}**", ours)]
    return [
        "",
        f"Quoted: {cell(table.source)}. The best of a column is bold.",
        "",
        f"| method | {' | '.join(map(cell, table.labels))} |",
        f"|---|{'---:|' * len(table.labels)}",
        *(
            f"| {first} | {' | '.join(f'**{text}**' if best else text for text, best in cells)} |"
            for first, cells in rows
        ),
    ]


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"  # nothing in it is taken for a tag


def cell(text: Any) -> str:
    """Text on one line that neither ends a cell of a table nor opens a tag."""
    words = " ".join(str(text).split())
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: half a character (a lone surrogate) becomes ``?``."""
    return text.encode("utf-8", "replace").decode()
