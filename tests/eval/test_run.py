from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS, select
from skyeye.eval.files import read_jsonl
from skyeye.eval.run import evaluate, limited, prepare, run_tasks
from skyeye.eval.verdict import NOT_METRICS

WORLD = [name for name in BENCHMARKS if name.startswith("world.")]
pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture
def scored(world, oracle, tmp_path):
    """Scores of an oracle on the made world, and the folder they were written to."""

    def run(rule: str, names=WORLD, **options) -> tuple[dict, Path]:
        limit, controls = options.pop("limit", None), options.pop("controls", True)
        tasks = [prepare(benchmark, world, limit, controls, 0) for benchmark in select(names)]
        answerer = oracle(rule, [record for task in tasks for record in task.seen])
        about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
        about |= {"limit": limit, "parameters": None}
        return run_tasks(answerer, tasks, tmp_path / rule, about), tmp_path / rule

    return run


def test_perfect_answers_are_perfect_and_the_controls_fall(scored):
    scores, _ = scored("perfect")
    assert set(scores) == {*WORLD, "about"}
    assert scores["world.scene"]["accuracy"]["value"] == 100
    assert scores["world.vqa"]["accuracy"]["value"] == scores["world.vqa"]["mean_over_types"]["value"] == 100
    for name, metric in (("refer", "accuracy@0.5"), ("grounding", "all_boxes_right"), ("identify", "exact_match")):
        triple = scores[f"world.{name}"][metric]
        assert triple["value"] == triple["value_on_deaf_items"] == 100
        assert (
            triple["deaf"] == 0
        )  # the words of another object give the box of another object, and those never overlap
        assert triple["blind"] < 50
    for name in ("caption", "frames"):
        assert scores[f"world.{name}"]["BLEU-1"]["value"] == pytest.approx(100, abs=1e-3)
        assert scores[f"world.{name}"]["CIDEr"]["blind"] < scores[f"world.{name}"]["CIDEr"]["value"] / 2
        assert scores[f"world.{name}"]["CIDEr"]["deaf"] is None
    assert scores["world.scene"]["accuracy"]["blind"] < 50


def test_pointing_at_any_object_shows_only_in_the_deaf_control(scored):
    scores, _ = scored("points_anywhere", ["world.refer"])
    triple = scores["world.refer"]["accuracy@0.5"]
    assert triple["deaf"] == triple["value_on_deaf_items"] > 0
    assert scores["world.refer"]["any_object@0.5"]["value"] == 100
    assert triple["blind"] < triple["value"]


def test_answers_by_habit_show_only_in_the_blind_control(scored):
    scores, _ = scored("habit", ["world.vqa", "world.refer"])
    for name, metric in (("vqa", "accuracy"), ("refer", "accuracy@0.5")):
        assert scores[f"world.{name}"][metric]["value"] == scores[f"world.{name}"][metric]["blind"] == 100


def test_silence_scores_nothing_and_is_counted(scored):
    scores, _ = scored("silent")
    for name in WORLD:
        main = scores[name]["protocol"]["main_metric"]
        assert scores[name][main]["value"] == pytest.approx(0, abs=1e-3)
    counts = scores["world.refer"]["counts"]
    assert counts["answers without a box"] == counts["records"]


def test_scores_json_has_the_promised_shape(scored):
    scores, folder = scored("perfect")
    assert json.loads((folder / "scores.json").read_text(encoding="utf-8")) == scores
    for name in WORLD:
        entry = scores[name]
        assert {"records", "images", "deaf items", "left out"} <= set(entry["counts"])
        assert {"title", "family", "question", "decoding", "metric", "notes"} <= set(entry["protocol"])
        deaf_asked = entry["counts"]["deaf items"] > 0
        for metric in set(entry) - NOT_METRICS:
            keys = {"value", "blind", "deaf"} | ({"value_on_deaf_items"} if deaf_asked else set())
            assert set(entry[metric]) == keys, (name, metric)
            assert (entry[metric]["deaf"] is None) or deaf_asked
    assert {"date", "versions", "units", "seed", "fingerprint", "caption_tokenizer"} <= set(scores["about"])
    assert not list(folder.rglob(".*")), "nothing half-written stays"


def test_predictions_are_on_disk_for_every_condition(scored):
    scores, folder = scored("perfect", ["world.refer", "world.scene"])
    rows = {
        name: read_jsonl(folder / "predictions" / f"{name}.jsonl")
        for name in ("world.refer", "world.refer.blind", "world.refer.deaf", "world.scene", "world.scene.blind")
    }
    assert len(rows["world.refer"]) == len(rows["world.refer.blind"]) == scores["world.refer"]["counts"]["records"]
    assert len(rows["world.refer.deaf"]) == scores["world.refer"]["counts"]["deaf items"]
    for row in rows["world.refer"]:
        assert {"id", "images", "question", "answer", "truth", "correct"} <= set(row)
    seen = {row["id"]: row for row in rows["world.refer"]}
    assert len(seen) == len(rows["world.refer"])
    for row in rows["world.refer.blind"]:
        assert row["images"] != seen[row["id"]]["images"] and row["question"] == seen[row["id"]]["question"]
    for row in rows["world.refer.deaf"]:
        assert row["images"] == seen[row["id"]]["images"] and row["question"] != seen[row["id"]]["question"]
        assert row["truth"] == seen[row["id"]]["truth"]
    assert not (folder / "predictions" / "world.scene.deaf.jsonl").exists()


def test_without_controls_nothing_is_asked_twice(scored):
    scores, folder = scored("perfect", ["world.refer"], controls=False)
    triple = scores["world.refer"]["accuracy@0.5"]
    assert triple == {"value": 100, "blind": None, "deaf": None}
    assert [path.name for path in (folder / "predictions").iterdir()] == ["world.refer.jsonl"]


def test_one_image_cannot_be_asked_blind(scored):
    scores, _ = scored("perfect", ["world.scene"], limit=1)
    assert scores["world.scene"]["accuracy"] == {"value": 100, "blind": None, "deaf": None}


def _records(images: list[int]) -> list[Record]:
    turn = (Turn("[vqa] q", "a"),)
    return [Record(str(i), "s", "vqa", "test", (f"{x}.png",), turn) for i, x in enumerate(images)]


def test_limit_keeps_order_and_draws_whole_scenes():
    records = _records([0, 1, 2, 3] * 5)
    assert limited(records, None, 0, False) == limited(records, 99, 0, True) == records
    some = limited(records, 8, 0, by_scene=False)
    assert len(some) == 8 and [int(r.id) for r in some] == sorted(int(r.id) for r in some)
    assert some != records[:8]  # drawn, not the first ones
    whole = limited(records, 10, 0, by_scene=True)
    assert len(whole) == 10 and len({r.images for r in whole}) == 2
    assert [int(r.id) for r in whole] == sorted(int(r.id) for r in whole)
    assert limited(records, 8, 0, False) == some != limited(records, 8, 1, False)


def test_missing_and_broken_images_are_counted_and_listed(world, oracle, tmp_path, capfd):
    damaged = tmp_path / "world"
    shutil.copytree(world, damaged)
    names = sorted(path.name for path in (damaged / "images").glob("test_0*.jpg"))
    (damaged / "images" / names[0]).unlink()
    broken = damaged / "images" / names[1]
    broken.write_bytes(broken.read_bytes()[:200])
    task = prepare(select(["world.scene"])[0], damaged, None, True, 0)
    about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
    scores = run_tasks(
        oracle("perfect", task.seen), [task], tmp_path / "out", about | {"limit": None, "parameters": None}
    )
    counts = scores["world.scene"]["counts"]
    assert counts["left out"] == 2
    assert counts["left out: missing image"] == counts["left out: unusable image"] == 1
    assert counts["records"] == len(names) - 2
    skipped = read_jsonl(tmp_path / "out" / "predictions" / "world.scene.skipped.jsonl")
    assert any(names[0] in row["what"] for row in skipped) and any(names[1] in row["what"] for row in skipped)
    assert all("classification_test.json, record" in row["where"] for row in skipped)
    assert "2 left out" in "".join(capfd.readouterr())


def test_wrong_input_is_told_before_anything_is_loaded(world, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SkyEyeError, match="did you mean 'world.refer'"):
        evaluate(tmp_path, ["world.reffer"], world, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="no checkpoint directory"):
        evaluate(tmp_path / "nowhere", ["world.refer"], world, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="skyeye data synth"):
        evaluate(tmp_path, ["world.refer"], tmp_path, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="dataset_rsicd"):
        evaluate(tmp_path, ["rsicd.caption"], world, tmp_path / "out")
    assert not (tmp_path / "out").exists()
