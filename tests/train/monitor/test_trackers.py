"""wandb and TensorBoard get the same names and numbers."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from skyeye.config.schema import RunConfig
from skyeye.errors import SkyEyeError
from skyeye.train.monitor import trackers
from skyeye.train.monitor.trackers import Shown, check_trackers, start_trackers
from skyeye.train.run import train


class FakeWandb:
    """Records what wandb is told; the real one needs a process of its own."""

    def __init__(self):
        self.logged, self.metrics, self.begun, self.finished = [], [], [], 0

    def Image(self, picture, caption):
        return ("image", picture.size, caption)

    def init(self, **arguments):
        self.begun.append(arguments)
        return SimpleNamespace(
            id=arguments["id"] or "abc123",
            define_metric=lambda name, step_metric: self.metrics.append((name, step_metric)),
            log=self.logged.append,
            finish=lambda: setattr(self, "finished", self.finished + 1),
        )


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_a_run_tells_both_the_same_and_the_log(recipe, tmp_path, wandb):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    asked = ["run.wandb=offline", "run.tensorboard=true", "run.peak_tflops=0.001", "run.samples_every=4"]
    train(recipe(), [*asked, "run.samples=2"])
    folder = tmp_path / "run"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    places = {"stage", "step", "steps", "time", "seconds_left"}
    expected = {}
    for line in log:
        for key, value in line.items():
            if key not in places:
                expected.setdefault(f"{line['stage']}/{key}", []).append((line["step"], value))
    assert {"pretrain/mfu", "single_task/image_tokens_per_second", "pretrain/memory_peak_gib"} <= expected.keys()
    found = scalars(folder)
    assert found.keys() == expected.keys()
    for tag, points in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points]
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in points], rel=1e-6)
    told = {}
    for entry in wandb.logged:
        stage = next(iter(entry)).split("/")[0]
        for tag, value in entry.items():
            if not tag.endswith(("/step", "/samples")):
                told.setdefault(tag, []).append((entry[f"{stage}/step"], value))
    assert told == expected
    assert wandb.metrics == [(f"{stage}/*", f"{stage}/step") for stage in ("pretrain", "single_task")]
    assert wandb.finished == 1
    shown = [entry["pretrain/samples"] for entry in wandb.logged if "pretrain/samples" in entry]
    assert len(shown) == 1 and all(image[0] == "image" and "expected:" in image[2] for image in shown[0])
    # what the new numbers are made of: 4 image tokens for each of 4 images a step, and a share of a given peak
    for line in log:
        assert 0 < line["image_tokens_per_second"] < line["tokens_per_second"]
        assert line["mfu"] > 0 and line["supervised_tokens_per_second"] < line["tokens_per_second"]


def test_a_resumed_run_goes_on_under_its_id(tmp_path, wandb):
    run = RunConfig(wandb="offline", wandb_project="ships")
    for _ in range(2):
        start_trackers(run, "name", tmp_path, {"seed": 1}).finish()
    assert [begun["id"] for begun in wandb.begun] == [None, "abc123"]
    assert wandb.begun[1] | {"id": None} == wandb.begun[0]
    assert wandb.begun[0]["mode"] == "offline" and wandb.begun[0]["project"] == "ships"


def test_pictures_and_texts_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = start_trackers(RunConfig(tensorboard=True), "name", tmp_path, {})
    picture = Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8))
    tracker.samples("one", 5, [Shown(picture, "answer: *a*\nb"), Shown(None, "c")])
    tracker.finish()
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(i.step, i.width, i.height) for i in read.Images("one/samples/0")] == [(5, 30, 20)]
    assert read.Tags()["images"] == ["one/samples/0"]
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert texts == {
        "one/samples/0/text_summary": "    answer: *a*\n    b\n",
        "one/samples/1/text_summary": "    c\n",
    }


def test_a_package_that_is_missing_is_told_before_the_data_are_read(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(SkyEyeError, match="tensorboard is not installed.*|.*pip install tensorboard"):
        train(recipe(), ["run.tensorboard=true"])
    assert not (tmp_path / "run").exists()
    check_trackers(RunConfig())


def test_without_trackers_nothing_is_imported(tmp_path):
    tracker = start_trackers(RunConfig(), "name", tmp_path, {})
    tracker.numbers("one", 1, {"loss": 1.0})
    tracker.finish()
    assert tracker.trackers == [] and not list(tmp_path.iterdir())
