"""The numbers of the SkyEyeGPT paper, of the methods it compares with and of other benchmarks, quoted; nothing here was
measured by us."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.results import QuotedResults

CAPTIONS, GROUNDING, VQA = "captioning", "visual_grounding_accuracy_at_0.5", "vqa_accuracy"
#: Tables of other papers; each has a source of its own.
CHOICES, VRSBENCH = "choices", "vrsbench"

#: Columns of the paper -> names of our metrics; those that are not here have the same name.
_METRICS = {
    "presence": "accuracy/presence",
    "comparison": "accuracy/comparison",
    "rural_urban": "accuracy/rural_urban",
    "average": "mean_over_types",
}
#: Table, or table and data set -> what has to be known of its numbers.
_NOTES: dict[str | tuple[str, str], str] = {
    (VRSBENCH, "questions"): "its questions were judged by GPT (synonyms count); ours are compared word by word",
    CAPTIONS: "CIDEr of MiniGPT-4 is quoted as printed (0.03-0.09); it is likely not in the unit of the other rows",
}


def quoted(benchmark: Benchmark) -> QuotedResults | None:
    """What the paper's table says about the test set of a benchmark, or None where the paper has no such table."""
    if benchmark.quoted is None:
        return None
    table, data_set = benchmark.quoted
    content = _results()
    rows = {}
    for method, values in content[table][data_set].items():
        values = {"accuracy@0.5": values} if table == GROUNDING else values
        rows[method] = {_METRICS.get(name, name): value for name, value in values.items()}
    notes = tuple(_NOTES[key] for key in (table, (table, data_set)) if key in _NOTES)
    source = content["sources"].get(table, content["source"])
    return QuotedResults(table, data_set, source, notes, rows)


@cache
def _results() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("paper_results.json").read_text(encoding="utf-8"))
