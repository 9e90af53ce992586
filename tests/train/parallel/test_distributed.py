"""Real processes: every strategy computes the run of a single process."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from processes import HANGS, free_port, run, said
from safetensors.torch import load_file

from skyeye.config.load import load_recipe, recipe_to_yaml
from skyeye.config.rules import check
from skyeye.config.schema import AlignmentConfig, MixtureEntry, RunConfig, StageConfig
from skyeye.errors import SkyEyeError
from skyeye.train.checkpoint.resume import changed_settings
from skyeye.train.parallel import distributed
from skyeye.train.parallel.distributed import check_strategy, deepspeed_settings


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Losses and final weights of the single process, computed once for all strategies."""
    return {"folder": tmp_path_factory.mktemp("single") / "run"}


def _torchrun(recipe: Path, *overrides: str) -> None:
    """As a user starts two processes: everything is loaded by each of them anew."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--master_port=0"]
    done = subprocess.run(
        [*command, "-m", "skyeye.train", str(recipe), *overrides],
        capture_output=True,
        text=True,
        timeout=HANGS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_two_processes_give_the_losses_and_weights_of_one(recipe, launch, tmp_path, one_process, strategy):
    single = one_process["folder"]
    if not single.exists():
        launch(recipe(), f"output_dir={single}")
    folder = tmp_path / strategy
    settings = [f"output_dir={folder}", f"run.strategy={strategy}"]
    if strategy == "zero2":
        _torchrun(recipe(), *settings)
    else:
        launch(recipe(), *settings, processes=2, agent=False)
    assert _losses(folder) == pytest.approx(_losses(single), abs=2e-5)
    for stage in ("pretrain", "single_task"):
        ours = load_file(folder / "checkpoints" / stage / "model.safetensors")
        alone = load_file(single / "checkpoints" / stage / "model.safetensors")
        assert ours.keys() == alone.keys()
        # Adam turns a last-bit difference of a near-zero gradient into a step of up to the learning rate (3e-3).
        close = [torch.isclose(ours[name], alone[name], atol=2e-4).float().mean() for name in alone]
        assert min(close) > 0.98


@pytest.mark.parametrize(
    ("processes", "settings"),
    [
        (1, ["stages.0.accumulation=4", "stages.1.accumulation=2"]),
        (1, ["run.share_prefix=false"]),
        (1, ["run.tokens_per_pack=130"]),  # steps of unequal numbers of packs, groups that are split
        (2, ["run.tokens_per_pack=130", "run.strategy=zero2"]),
        (2, ["run.tokens_per_pack=130", "run.strategy=ddp", "stages.0.images_per_step=5"]),
    ],
)
def test_how_a_step_is_divided_changes_nothing(recipe, launch, tmp_path, processes, settings):
    groups = [setting for setting in settings if "images_per_step" in setting]
    launch(recipe(), f"output_dir={tmp_path / 'whole'}", *groups)
    launch(recipe(), f"output_dir={tmp_path / 'parts'}", *settings, processes=processes)
    assert _losses(tmp_path / "parts") == pytest.approx(_losses(tmp_path / "whole"), abs=2e-5)


def test_another_length_of_packs_in_a_resumed_run_says_that_it_may_skip_other_samples(recipe):
    kept = recipe()
    now = [recipe_to_yaml(load_recipe(kept, [setting])) for setting in ("run.tokens_per_pack=40", "run.workers=2")]
    (longer,) = changed_settings(kept, now[0])
    assert longer.startswith("run.tokens_per_pack: None -> 40") and "other samples may be skipped" in longer
    assert changed_settings(kept, now[1]) == ["run.workers: 0 -> 2"]


def test_zero_on_a_cpu_needs_no_compiler(recipe):
    path, settings = recipe(), ["run.strategy=zero2", "stages.0.steps=2", "stages.1.steps=2"]
    assert run(path, *settings, inject="injected:no_extension") == [0], said(path)[-3000:]


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_buckets_hold_what_a_stage_trains_and_no_more(recipe, tmp_path, strategy):
    path, settings = recipe(), [f"run.strategy={strategy}", "run.keep_states=9", "stages.0.steps=2"]
    assert run(path, *settings, inject="injected:say_bucket_size") == [0], said(path)[-3000:]
    lines = [line for line in said(path).splitlines() if "bucket size" in line]
    states = [tmp_path / "run" / "states" / name for name in ("pretrain-0000002", "single_task-0000004")]
    trained = [sum(t.numel() for t in load_file(state / "parameters.safetensors").values()) for state in states]
    assert [int(line.split("bucket size")[1]) for line in lines] == trained and trained[0] > 2 * trained[1]


def test_buckets_have_an_upper_limit():
    for trained, expected in ((1000, 1000), (10**9, 500_000_000)):
        settings = deepspeed_settings(RunConfig(), _stage(), "zero2", trained)
        assert settings["zero_optimization"]["reduce_bucket_size"] == expected


@pytest.mark.parametrize(
    ("strategy", "trained", "expected"), [("zero2", 1000, 0), ("zero2", 10**9, 1), ("zero3", 1000, 1)]
)
def test_gradients_in_a_single_bucket_are_not_sent_while_others_are_computed(monkeypatch, strategy, trained, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = deepspeed_settings(RunConfig(), _stage(), strategy, trained)
    assert settings["zero_optimization"]["overlap_comm"] == bool(expected)


def _stage(**settings) -> StageConfig:
    return StageConfig(name="s", mixture=[MixtureEntry(source="w")], steps=10, **settings)


def test_a_stage_without_answers_that_trains_the_language_model_is_refused():
    """DDP would wait for gradients that never come."""
    alignment = AlignmentConfig(words=1.0)
    for language in ("frozen", "lora", "full"):
        issues = check(_stage(answers=False, alignment=alignment, language=language))
        refused = any(str(issue).startswith(f"language: {language}, but without answers") for issue in issues)
        assert refused == (language != "frozen")


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    _launched(monkeypatch, WORLD_SIZE="3")
    check_strategy(RunConfig(strategy="ddp"), _stage(images_per_step=2, questions_per_image=3, accumulation=2))
    with pytest.raises(SkyEyeError, match="use at least 6"):
        check_strategy(RunConfig(strategy="ddp"), _stage(images_per_step=2, questions_per_image=2, accumulation=2))


def _launched(monkeypatch, **environment: str) -> None:
    """The environment of a process that a launcher has started."""
    for name, value in {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", **environment}.items():
        monkeypatch.setenv(name, value)


def test_strategies_that_do_not_fit_the_launch_are_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for strategy in ("ddp", "zero2"):
        with pytest.raises(SkyEyeError, match=f"{strategy}' needs a launcher .*torchrun"):
            check_strategy(RunConfig(strategy=strategy), _stage())
    _launched(monkeypatch, WORLD_SIZE="2")
    with pytest.raises(SkyEyeError, match="2 processes"):
        check_strategy(RunConfig(strategy="single"), _stage())
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(SkyEyeError, match="RANK is set, but not MASTER_PORT"):
        check_strategy(RunConfig(strategy="ddp"), _stage())


def test_processes_that_do_not_come_are_told_in_one_line_with_the_address(monkeypatch, capsys):
    port = free_port()
    _launched(monkeypatch, WORLD_SIZE="2", MASTER_PORT=str(port))
    store = functools.partial(torch.distributed.TCPStore, "127.0.0.1", port, 2, True, timedelta(seconds=0.5))
    with pytest.raises(SkyEyeError) as raised, distributed._meeting(1.5):
        store()
    assert f"waited at 127.0.0.1:{port}: 1 of 2 processes came" in str(raised.value) and "\n" not in str(raised.value)
    assert capsys.readouterr().out == f"waiting at 127.0.0.1:{port} for 2 processes, 1.5 minutes at most\n"


def test_a_port_in_use_is_told_in_one_line(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        port = other.getsockname()[1]
        _launched(monkeypatch, WORLD_SIZE="2", MASTER_PORT=str(port))
        refused = pytest.raises(SkyEyeError, match=rf"the port of 127.0.0.1:{port} is in use .*MASTER_PORT")
        with refused, distributed._meeting(1.5):
            torch.distributed.TCPStore("127.0.0.1", port, 2, True, timedelta(seconds=0.5))
