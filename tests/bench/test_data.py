"""``skyeye bench data`` on a small set: what is made has the table's proportions, and every figure is a measurement."""

import json

import pytest

from skyeye.bench import data
from skyeye.bench.synthetic_data import IMAGES, write_release


def test_what_is_made_has_the_proportions_of_the_table(tmp_path):
    tree, pictures = write_release(tmp_path, records=4000, images=700, side=16, workers=1)
    counts = {path.stem: len(json.loads(path.read_text())) for path in tree.rglob("*.json")}
    assert len(counts) == 19 and sum(counts.values()) == pytest.approx(4000, abs=19)
    assert counts["RSVQAHR_train"] / 4000 == pytest.approx(625.3 / 968.8, abs=0.001)
    assert counts["caption_NWPU_train"] / 4000 == pytest.approx(126.0 / 968.8, abs=0.001)
    made = {folder: sum(1 for path in (pictures / folder).rglob("*.jpg")) for folder in IMAGES}
    assert sum(IMAGES.values()) == 70_000 and sum(made.values()) == pytest.approx(700, abs=11)
    named = {entry["image"] for entry in json.loads((tree / "vqa/RSVQAHR_train.json").read_text())}
    assert len(named) == made["RSVQA_HR/Data"]
    assert all((pictures / "RSVQA_HR/Data" / name).is_file() for name in named)


def test_memory_is_that_of_the_process_and_its_children():
    hold = "import time; held = b'x' * {}; time.sleep(0.4)"
    small, large = (data.measured(exec, hold.format(size))[1]["peak_bytes"] for size in (1, 200_000_000))
    assert 190e6 < large - small < 260e6


def test_an_error_in_a_measured_process_comes_back():
    with pytest.raises(ZeroDivisionError):
        data.measured(exec, "1 / 0")


def test_every_figure_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DECODED", 200)
    result = data.bench_data(records=600, images=120, workers=2, side=32, folder=tmp_path)
    assert result["records"] == pytest.approx(600, abs=19)
    assert set(result["within"]) == set(data.LIMITS)
    ratio = result["decoding"]["time_against_plain"]
    assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"] and ratio["pairs"] >= 3
    assert result["start"]["step_images"] == data.GROUPS_PER_STEP and result["middle"]["seconds_to_first_step"] > 0
    assert all(result[part]["peak_bytes"] > 10e6 for part in ("assemble", "start", "read"))
    assert (tmp_path / "shards/index.json").is_file()
    words = data.format_text(result)
    assert "peak memory" in words and "bare PIL" in words
