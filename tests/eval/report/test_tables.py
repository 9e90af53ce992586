from __future__ import annotations

import pytest

from skyeye.eval.report import tables
from skyeye.eval.results import Published


@pytest.fixture
def quoted_entry(made):
    def make(records=100, published=100, value=80.0, **metrics):
        rows = {"Ours-like": {"accuracy": 70.0, "count_error": 2.0}, "Other": {"accuracy": 80.004, "count_error": 1.5}}
        return made.entry(
            "vqa",
            "accuracy",
            {"accuracy": made.metric(value, low=75.0, high=85.04), "count_error": made.metric(3.0), **metrics},
            records,
            quoted=made.quotes(rows),
            published=published and Published(published, "its paper"),
        )

    return make


def test_the_best_of_a_column_is_marked_as_it_is_printed(quoted_entry):
    table = tables.quoted(quoted_entry(), "mine")
    assert table.metrics == ["accuracy", "count_error"] and table.labels == ["accuracy", "count error"]
    assert [(row.method, row.cells) for row in table.rows] == [
        ("Ours-like", [("70.00", False), ("2.00", False)]),
        ("Other", [("80.00", True), ("1.50", True)]),  # of an error, less is better
    ]
    assert table.ours.cells == [("80.00", True), ("3.00", False)]  # both read 80.00
    assert table.intervals == ["75.0–85.0", ""] and table.source == "a paper, table 1"


def test_a_part_of_the_test_set_wins_nothing(quoted_entry):
    table = tables.quoted(quoted_entry(records=48, value=99.0), "mine")
    assert not table.comparable and table.ours.cells[0] == ("99.00", False)
    assert table.rows[1].cells[0] == ("80.00", True)


@pytest.mark.parametrize(
    ("records", "published", "words", "comparable"),
    [
        (1093, 1093, "all 1,093 published records (its paper)", True),
        (480, 1093, "480 of 1,093 published records: not comparable (its paper)", False),
        (1200, 1093, "1,200 records where 1,093 are published: not comparable (its paper)", False),
        (5, None, "", True),
    ],
)
def test_size_in_words(quoted_entry, records, published, words, comparable):
    assert tables.size(quoted_entry(records, published)) == (words, comparable)


def test_values_that_are_missing(quoted_entry, made):
    entry = quoted_entry(value=None)
    entry.protocol.quoted.rows["Third"] = {"METEOR": 5.0}
    table = tables.quoted(entry, "mine")
    assert table.ours.cells == [("–", False), ("3.00", False), ("–", False)]
    assert table.rows[2].cells == [("–", False), ("–", False), ("5.00", True)]
    assert tables.quoted(made.entry("vqa", "accuracy", {}), "mine") is None
    assert tables.quoted(made.entry("vqa", "accuracy", {}, quoted=made.quotes({})), "mine") is None


def test_which_metric_stands_for_a_benchmark(quoted_entry, made):
    assert tables.quoted_metric(quoted_entry()) == "accuracy"
    rows = {"A": {"accuracy/presence": 1.0, "mean_over_types": 2.0}, "B": {"mean_over_types": 3.0}}
    entry = made.entry("vqa", "accuracy", {}, quoted=made.quotes(rows))
    assert tables.quoted_metric(entry) == "mean_over_types"
    assert tables.best_quoted(entry, "mean_over_types") == ("B", 3.0) and tables.best_quoted(entry, "accuracy") is None
    assert tables.best_quoted(quoted_entry(), "count_error") == ("Other", 1.5)
    assert tables.quoted_metric(made.entry("vqa", "accuracy", {})) is None


def test_rows_parts_and_counts(made):
    metrics = {
        "accuracy": made.metric(50.04, 2, 48, 49, low=40, high=60),
        "count_error": made.metric(1.25),
        "accuracy/rural_urban": made.metric(7.0, 1.0),
    }
    counts = {
        "rural_urban": 11,
        "shuffled_phrases items": 9,
        "answers without a box": 3,
        "answers double": 0,
        "skipped: missing image": 2,
    }
    entry = made.entry("vqa", "accuracy", metrics, 1200, counts)
    first, second = tables.metric_rows(entry)
    assert (first.metric, first.score, first.interval, first.shuffled_images, first.shuffled_phrases) == (
        "accuracy", "50.0", "40.0–60.0", "2.0", "48.0 (49.0)"
    )  # fmt: skip
    assert (second.metric, second.score, second.interval, second.shuffled_phrases) == (
        "count_error (less is better)",
        "1.2",
        "",
        "–",
    )
    assert tables.parts(entry) == {"accuracy": [tables.Part("rural urban", 7.0, None, None, 1.0, 11)]}
    assert tables.format_counts(entry) == [
        "1,200 records, 1,200 images", "9 could be asked with shuffled phrases", "answers without a box: 3"
    ]  # fmt: skip


def test_names_of_results():
    assert tables.name_of({"recipe": "r", "checkpoint": "a/b"}) == "r"
    assert tables.name_of({"recipe": None, "checkpoint": "runs/x/final/"}) == "final"
    assert tables.name_of({}) == "this result"
    assert [tables.label(x) for x in ("accuracy/rural_urban", "ROUGE_L", "accuracy@0.5")] == [
        "rural urban", "ROUGE_L", "accuracy@0.5"
    ]  # fmt: skip
