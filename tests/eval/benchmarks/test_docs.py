"""What docs/benchmarks.md says in its tables is what the code does."""

from pathlib import Path

import pytest

from skyeye.eval.benchmarks import BENCHMARKS, SUITES

TEXT = (Path(__file__).resolve().parents[3] / "docs/benchmarks.md").read_text()
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in TEXT.split("## How many records")[0].splitlines()
    if line.startswith("| `") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}


def test_every_benchmark_has_a_row():
    assert sorted(ROWS) == sorted(name for name in BENCHMARKS if not name.startswith("synth."))
    assert all(f"`{suite}`" in TEXT for suite in SUITES)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows(name):
    also, published, metric, in_paper = ROWS[name]
    benchmark = BENCHMARKS[name]
    assert all(other in benchmark.also for other in also.split(", ") if other)
    number = published.split(" ")[0].replace(",", "")
    assert (int(number) if number.isdecimal() else None) == (benchmark.published and benchmark.published.records)
    assert metric == benchmark.main_metric
    assert (in_paper == "yes") == (name in SUITES["paper"])


def test_prompts_are_printed_as_they_are_asked():
    asked = {benchmark.prompt for benchmark in BENCHMARKS.values()} - {None}
    assert len(asked) == 8 and all(f"`{prompt}`" in TEXT for prompt in asked)


def test_names_that_are_looked_for():
    places = TEXT.split("## Where the data are looked for")[1]
    for name in [n for suite in ("captions", "vqa") for n in SUITES[suite]]:
        first = BENCHMARKS[name].source.looked_for[0]
        assert f"`{first}`" in places, first
