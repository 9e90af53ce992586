"""The numbers of a log line, by arithmetic on a clock that the test turns."""

from __future__ import annotations

import json
import re
import time

import pytest
import torch
from processes import HANGS, run, said, start

from skyeye import cli
from skyeye.config.load import load_recipe
from skyeye.config.schema import MixtureEntry, RunConfig, StageConfig
from skyeye.data.sequence import SequenceBuilder
from skyeye.models.processing import SkyEyeProcessor
from skyeye.runs.read import read_run
from skyeye.train.guards.interrupt import REQUEUE
from skyeye.train.loader import StepDivision, StepPacks
from skyeye.train.monitor import progress
from skyeye.train.monitor.progress import Monitor, StepReport, draw_loss_curve
from skyeye.train.setup import PlannedStage, prepare_tokenizer, setup_run


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "perf_counter", lambda: Clock.now)
    return Clock


def stage(**changes) -> PlannedStage:
    return PlannedStage(0, StageConfig(name="one", mixture=[MixtureEntry("world")], **changes), steps=10, seed=0)


def monitor(folder, stage, every: int = 2, **more) -> Monitor:
    return Monitor(folder, RunConfig(log_every=every), stage, start_step=more.pop("start", 0), writes=True, **more)


def a_step(number: int, clock, seconds: float = 2.0, **changes) -> dict:
    clock.now += seconds
    told = {"loss": torch.tensor(1.5), "learning_rate": 1e-3, "gradient_norm": 0.25, "samples": 30, "targets": 50}
    told |= {"tokens": 300, "places": 400, "seconds": seconds, "waited": 0.5, "image_tokens": 64, "operations": 6e9}
    return {"step": number, "report": StepReport(**told | changes)}


def lines(folder) -> list[dict]:
    whole = (folder / "log.jsonl").read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def test_a_line_holds_the_rates_of_the_steps_since_the_last(tmp_path, clock):
    seen = monitor(tmp_path, stage(), peak=1e10, start=4)
    seen.step(**a_step(4, clock))
    clock.now += 4.0  # a checkpoint is written
    seen.step(**a_step(5, clock, seconds=3.0, samples=20, waited=0.75))
    (line,) = lines(tmp_path)
    seen._bar.close()
    assert (line["stage"], line["step"], line["steps"]) == ("one", 6, 10)
    assert (line["loss"], line["learning_rate"], line["gradient_norm"]) == (1.5, 1e-3, 0.25)
    assert line["samples_per_second"] == 50 / 5
    assert line["tokens_per_second"] == 600 / 5
    assert line["supervised_tokens_per_second"] == 100 / 5
    assert line["image_tokens_per_second"] == round(128 / 5, 1)
    assert line["mfu"] == pytest.approx(12e9 / 5 / 1e10)
    assert line["padding_share"] == 0.25 and line["data_wait_share"] == 0.25
    assert line["pause_seconds"] == 4.0
    assert line["seconds_left"] == 9.0 / 2 * 4  # nine seconds for two steps; four are left
    assert line["memory_peak_gib"] > 0.05  # torch alone takes more
    assert line["time"].endswith("+00:00")


def test_without_a_peak_or_operations_there_is_no_mfu(tmp_path, clock):
    seen = monitor(tmp_path, stage(), every=1)
    seen.step(**a_step(0, clock))
    seen._bar.close()
    seen = monitor(tmp_path, stage(), every=1, peak=1e10)
    seen.step(**a_step(1, clock, operations=None))
    seen.step(**a_step(2, clock))
    assert [line["mfu"] for line in lines(tmp_path)] == [None, None, 0.3]
    seen._bar.close()


@pytest.mark.parametrize(("normalisation", "loss"), [("micro_batch", 1.5), ("global_tokens", 6.0)])
def test_the_reference_sums_the_means_of_the_packs_and_their_mean_is_told(tmp_path, clock, normalisation, loss):
    seen = monitor(tmp_path, stage(loss_normalisation=normalisation), every=1)
    seen.step(**a_step(0, clock, loss=torch.tensor(6.0), packs=4))
    assert lines(tmp_path)[0]["loss"] == loss
    seen._bar.close()


def test_what_is_no_number_is_null_and_draws_a_gap(tmp_path, clock):
    seen = monitor(tmp_path, stage(), every=1)
    for step, loss in enumerate((2.0, float("nan"), float("inf"))):
        seen.step(**a_step(step, clock, loss=torch.tensor(loss), gradient_norm=loss))
    assert [line["loss"] for line in lines(tmp_path)] == [2.0, None, None]
    assert [line["gradient_norm"] for line in lines(tmp_path)] == [2.0, None, None]
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()
    seen._bar.close()
    draw_loss_curve(tmp_path)
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_half_a_line_of_a_killed_run_spoils_no_other(tmp_path, clock):
    (tmp_path / "log.jsonl").write_text('{"stage": "one", "step": 1, "loss": 3.0}\n{"stage": "one", "st')
    seen = monitor(tmp_path, stage(), every=1, start=1)
    seen.step(**a_step(1, clock))
    seen._bar.close()
    written = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(written) == 3 and json.loads(written[2])["step"] == 2


def test_a_run_that_goes_back_has_a_time_left(tmp_path, clock):
    seen = monitor(tmp_path, stage(), every=1, start=6)
    seen.step(**a_step(6, clock))
    seen.step(**a_step(2, clock))  # as after a rewind
    assert [line["seconds_left"] for line in lines(tmp_path)] == [2.0 * 3, 2.0 * 7]
    assert seen._bar.n == 3
    seen._bar.close()


def test_the_other_processes_write_nothing(tmp_path, clock):
    seen = Monitor(tmp_path, RunConfig(log_every=1), stage(), start_step=0, writes=False)
    seen.step(**a_step(0, clock))
    seen.close()
    assert not list(tmp_path.iterdir())


def test_a_log_without_a_line_draws_nothing(tmp_path):
    draw_loss_curve(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    draw_loss_curve(tmp_path)
    assert not (tmp_path / "loss.png").exists()


def test_the_page_is_made_from_a_run_that_goes_on(recipe, tmp_path):
    """Four pages in the middle of it, each further than the last, and the run does not mind."""
    folder = tmp_path / "run"
    settings = ["stages.0.steps=100000", "run.samples_every=5", "run.samples=2", "run.checkpoint_every=20"]
    output = tmp_path / "said.txt"
    training = start(["train", recipe(), *settings], output)
    try:
        shown, until = [0], time.monotonic() + HANGS
        while len(shown) < 5 and time.monotonic() < until and training.is_alive():
            steps = len(lines(folder)) if (folder / "log.jsonl").is_file() else 0
            if steps > shown[-1] + 5:
                assert cli.main(["runs", "show", str(folder), "--out", str(tmp_path / "page.html")]) == 0
                page = (tmp_path / "page.html").read_text()
                (step,) = re.findall(r"Stage pretrain, step (\d+) of 100000, logged at", page)
                assert int(step) >= steps and read_run(folder).notes == []
                shown.append(int(step))
            time.sleep(0.05)
        assert training.is_alive(), output.read_text()
        assert len(shown) == 5 and "data:image/jpeg" in page  # the samples of a step are in it
        training.terminate()
        training.join(HANGS)
        assert training.exitcode == REQUEUE
    finally:
        training.kill()


@pytest.mark.parametrize("budget", [None, 60])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_tokens_and_places_are_those_of_the_tensors_that_a_step_computes(recipe, share_prefix, budget):
    settings = load_recipe(recipe())
    setup = setup_run(settings)
    processor = SkyEyeProcessor.from_config(settings.model, prepare_tokenizer(setup.model, setup.data.groups))
    builder = SequenceBuilder(processor.tokenizer, settings.model.prompt, 4)
    shape = {"images_per_step": 6, "accumulation": 2, "world": 2, "share_prefix": share_prefix, "budget": budget}
    mixture, divisions = setup.mixture(setup.stages[0]), [StepDivision(rank=rank, **shape) for rank in (0, 1)]
    steps = [StepPacks(mixture, builder, settings.model.vision, division, steps=1) for division in divisions]
    ranks = [own[0] for own in steps]
    packs = [pack for step in ranks for pack in step.packs]
    if budget is not None:  # padding included, as it is computed
        packs_and_longest = [*packs, steps[0].longest(0)]
        assert max(pack["input_ids"].numel() for pack in packs_and_longest) <= budget and len(packs) > 4
    if share_prefix:
        tokens = sum(pack["input_ids"].numel() for pack in packs)
    else:
        tokens = sum(int(pack["attention_mask"].sum()) for pack in packs)
    sizes = [[pack["input_ids"].numel() for pack in step.packs] for step in ranks]
    for step in ranks:
        assert step.tokens == tokens
        assert step.image_tokens == 4 * sum(len(pack["pixel_values"]) for pack in packs)
        assert step.places == 2 * sum(max(pair) for pair in zip(*sizes, strict=True)) >= tokens


@pytest.mark.parametrize(
    ("name", "settings"), [("log.jsonl", []), ("events.jsonl", ["run.guards.max_broken=1", "run.tokens_per_pack=60"])]
)
def test_a_full_disk_is_an_error_that_says_where_and_what_to_do(recipe, tmp_path, name, settings):
    (tmp_path / "run").mkdir()
    path = recipe()
    inject = f"injected:disk_full_at_{name.split('.')[0]}"
    assert run(path, *settings, inject=inject) == [2], said(path)
    told = said(path).replace("\n", " ")
    assert "Traceback" not in told and f"{tmp_path}/run/{name}: cannot be written: No space left on device" in told
    assert "make room" in told and "--resume" in told


@pytest.mark.parametrize("name", ["environment.json", "skipped.txt", "recipe.yaml"])
def test_a_run_folder_that_cannot_be_written_is_an_error_that_says_where(recipe, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)  # nothing can take its place
    path = recipe()
    assert run(path) == [2], said(path)
    assert "Traceback" not in said(path) and f"run/{name}: cannot be written" in said(path)
