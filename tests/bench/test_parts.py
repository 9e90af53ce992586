"""Parts by themselves: their rates count what was done, and precisions are compared on the same steps."""

from __future__ import annotations

import json

import pytest
import torch

from skyeye import cli
from skyeye.bench import parts
from skyeye.bench.full_size.shapes import POCKET, smaller, write_shapes


@pytest.mark.parametrize("what", ["tower", "attention", "decode", "precisions"])
def test_a_part_of_a_recipe_of_shapes_is_measured(tmp_path, monkeypatch, what):
    monkeypatch.setattr(parts, "STEPS", 2)
    recipe = write_shapes(tmp_path / "pocket.yaml", smaller(POCKET))
    out = tmp_path / "found.json"
    words = ["bench", "parts", what, recipe, "--seconds", "0.2", "--images", "1", "--json", str(out)]
    assert cli.main(words) == 0
    found = json.loads(out.read_text())
    assert found["sizes"]["language"]["hidden_size"] == 144 and found["sizes"]["tokens_per_image"] == 4
    if what == "precisions":
        losses = found["losses"]
        assert 1 <= len(losses["bf16"]) == len(losses["fp16"]) <= parts.STEPS
        apart = [abs(one - other) for one, other in zip(losses["bf16"], losses["fp16"], strict=True)]
        assert found["largest_difference"] == pytest.approx(max(apart), abs=1e-5) and 0 < max(apart) < 0.5
    elif what == "attention":
        forward, both = found["milliseconds"]["forward"], found["milliseconds"]["forward_and_backward"]
        assert forward.keys() == both.keys() == {"split", "additive"} and min(*forward.values(), *both.values()) > 0
    else:
        (rates,) = [value for name, value in found.items() if name.endswith("_per_second")]
        assert rates.keys() == {"eager"} and rates["eager"] > 0


def test_a_rate_counts_what_was_done_after_two_rounds(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(parts.time, "perf_counter", lambda: next(now))
    rounds = []
    rate = parts._rate(lambda: rounds.append(1) or 6, torch.device("cpu"), 2)
    assert rate == pytest.approx(6 * (len(rounds) - 2) / 3, abs=0.001)
