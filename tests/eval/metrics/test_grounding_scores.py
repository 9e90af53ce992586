"""The simulation of docs/grounding_scores.md prints the table that stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Record, Turn
from skyeye.eval.metrics.grounding import refer
from skyeye.eval.results import Answer

BOX = Box(0.0, 0.0, 0.1, 0.1)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "grounding_scores.md"


def test_the_simulation_prints_its_table(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(compile(code, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert printed in text and printed.count("\n") == 4


def test_the_slip_makes_a_hit_of_boxes_that_do_not_touch():
    """Sides of 0.1, a gap of 0.5: 0.5 of 1.1 in one direction, 1.1 of 1.1 in the other: 0.55 of 2.42 - 0.55 is no hit;
    with a gap of 0.1 between them, 0.99 of 1.43 is."""
    turn = (Turn("where?", "", "refer"),)

    def scored(left: float) -> dict[str, float]:
        references = {"boxes": [(left, 0.0, left + 0.1, 0.1)], "size": (10, 10)}
        record = Record("a", "x", "refer", "test", ("a.png",), turn, references=references)
        return refer([record], [Answer("", boxes=(BOX,))]).metrics

    assert scored(0.6)["accuracy@0.5 (+1 on 0..1)"] == 0
    assert scored(0.2)["accuracy@0.5 (+1 on 0..1)"] == 100
    assert scored(0.2)["accuracy@0.5"] == pytest.approx(0)
