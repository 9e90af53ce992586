"""Validation answers in the middle of training: right ones, and training goes on as if nothing had been."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from skyeye.config.load import load_recipe
from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_source
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention, Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.answer import answer
from skyeye.models.pretrained import open_checkpoint
from skyeye.train.guards.watchdog import Watchdog
from skyeye.train.monitor.samples import LONGEST_ANSWER, Samples, SamplesHook, undisturbed
from skyeye.train.monitor.trackers import Shown
from skyeye.train.run import train

LORA = {"r": 2, "alpha": 4, "dropout": 0.3}  # draws random numbers in every step of the second stage
RUNS: dict[bool, object] = {}


@pytest.fixture
def runs(recipe, world, tmp_path_factory):
    """The folders of the same run without samples and with some after every second step (made once)."""
    if not RUNS:
        sources = {"world": {"format": "synthetic", "path": str(world)}}
        sources["held_out"] = {"format": "synthetic", "path": str(world), "split": "test"}
        for with_samples in (False, True):
            folder = tmp_path_factory.mktemp("samples") / "run"
            model = {**json.loads(json.dumps(_model(recipe))), "lora": LORA}
            path = recipe(output_dir=str(folder), sources=sources, model=model)
            asked = ["run.samples_every=3", "run.samples=5", "run.samples_source=held_out", "run.peak_tflops=0.001"]
            train(path, asked if with_samples else [])
            RUNS[with_samples] = folder
    return RUNS[False], RUNS[True]


def _model(recipe) -> dict:
    import yaml

    return yaml.safe_load(recipe().read_text())["model"]


def _losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_training_does_not_notice(runs):
    without, with_samples = runs
    assert _losses(without) == _losses(with_samples) and len(_losses(without)) == 8
    for stage in ("pretrain", "single_task"):
        one, two = (load_file(f / "checkpoints" / stage / "model.safetensors") for f in runs)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_answers_are_those_of_the_exported_model(runs, world, written):
    folder = runs[1] / "samples"
    names = sorted(path.name for path in folder.glob("*.json"))
    assert names == [f"{stage}-{step:07d}.json" for stage in ("pretrain", "single_task") for step in (3, 4)]
    records = {r.id: r for r in read_source(SourceConfig("synthetic", str(world), split="test"), "held_out")}
    asked = None
    for stage in ("pretrain", "single_task"):
        content = json.loads((folder / f"{stage}-0000004.json").read_text())
        assert (content["stage"], content["step"], content["held_out"]) == (stage, 4, True)
        rows = content["samples"]
        chosen = [records[row["id"]] for row in rows]
        assert len(rows) == 5 and len({row["task"] for row in rows}) > 1  # tasks take turns
        model, processor = open_checkpoint(runs[1] / "checkpoints" / stage)
        expected = answer(model.eval(), processor, chosen, max_new_tokens=LONGEST_ANSWER)
        assert [row["answer"] for row in rows] == expected and any(expected)
        for row, record in zip(rows, chosen, strict=True):
            (turn,) = written(record).turns
            assert (row["question"], row["expected"]) == (turn.question, turn.answer)
            assert row["images"] == list(record.images) and len(row["pictures"]) == min(8, len(record.images))
            with Image.open(folder / "pictures" / row["pictures"][0]) as picture:
                assert picture.format == "JPEG" and max(picture.size) <= 320
        assert asked in (None, [row["id"] for row in rows])  # the same questions all along
        asked = [row["id"] for row in rows]
    assert not list(folder.rglob("*.partial"))


def test_without_a_source_they_are_called_training_data(recipe, tmp_path):
    train(recipe(), ["run.samples_every=4", "run.samples=3"])
    content = json.loads((tmp_path / "run" / "samples" / "pretrain-0000004.json").read_text())
    assert content["held_out"] is False and len(content["samples"]) == 3


class Seen:
    def __init__(self):
        self.shown: list[tuple[str, int, list[Shown]]] = []

    def samples(self, stage, step, shown):
        self.shown.append((stage, step, list(shown)))


def test_an_image_that_cannot_be_read_is_said_and_the_others_are_answered(runs, tmp_path):
    model, processor = open_checkpoint(runs[1] / "checkpoints" / "pretrain")
    Image.new("RGB", (60, 30), "navy").save(tmp_path / "a.png")
    box = (Turn("where is it?", f"{MARK} {{<80><10><20><60>}}", "refer", (Mention((Box(0.2, 0.1, 0.8, 0.6),)),)),)
    records = [
        Record("gone", "s", "vqa", "train", (str(tmp_path / "gone.png"),), box),
        Record("there", "s", "refer", "train", (str(tmp_path / "a.png"),), box),
        Record("text", "s", "vqa", "train", (), (Turn("[vqa] how many?", "3"),)),
    ]
    seen = Seen()
    what = {"stage": "one", "held_out": True, "precision": "fp32", "tracker": seen}
    samples = Samples(tmp_path, records, processor, **what)
    watchdog = Watchdog(tmp_path, rank=0, world=1, seconds=None)
    hook = SamplesHook(samples, model, Accelerator(cpu=True), watchdog, every=2, steps=5)
    for step in range(1, 6):
        assert not hook.after_step(step)
    assert [(stage, step) for stage, step, _ in seen.shown] == [("one", 2), ("one", 4), ("one", 5)]
    rows = json.loads((tmp_path / "samples" / "one-0000005.json").read_text())["samples"]
    assert "gone.png" in rows[0]["failed"] and not rows[0]["answer"] and rows[0]["pictures"] == []
    assert [row["failed"] for row in rows[1:]] == ["", ""] and rows[2]["pictures"] == []
    drawn = [shown.picture for shown in seen.shown[-1][2]]
    assert drawn[0] is None and drawn[2] is None and drawn[1].size == (60, 30)
    assert drawn[1].getpixel((12, 10)) == (0x21, 0xC0, 0x63) and drawn[1].getpixel((30, 10))[1] < 20


def test_every_mode_and_every_random_number_is_what_it_was(runs):
    model, _ = open_checkpoint(runs[1] / "checkpoints" / "pretrain")
    model.set_trainable(vision="full", projector="full", language="full")
    model.train()
    adapters = [module for module in model.modules() if hasattr(module, "disable_adapters")]
    resting = [module.disable_adapters for module in adapters]
    assert any(resting)  # adapters that are still zero are skipped in training, and answers wake them
    model.get_output_embeddings().training = False  # a part that rests, which model.train() does not know about
    trained = [p.requires_grad for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), undisturbed(model):
        assert not any(module.training for module in model.modules())
        torch.rand(3)
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == modes
    assert [module.disable_adapters for module in adapters] == resting
    assert [p.requires_grad for p in model.parameters()] == trained
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.samples_source=world", "is trained on in stages"),
        ("run.samples_source=wrld", "no source 'wrld'"),
        ("run.strategy=zero3", "under zero3"),
        ("run.samples_every=0", "is below 1"),
        ("run.samples_every=null", "is only used with samples_every"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(recipe, override, words):
    asked = ["run.samples_every=2", *(["run.samples_source=world"] if "null" in override else [])]
    with pytest.raises(SkyEyeError, match=words):
        load_recipe(recipe(), [*asked, override])


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_with_two_processes_the_first_answers_and_the_others_wait(recipe, runs, tmp_path, launch, strategy):
    launch(recipe(), f"run.strategy={strategy}", "run.samples_every=3", "run.samples=3", processes=2)
    names = sorted(path.name for path in (tmp_path / "run" / "samples").glob("*.json"))
    assert names == [f"{stage}-{step:07d}.json" for stage in ("pretrain", "single_task") for step in (3, 4)]
    # the first stage has no dropout and is that of the single process
    assert _losses(tmp_path / "run")[:4] == pytest.approx(_losses(runs[0])[:4], abs=1e-4)
