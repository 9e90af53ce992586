"""Rules between the options of scale out: what does not go together is refused before anything is loaded."""

from __future__ import annotations

import pytest

from skyeye.config.load import RecipeError, load_recipe

NF4 = ["model.language.config=null", "model.language.pretrained=somewhere", "model.language.quantize=nf4"]
ADAPT = ["stages.0.language=lora", "stages.0.vision=frozen"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["stages.0.optimizer.part_lr={lm: 2.0}"], "'lm' is no part; there are vision, projector, language"),
        (["stages.0.optimizer.part_lr={vision: 0}"], "0.0 for vision is not above 0"),
        (["stages.0.optimizer.ema_decay=1"], "ema_decay: 1.0 is not between 0 and 1"),
        (
            ["stages.0.optimizer.ema_decay=0.9", "stages.1.name=pretrain-ema"],
            "pretrain-ema is the name of",
        ),
        (["run.timeout_minutes=0"], "timeout_minutes: 0.0 is not above 0"),
        (["model.lora.variant=pissa"], "'pissa' is not allowed; allowed: lora, rslora, dora"),
        (["model.lora.variant=dora"], "stages[0].language: DoRA keeps the lengths"),
        (["model.lora.variant=dora", *ADAPT, "run.strategy=zero3"], "model.lora.variant: reads whole weights"),
        (["model.language.quantize=nf4"], "quantize: fresh weights have to be trained"),
        ([*NF4, *ADAPT, "run.strategy=zero3"], "model.language.quantize: reads whole weights"),
        ([*NF4, *ADAPT], "model.language.quantize: the next stage would begin with"),
        (NF4, "stages[0].language: weights in 4 bits"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe, settings, sentence):
    with pytest.raises(RecipeError) as refused:
        load_recipe(recipe(), settings)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        ["model.lora.variant=dora", *ADAPT, "run.strategy=zero2"],
        ["model.lora.variant=rslora", "run.strategy=zero3"],
        ["stages.0.optimizer.part_lr={projector: 2.0, language: 1, vision: 0.1}", "stages.0.optimizer.ema_decay=0.999"],
    ],
)
def test_what_goes_together_is_accepted(recipe, settings):
    load_recipe(recipe(), settings)
