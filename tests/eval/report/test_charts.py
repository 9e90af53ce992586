from __future__ import annotations

import pytest

from skyeye.eval.report import charts


@pytest.fixture
def four(made):
    """Four benchmarks; A is quoted on all, B on two neighbours, C on one. Ours has no value on the last."""
    quoted = {
        "one": {"A": {"accuracy": 50.0}, "B": {"accuracy": 100.0}},
        "two": {"A": {"CIDEr": 200.0}, "B": {"CIDEr": 210.0}},
        "three": {"A": {"accuracy": 30.0}},
        "four": {"A": {"accuracy": 12.0}, "C": {"accuracy": 3.0}},
    }
    own = {"one": 100.0, "two": 125.0, "three": 40.0, "four": None}
    entries = {}
    for name, rows in quoted.items():
        metric = "CIDEr" if name == "two" else "accuracy"
        metrics = {metric: made.metric(own[name])}
        entries[name] = made.entry("vqa", metric, metrics, quoted=made.quotes({m: v for m, v in rows.items()}))
    return entries | {"made": made.entry("vqa", "accuracy", {"accuracy": made.metric(1.0)})}


def test_radar(four):
    drawn = charts.radar(four, "mine")
    # rims: 100 for 100, 250 for 210 (fifties above 100), 40 for 40, 20 for 12
    assert [(axis.benchmark, axis.metric, axis.top) for axis in drawn.axes] == [
        ("one", "accuracy", 100), ("two", "CIDEr", 250), ("three", "accuracy", 40), ("four", "accuracy", 20)
    ]  # fmt: skip
    # centre (340, 250), 190 to the rim; up, right, down, left
    assert [(axis.x, axis.y) for axis in drawn.axes] == [(340, 60), (530, 250), (340, 440), (150, 250)]
    assert [axis.anchor for axis in drawn.axes] == ["middle", "start", "middle", "end"]
    by_name = {series.name: series for series in drawn.series}
    assert list(by_name) == ["mine", "A", "B", "C"] and drawn.series[0].ours
    assert by_name["A"].closed and by_name["A"].d == "M340.0 155.0L492.0 250.0L340.0 392.5L226.0 250.0Z"
    assert not by_name["mine"].closed and by_name["mine"].d == "M340.0 60.0L435.0 250.0M435.0 250.0L340.0 440.0"
    assert by_name["B"].d == "M340.0 60.0L499.6 250.0"
    assert by_name["C"].d == "" and by_name["C"].dots == [(311.5, 250.0, "C: four accuracy 3.00")]
    assert drawn.rings[-1] == "340.0,60.0 530.0,250.0 340.0,440.0 150.0,250.0"


def test_radar_needs_three_axes(four):
    assert charts.radar({name: four[name] for name in ("one", "two", "made")}, "mine") is None
    assert len(charts.radar({name: four[name] for name in ("one", "two", "three")}, "mine").axes) == 3


def test_a_result_of_the_name_of_a_quoted_method(four):
    assert [s.name for s in charts.radar(four, "A").series] == ["A (this result)", "A", "B", "C"]


def test_many_methods_begin_hidden_and_repeat_colours(four):
    for entry in four.values():
        if entry.protocol.quoted:
            entry.protocol.quoted.rows.update({f"m{n}": {entry.protocol.main_metric: 1.0} for n in range(10)})
    series = charts.radar(four, "mine").series
    assert [s.shown for s in series][:5] == [True] * 4 + [False] and sum(
        s.shown for s in series
    ) == charts.SHOWN_AT_FIRST
    assert [(s.colour, s.dashed) for s in series[1:10]] == [(n % 8, n >= 8) for n in range(9)]
    assert not series[0].dashed


def test_histogram():
    seen = [0.0, 0.0, 0.04, 0.05, 0.5, 0.51, 1.0, 1.0]
    drawn = charts.histogram({"seen": seen, "shuffled_images": [0.0, 1.0]})
    left, bottom, width = 54, 228, (510 - 54) / 20
    assert [bar[4] for bar in drawn.bars if not bar[4].endswith(" 0 answers")] == [
        "IoU 0.00 to 0.05: 3 answers",
        "IoU 0.05 to 0.10: 1 answers",
        "IoU 0.50 to 0.55: 2 answers",
        "IoU 0.95 to 1.00: 2 answers",
    ]
    # the scale ends at 4, so three answers fill three quarters of 214 units
    assert drawn.bars[0][:4] == (left + 1, bottom - 160.5, round(width - 2, 1), 160.5)
    assert [tick[1:] for tick in drawn.y_ticks] == [
        ("0", "0 %"),
        ("1", "25 %"),
        ("2", "50 %"),
        ("3", "75 %"),
        ("4", "100 %"),
    ]
    curve = dict(drawn.curves)["seen"][1:].split("L")
    # above 0 lie 6 of 8, above 0.5 lie 3 of 8, above 1 none
    assert curve[0] == f"54.0 {bottom - 214 * 6 / 8:.1f}" and curve[50] == f"282.0 {bottom - 214 * 3 / 8:.1f}"
    assert curve[100] == "510.0 228.0"
    assert dict(drawn.curves)["shuffled_images"].startswith(f"M54.0 {bottom - 107:.1f}")
    assert drawn.words == "3 of 8 answers lie above 0.5; 2 have no overlap at all"
    assert charts.histogram({"seen": []}) is None and charts.histogram({"shuffled_images": [0.1]}) is None


def test_steps_hold_the_largest_bar():
    assert [charts._step(n) for n in (1, 4, 5, 8, 9, 20, 21, 40, 41, 1000, 9000)] == [
        1, 1, 2, 2, 5, 5, 10, 10, 20, 500, 5000
    ]  # fmt: skip


def named(made, truth, *names, correct=None):
    return made.row("i", "", truth, names == (truth,) if correct is None else correct, named=list(names))


def test_confusion(made):
    rows = [named(made, "b", "b")] * 3 + [named(made, "b", "a"), named(made, "b", "c"), named(made, "b", "c")]
    rows += [named(made, "a"), named(made, "a", "a", "b"), named(made, "a", "a")]
    rows += [named(made, "BaseballField", "baseball field", correct=False)]  # written otherwise, the same class
    rows += [named(made, "BaseballField", "ball park", correct=True)]  # a synonym that was taken for right
    drawn = charts.confusion(rows)
    assert [label for label, _ in drawn.rows] == ["a", "b", "BaseballField"]
    # c is never true; it has a column and no row
    assert [label for label, _ in drawn.columns] == ["a", "b", "BaseballField", "c", "(none)", "(several)"]
    assert sorted((words, right) for *_, right, _, words in drawn.cells) == [
        ("BaseballField → BaseballField: 2 of 2 (100 %)", True),
        ("a → (none): 1 of 3 (33 %)", False),
        ("a → (several): 1 of 3 (33 %)", False),
        ("a → a: 1 of 3 (33 %)", True),
        ("b → a: 1 of 6 (17 %)", False),
        ("b → b: 3 of 6 (50 %)", True),
        ("b → c: 2 of 6 (33 %)", False),
    ]
    assert drawn.pairs[0] == ("b", "c", 2, pytest.approx(100 / 3)) and len(drawn.pairs) == 4
    cell = next(cell for cell in drawn.cells if cell[-1].startswith("b → c"))
    assert cell[:2] == (drawn.left + 3 * drawn.side, drawn.top + drawn.side) and cell[4] == "2"
    assert charts.confusion([]) is None


def test_many_classes_fit(made):
    classes = [f"class number {n:02d} with a long name" for n in range(46)]
    drawn = charts.confusion([named(made, x, x) for x in classes])
    assert drawn.side == 15 and drawn.width < 46 * 15 + 180
    assert all(len(label) <= 22 for label, _ in drawn.rows + drawn.columns)
    assert {cell[4] for cell in drawn.cells} == {""}  # no room for a number
