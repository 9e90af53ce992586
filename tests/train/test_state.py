"""States on disk: whole or not at all, checked before they are believed, kept as the recipe says."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from skyeye.errors import SkyEyeError
from skyeye.train import state
from skyeye.train.resume import trim_log
from skyeye.train.run import train


def _states(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "states").iterdir())


def _stopped_at(recipe, monkeypatch, save: int, *overrides: str) -> None:
    """A run that dies of a fault of the disk when it writes its n-th state."""
    real, calls = state.save_file, [0]

    def save_file(tensors, path):
        calls[0] += 1
        if calls[0] == 2 * save:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(state, "save_file", save_file)
    with pytest.raises(SkyEyeError, match="No space left on device.*--resume"):
        train(recipe, list(overrides))
    monkeypatch.setattr(state, "save_file", real)


def test_a_full_disk_leaves_the_last_good_state_and_says_so(recipe, tmp_path, monkeypatch):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 2, "run.checkpoint_every=1")
    assert _states(folder) == ["pretrain-0000001"]
    assert train(path, ["run.checkpoint_every=1"], resume=True) is not None


def test_a_limit_of_the_operating_system_on_writing(recipe, tmp_path):
    path = recipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # the moments of the first stage are larger
    try:
        with pytest.raises(SkyEyeError, match="pretrain-0000002: could not be written"):
            train(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _states(tmp_path / "run") == []


def test_what_reads_back_differently_is_no_state(recipe, tmp_path, monkeypatch):
    real, calls = state.save_file, [0]

    def save_file(tensors, path):
        calls[0] += 1
        if calls[0] == 3:  # parameters of the second state: one bit of one number
            name = sorted(tensors)[0]
            wrong = tensors[name].clone()
            wrong.view(torch.int32).flatten()[0] ^= 1
            tensors = {**tensors, name: wrong}
        real(tensors, path)

    monkeypatch.setattr(state, "save_file", save_file)
    with pytest.raises(SkyEyeError, match="reads back differently"):
        train(recipe(), ["run.checkpoint_every=1", "run.keep_states=1"])
    assert _states(tmp_path / "run") == ["pretrain-0000001"]  # the older one is still there


def test_a_damaged_state_is_told_and_the_one_before_it_taken(recipe, tmp_path, monkeypatch, capsys):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 3, "run.checkpoint_every=1")
    newest = folder / "states" / "pretrain-0000002" / "moments.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    train(path, ["run.checkpoint_every=1"], resume=True)
    said = capsys.readouterr().out
    assert "pretrain-0000002: moments.safetensors damaged" in said and "going on after step 1" in said


def test_retention(recipe, tmp_path):
    settings = ["stages.0.steps=8", "run.checkpoint_every=1", "run.keep_states=1", "run.keep_every=3"]
    train(recipe(), settings)
    # of the second stage the newest, that of its end, and the third step; of the first the third and sixth
    names = ["pretrain-0000003", "pretrain-0000006", "single_task-0000003", "single_task-0000004"]
    assert _states(tmp_path / "run") == names


def test_the_end_is_kept_however_seldom_states_are_and_no_more_than_asked_for(recipe, tmp_path):
    train(recipe(), ["run.checkpoint_every=1000", "run.keep_states=1"])
    assert _states(tmp_path / "run") == ["single_task-0000004"]


def test_the_best_state_is_kept_besides_the_newest(recipe, tmp_path, monkeypatch):
    from skyeye.train.guards import Guard

    losses = iter([3.0, 1.0, 2.0, 2.5, 2.0, 1.6, 1.5, 1.0, 0.5, 0.1])
    monkeypatch.setattr(Guard, "usual_loss", lambda self: next(losses))
    settings = ["stages.0.steps=6", "run.checkpoint_every=1", "run.keep_states=1", "run.keep_best=true"]
    folder, seen = tmp_path / "run", []
    real = state.save_state
    monkeypatch.setattr("skyeye.train.stages.save_state", lambda *a: (real(*a), seen.append(_states(folder))))
    train(recipe(), settings)
    assert seen[4] == ["pretrain-0000002", "pretrain-0000005"]


def test_a_state_explains_itself(recipe, tmp_path):
    train(recipe())
    folder = tmp_path / "run" / "states" / "single_task-0000002"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["stage"] == "single_task" and manifest["step"] == 2 and manifest["steps"] == 4
    parameters, moments = (load_file(folder / name) for name in state.TENSORS)
    assert set(manifest["optimizer_steps"].values()) == {2.0}
    assert set(moments) == {f"{name}/{key}" for name in parameters for key in ("exp_avg", "exp_avg_sq")}
    assert all(tensor.dtype == torch.float32 for tensor in (*parameters.values(), *moments.values()))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=8", "seed: 7 -> 8"),
        ("stages.1.optimizer.lr=1.0", "stages.single_task.optimizer.lr"),
        ("run.precision=bf16", "run.precision: fp32 -> bf16"),
        ("model.lora.r=3", "model.lora.r: 2 -> 3"),
        ("stages.0.groups_per_step=5", "stages.pretrain.groups_per_step: 4 -> 5"),
    ],
)
def test_settings_that_decide_what_is_computed_may_not_change(recipe, monkeypatch, override, key):
    path = recipe()
    _stopped_at(path, monkeypatch, 1)
    with pytest.raises(SkyEyeError, match=key.replace(".", r"\.")):
        train(path, [override], resume=True)


def test_settings_of_how_it_is_computed_may_and_are_told(recipe, tmp_path, monkeypatch, capsys):
    path = recipe()
    _stopped_at(path, monkeypatch, 1)
    changes = ["stages.1.accumulation=2", "run.tokens_per_pack=130", "run.log_every=2"]
    assert train(path, changes, resume=True) is not None
    said = capsys.readouterr().out
    for line in ("accumulation: 1 -> 2", "run.tokens_per_pack: None -> 130", "run.log_every: 1 -> 2"):
        assert line in said
    assert "no state of stage pretrain yet" in said  # the first one could not be written
    (event,) = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert event["event"] == "resumed" and len(event["changed"]) == 3


def test_resume_where_nothing_is_begins_afresh_and_says_so(recipe, capsys):
    assert train(recipe(), resume=True) is not None
    assert "it starts afresh" in capsys.readouterr().out


def test_a_log_that_was_cut_off_goes_on_where_the_state_is(tmp_path):
    steps = [{"stage": stage, "step": step} for stage in ("one", "two") for step in (1, 2, 3)]
    text = "".join(json.dumps(step) + "\n" for step in steps)
    (tmp_path / "log.jsonl").write_text(text + '{"stage": "two", "st')
    trim_log(tmp_path, "two", 2)
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == steps[:5]
