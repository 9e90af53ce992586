"""States on disk: whole or not at all, checked before they are believed, kept as the recipe says."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration as Model
from skyeye.synth import write_scenes
from skyeye.train.checkpoint import state
from skyeye.train.checkpoint.resume import trim_log
from skyeye.train.guards.guards import record_event
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


def test_batch_norms_go_on_with_their_statistics(recipe, tmp_path, monkeypatch):
    path = recipe()
    overrides = ["model.vision={architecture: timm, name: resnet10t, image_size: 64}", "model.projector.join_tokens=1"]
    overrides += ["run.checkpoint_every=1", "stages.0.steps=2", "stages.1.steps=2"]
    train(path, [*overrides, f"output_dir={tmp_path / 'whole'}"])
    _stopped_at(path, monkeypatch, 2, *overrides)
    train(path, overrides, resume=True)
    ends = [load_file(tmp_path / name / "checkpoints/pretrain/model.safetensors") for name in ("whole", "run")]
    moved = [name for name in ends[0] if name.endswith("running_mean") and ends[0][name].any()]
    assert moved and all(torch.equal(*(end[name] for end in ends)) for name in ends[0])


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


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def _without(key: str):
    def take_out(file: Path) -> None:
        kept = {name: value for name, value in json.loads(file.read_text()).items() if name != key}
        file.write_text(json.dumps(kept))

    return take_out


DAMAGED_MANIFESTS = {
    "cut off": _shorten,
    "gone": Path.unlink,
    "another kind": lambda file: file.write_text("[1]"),
    "no text": lambda file: file.write_bytes(b"\xff\xfe"),
    **{f"no {key}": _without(key) for key in ("stage", "step", "serial", "guard", "checksums", "optimizer_steps")},
}


@pytest.mark.parametrize("damage", DAMAGED_MANIFESTS)
def test_a_damaged_manifest_is_a_damaged_state(recipe, tmp_path, monkeypatch, capsys, damage):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 3, "run.checkpoint_every=1")
    DAMAGED_MANIFESTS[damage](folder / "states" / "pretrain-0000002" / "manifest.json")
    train(path, ["run.checkpoint_every=1", "stages.0.steps=4"], resume=True)
    said = capsys.readouterr().out
    assert "pretrain-0000002: manifest.json damaged; the state is skipped" in said
    assert "going on after step 1 of stage pretrain" in said


@pytest.mark.parametrize("name", ["manifest.json", "parameters.safetensors"])
def test_a_run_whose_states_are_all_damaged_does_not_begin_anew(recipe, tmp_path, monkeypatch, name):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 3, "run.checkpoint_every=1")
    for number in (1, 2):
        (_shorten if name == "manifest.json" else _flip)(folder / "states" / f"pretrain-000000{number}" / name)
    log = (folder / "log.jsonl").read_bytes()
    wrong = (
        rf"no state of stage pretrain is whole: .*pretrain-0000002: {name} damaged.*pretrain-0000001: {name} damaged"
    )
    with pytest.raises(SkyEyeError, match=wrong):
        train(path, ["run.checkpoint_every=1"], resume=True)
    with pytest.raises(SkyEyeError, match="already holds a run"):
        train(path, ["run.checkpoint_every=1"])
    assert (folder / "log.jsonl").read_bytes() == log
    assert _states(folder) == ["pretrain-0000001", "pretrain-0000002"]


@pytest.mark.parametrize("save", [1, 2, 3, 4])
def test_other_data_than_the_run_was_started_with_is_refused(recipe, world, tmp_path, monkeypatch, save):
    """Before any state (the environment says it), from a state, at the beginning of the next stage, and in it."""
    data, folder = shutil.copytree(world, tmp_path / "data"), tmp_path / "run"
    path = recipe(sources={"world": {"format": "synthetic", "path": str(data)}})
    _stopped_at(path, monkeypatch, save, "run.keep_states=1")
    shutil.rmtree(data)
    write_scenes(data, images=9, seed=5, held_out=3, size=56)
    before = {name: (folder / name).read_bytes() for name in ("log.jsonl", "environment.json", "events.jsonl")
              if (folder / name).is_file()}  # fmt: skip
    with pytest.raises(SkyEyeError, match=r"source world: records \d+ -> \d+, groups 13 -> 10, fingerprint \w+ -> \w+"):
        train(path, ["run.keep_states=1"], resume=True)
    assert {name: (folder / name).read_bytes() for name in before} == before and len(before) == 2
    shutil.rmtree(data)
    shutil.copytree(world, data)
    assert train(path, ["run.keep_states=1"], resume=True) is not None


def test_an_environment_that_says_nothing_about_the_data_is_told(recipe, tmp_path, monkeypatch):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 1)
    (folder / "environment.json").write_text("{}")
    with pytest.raises(SkyEyeError, match="environment.json: does not say which data"):
        train(path, resume=True)


def _other_bit(file: Path, tensors: dict) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].clone()
    tensors[name].view(torch.int32).flatten()[0] ^= 1


def _one_less(file: Path, tensors: dict) -> None:
    del tensors[sorted(tensors)[0]]


@pytest.mark.parametrize("damage", [_other_bit, _one_less])
def test_an_export_that_reads_back_differently_is_none(recipe, tmp_path, monkeypatch, damage):
    real = Model.save_pretrained

    def save_pretrained(self, folder, **options):
        real(self, folder, **options)
        tensors = load_file(Path(folder) / "model.safetensors")
        damage(folder, tensors)
        state.save_file(tensors, Path(folder) / "model.safetensors")

    path, folder = recipe(), tmp_path / "run"
    with monkeypatch.context() as patched, pytest.raises(SkyEyeError, match="checkpoints/pretrain: .*reads back"):
        patched.setattr(Model, "save_pretrained", save_pretrained)
        train(path)
    assert list((folder / "checkpoints").iterdir()) == []
    assert train(path, resume=True) == folder / "checkpoints" / "single_task"


def test_an_export_of_a_part_of_a_tensor_is_none(recipe, tmp_path, monkeypatch):
    """What the strategy gathers is too small already; file and memory are the same then."""
    from skyeye.train.checkpoint import export as exports

    real = exports.exported_weights

    def exported_weights(prepared, base):
        weights = real(prepared, base)
        name = next(name for name in weights if name.endswith("weight"))
        return {**weights, name: weights[name].new_empty(0)}

    monkeypatch.setattr(exports, "exported_weights", exported_weights)
    with pytest.raises(SkyEyeError, match="a part of"):
        train(recipe())


def _directory(path: Path, content: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(content)
    return path


def test_a_directory_that_is_replaced_is_there_before_and_after(tmp_path, monkeypatch):
    old, new = _directory(tmp_path / "x", "old"), _directory(tmp_path / ".x.partial", "new")
    real = os.replace

    def replace(source, target):
        if Path(source) == new:
            raise OSError(errno.EIO, "no")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="no"):
        state._replace(new, old)
    assert (old / "file").read_text() == "old"
    monkeypatch.setattr(os, "replace", real)
    state._replace(new, old)
    assert (old / "file").read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_a_kill_left_half_done_is_cleared_away(tmp_path):
    states, exports = tmp_path / "states", tmp_path / "checkpoints"
    for name in ("one-0000001", ".one-0000002.partial", ".one-0000001.going", ".one-0000003.old"):
        _directory(states / name, name)
    for name in (".one.partial", "one", ".one.old"):
        _directory(exports / name, name)
    state.clear_leftovers(tmp_path)
    # of what was to be replaced the old one is whole: it is there again where the new one did not get its name
    assert {path.name: (path / "file").read_text() for path in states.iterdir()} == {
        "one-0000001": "one-0000001",
        "one-0000003": ".one-0000003.old",
    }
    assert {path.name: (path / "file").read_text() for path in exports.iterdir()} == {"one": "one"}


@pytest.mark.parametrize("resume", [False, True])
def test_the_next_run_clears_away(recipe, tmp_path, resume):
    left = [_directory(tmp_path / "run" / "states" / f".one-0000002.{end}", "") for end in ("partial", "going")]
    train(recipe(), resume=resume)
    assert not any(path.exists() for path in left)


def test_a_state_that_is_no_longer_needed_and_cannot_go_is_told(recipe, tmp_path, monkeypatch, capsys):
    real = os.replace

    def replace(source, target):
        if str(target).endswith(".going"):
            raise OSError(errno.EPERM, "not yours")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert train(recipe(), ["run.keep_states=1"]) is not None
    assert "pretrain-0000002 is superfluous and could not be removed" in capsys.readouterr().out
    assert len(_states(tmp_path / "run")) == 4


def test_half_a_state_that_cannot_be_deleted_is_told(recipe, tmp_path, monkeypatch, capsys):
    real = shutil.rmtree

    def rmtree(path, **options):
        if str(path).endswith(".going") and Path(path).exists():
            raise OSError(errno.EBUSY, "busy")
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert train(recipe(), ["run.keep_states=1"]) is not None
    assert ".pretrain-0000002.going could not be removed" in capsys.readouterr().out


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
    from skyeye.train.guards.guards import Guard

    losses = iter([3.0, 1.0, 2.0, 2.5, 2.0, 1.6, 1.5, 1.0, 0.5, 0.1])
    monkeypatch.setattr(Guard, "usual_loss", lambda self: next(losses))
    settings = ["stages.0.steps=6", "run.checkpoint_every=1", "run.keep_states=1", "run.keep_best=true"]
    folder, seen = tmp_path / "run", []
    real = state.save_state
    monkeypatch.setattr("skyeye.train.hooks.save_state", lambda *a: (real(*a), seen.append(_states(folder))))
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
        ("stages.0.images_per_step=5", "stages.pretrain.images_per_step: 4 -> 5"),
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
    trim_log(tmp_path / "log.jsonl", "two", 2)
    kept = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == steps[:5]


def _steps(folder: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"]) for line in lines]


def test_a_run_that_begins_again_has_no_log_of_the_one_before_it(recipe, tmp_path, monkeypatch):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 1)
    record_event(folder, "held back", stage="pretrain", step=2)
    (folder / "eval").mkdir()
    (folder / "eval" / "pretrain.jsonl").write_text('{"stage": "pretrain", "step": 1, "scores": {}}\n')
    assert _steps(folder) == [("pretrain", 1), ("pretrain", 2)]
    train(path)
    assert _steps(folder) == [(stage, step) for stage in ("pretrain", "single_task") for step in (1, 2, 3, 4)]
    assert not (folder / "events.jsonl").exists() and not list((folder / "eval").iterdir())


def test_events_of_steps_that_are_done_again_go(recipe, tmp_path, monkeypatch):
    path, folder = recipe(), tmp_path / "run"
    _stopped_at(path, monkeypatch, 2)
    for stage, step in (("pretrain", 2), ("pretrain", 3)):
        record_event(folder, "held back", stage=stage, step=step)
    with open(folder / "events.jsonl", "a") as log:
        log.write('{"event": "held b')  # cut off
    train(path, resume=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [(event["event"], event.get("step")) for event in events] == [("held back", 2), ("resumed", None)]
