from dataclasses import replace

import pytest

from skyeye.eval.benchmarks import BENCHMARKS, SUITES
from skyeye.eval.benchmarks.base import Published
from skyeye.eval.benchmarks.published import PUBLISHED, size_note


@pytest.mark.parametrize(
    ("here", "note"),
    [
        (1093, None),
        (480, "480 of 1,093 published records: not comparable with published numbers"),
        (1094, "1,094 records where 1,093 are published: not comparable with published numbers"),
        (0, "0 of 1,093 published records: not comparable with published numbers"),
    ],
)
def test_notes(here, note):
    assert size_note(BENCHMARKS["rsicd.caption"], [None] * here) == note


def test_nothing_is_said_where_nothing_is_known():
    for name in ("synth.vqa", "vehicles.refer", "rspg", "rsvg_hr.test"):
        assert size_note(BENCHMARKS[name], [None]) is None


def test_every_published_number_has_a_source_and_a_benchmark():
    assert set(PUBLISHED) <= set(BENCHMARKS)
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.published == PUBLISHED.get(name)
    assert all(entry.records > 0 and len(entry.source) > 20 for entry in PUBLISHED.values())
    assert set(SUITES["paper"]) <= set(PUBLISHED)  # the paper's tables are compared with: their sizes are checked


def test_another_size():
    benchmark = replace(BENCHMARKS["synth.vqa"], published=Published(2, "somebody"))
    assert size_note(benchmark, [None, None]) is None
