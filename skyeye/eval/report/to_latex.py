"""A result as LaTeX tables, to be pasted into a paper that loads ``booktabs``."""

from __future__ import annotations

import unicodedata

from skyeye.eval.report import tables
from skyeye.eval.results import BenchmarkResult, EvalResults

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # the straight one is a command in some languages of babel
    "–": "--",
    "—": "---",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
NARROW = 6  # columns that fit a page in small print; seven caption metrics with intervals need a smaller one
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'}


def latex(results: EvalResults) -> str:
    """One table of the main metrics, and one for each benchmark with published numbers."""
    name = tables.name_of(results.about)
    against = [_against_quoted(benchmark, result, name) for benchmark, result in results.benchmarks.items()]
    parts = [
        "% Written by skyeye eval. In the preamble: \\usepackage{booktabs}",
        _summary(results, name),
        *(table for table in against if table),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(results: EvalResults, name: str) -> str:
    lines = []
    for benchmark, result in results.benchmarks.items():
        main = result.main
        numbers = [
            tables.number(main.value),
            tables.interval(main) or tables.NONE,
            tables.number(main.shuffled_images),
            f"{result.counts['records']:,}",
        ]
        lines.append([escaped(word) for word in (benchmark, result.protocol.main_metric, *numbers)])
    head = ["benchmark", "metric", "score", "interval", "shuffled images", "records"]
    caption = f"Main metrics of {escaped(name)}. Shuffled images: the same questions about wrong pictures."
    return _table("llrrrr", head, [lines], caption, "skyeye-summary")


def _against_quoted(benchmark: str, result: BenchmarkResult, name: str) -> str | None:
    table = tables.quoted(result, name)
    if table is None:
        return None

    def line(first: str, cells: list[tuple[str, bool]]) -> list[str]:
        return [escaped(first), *(rf"\textbf{{{escaped(text)}}}" if best else escaped(text) for text, best in cells)]

    ours = [line(f"{name} (ours)", table.ours.cells)]
    if any(table.intervals):
        ours.append(["", *(rf"{{\tiny {escaped(text)}}}" if text else "" for text in table.intervals)])
    protocol = result.protocol
    size, _ = tables.size(result)
    sentences = [
        protocol.title,
        f"Quoted: {table.source}" if table.source else "",
        f"Ours: {size}" if size else f"Ours: {result.counts['records']:,} records",
        f"Below our numbers: {protocol.interval}" if any(table.intervals) and protocol.interval else "",
        f"Metric: {protocol.metric}",
    ]
    caption = " ".join(f"{escaped(sentence)}." for sentence in sentences if sentence)
    head = ["method", *(escaped(text) for text in table.labels)]
    quoted = [line(row.method, row.cells) for row in table.rows]
    key = "".join(c if c.isascii() and c.isalnum() else "-" for c in benchmark)
    return _table("l" + "r" * len(table.labels), head, [quoted, ours], caption, f"skyeye-{key}")


def _table(columns: str, head: list[str], groups: list[list[list[str]]], caption: str, key: str) -> str:
    def row(cells: list[str]) -> str:
        return " & ".join(cells) + r" \\"

    body = "\n\\midrule\n".join("\n".join(map(row, group)) for group in groups if group)
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            r"\small" if len(head) <= NARROW else r"\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{key}}}",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            row(head),
            r"\midrule",
            *([body] if body else []),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def escaped(text: str) -> str:
    """Any text as LaTeX that pdflatex can set without further packages.

    Letters with the accents of western languages stay; of what no plain font holds (other scripts, control characters)
    each character becomes ``?``.
    """
    return "".join(map(_escaped, " ".join(str(text).split())))


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if " " <= character <= "~":
        return character
    base, *marks = unicodedata.normalize("NFD", character)
    if len(marks) == 1 and base.isascii() and base.isalpha() and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    return "?"
