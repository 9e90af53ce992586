"""A result as Markdown, for a terminal or a repository."""

from __future__ import annotations

from typing import Any

from skyeye.eval.report import tables
from skyeye.eval.results import BenchmarkResult, EvalResults
from skyeye.eval.verdict import Verdict, verdict


def markdown(results: EvalResults) -> str:
    """The table of all scores; for each benchmark the verdict, the table against published numbers, the protocol."""
    about = results.about
    lines = [
        f"# Scores of {cell(about['checkpoint'])}",
        "",
        f"{about['date']}; units: {about['units']}. *Shuffled images*: permuted among the questions. *Shuffled "
        "phrases*: words permuted among the objects of a scene, beside the score on the same items. In brackets behind "
        "a score: its interval.",
        "",
        "| benchmark | metric | score | shuffled images | shuffled phrases (score on same items) | records |",
        "|---|---|---|---|---|---|",
    ]
    for benchmark, result in results.benchmarks.items():
        for row in tables.metric_rows(result):
            score = f"{row.score} ({row.interval})" if row.interval else row.score
            cells = [benchmark, row.metric, score, row.shuffled_images, row.shuffled_phrases]
            lines.append(f"| {' | '.join(map(cell, [*cells, result.counts['records']]))} |")
    not_there = about.get("not_there") or {}
    if not_there:
        lines += ["", "Not asked, because the data are not there:", ""]
        lines += [f"- {name}: {cell(reason)}" for name, reason in not_there.items()]
    for item in verdict(results):
        lines += _section(item, results.benchmarks[item.benchmark], tables.name_of(about))
    return encodable("\n".join(lines) + "\n")


def _section(said: Verdict, result: BenchmarkResult, name: str) -> list[str]:
    lines = ["", f"## {said.benchmark}: {cell(said.title)}", "", cell(" ".join(said.sentences))]
    lines += [f"- {'reached' if passed else 'NOT reached'}: {bar}" for bar, passed in said.checks]
    lines += _quoted(result, name)
    words, comparable = tables.size(result)
    counted = tables.format_counts(result)
    counted += ([words if comparable else f"**{words}**"]) if words else []
    if result.counts["skipped"]:
        counted.append(f"{result.counts['skipped']:,} skipped")
    lines += ["", f"{'; '.join(counted)}.", ""]
    lines += [
        f"- {what}: {_code(words) if what == 'Asked' else cell(words)}"
        for what, words in tables.format_protocol(result.protocol)
    ]
    return lines + [f"- Note: {cell(note)}" for note in result.protocol.notes]


def _quoted(result: BenchmarkResult, name: str) -> list[str]:
    table = tables.quoted(result, name)
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
