from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from skyeye.eval.metrics.bootstrap import Difference
from skyeye.eval.report import comparison, comparison_markdown


def difference(a, b, low=None, high=None, p=None):
    return Difference(a, b, None if a is None else b - a, low, high, p)


@pytest.fixture
def sides(made):
    """Two results of a benchmark with right and wrong, and of one that is graded."""
    metrics = {"accuracy": made.metric(50.0), "count_error": made.metric(2.0)}
    scores = [
        made.results(
            {
                "vqa": made.entry("vqa", "accuracy", metrics, 5),
                "captions": made.entry("captions", "CIDEr", {"CIDEr": made.metric(1)}, 2),
            },
            made.ABOUT | {"recipe": name},
        )
        for name in ("one", "two")
    ]
    differences = {
        "vqa": {
            "accuracy": difference(50.0, 60.0, 4.0, 16.0, 0.0),
            "count_error": difference(2.0, 1.0, -1.5, -0.5, 0.012),
            "accuracy/count": difference(30.0, 29.0, -9.0, 7.0, 0.6),
        },
        "captions": {"CIDEr": difference(90.0, 80.0, -20.0, -0.1, 0.049), "METEOR": difference(None, None)},
    }
    judged = [
        ("stays", True, True),
        ("falls", True, False),
        ("rises", False, True),
        ("same", True, True),
        ("no", False, False),
    ]
    rows_a = [made.row(n, "yes", "yes", was, type="count") for n, was, _ in judged]
    rows_b = [made.row(n, "yes" if n == "same" else f"<b>{n}", "yes", now, type="count") for n, _, now in judged]
    graded = [
        [made.row(f"c{n}", f"{k}{n}", ["t"], None, cider=c) for n, c in enumerate(of)]
        for k, of in enumerate(((9, 50), (20, 3)))
    ]
    predictions = [
        {"vqa": {"seen": [*rows_a, made.row("only a", "x", "y", False)]}, "captions": {"seen": graded[0]}},
        {"vqa": {"seen": rows_b[::-1]}, "captions": {"seen": graded[1]}},
    ]
    return scores, differences, predictions


def test_page(sides, made):
    scores, differences, predictions = sides
    html = comparison(*scores, differences, *predictions)
    text = " ".join(re.sub(r"<[^>]*>", " ", html.split("</style>")[1]).split())
    assert "A: one" in text and "B: two" in text
    assert "accuracy 50.0 60.0 +10.0 +4.0 to +16.0 B is better (p &lt; 0.001)" in text
    assert "count_error (less is better) 2.0 1.0 -1.0 -1.5 to -0.5 B is better (p = 0.012)" in text
    assert "accuracy/ count 30.0 29.0 -1.0 -9.0 to +7.0 no difference shown (p = 0.600)" in text
    assert "CIDEr 90.0 80.0 -10.0 -20.0 to -0.1 A is better (p = 0.049)" in text
    assert "METEOR – – – not tested" in text
    assert "5 differences are on this page" in text and "without a correction for their number" in text
    assert (
        "4 of 5 answers differ; both right: 1; both wrong: 1; right → wrong: 1; wrong → right: 1; "
        "1 answers are in A alone" in text
    )
    assert "Right in A, wrong in B" in text and "Wrong in A, right in B" in text
    assert "Much worse in B" in text and "Much better in B" in text
    blocks = [json.loads(block) for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html)]
    assert [(row[0], row[2], row[6], row[7]) for row in blocks[0]["rows"]] == [
        ("stays", "both right", "yes", "<b>stays"),
        ("falls", "right → wrong", "yes", "<b>falls"),
        ("rises", "wrong → right", "yes", "<b>rises"),
        ("no", "both wrong", "yes", "<b>no"),
    ]
    assert [(row[0], row[2], row[3]) for row in blocks[1]["rows"]] == [
        ("c0", "better", "CIDEr 9 | CIDEr 20"), ("c1", "worse", "CIDEr 50 | CIDEr 3")
    ]  # fmt: skip


def test_intervals_are_drawn_around_no_difference(sides):
    scores, differences, predictions = sides
    html = comparison(*scores, differences, *predictions)
    drawn = re.findall(r'<span class="difference (\w*)"><i class="ci" style="left:([\d.]+)%;width:([\d.]+)%"', html)
    # the widest end of vqa is 16: 4..16 is 62.5 to 100 %, -9..7 is 21.88 to 71.88 %; errors have another unit
    assert drawn[2:4] == [("b", "62.5", "37.5"), ("", "21.88", "50.0")]
    assert len(drawn) == 5  # at a glance accuracy and CIDEr; accuracy, accuracy/count; CIDEr


def test_what_was_measured_otherwise_is_said(sides):
    scores, differences, predictions = sides
    vqa = scores[1].benchmarks["vqa"]
    protocol = replace(vqa.protocol, decoding="five beams")
    scores[1].benchmarks["vqa"] = replace(vqa, protocol=protocol, counts={**vqa.counts, "records": 4})
    html = comparison(*scores, differences, *predictions)
    assert "The decoding differs: A &#39;greedy&#39;, B &#39;five beams&#39;." in html
    assert "A has answered 5 records, B 4; compared are those that both have." in html
    assert "**The decoding differs: A 'greedy', B 'five beams'**" in comparison_markdown(*scores, differences)


def test_markdown(sides):
    scores, differences, _ = sides
    text = comparison_markdown(*scores, differences)
    assert text.startswith("# A: one, B: two\n")
    assert "| accuracy | 50.0 | 60.0 | +10.0 | +4.0 to +16.0 | **B is better (p < 0.001)** |" in text
    assert "| accuracy/count | 30.0 | 29.0 | -1.0 | -9.0 to +7.0 | no difference shown (p = 0.600) |" in text
    assert "without a correction for their number" in text


def test_results_of_the_same_name_are_told_apart(sides, made):
    scores, differences, predictions = sides
    scores = [replace(of, about={"checkpoint": f"{name}/eval"}) for of, name in zip(scores, "xy", strict=True)]
    assert comparison_markdown(*scores, differences).startswith("# A: x/eval, B: y/eval\n")
    assert "<b>A: x/eval</b>" in comparison(*scores, differences, *predictions)


def test_hostile_words(sides, made, picture):
    scores, differences, _ = sides
    vqa = scores[0].benchmarks["vqa"]
    hostile = replace(vqa, protocol=replace(vqa.protocol, title=made.HOSTILE))
    benchmarks = {**scores[0].benchmarks, "vqa": hostile}
    scores[0] = made.results(benchmarks, {"checkpoint": made.HOSTILE})
    rows = [[made.row(made.HOSTILE, made.HOSTILE + side, "t", side == "a", [picture], made.HOSTILE)] for side in "ab"]
    html = comparison(*scores, differences, {"vqa": {"seen": rows[0]}}, {"vqa": {"seen": rows[1]}})
    assert html.count("<script") == 2 and "<img src=x" not in html and html.encode()
    assert comparison_markdown(*scores, differences).encode()
