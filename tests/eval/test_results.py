"""scores.json: written and read back whole, and refused with file and key where it is damaged or foreign."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.results import (
    BenchmarkResult,
    EvalResults,
    MetricValue,
    Protocol,
    Published,
    QuotedResults,
    read_scores,
    scores_to_json,
    write_scores,
)

PROTOCOL = Protocol(
    "RSVG",
    "refer",
    "accuracy@0.5",
    "where?",
    "greedy",
    "IoU",
    "95 %",
    published=Published(1227, "the paper"),
    quoted=QuotedResults("t", "RSVG-test", "a paper", ("as printed",), {"SkyEyeGPT": {"accuracy@0.5": 70.5}}),
    notes=("a note",),
    shuffled_images="images permuted",
    shuffled_phrases="words permuted",
)
COUNTS = {"records": 5, "images": 2, "shuffled_phrases items": 4, "skipped": 0}
REFER = BenchmarkResult({"accuracy@0.5": MetricValue(50.5, 1.0, 2.0, 40.0, 60.0, 51.0)}, COUNTS, PROTOCOL)
PLAIN = BenchmarkResult(
    {"accuracy": MetricValue(33.3333), "count_error": MetricValue(None)},
    {"records": 3, "images": 3},
    replace(PROTOCOL, family="vqa", published=None, quoted=None, notes=(), shuffled_phrases=None),
)
RESULTS = EvalResults({"rsvg.test": REFER, "vqa": PLAIN}, {"checkpoint": "runs/x", "seed": 0, "not_there": {}})


def test_what_was_written_is_read_back(tmp_path):
    write_scores(tmp_path / "scores.json", RESULTS)
    assert read_scores(tmp_path / "scores.json") == RESULTS
    content = json.loads((tmp_path / "scores.json").read_text())
    assert list(content) == ["rsvg.test", "vqa", "about"]
    refer = {"value": 50.5, "shuffled_images": 1.0, "shuffled_phrases": 2.0, "low": 40.0, "high": 60.0}
    assert content["rsvg.test"]["accuracy@0.5"] == {**refer, "value_on_shuffled_phrases_items": 51.0}
    assert "value_on_shuffled_phrases_items" not in content["vqa"]["accuracy"], "where no phrase was shuffled"
    assert content["rsvg.test"]["protocol"]["published"] == {"records": 1227, "source": "the paper"}


def test_the_main_metric():
    assert REFER.main.value == 50.5
    assert PLAIN.main == MetricValue(None)


METRIC = ("rsvg.test", "accuracy@0.5")
DAMAGE = [
    (("about",), None, "key about: is missing or no object"),
    (("about", "checkpoint"), 5, "key about.checkpoint: is no text"),
    (("vqa",), [1], "key vqa: is missing or no object"),
    (("vqa", "counts"), None, "key vqa.counts: is missing or no object"),
    (("vqa", "counts", "records"), None, "key vqa.counts.records: is no number"),
    (("vqa", "counts", "found boxes"), 1.5, "key vqa.counts.found boxes: is no number"),
    (("vqa", "counts", "images"), True, "key vqa.counts.images: is no number"),
    (("vqa", "protocol", "title"), 1, "key vqa.protocol.title: is no text"),
    (("vqa", "protocol", "shuffled_images"), 1, "key vqa.protocol.shuffled_images: is no text"),
    (("vqa", "protocol", "notes"), "note", "key vqa.protocol.notes: is no list of texts"),
    (("vqa", "protocol", "extra"), "x", "key vqa.protocol.extra: is not known"),
    (("rsvg.test", "protocol", "published", "records"), "all", "protocol.published.records: is no number"),
    (("rsvg.test", "protocol", "published", "source"), None, "protocol.published.source: is no text"),
    (("rsvg.test", "protocol", "quoted", "source"), 3, "protocol.quoted.source: is no text"),
    (("rsvg.test", "protocol", "quoted", "rows"), [], "protocol.quoted.rows: is missing or no object"),
    (("rsvg.test", "protocol", "quoted", "rows", "SkyEyeGPT"), 70, "quoted.rows.SkyEyeGPT: is missing or no object"),
    ((*METRIC,), 50.5, "key rsvg.test.accuracy@0.5: is missing or no object"),
    ((*METRIC, "value"), "high", "key rsvg.test.accuracy@0.5.value: is no number"),
    ((*METRIC, "blind"), 1.0, "key rsvg.test.accuracy@0.5.blind: is not known"),
]


@pytest.mark.parametrize(("path", "value", "words"), DAMAGE, ids=[".".join(path) for path, *_ in DAMAGE])
def test_a_damaged_value_is_told_with_its_key(tmp_path, path, value, words):
    content = scores_to_json(RESULTS)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "scores.json"
    file.write_text(json.dumps(content))
    with pytest.raises(SkyEyeError) as error:
        read_scores(file)
    assert str(file) in str(error.value) and words in str(error.value) and error.value.remedy


MISSING = [("about",), ("vqa", "protocol"), ("vqa", "protocol", "interval"), (*METRIC, "low")]
MISSING += [(*METRIC, "value_on_shuffled_phrases_items"), ("rsvg.test", "protocol", "quoted", "rows")]


@pytest.mark.parametrize("path", MISSING, ids=".".join)
def test_a_missing_key_is_told(tmp_path, path):
    content = json.loads(json.dumps(scores_to_json(RESULTS)))
    place = content
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    file = tmp_path / "scores.json"
    file.write_text(json.dumps(content))
    with pytest.raises(SkyEyeError, match="is missing") as error:
        read_scores(file)
    assert f"{file}, key {'.'.join(path)}: " in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"synth.vqa": {"acc": 5}}', "\0"])
def test_what_is_no_scores_json_at_all_is_told(tmp_path, text):
    file = tmp_path / "scores.json"
    file.write_text(text)
    with pytest.raises(SkyEyeError, match="scores.json"):
        read_scores(file)
