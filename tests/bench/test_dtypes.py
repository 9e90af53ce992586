"""The table of precisions: what is compared with what."""

from __future__ import annotations

import pytest
import torch

from skyeye.bench.dtypes import Measured, compared, format_text


def test_the_first_precision_is_what_the_others_are_compared_with():
    """Two of four answers are the same; 30 tokens in 1.5 s are 20 a second; -1 beside 3 differs by 4."""
    first = Measured(4_000_000, 5_000_000, 1.0, 3.0, 30, ["a", "b", "c", "d"], torch.tensor([[1.0, 3.0]]))
    other = Measured(1_000_000, 1_100_000, 0.5, 1.5, 30, ["a", "x", "c", "y"], torch.tensor([[1.5, -1.0]]))
    row = compared(other, first)
    assert (row["same"], row["tokens_per_second"], row["logits"]) == (0.5, 20.0, 4.0)
    assert (row["weights_mb"], row["peak_mb"]) == (1.0, 1.1)
    assert compared(first, first)["same"] == 1 and compared(first, first)["logits"] == 0
    table = format_text(
        {"rows": [{"dtype": "fp32", **compared(first, first)}, {"dtype": "int8", **row}], "questions": 4}
    )
    assert "same answers as fp32" in table and "50.0%" in table.splitlines()[2]
    assert [len(line) for line in table.splitlines()[1:3]] == [pytest.approx(len(table.splitlines()[0]), abs=1)] * 2
