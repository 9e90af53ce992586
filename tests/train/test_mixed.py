"""Text, one image and several images meet in one step on any process: the same losses as alone, and nobody waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import run, said

from skyeye.config.load import load_recipe
from skyeye.data.sequence import SequenceBuilder
from skyeye.train.loader import StepDivision, StepPacks
from skyeye.train.setup import prepare_model, setup_run

SHARED = "injected:share_out_every_parameter"


@pytest.fixture
def mixed(recipe, world, tmp_path):
    """A function that writes a recipe over 24 records: text alone, an image, two and three images."""
    images = sorted(path.name for path in (world / "images").iterdir())
    items = []
    for number in range(24):
        words = [("human", f"how many ships are there? {number}"), ("gpt", f"there are {number}")]
        item = {"conversations": [{"from": role, "value": text} for role, text in words]}
        shown = number % 4  # 0: text alone
        if shown:
            item["image"] = [images[(number + i) % len(images)] for i in range(shown)]
        items.append(item)
    (tmp_path / "mixed.json").write_text(json.dumps(items))
    (tmp_path / "text.json").write_text(json.dumps([item for item in items if "image" not in item]))

    def write(folder: Path, **stage) -> Path:
        settings = {
            "name": "mixed",
            "mixture": [{"source": "mixed"}],
            "steps": 6,
            "images_per_step": 4,
            "questions_per_image": 1,
            "optimizer": {"lr": 3e-3, "min_lr": 1e-4, "warmup_lr": 1e-3, "warmup_steps": 1},
            **stage,
        }
        sources = {name: {"format": "llava", "path": str(tmp_path / f"{name}.json")} for name in ("mixed", "text")}
        sources["mixed"]["images"] = str(world / "images")
        sources["world"] = {"format": "synthetic", "path": str(world)}
        return recipe(stages=[settings], sources=sources, output_dir=str(folder))

    return write


def _losses(recipe: Path, folder: Path, strategy: str, processes: int, *overrides: str) -> list[float]:
    codes = run(recipe, f"run.strategy={strategy}", *overrides, processes=processes, inject=SHARED)
    assert set(codes) == {0}, f"{codes}\n{said(recipe)[-3000:]}"
    assert (folder / "skipped.txt").read_text() == ""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    return [line["loss"] for line in lines]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses that one process has with the settings of a stage: the same runs for every strategy, made once."""
    known: dict[str, list[float]] = {}

    def losses(mixed, **stage) -> list[float]:
        if (key := json.dumps(stage)) not in known:
            folder = tmp_path_factory.mktemp("alone") / "run"
            known[key] = _losses(mixed(folder, **stage), folder, "single", 1)
        return known[key]

    return losses


PARTS = {
    "everything": {"vision": "full", "projector": "full", "language": "full"},
    "adapters and projector": {"vision": "frozen", "projector": "full", "language": "lora"},
    "adapters alone": {"vision": "frozen", "projector": "frozen", "language": "lora"},
}


def test_in_these_runs_one_process_has_text_alone_while_the_other_has_images(mixed, tmp_path):
    recipe = load_recipe(mixed(tmp_path / "run", images_per_step=2))
    setup = setup_run(recipe)
    assert sum(not group.images for group in setup.data.groups["mixed"]) == 6 and not setup.data.skipped
    model, processor = prepare_model(setup)
    builder = SequenceBuilder(processor.tokenizer, recipe.model.prompt, model.config.tokens_per_image)
    mixture, met = setup.mixture(setup.stages[0]), set()
    divisions = [StepDivision(images_per_step=2, accumulation=1, rank=rank, world=2) for rank in (0, 1)]
    for step in range(6):
        ranks = [StepPacks(mixture, builder, recipe.model.vision, one, steps=6)[step].packs for one in divisions]
        met.add(tuple(len(pack["pixel_values"]) if "pixel_values" in pack else 0 for (pack,) in ranks))
    assert any(min(pair) == 0 < max(pair) for pair in met) and any(max(pair) > 1 for pair in met)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("strategy", ["ddp", "zero1", "zero2", "zero3"])
def test_kinds_of_samples_meet_in_a_step(mixed, alone, tmp_path, strategy, parts):
    parts = {**PARTS[parts], "images_per_step": 2}  # a group for each process: text here, images there
    many = _losses(mixed(tmp_path / "many", **parts), tmp_path / "many", strategy, 2)
    assert many == pytest.approx(alone(mixed, **parts), abs=2e-5)


ALIGNMENT = {
    "without answers": {
        "answers": False,
        "alignment": {"words": 1.0, "boxes": 1.0},
        **PARTS["everything"],
        "language": "frozen",
    },
    "beside answers": {"alignment": {"words": 0.5, "phrases": 1.0}, **PARTS["adapters and projector"]},
}


@pytest.mark.parametrize("kind", ALIGNMENT)
@pytest.mark.parametrize("strategy", ["single", "ddp", "zero2", "zero3"])
def test_the_alignment_is_learnt_beside_text_alone(mixed, alone, tmp_path, strategy, kind):
    """Pictures of the synthetic scenes know their objects; beside them come questions without any picture."""
    mixture = [{"source": "text"}, {"source": "world"}]
    stage = {**ALIGNMENT[kind], "mixture": mixture, "images_per_step": 4}
    whole = alone(mixed, **stage)
    assert any(whole)
    processes, pieces = (1, ["stages.0.accumulation=2"]) if strategy == "single" else (2, [])
    many = _losses(mixed(tmp_path / "many", **stage), tmp_path / "many", strategy, processes, *pieces)
    assert many == pytest.approx(whole, abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_kinds_of_samples_meet_on_four_processes(mixed, alone, tmp_path, strategy):
    parts = PARTS["adapters alone"]
    many = _losses(mixed(tmp_path / "many", **parts), tmp_path / "many", strategy, 4)
    assert many == pytest.approx(alone(mixed, **parts), abs=2e-5)


def test_micro_batches_of_mixed_samples(mixed, alone, tmp_path):
    parts = PARTS["adapters and projector"]
    for number, (strategy, processes) in enumerate([("single", 1), ("zero1", 2), ("zero3", 2)]):
        folder = tmp_path / f"parts-{number}"
        pieces = _losses(mixed(folder, **parts), folder, strategy, processes, "stages.0.accumulation=2")
        assert pieces == pytest.approx(alone(mixed, **parts), abs=2e-5)
