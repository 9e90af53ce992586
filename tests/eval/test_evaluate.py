from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import Process
from skyeye.eval.benchmarks import BENCHMARKS, select
from skyeye.eval.benchmarks.conditions import prepare
from skyeye.eval.evaluate import evaluate, run_benchmarks, with_prompts_of
from skyeye.eval.question import asked as question_of
from skyeye.eval.results import NOT_METRICS, BenchmarkResult, MetricValue, read_scores
from skyeye.eval.settings import EvalSettings

WORLD = [name for name in BENCHMARKS if name.startswith("synth.")]
pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture
def scored(world, oracle, tmp_path):
    """Scores of an oracle on the synthetic scenes, and the folder they were written to."""

    def run(rule: str, names=WORLD, **options) -> tuple[dict[str, BenchmarkResult], Path]:
        settings = EvalSettings(**options)
        tasks = [prepare(benchmark, world, settings) for benchmark in select(names)]
        answerer = oracle(rule, [record for task in tasks for record in task.seen])
        about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
        about |= {"limit": settings.limit, "parameters": None}
        folder = tmp_path / rule
        return run_benchmarks(answerer, tasks, folder, about, answers=folder / "answers").benchmarks, folder

    return run


def test_perfect_answers_are_perfect_and_the_controls_fall(scored):
    scores, _ = scored("perfect")
    assert set(scores) == set(WORLD)
    assert scores["synth.scene"].metrics["accuracy"].value == 100
    assert scores["synth.vqa"].metrics["accuracy"].value == scores["synth.vqa"].metrics["mean_over_types"].value == 100
    for name, metric in (("refer", "accuracy@0.5"), ("grounding", "all_boxes_right"), ("identify", "exact_match")):
        triple = scores[f"synth.{name}"].metrics[metric]
        assert triple.value == triple.value_on_shuffled_phrases_items == 100
        assert (
            triple.shuffled_phrases == 0
        )  # the words of another object give the box of another object, and those never overlap
        assert triple.shuffled_images < 50
    for name in ("caption", "frames"):
        assert scores[f"synth.{name}"].metrics["BLEU-1"].value == pytest.approx(100, abs=1e-3)
        assert (
            scores[f"synth.{name}"].metrics["CIDEr"].shuffled_images
            < scores[f"synth.{name}"].metrics["CIDEr"].value / 2
        )
        assert scores[f"synth.{name}"].metrics["CIDEr"].shuffled_phrases is None
    assert scores["synth.scene"].metrics["accuracy"].shuffled_images < 50


def test_pointing_at_any_object_shows_only_with_shuffled_phrases(scored):
    scores, _ = scored("points_anywhere", ["synth.refer"])
    triple = scores["synth.refer"].metrics["accuracy@0.5"]
    assert triple.shuffled_phrases == triple.value_on_shuffled_phrases_items > 0
    assert scores["synth.refer"].metrics["any_object@0.5"].value == 100
    assert triple.shuffled_images < triple.value


def test_answers_by_habit_show_only_with_shuffled_images(scored):
    scores, _ = scored("habit", ["synth.vqa", "synth.refer"])
    for name, metric in (("vqa", "accuracy"), ("refer", "accuracy@0.5")):
        assert (
            scores[f"synth.{name}"].metrics[metric].value == scores[f"synth.{name}"].metrics[metric].shuffled_images > 0
        )


def test_silence_scores_nothing_and_is_counted(scored):
    scores, _ = scored("silent")
    for name in WORLD:
        main = scores[name].protocol.main_metric
        assert scores[name].metrics[main].value == pytest.approx(0, abs=1e-3)
    counts = scores["synth.refer"].counts
    assert counts["answers without a box"] == counts["records"]


def test_scores_json_has_the_promised_shape(scored):
    scores, folder = scored("perfect")
    content = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert set(content) == {*WORLD, "about"}
    assert read_scores(folder / "scores.json").benchmarks == scores
    for name in WORLD:
        entry = content[name]
        assert {"records", "images", "shuffled_phrases items", "skipped"} <= set(entry["counts"])
        assert {"title", "family", "question", "decoding", "metric", "notes"} <= set(entry["protocol"])
        shuffled = entry["counts"]["shuffled_phrases items"] > 0
        for metric in set(entry) - NOT_METRICS:
            keys = {"value", "low", "high", "shuffled_images", "shuffled_phrases"}
            keys |= {"value_on_shuffled_phrases_items"} if shuffled else set()
            assert set(entry[metric]) == keys, (name, metric)
            assert (entry[metric]["shuffled_phrases"] is None) or shuffled
    assert {"date", "versions", "units", "seed", "fingerprint", "caption_tokenizer"} <= set(content["about"])
    assert not list(folder.rglob(".*")), "nothing half-written stays"


def test_predictions_are_on_disk_for_every_condition(scored, read_jsonl):
    scores, folder = scored("perfect", ["synth.refer", "synth.scene"])
    rows = {
        name: read_jsonl(folder / "predictions" / f"{name}.jsonl")
        for name in (
            "synth.refer",
            "synth.refer.shuffled_images",
            "synth.refer.shuffled_phrases",
            "synth.scene",
            "synth.scene.shuffled_images",
        )
    }
    assert (
        len(rows["synth.refer"]) == len(rows["synth.refer.shuffled_images"]) == scores["synth.refer"].counts["records"]
    )
    assert len(rows["synth.refer.shuffled_phrases"]) == scores["synth.refer"].counts["shuffled_phrases items"]
    for row in rows["synth.refer"]:
        assert {"id", "images", "question", "answer", "truth", "correct"} <= set(row)
    seen = {row["id"]: row for row in rows["synth.refer"]}
    assert len(seen) == len(rows["synth.refer"])
    for row in rows["synth.refer.shuffled_images"]:
        assert row["images"] != seen[row["id"]]["images"] and row["question"] == seen[row["id"]]["question"]
    for row in rows["synth.refer.shuffled_phrases"]:
        assert row["images"] == seen[row["id"]]["images"] and row["question"] != seen[row["id"]]["question"]
        assert row["truth"] == seen[row["id"]]["truth"]
    assert not (folder / "predictions" / "synth.scene.shuffled_phrases.jsonl").exists()


def test_without_controls_nothing_is_asked_twice(scored):
    scores, folder = scored("perfect", ["synth.refer"], controls=False)
    triple = scores["synth.refer"].metrics["accuracy@0.5"]
    assert triple == MetricValue(value=100, low=100, high=100, shuffled_images=None, shuffled_phrases=None)
    assert [path.name for path in (folder / "predictions").iterdir()] == ["synth.refer.jsonl"]


def test_one_image_cannot_be_shuffled(scored):
    scores, _ = scored("perfect", ["synth.scene"], limit=1)
    assert scores["synth.scene"].metrics["accuracy"].value == 100
    assert (
        scores["synth.scene"].metrics["accuracy"].shuffled_images
        is None
        is scores["synth.scene"].metrics["accuracy"].shuffled_phrases
    )


def test_missing_and_broken_images_are_counted_and_listed(world, oracle, tmp_path, capfd, read_jsonl):
    damaged = tmp_path / "world"
    shutil.copytree(world, damaged)
    names = sorted(path.name for path in (damaged / "images").glob("test_0*.jpg"))
    (damaged / "images" / names[0]).unlink()
    broken = damaged / "images" / names[1]
    broken.write_bytes(broken.read_bytes()[:200])
    task = prepare(select(["synth.scene"])[0], damaged, EvalSettings())
    about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
    about |= {"limit": None, "parameters": None}
    answerer, out = oracle("perfect", task.seen), tmp_path / "out"
    scores = run_benchmarks(answerer, [task], out, about, answers=out / "answers").benchmarks
    counts = scores["synth.scene"].counts
    assert counts["skipped"] == 2
    assert counts["skipped: missing image"] == counts["skipped: unusable image"] == 1
    assert counts["records"] == len(names) - 2
    skipped = read_jsonl(tmp_path / "out" / "predictions" / "synth.scene.skipped.jsonl")
    assert any(names[0] in row["what"] for row in skipped) and any(names[1] in row["what"] for row in skipped)
    assert all("classification_test.json, record" in row["where"] for row in skipped)
    assert "2 skipped" in "".join(capfd.readouterr())


def test_wrong_input_is_told_before_anything_is_loaded(world, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SkyEyeError, match="did you mean 'synth.refer'"):
        evaluate(tmp_path, ["synth.reffer"], world, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="no checkpoint directory"):
        evaluate(tmp_path / "nowhere", ["synth.refer"], world, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="skyeye data synth"):
        evaluate(tmp_path, ["synth.refer"], tmp_path, tmp_path / "out")
    with pytest.raises(SkyEyeError, match="dataset_rsicd"):
        evaluate(tmp_path, ["rsicd.caption"], world, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _about() -> dict:
    about = {"checkpoint": "oracle", "recipe": None, "stage": None, "step": None, "fingerprint": "-", "seed": 0}
    return about | {"limit": None, "parameters": None}


@pytest.mark.parametrize("world_size", [2, 5])
def test_scores_do_not_depend_on_the_number_of_processes(scored, world, oracle, tmp_path, world_size):
    alone, _ = scored("points_anywhere", ["synth.refer", "synth.scene"])
    tasks = [prepare(benchmark, world, EvalSettings()) for benchmark in select(["synth.refer", "synth.scene"])]
    answerer = oracle("points_anywhere", [record for task in tasks for record in task.seen])
    out = tmp_path / "many"
    for rank in reversed(range(world_size)):
        process = Process(rank, world_size)
        many = run_benchmarks(answerer, tasks, out, _about(), answers=out / "answers", process=process, patience=1)
        assert (many is None) == (rank > 0)
    assert many.benchmarks == alone
    files = [path.name for path in (tmp_path / "points_anywhere" / "predictions").iterdir()]
    for name in files:
        one, other = (folder / "predictions" / name for folder in (tmp_path / "points_anywhere", out))
        assert one.read_bytes() == other.read_bytes()
    assert len(list((out / "answers").iterdir())) == world_size


def test_an_evaluation_that_was_killed_goes_on(world, oracle, tmp_path, capfd):
    tasks = [prepare(select(["synth.refer"])[0], world, EvalSettings())]
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
        run_benchmarks(dies, tasks, out, _about(), answers=out / "answers")
    assert not (out / "scores.json").exists()
    scores = run_benchmarks(counts, tasks, out, _about(), answers=out / "answers").benchmarks
    assert scores["synth.refer"].metrics["accuracy@0.5"].value == 100
    everything = [(r.images, question_of(r)) for records in tasks[0].conditions.values() for r in records]
    assert len(asked) == len(set(everything)) - 5
    again = sum(
        question in everything[:5] for question in everything
    )  # words of one object serve another one, shuffled
    assert f"{again} questions were answered in an earlier run" in "".join(capfd.readouterr())


def test_what_an_earlier_run_wrote_is_moved_away(scored, capfd):
    """Whatever lies in predictions/ belongs to scores.json."""
    _, folder = scored("perfect", ["synth.refer", "synth.scene"])
    predictions = folder / "predictions"
    first = (predictions / "synth.scene.jsonl").read_bytes()
    (predictions / "synth.refer.skipped.jsonl").write_text("{}\n")
    (predictions / "of-another-system.jsonl").write_text("{}\n")
    capfd.readouterr()
    scored("perfect", ["synth.refer"], controls=False)
    files = {path.name for path in predictions.glob("*.jsonl")}
    assert files == {"synth.refer.jsonl", "of-another-system.jsonl"}, "what no benchmark is called stays"
    earlier = {path.name for path in (predictions / "earlier").iterdir()}
    old = {"synth.refer.shuffled_images.jsonl", "synth.refer.shuffled_phrases.jsonl", "synth.refer.skipped.jsonl"}
    assert earlier == old | {"synth.scene.jsonl", "synth.scene.shuffled_images.jsonl"}
    assert (predictions / "earlier" / "synth.scene.jsonl").read_bytes() == first
    assert "5 prediction files of an earlier run were moved to" in "".join(capfd.readouterr())
    scored("perfect", ["synth.refer"], controls=False)
    assert "were moved" not in "".join(capfd.readouterr())


def test_prompts_are_for_what_is_asked():
    asked, not_there = ["rsicd.caption", "synth.vqa"], ["ucm.caption"]

    def used(prompts: dict, recipe: dict | None = None) -> dict:
        settings = EvalSettings(prompts=prompts, recipe_prompts=recipe or {})
        return with_prompts_of(settings, select(asked), not_there).prompts

    assert used({"RSICD": "a"}) == {"rsicd.caption": "a"}
    assert used({"synth.*": "b"}) == {"synth.vqa": "b"}
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
    tasks = [prepare(select(["synth.scene"])[0], world, EvalSettings(controls=False))]
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "rank1-of-2.jsonl").write_bytes(b"\0" * 80 + b"\n")
    run_benchmarks(oracle("perfect", tasks[0].seen), tasks, tmp_path / "out", _about(), answers=answers)
    assert f"1 line of {answers} cannot be read" in "".join(capfd.readouterr())


def test_the_protocol_of_captions_says_what_was_computed(scored):
    scores, _ = scored("perfect", ["synth.caption", "synth.scene"], controls=False)
    words = scores["synth.caption"].protocol.metric
    assert "METEOR" not in words and "BLEU-1..4, ROUGE_L and CIDEr" in words
    assert "split into words by letters and digits (fallback)" in words
    assert "split into words" not in scores["synth.scene"].protocol.metric
