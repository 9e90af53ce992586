"""Answers survive whatever ends a run: nothing is asked twice, nothing is lost, the bytes are the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import perfect
import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import Process
from skyeye.serve.scenes.annotate import Asking, Job, annotate_scene, answer_scene, journal_of
from skyeye.serve.scenes.many import SUMMARY, annotate_many, jobs_of, scenes_of
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.scene import open_scene
from skyeye.serve.scenes.write import Layer

PLACE = ((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0), "EPSG:32633")
RED = {"red": [(10, 10, 30, 40), (60, 20, 130, 45), (70, 140, 110, 190)]}
ASKING = Asking((parse_question("[detection] red things"),), chunk=3)


class Stops(perfect.Oracle):
    """Is killed at its n-th chunk, before it answers."""

    def __init__(self, after: int):
        super().__init__()
        self.after = after

    def answer(self, prepared, turns):
        if not self.after:
            raise KeyboardInterrupt
        self.after -= 1
        return super().answer(prepared, turns)


@pytest.fixture
def scene(tmp_path, draw, write_tiff):
    return write_tiff(tmp_path / "scene.tif", draw(420, 300, RED), *PLACE)


def test_a_killed_run_goes_on_and_asks_no_window_twice(tmp_path, scene, oracle):
    whole = Job(str(scene), (Layer(tmp_path / "whole.geojson"),), tmp_path / "a")
    found = annotate_scene(whole, ASKING, oracle)
    job = Job(str(scene), (Layer(tmp_path / "part.geojson"),), tmp_path / "b")
    asked = 0
    for after in (0, 1, 2, 1):
        stops = Stops(after)
        with pytest.raises(KeyboardInterrupt):
            annotate_scene(job, ASKING, stops)
        asked += len(stops.asked)
        with (tmp_path / "b/0.jsonl").open("ab") as file:  # killed in writing
            file.write(b'{"chunk": 1, "answ')
    rest = perfect.Oracle()
    annotate_scene(job, ASKING, rest)
    assert asked + len(rest.asked) == found.asked == len(oracle.asked) and asked == 12
    content = (tmp_path / "part.geojson").read_text().replace('"part"', '"whole"')
    assert content == (tmp_path / "whole.geojson").read_text()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("change", ["question", "model", "window"])
def test_answers_of_another_run_are_not_taken(tmp_path, scene, oracle, change):
    job = Job(str(scene), (Layer(tmp_path / "o.geojson"),), tmp_path / "j", keep=True)
    annotate_scene(job, ASKING, oracle)
    other, model = ASKING, oracle
    if change == "question":
        other = Asking((parse_question("[detection] green things"),), chunk=3)
    else:
        model = perfect.Oracle(oracle.side + (change == "window"), "another" if change == "model" else "oracle")
    with pytest.raises(SkyEyeError, match=f"{change}.*remove it"):
        annotate_scene(job, other, model)


def test_other_rules_need_no_new_answers(tmp_path, scene, oracle):
    job = Job(str(scene), (Layer(tmp_path / "o.geojson"),), tmp_path / "j", keep=True)
    annotate_scene(job, ASKING, oracle)
    asked = len(oracle.asked)
    found = annotate_scene(job, Asking(ASKING.questions, chunk=3, rules=type(ASKING.rules)(min_score=0.95)), oracle)
    assert len(oracle.asked) == asked and found.features == ()


def test_two_runs_do_not_write_to_one_journal(tmp_path, scene, oracle, held_by_another):
    job = Job(str(scene), (Layer(tmp_path / "o.geojson"),), tmp_path / "j")
    (tmp_path / "j").mkdir()
    held_by_another(tmp_path / "j/0.lock")
    with pytest.raises(SkyEyeError, match="written by another run"):
        annotate_scene(job, ASKING, oracle)


def test_processes_share_the_windows_and_the_first_writes(tmp_path, draw, write_tiff, oracle):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(3):
        write_tiff(folder / f"{number}.tif", draw(300 + 50 * number, 300, RED), *PLACE)
    scenes = scenes_of(str(folder))
    alone = annotate_many(jobs_of(scenes, tmp_path / "a", [".geojson"], "EPSG:4326"), ASKING, oracle, tmp_path / "a")
    jobs = jobs_of(scenes, tmp_path / "b", [".geojson"], "EPSG:4326")
    others = [perfect.Oracle(), perfect.Oracle()]
    assert annotate_many(jobs, ASKING, others[1], tmp_path / "b", Process(1, 2)) is None
    shared = annotate_many(jobs, ASKING, others[0], tmp_path / "b", Process(0, 2))
    asked = [len(other.asked) for other in others]
    assert sum(asked) == len(oracle.asked) and min(asked) > 0.3 * sum(asked)
    assert [each["objects"] for each in shared.scenes] == [each["objects"] for each in alone.scenes]
    for name in ("0.geojson", "1.geojson", "2.geojson"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_bad_scene_is_told_and_passed_and_finished_ones_are_not_asked_again(tmp_path, draw, write_tiff, oracle):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"II*\0 no tiff")
    write_tiff(folder / "b.tif", draw(150, 150, RED), *PLACE)
    jobs = jobs_of(scenes_of(str(folder)), tmp_path / "o", [".geojson"], "EPSG:4326")
    ticks = []
    report = annotate_many(jobs, ASKING, oracle, tmp_path / "o", progress=lambda *each: ticks.append(each))
    assert len(report.scenes) == 1 and [scene for scene, _ in report.problems] == [str(folder / "a.tif")]
    assert ticks[-1] == (4, 4)
    told = json.loads((tmp_path / "o" / SUMMARY).read_text())
    assert told["problems"][0]["scene"].endswith("a.tif") and told["windows"]["asked"] == 4
    asked = len(oracle.asked)
    again = annotate_many(jobs, ASKING, oracle, tmp_path / "o")
    assert len(oracle.asked) == asked and again.scenes == report.scenes
    (tmp_path / "o/b.geojson").unlink()  # a layer that is gone is written again, from the answers
    annotate_many(jobs, ASKING, oracle, tmp_path / "o")
    assert len(oracle.asked) == asked and (tmp_path / "o/b.geojson").exists()


def test_what_several_processes_could_not_read_is_waited_for_once(tmp_path, scene, oracle):
    # a chunk with an unreadable window counts as done in the run that met it
    job = Job(str(scene), (Layer(tmp_path / "o.geojson"),), tmp_path / "j")
    opened = open_scene(str(scene), ASKING.cutting, 100)
    with journal_of(job, opened, ASKING, "oracle", 0) as journal:
        answer_scene(opened, journal, ASKING, oracle)
        chunk = journal.done[0]
        journal.add(0, type(chunk)(chunk.answers, (), ((0, "damaged"),)))
    with journal_of(job, opened, ASKING, "oracle", 0, retry=False) as journal:
        assert 0 in journal.done
    with journal_of(job, opened, ASKING, "oracle", 0) as journal:
        assert 0 not in journal.done


@pytest.mark.slow
def test_killed_twenty_times_the_bytes_are_the_same(tmp_path, draw, write_tiff):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(3):
        write_tiff(folder / f"{number}.tif", draw(1200, 900, RED), *PLACE)
    perfect.main(str(folder), str(tmp_path / "whole"))
    rng, kills = random.Random(1), 0
    command = [sys.executable, str(Path(perfect.__file__)), str(folder), str(tmp_path / "killed")]
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout.readline()
        if kills < 20:
            time.sleep(rng.uniform(0.0, 0.25))
            os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if process.returncode == 0 and kills >= 20:
            break
        if process.returncode == 0:  # faster than the kills: begin once more
            for path in (tmp_path / "killed").rglob("*"):
                path.is_file() and path.unlink()
    for path in sorted((tmp_path / "whole").glob("*.g*")):
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes(), path.name
