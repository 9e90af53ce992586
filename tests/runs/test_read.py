"""Run folders in every state: whole, half written, broken, hostile."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from skyeye.errors import SkyEyeError
from skyeye.run_log import read_log
from skyeye.runs.page import page
from skyeye.runs.read import flatten, read_run


def write_log(folder, text: str | bytes):
    folder.mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "log.jsonl").write_bytes(content)
    return folder / "log.jsonl"


def line(stage, step, **more) -> str:
    return json.dumps({"stage": stage, "step": step, "loss": 1.0, **more}) + "\n"


def test_a_run_folder_as_values(make_run, one_score):
    folder = make_run(events=[{"event": "broken", "step": 3}], answers=[(20, "b"), (10, "a")], scores=one_score)
    run = read_run(folder)
    assert run.stages == {"pretrain": 100, "tune": None} and run.finished == [] and run.notes == []
    assert [(x["step"], x["loss"]) for x in run.lines] == [(10, 4.0), (20, 3.0), (30, 2.0)]
    assert run.settings["stages.pretrain.steps"] == "100" and run.settings["name"] == '"ships"'
    assert run.skipped[0] == 30 and run.skipped[1][0] == "world\trecord 0 is broken" and len(run.skipped[1]) == 20
    assert [content["step"] for content in run.samples] == [10, 20]
    assert run.scores == {"checkpoints/pretrain/eval/scores.json": one_score}
    assert run.events == [{"event": "broken", "step": 3}]
    (folder / "checkpoints" / "pretrain" / "manifest.json").write_text("{}")
    assert read_run(folder).finished == ["pretrain"]


def test_the_line_being_written_is_left_for_later_and_a_broken_one_is_told(tmp_path):
    notes = []
    log = write_log(tmp_path, line("a", 1) + '{"stage": "a", "st\n' + line("a", 2) + line("a", 3)[:-9])
    assert [entry["step"] for entry in read_log(log, notes)] == [1, 2]
    assert notes == ["log.jsonl: 1 lines are no JSON objects, the first is line 2"]
    log.write_text("[" * 200_000 + "\n" + line("a", 1) + line("a", 2).rstrip("\n"))  # whole, but for its end
    notes = []
    assert [entry["step"] for entry in read_log(log, notes)] == [1, 2]
    assert notes == ["log.jsonl: 1 lines are no JSON objects, the first is line 1"]


def test_of_steps_done_twice_the_later_counts(tmp_path):
    first = [line("a", step, loss=1.0) for step in (1, 2, 3, 4)]
    again = [line("a", step, loss=2.0) for step in (3, 4)]
    log = write_log(tmp_path, "".join(first + again + [line("b", 1)]))
    assert [(x["stage"], x["step"], x["loss"]) for x in read_log(log)] == [
        ("a", 1, 1.0), ("a", 2, 1.0), ("a", 3, 2.0), ("a", 4, 2.0), ("b", 1, 1.0)
    ]  # fmt: skip
    log.write_text("".join([*first, line("a", 2, loss=5.0)]))  # killed again before it was as far: the rest never was
    assert [(x["step"], x["loss"]) for x in read_log(log)] == [(1, 1.0), (2, 5.0)]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", '"3"', "true", "[1]", "null", "1" + "0" * 400])
def test_what_is_no_finite_number_is_none(tmp_path, text):
    log = write_log(tmp_path, f'{{"stage": "a", "step": 1, "loss": {text}}}\n')
    assert read_log(log)[0]["loss"] is None


@pytest.mark.parametrize("text", ['{"step": 1}', '{"stage": "a", "step": true}', '{"stage": "a", "step": 0}', "{}"])
def test_lines_without_a_place_are_told(tmp_path, text):
    notes = []
    assert read_log(write_log(tmp_path, text + "\n"), notes) == []
    assert notes == ["log.jsonl: 1 lines without stage and step are skipped"]


def test_folders_that_hold_no_run(tmp_path):
    with pytest.raises(SkyEyeError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(SkyEyeError, match="holds no run"):
        read_run(tmp_path)


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: x\nstages: [{name: a, steps: 5}]\n")
    run = read_run(tmp_path)
    assert run.lines == [] and run.stages == {"a": 5}
    assert "No step has been logged yet." in page(run)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join(['*' + chr(ord(c) - 1)] * 9)}]\n" for c in "bcdefgh"
)


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]", "a: [", "- 1", "[" * 5000, "stages: 3", "a: !!python/name:os.x 1"]
)
def test_recipes_that_are_none_are_told_at_once(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    run = read_run(tmp_path)
    assert len(run.settings) < 10 and run.lines == []
    assert run.notes or text in ("- 1", "stages: 3")
    page(run)


def test_pictures_have_the_names_that_training_gives_them(make_run):
    folder = make_run(answers=[(10, "a")])
    path = folder / "samples" / "pretrain-0000010.json"
    content = json.loads(path.read_text())
    content["samples"][0]["pictures"] = ["../../secret.jpg", "/etc/passwd", "0" * 16 + ".jpg\n", 3, "0" * 16 + ".jpg"]
    path.write_text(json.dumps(content))
    assert read_run(folder).samples[0]["samples"][0]["pictures"] == ["0" * 16 + ".jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for(make_run):
    folder = make_run()
    for name in ("log.jsonl", "skipped.txt", "environment.json", "recipe.yaml"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    (folder / "recipe.yaml").unlink()
    (folder / "recipe.yaml").write_text("name: x")
    assert read_run(folder).lines == []


KEYS = ["stage", "step", "steps", "loss", "time", "event", "samples", "pictures", "answer", "question"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=4), json_values, st.binary(max_size=40))
def test_any_content_is_read_and_shown(tmp_path_factory, values, whole, tail):
    folder = tmp_path_factory.mktemp("any")
    lines = b"".join(json.dumps(value).encode() + b"\n" for value in values) + tail
    for name in ("log.jsonl", "events.jsonl", "skipped.txt"):
        (folder / name).write_bytes(lines)
    (folder / "samples").mkdir()
    (folder / "samples" / "a-1.json").write_text(json.dumps(whole))
    (folder / "eval").mkdir()
    for name in ("environment.json", "eval/scores.json"):
        (folder / name).write_text(json.dumps(whole))
    (folder / "recipe.yaml").write_text(json.dumps(whole))
    assert page(read_run(folder)).rstrip().endswith("</html>")


def test_scores_of_another_program_are_a_note(make_run, one_score):
    folder = make_run(scores=one_score)
    (folder / "eval").mkdir()
    (folder / "eval" / "scores.json").write_text(json.dumps({"about": {"checkpoint": "c"}, "vqa": {"accuracy": 5}}))
    run = read_run(folder)
    assert run.scores == {"checkpoints/pretrain/eval/scores.json": one_score}
    assert len(run.notes) == 1 and run.notes[0].startswith("eval/scores.json, key vqa.counts: ")


def test_members_of_a_list_go_by_their_name():
    recipe = yaml.safe_load("stages: [{name: a, mixture: [{source: x}, {source: y}]}, {name: b}]\nbetas: [0.9, 0.98]")
    assert dict(flatten(recipe)) == {
        "stages.a.name": '"a"',
        "stages.a.mixture.0.source": '"x"',
        "stages.a.mixture.1.source": '"y"',
        "stages.b.name": '"b"',
        "betas": "[0.9, 0.98]",
    }
