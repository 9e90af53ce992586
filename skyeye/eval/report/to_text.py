"""A scored prediction file for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.eval.report.tables import number
from skyeye.eval.results import PredictionFileScores

SHOWN = 10  # names of each kind
#: Counts that stand in sentences of their own.
_SAID = frozenset({"records", "answered", "missing", "double", "repeated", "unknown", "unreadable"})
_NO_FIT = {
    "missing": "no answer; counts as answered with nothing",
    "double": "different answers; none counts",
    "repeated": "the same answer several times; it counts once",
    "unknown": "belongs to no record",
}


def format_text(scores: PredictionFileScores, shown: int = SHOWN) -> str:
    """The table of metrics, and what did not fit, the first few of each kind by name."""
    protocol = scores.protocol
    lines = [f"{scores.benchmark}: {protocol.title}", "", *_metrics(scores), ""]
    lines.append(f"{scores.counts['answered']:,} of {scores.counts['records']:,} records answered.")
    lines += [f"error: {hint}" for hint in scores.hints]
    lines += _counted(scores, shown)
    lines += _misfits(scores, shown)
    if scores.metrics_of_answered is not None:
        value = number(scores.metrics_of_answered[protocol.main_metric], 2)
        lines.append(f"Of the answered records alone: {protocol.main_metric} {value}")
    if scores.size:
        lines.append(f"Size: {scores.size}")
    lines += [f"Note: {note}" for note in protocol.notes]
    lines.append(f"Protocol: {protocol.metric}; {protocol.interval}.")
    return "\n".join(lines)


def on_a_line(text: str, longest: int) -> str:
    """Text of a file for a terminal, which obeys control characters: these are written out."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown)


def _metrics(scores: PredictionFileScores) -> list[str]:
    width = max(len(name) for name in scores.metrics)
    lines = []
    for name, value in scores.metrics.items():
        ends = scores.intervals.get(name)
        within = f"  ({ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
        lines.append(f"{name:<{width}}  {number(value, 2):>7}{within}")
    return lines


def _counted(scores: PredictionFileScores, shown: int) -> list[str]:
    keys = {what: _few([repr(key[:40]) for key in names], shown) for what, names in scores.keys.items()}
    lines = [f"Read: ids under {keys['id']}, taken for {scores.ids}; answers under {keys['answer']}."]
    parts = {name.partition("/")[2] for name in scores.metrics}  # their counts say how many there are of a kind
    numbers = [f"{name} {count:,}" for name, count in scores.counts.items() if count and name not in parts | _SAID]
    if scores.output_format:
        taken = ", ".join(f"{kind} {count:,}" for kind, count in scores.output_format.items())
        lines.append(f"Taken off the answers before scoring, as traces of an output format: {taken}.")
    return lines + ([f"Counted: {', '.join(numbers)}."] if numbers else [])


def _misfits(scores: PredictionFileScores, shown: int) -> list[str]:
    lines = []
    for kind, said in _NO_FIT.items():
        if ids := getattr(scores, kind):
            lines.append(f"{kind} {len(ids):,} ({said}): {_few([on_a_line(id, 80) for id in ids], shown)}")
    if scores.unreadable:
        lines.append(f"unreadable {scores.counts['unreadable']:,}: {_few(_problems(scores.unreadable), shown)}")
    if scores.skipped:
        lines.append(f"skipped of the data set {len(scores.skipped):,}: {_few(_problems(scores.skipped), 1)}")
    return lines


def _problems(problems: Sequence[dict[str, str]]) -> list[str]:
    return [on_a_line(f"{problem['where']}: {problem['what']}", 400) for problem in problems]


def _few(names: Sequence[str], shown: int) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
