"""Overrides that would change nothing are told; the same settings in a file do no harm."""

from __future__ import annotations

import pytest

from skyeye.config.load import RecipeError, load_recipe


@pytest.mark.parametrize(
    ("before", "override", "reason"),
    [
        ("run.dir=a", "output_dir=b", "run.dir is a"),
        ("model.lora.r=0", "model.lora={alpha: 3}", "model.lora.r is 0"),
        ("run.guards.hang_seconds=null", "run.guards.hang_abort=true", "run.guards.hang_seconds is null"),
        ("seed=1", "model.vision.name=vit_tiny_patch16_224", "the tower is of architecture: eva"),
        ("model.prompt.style=chat_template", "model.prompt.end_symbol=x", "model.prompt.style is chat_template"),
        ("seed=1", "run.samples=3", "run.samples_every is null"),
        ("seed=1", "run.wandb_project=x", "run.wandb is off"),
        ("seed=1", "eval.every_limit=3", "eval.every is null"),
        ("seed=1", "stages.single_task.optimizer.part_lr.vision=0.5", "the stage does not train this part"),
        ("seed=1", "stages.0.feature_dtype=fp32", "the stage has no feature_cache"),
        ("seed=1", "stages.0.alignment.sharpness=3", "alignment.words is 0"),
        ("sources.other={format: synthetic, path: x}", "sources.other.split=val", "no stage draws from this source"),
    ],
)
def test_an_override_that_changes_nothing(recipe, before, override, reason):
    language = [] if "lora.r=0" not in before else ["stages.1.language=full"]
    with pytest.raises(RecipeError) as raised:
        load_recipe(recipe(), [*language, before, override])
    assert raised.value.issues[-1].message == f"changes nothing: {reason}"


def test_the_same_in_a_file_and_settings_that_are_used(recipe):
    load_recipe(recipe(run={"dir": "a", "samples": 3, "wandb_project": "x"}), ["seed=7", "model.lora.alpha=3"])
    load_recipe(recipe(), ["run.samples_every=2", "run.samples=3", "stages.0.optimizer.part_lr.vision=0.5"])
