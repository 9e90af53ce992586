"""Training from a feature cache: the same losses, no tower at work, and everything that would make it wrong refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps
from processes import run, said
from safetensors.torch import load_file

from skyeye.cli import main
from skyeye.config.load import load_recipe
from skyeye.config.schema import MixtureEntry
from skyeye.data.groups import GroupList
from skyeye.data.mixture import Mixture
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.models.objective import TrainingObjective
from skyeye.models.vision import VisionTower
from skyeye.train.features import stage as module
from skyeye.train.features.key import made_from
from skyeye.train.features.store import FeatureReader, FeatureWriter
from skyeye.train.loader import StepDivision, StepPacks
from skyeye.train.run import train
from skyeye.train.setup import RunData, prepare_model, setup_run

FROZEN = "stages.pretrain.vision=frozen"


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def _weights(folder: Path, stage: str = "single_task") -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / stage / "model.safetensors")


@pytest.fixture
def no_tower(monkeypatch):
    """From here on the tower must not be run on pictures."""

    def forward(self, pixels):
        if not pixels.is_meta:  # its shape is asked for, without arithmetic
            pytest.fail("the tower was run")
        return real(self, pixels)

    real = VisionTower.forward
    monkeypatch.setattr(VisionTower, "forward", forward)


def _cached(cache: Path, dtype: str = "fp32", *stages: str) -> list[str]:
    names = stages or ("single_task",)
    return [
        word
        for name in names
        for word in (f"stages.{name}.feature_cache={cache}", f"stages.{name}.feature_dtype={dtype}")
    ]


@pytest.mark.parametrize("settings", [[], ["run.workers=2"], ["run.tokens_per_pack=130"], ["run.share_prefix=false"]])
def test_float32_features_give_the_losses_and_weights_of_pixels_bit_for_bit(recipe, tmp_path, settings):
    plain, cached = tmp_path / "plain", tmp_path / "cached"
    train(recipe(output_dir=str(plain)), settings)
    train(recipe(output_dir=str(cached)), [*settings, *_cached(tmp_path / "cache")])
    assert _losses(plain) == _losses(cached)
    one, two = _weights(plain), _weights(cached)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_under_bf16_float32_features_hold_what_the_tower_gives_there(recipe, tmp_path):
    settings = ["run.precision=bf16", FROZEN]
    train(recipe(output_dir=str(tmp_path / "plain")), settings)
    cached = _cached(tmp_path / "cache", "fp32", "pretrain", "single_task")
    train(recipe(output_dir=str(tmp_path / "cached")), [*settings, *cached])
    assert _losses(tmp_path / "plain") == _losses(tmp_path / "cached")


def test_rounded_features_give_about_the_same_losses(recipe, tmp_path):
    train(recipe(output_dir=str(tmp_path / "plain")))
    for dtype in ("bf16", "fp16"):
        train(recipe(output_dir=str(tmp_path / dtype)), _cached(tmp_path / f"cache {dtype}", dtype))
        assert _losses(tmp_path / dtype) == pytest.approx(_losses(tmp_path / "plain"), rel=2e-3)
        # what was learnt differs everywhere; whether so small a difference reaches a digit of the losses depends on the
        # processor's order of adding up
        rounded, plain = _weights(tmp_path / dtype), _weights(tmp_path / "plain")
        assert any(not torch.equal(rounded[name], plain[name]) for name in plain if name.startswith("projector"))


def test_with_a_complete_cache_the_tower_is_never_run(recipe, tmp_path, capsys, request):
    stages = _cached(tmp_path / "cache", "bf16", "pretrain", "single_task")
    path = recipe()
    assert main(["cache", "build", str(path), FROZEN, *stages]) == 0
    assert "complete" in capsys.readouterr().out
    request.getfixturevalue("no_tower")
    train(path, [FROZEN, *stages])
    assert capsys.readouterr().out.count("0 to compute") == 2


def test_a_stage_computes_only_the_images_it_draws(recipe, tmp_path):
    few = ["stages.pretrain.steps=2", "stages.pretrain.images_per_step=2", FROZEN]
    train(recipe(), [*few, *_cached(tmp_path / "cache", "fp32", "pretrain")])
    assert len(FeatureReader(tmp_path / "cache")) == 4


def test_a_cache_made_before_the_tower_was_trained_is_refused_after_it(recipe, tmp_path):
    path = recipe()
    main(
        [
            "cache",
            "build",
            str(path),
            FROZEN,
            "--stage",
            "pretrain",
            "--dtype",
            "bf16",
            "--out",
            str(tmp_path / "cache"),
        ]
    )
    with pytest.raises(SkyEyeError, match="not used; tower.weights: .*in the cache.*name another folder"):
        train(path, _cached(tmp_path / "cache", "bf16"))
    assert (tmp_path / "run" / "checkpoints" / "pretrain").is_dir()


def test_the_command_takes_the_tower_that_an_earlier_stage_trained(recipe, tmp_path, capsys):
    path, cache = recipe(), str(tmp_path / "cache")
    build = ["cache", "build", str(path), "--out", cache, "--dtype", "fp32"]
    assert main(build) == 2
    assert "is trained by stage pretrain, which has not been finished" in capsys.readouterr().err
    assert main([*build, "--stage", "pretrain"]) == 2
    assert "stages.pretrain.feature_cache: the stage trains the tower" in capsys.readouterr().err
    train(path, ["output_dir=" + str(tmp_path / "run")])
    assert main(build) == 0
    train(recipe(output_dir=str(tmp_path / "again")), _cached(Path(cache)))
    assert "0 to compute" in capsys.readouterr().out


def test_a_damaged_row_stops_the_run_and_can_be_mended(recipe, tmp_path, capsys):
    cache, path = tmp_path / "cache", recipe()
    build = ["cache", "build", str(path), FROZEN, *_cached(cache, "fp32", "pretrain"), "--stage", "pretrain"]
    assert main(build) == 0
    assert main(["cache", "show", str(cache), "--verify"]) == 0
    assert "every row has its checksum" in capsys.readouterr().out
    content = bytearray((cache / "rows.bin").read_bytes())
    content[3] ^= 1
    (cache / "rows.bin").write_bytes(content)
    assert main(["cache", "show", str(cache), "--verify"]) == 1
    assert "damaged: 1 rows, the first is row 0" in capsys.readouterr().out
    settings = [FROZEN, *_cached(cache, "fp32", "pretrain"), "stages.pretrain.images_per_step=12"]
    with pytest.raises(SkyEyeError, match="row 0 is damaged"):
        train(path, settings)
    assert main([*build, "--verify"]) == 0
    train(path, settings, resume=True)


def test_a_picture_that_changed_is_computed_again(recipe, world, tmp_path, capsys):
    copy = shutil.copytree(world, tmp_path / "copy")
    sources = {"world": {"format": "synthetic", "path": str(copy)}}
    settings = [FROZEN, *_cached(tmp_path / "cache", "fp32", "pretrain")]
    train(recipe(sources=sources, output_dir=str(tmp_path / "one")), settings)
    images = sorted((copy / "images").rglob("*.*"))
    rows = len(FeatureReader(tmp_path / "cache"))
    for image in images:
        ImageOps.invert(Image.open(image).convert("RGB")).save(image)
    capsys.readouterr()
    train(recipe(sources=sources, output_dir=str(tmp_path / "two")), settings)
    train(recipe(sources=sources, output_dir=str(tmp_path / "three")), [FROZEN])
    assert f"{rows} to compute" in capsys.readouterr().out
    assert _losses(tmp_path / "two") == _losses(tmp_path / "three") != _losses(tmp_path / "one")


def test_ctrl_c_while_features_are_computed_stops_and_goes_on_later(recipe, tmp_path, monkeypatch):
    settings = [FROZEN, *_cached(tmp_path / "cache", "fp32", "pretrain")]
    path = recipe()
    real = module.build

    def interrupted(*args, **kwargs):
        for progress in real(*args, **kwargs):
            if progress.what == "computing features":
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    monkeypatch.setattr(module, "build", interrupted)
    assert train(path, settings) is None
    assert not (tmp_path / "run" / "log.jsonl").exists()  # before the first step
    monkeypatch.undo()
    assert train(path, settings, resume=True) is not None


@pytest.mark.parametrize(("number", "code"), [("SIGUSR1", 85), ("SIGINT", 130)])
def test_a_signal_to_one_process_while_features_are_computed_ends_all_with_its_code(recipe, tmp_path, number, code):
    settings = [FROZEN, "run.strategy=ddp", *_cached(tmp_path / "cache", "fp32", "pretrain")]
    path = recipe()
    codes = run(path, *settings, processes=2, inject=f"injected:{number.lower()}_before_features")
    assert codes == [code, code], said(path)
    assert "no state yet" in said(path) and "stopped and saved" not in said(path)
    assert run(path, *settings, processes=2, resume=True) == [0, 0], said(path)


def test_an_error_while_features_are_computed_ends_the_run(recipe, world, tmp_path):
    copy = shutil.copytree(world, tmp_path / "copy")
    for image in (copy / "images").iterdir():
        image.write_bytes(image.read_bytes()[:200])
    sources = {"world": {"format": "synthetic", "path": str(copy)}}
    with pytest.raises(SkyEyeError, match="images/frames.*truncated or damaged"):
        train(recipe(sources=sources), [FROZEN, *_cached(tmp_path / "cache", "fp32", "pretrain")])


def test_two_processes_under_zero3_give_the_losses_of_one_with_pixels(recipe, launch, tmp_path):
    """The tower's weights are shared out when the second stage asks for them, and one process alone computes."""
    train(recipe(output_dir=str(tmp_path / "plain")))
    cached = _cached(tmp_path / "cache")
    launch(recipe(), f"output_dir={tmp_path / 'both'}", "run.strategy=zero3", *cached, processes=2)
    assert _losses(tmp_path / "both") == pytest.approx(_losses(tmp_path / "plain"), abs=2e-5)


def test_an_error_of_the_first_process_ends_all_of_them(recipe, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.txt").write_text("mine")
    settings = ["run.strategy=ddp", FROZEN, *_cached(tmp_path / "cache", "fp32", "pretrain")]
    path = recipe()
    assert 0 not in run(path, *settings, processes=2)
    assert "holds thesis.txt" in said(path) and "the first process could not build the feature cache" in said(path)


def test_a_pack_without_pictures_reaches_the_projector_without_the_tower(recipe, tmp_path, no_tower):
    setup = setup_run(load_recipe(recipe()))
    record = Record("1", "w", "conversation", "train", (), (Turn("what is a pier?", "a thing in water"),))
    groups = {"w": GroupList([record])}
    data, vision = RunData({"w": GroupList([record] * 50)}, {}, []), setup.model.vision
    model, processor = prepare_model(dataclasses.replace(setup, data=data))
    made = made_from(model.vision_tower, vision, "fp32", "bf16")
    with FeatureWriter(tmp_path / "cache", made, {}):
        pass
    packs = StepPacks(
        Mixture(groups, [MixtureEntry("w")], seed=1, stage="s", total_groups=1, questions_per_image=1),
        processor.builder,
        vision,
        StepDivision(images_per_step=1, accumulation=1, rank=0, world=1),
        steps=1,
        features=FeatureReader(tmp_path / "cache", made),
    )
    (pack,) = packs[0].packs
    del pack["samples"], pack["broken"]
    assert pack["patches"].shape == (0, 16, 16) and "pixel_values" not in pack
    TrainingObjective(model).train()(**pack).backward()
    assert float(model.projector.linear.weight.grad.abs().sum()) == 0.0
