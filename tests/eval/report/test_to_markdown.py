from __future__ import annotations

from dataclasses import replace

from skyeye.eval.report import markdown
from skyeye.eval.results import Published


def test_every_metric_and_bar(made):
    metrics = {"accuracy": made.metric(50, 45), "accuracy/count": made.metric(1, 1)}
    refer = {"accuracy@0.5": made.metric(50, 2, 48.04, 49, low=46.0, high=54.0)}
    scores = {
        "synth.vqa": made.entry("vqa", "accuracy", metrics),
        "synth.refer": made.entry(
            "refer", "accuracy@0.5", refer, counts={"shuffled_phrases items": 9, "skipped": 3}, notes=["a | b"]
        ),
    }
    text = markdown(made.results(scores))
    assert "| synth.vqa | accuracy | 50.0 | 45.0 | – | 400 |" in text
    assert "| synth.refer | accuracy@0.5 | 50.0 (46.0–54.0) | 2.0 | 48.0 (49.0) | 400 |" in text
    assert "NOT reached: at least 20 points above shuffled images" in text
    assert "- reached: accuracy@0.5 at least 40 %" in text
    assert "NOT reached: at least 15 points above shuffled phrases" in text
    assert "400 records, 400 images; 9 could be asked with shuffled phrases; 3 skipped." in text
    assert "- Decoding: greedy" in text and "- Asked: `[x] q`" in text and "- Note: a \\| b" in text


def test_quoted_table(made):
    rows = {"One": {"accuracy": 70.0}, "Two": {"accuracy": 60.0, "mean_over_types": 61.0}}
    metrics = {"accuracy": made.metric(71.0, low=70.0, high=72.0), "mean_over_types": made.metric(40.0)}
    entry = made.entry("vqa", "accuracy", metrics, quoted=made.quotes(rows), published=Published(400, "s"))
    text = markdown(made.results({"x": entry}))
    assert (
        "Quoted: a paper, table 1. The best of a column is bold.\n\n"
        "| method | accuracy | mean over types |\n|---|---:|---:|\n"
        "| One (quoted) | 70.00 | – |\n| Two (quoted) | 60.00 | **61.00** |\n"
        "| **first** | **71.00 (70.0–72.0)** | 40.00 |\n"
    ) in text
    entry = replace(entry, counts={**entry.counts, "records": 48})
    text = markdown(made.results({"x": entry}))
    assert "| **first** | 71.00 (70.0–72.0) | 40.00 |" in text and "| One (quoted) | **70.00** | – |" in text
    assert "**48 of 400 published records: not comparable (s)**" in text


def test_foreign_scores_and_hostile_words(made):
    about = {key: made.ABOUT[key] for key in ("date", "units")} | {"checkpoint": made.HOSTILE}
    entry = made.entry("vqa", "accuracy", {"accuracy": made.metric(1)}, title=made.HOSTILE, notes=[made.HOSTILE])
    text = markdown(made.results({"x": entry}, about))
    words = "\n".join(line for line in text.splitlines() if not line.startswith("- Asked: `"))
    assert text.encode() and "<script" not in words and "<img" not in words and text.count("`") == 2
