"""A stranger's path through the command line: synthetic scenes, training in two stages, scores, a chat."""

from __future__ import annotations

import json

from skyeye.cli import main


def test_from_nothing_to_scores_and_answers(recipe, tmp_path, capsys):
    world, run = tmp_path / "w", tmp_path / "run"
    assert main(["data", "synth", str(world), "--images", "8", "--held-out", "4", "--size", "56", "--seed", "5"]) == 0
    path = recipe(sources={"world": {"format": "synthetic", "path": str(world)}})
    assert main(["train", str(path)]) == 0
    model = run / "checkpoints" / "single_task"

    names = ["synth.scene", "synth.vqa", "synth.refer"]
    command = ["eval", str(model), "--benchmarks", *names, "--data-root", str(world), "--out", str(run)]
    assert main([*command, "--batch-size", "8"]) == 0
    scores = json.loads((run / "scores.json").read_text())
    assert set(names) <= scores.keys()
    assert scores["synth.refer"]["accuracy@0.5"].keys() >= {"value", "shuffled_images", "shuffled_phrases"}
    assert scores["synth.vqa"]["accuracy"]["shuffled_phrases"] is None
    assert scores["synth.vqa"]["counts"]["records"] == len(json.loads((world / "test" / "vqa_test.json").read_text()))
    assert "data:image" in (run / "report.html").read_text() and (run / "scores.md").stat().st_size > 500

    capsys.readouterr()
    picture = next((world / "images").glob("test_*"))
    ask = ["--ask", "[vqa] is there a plane ?", "--ask", "Describe this image in detail."]
    assert main(["chat", str(model), "--image", str(picture), *ask, "--out", str(run / "chat")]) == 0
    assert capsys.readouterr().out.count("> ") >= 2
    assert not list(tmp_path.rglob("*.partial"))
