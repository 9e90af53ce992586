from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import Process
from skyeye.eval.benchmarks import BENCHMARKS, select
from skyeye.eval.benchmarks.conditions import prepare
from skyeye.eval.evaluate import evaluate, run_tasks, used_prompts
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
        folder = tmp_path / rule
        return run_tasks(answerer, tasks, folder, about, answers=folder / "answers"), folder

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
        assert scores[f"world.{name}"][metric]["value"] == scores[f"world.{name}"][metric]["blind"] > 0


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
            keys = {"value", "low", "high", "blind", "deaf"} | ({"value_on_deaf_items"} if deaf_asked else set())
            assert set(entry[metric]) == keys, (name, metric)
            assert (entry[metric]["deaf"] is None) or deaf_asked
    assert {"date", "versions", "units", "seed", "fingerprint", "caption_tokenizer"} <= set(scores["about"])
    assert not list(folder.rglob(".*")), "nothing half-written stays"


def test_predictions_are_on_disk_for_every_condition(scored, read_jsonl):
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
    assert triple == {"value": 100, "low": 100, "high": 100, "blind": None, "deaf": None}
    assert [path.name for path in (folder / "predictions").iterdir()] == ["world.refer.jsonl"]


def test_one_image_cannot_be_asked_blind(scored):
    scores, _ = scored("perfect", ["world.scene"], limit=1)
    assert scores["world.scene"]["accuracy"]["value"] == 100
    assert scores["world.scene"]["accuracy"]["blind"] is None is scores["world.scene"]["accuracy"]["deaf"]


def test_missing_and_broken_images_are_counted_and_listed(world, oracle, tmp_path, capfd, read_jsonl):
    damaged = tmp_path / "world"
    shutil.copytree(world, damaged)
    names = sorted(path.name for path in (damaged / "images").glob("test_0*.jpg"))
    (damaged / "images" / names[0]).unlink()
    broken = damaged / "images" / names[1]
    broken.write_bytes(broken.read_bytes()[:200])
    task = prepare(select(["world.scene"])[0], damaged, None, True, 0)
    about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
    about |= {"limit": None, "parameters": None}
    answerer, out = oracle("perfect", task.seen), tmp_path / "out"
    scores = run_tasks(answerer, [task], out, about, answers=out / "answers")
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


def _about() -> dict:
    about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
    return about | {"limit": None, "parameters": None}


@pytest.mark.parametrize("world_size", [2, 5])
def test_scores_do_not_depend_on_the_number_of_processes(scored, world, oracle, tmp_path, world_size):
    alone, _ = scored("points_anywhere", ["world.refer", "world.scene"])
    tasks = [prepare(benchmark, world) for benchmark in select(["world.refer", "world.scene"])]
    answerer = oracle("points_anywhere", [record for task in tasks for record in task.seen])
    out = tmp_path / "many"
    for rank in reversed(range(world_size)):
        process = Process(rank, world_size)
        many = run_tasks(answerer, tasks, out, _about(), answers=out / "answers", process=process, patience=1)
        assert (many is None) == (rank > 0)
    assert {**many, "about": None} == {**alone, "about": None}
    files = [path.name for path in (tmp_path / "points_anywhere" / "predictions").iterdir()]
    for name in files:
        one, other = (folder / "predictions" / name for folder in (tmp_path / "points_anywhere", out))
        assert one.read_bytes() == other.read_bytes()
    assert len(list((out / "answers").iterdir())) == world_size


def test_an_evaluation_that_was_killed_goes_on(world, oracle, tmp_path, capfd):
    tasks = [prepare(select(["world.refer"])[0], world)]
    answerer, out = oracle("perfect", tasks[0].seen), tmp_path / "out"
    asked = []

    def dies(records, max_new_tokens):
        for number, pair in enumerate(answerer(records, max_new_tokens)):
            if number == 5:
                raise KeyboardInterrupt
            yield pair

    def counts(records, max_new_tokens):
        asked.extend(records)
        return answerer(records, max_new_tokens)

    with pytest.raises(KeyboardInterrupt):
        run_tasks(dies, tasks, out, _about(), answers=out / "answers")
    assert not (out / "scores.json").exists()
    scores = run_tasks(counts, tasks, out, _about(), answers=out / "answers")
    assert scores["world.refer"]["accuracy@0.5"]["value"] == 100
    everything = [(r.images, r.turns[0].question) for records in tasks[0].conditions.values() for r in records]
    assert len(asked) == len(set(everything)) - 5
    again = sum(question in everything[:5] for question in everything)  # words of one object serve another one deaf
    assert f"{again} questions were answered in an earlier run" in "".join(capfd.readouterr())


def test_what_an_earlier_run_wrote_is_moved_away(scored, capfd):
    """Whatever lies in predictions/ belongs to scores.json."""
    _, folder = scored("perfect", ["world.refer", "world.scene"])
    predictions = folder / "predictions"
    first = (predictions / "world.scene.jsonl").read_bytes()
    (predictions / "world.refer.skipped.jsonl").write_text("{}\n")
    (predictions / "of-another-system.jsonl").write_text("{}\n")
    capfd.readouterr()
    scored("perfect", ["world.refer"], controls=False)
    files = {path.name for path in predictions.glob("*.jsonl")}
    assert files == {"world.refer.jsonl", "of-another-system.jsonl"}, "what no benchmark is called stays"
    earlier = {path.name for path in (predictions / "earlier").iterdir()}
    old = {"world.refer.blind.jsonl", "world.refer.deaf.jsonl", "world.refer.skipped.jsonl"}
    assert earlier == old | {"world.scene.jsonl", "world.scene.blind.jsonl"}
    assert (predictions / "earlier" / "world.scene.jsonl").read_bytes() == first
    assert "5 prediction files of an earlier run were moved to" in "".join(capfd.readouterr())
    scored("perfect", ["world.refer"], controls=False)
    assert "were moved" not in "".join(capfd.readouterr())


def test_prompts_are_for_what_is_asked():
    asked, not_there = ["rsicd.caption", "world.vqa"], ["ucm.caption"]

    def used(prompts: dict, recipe: dict | None = None) -> dict:
        return used_prompts(prompts, recipe or {}, asked, not_there)

    assert used({"RSICD": "a"}) == {"rsicd.caption": "a"}
    assert used({"world.*": "b"}) == {"world.vqa": "b"}
    assert used({"UCM-Captions": "c"}) == {}, "of a suite, but its data are not there"
    assert used({}, {"aid.scene": "d", "RSICD": "e"}) == {"rsicd.caption": "e"}
    # what is said now wins, by whatever names
    assert used({"rsicd.caption": "f"}, {"rsicd.caption": "g", "RSICD": "h"}) == {"rsicd.caption": "f"}
    with pytest.raises(SkyEyeError, match="a prompt for AID, which is not asked"):
        used({"AID": "i"})
    for wrong in ({"rsikd": "j"}, {}), ({}, {"rsikd": "j"}):
        with pytest.raises(SkyEyeError, match="did you mean 'rsicd'"):
            used(*wrong)


def test_a_broken_line_of_answers_is_told(world, oracle, tmp_path, capfd):
    tasks = [prepare(select(["world.scene"])[0], world, None, False)]
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "rank1-of-2.jsonl").write_bytes(b"\0" * 80 + b"\n")
    run_tasks(oracle("perfect", tasks[0].seen), tasks, tmp_path / "out", _about(), answers=answers)
    assert f"1 line of {answers} cannot be read" in "".join(capfd.readouterr())


def test_the_protocol_of_captions_says_what_was_computed(scored):
    scores, _ = scored("perfect", ["world.caption", "world.scene"], controls=False)
    words = scores["world.caption"]["protocol"]["metric"]
    assert "METEOR" not in words and "BLEU-1..4, ROUGE_L and CIDEr" in words
    assert "split into words by letters and digits (fallback)" in words
    assert "split into words" not in scores["world.scene"]["protocol"]["metric"]
