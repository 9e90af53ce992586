"""``run.precision: auto``: chosen once, by what computes fastest; kept on resume; the same on all processes."""

from __future__ import annotations

import re

import pytest
import torch
from processes import run, said

from skyeye.config.load import load_recipe
from skyeye.models import precision as precisions
from skyeye.train.precision import with_precision
from skyeye.train.run import train

AUTO = ["run.precision=auto", "stages.0.steps=2", "stages.1.steps=2"]


@pytest.fixture
def seconds(monkeypatch) -> dict[torch.dtype, float]:
    """What products take on this machine, for a test to say."""
    times = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr(precisions, "_seconds", lambda dtype, *_: times[dtype])
    return times


@pytest.mark.parametrize(("slower", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (20.0, "fp32")])
def test_auto_is_what_computes_fastest_here(recipe, seconds, slower, chosen):
    """Emulated bfloat16 takes many times as long; a hundredth less is no reason to round."""
    seconds[torch.bfloat16] = slower * seconds[torch.float32]
    assert with_precision(load_recipe(recipe(), AUTO)).run.precision == chosen


def test_a_recipe_that_names_its_precision_keeps_it(recipe, seconds):
    assert with_precision(load_recipe(recipe(), ["run.precision=fp32"])).run.precision == "fp32"


def test_weights_held_in_a_precision_are_computed_with_in_it(recipe, seconds):
    seconds[torch.bfloat16] = 20.0
    assert with_precision(load_recipe(recipe(), [*AUTO, "run.frozen=bf16"])).run.precision == "bf16"


def test_gpus_compute_in_half_precision(monkeypatch):
    for native, chosen in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, n=native: n)
        assert precisions.fastest_precision("cuda") == chosen


def test_the_measurement_changes_nothing_and_is_short():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    assert 0 < precisions._seconds(torch.float32, 64, 128) < 10
    assert torch.get_num_threads() == 2 and torch.equal(state, torch.get_rng_state())
    torch.set_num_threads(threads)


def test_the_run_keeps_what_was_chosen_where_the_machine_is_another(recipe, tmp_path, seconds, capsys):
    path = recipe()
    train(path, AUTO)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").run.precision == "bf16"
    (tmp_path / "run" / "checkpoints" / "single_task" / "manifest.json").unlink()  # killed before its export
    seconds[torch.bfloat16] = 20.0
    train(path, AUTO, resume=True)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").run.precision == "bf16"
    assert capsys.readouterr().out.count("precision: bf16") == 2


def test_all_processes_compute_in_what_the_first_one_chose(recipe, tmp_path):
    """Each of them would measure otherwise."""
    path = recipe()
    inject = "injected:other_products_on_every_rank"
    codes = run(path, *AUTO, "run.strategy=ddp", processes=2, inject=inject, agent=False)
    assert codes == [0, 0], said(path)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").run.precision == "bf16"
    assert len(re.findall("stage single_task computes in bf16", said(path))) == 2
