"""``skyeye bench start`` on a small list: every way is measured, in a process of its own, and told."""

import json

import pytest

from skyeye.bench import start
from skyeye.cli import main
from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems


def test_every_way_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start, "REPETITIONS", 1)
    monkeypatch.setattr(start, "measured", lambda function, *about: (function(*about), {"peak_bytes": 7_000_000}))
    monkeypatch.setenv("SKYEYE_CACHE", "")
    monkeypatch.setattr("skyeye.data.source_index.LEAST", 1)
    assert main(["bench", "start", "--records", "60", "--images", "4", "--json", str(tmp_path / "x.json")]) == 0
    told = json.loads((tmp_path / "x.json").read_text())
    assert set(told["ways"]) == {"plain", "json", "json, index written", "index", "shards"}
    assert all(way["seconds"] >= 0 and way["peak_bytes"] == 7_000_000 for way in told["ways"].values())
    assert told["ways"]["plain"]["against_plain"] == 1 and told["machine"]["cores"] > 0
    said = capsys.readouterr().out
    assert "60 records of 4 pictures" in said and "x json.load" in said


def test_what_is_made_is_sound(tmp_path):
    start.write_list(tmp_path, 50, 5)
    source = SourceConfig("llava", str(tmp_path / "list.json"), str(tmp_path / "images"))
    records, problems = read_with_problems(source, "x")
    assert len(records) == 50 and not problems and len({record.images for record in records}) == 5
    assert len({file.read_bytes() for file in (tmp_path / "images").iterdir()}) == 5


def test_a_list_of_uavit_has_all_tags_and_boxes(tmp_path):
    start.write_list(tmp_path, 55, 5, "uavit")
    source = SourceConfig("uavit", str(tmp_path / "list.json"), str(tmp_path / "images"))
    records, problems = read_with_problems(source, "x")
    assert len(records) == 55 and not problems and len({record.task for record in records}) == 11
    assert {record.source for record in records} == {"ERA", "VisDrone2019_DET", "UAV123", "WebUAV-3M"}


@pytest.mark.parametrize("numbers", [["0"], ["5", "--images", "0"], ["3", "--images", "4"]])
def test_numbers_that_make_no_list_are_refused(numbers, capsys):
    assert main(["bench", "start", "--records", *numbers]) == 2
    assert "--records, --images" in capsys.readouterr().err
