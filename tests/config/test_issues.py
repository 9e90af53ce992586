"""No mistake in a recipe hides another; what only follows from a mistake is not reported beside it."""

from __future__ import annotations

import pytest

from skyeye.config.issue import Issue, is_inside
from skyeye.config.load import RecipeError, load_recipe


def issues(path, *overrides: str) -> list[Issue]:
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, overrides)
    return refused.value.issues


def paths(path, *overrides: str) -> list[str]:
    return [issue.path for issue in issues(path, *overrides)]


def test_two_stages_of_one_name_and_a_mistyped_key_at_the_top(recipe):
    found = [str(issue) for issue in issues(recipe(), "stages.1.name=pretrain", "nam=x")]
    assert found[0].startswith("nam: unknown key; did you mean 'name'?")
    assert found[1:] == ["stages: the name 'pretrain' is used more than once"]


def test_the_printed_error_counts_and_lists_them(recipe):
    path = recipe()
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, ["run.workers=-1", "seed=many"])
    expected = f"{path}: 2 mistakes\n  seed: expected a whole number, got 'many'\n  run.workers: -1 is below 0"
    assert str(refused.value) == expected


def test_a_setting_is_inside_of_another():
    assert all(is_inside(path, "a.b") for path in ("a.b", "a.b.c", "a.b[0]", "a.b[0].c"))
    assert not any(is_inside(path, "a.b") for path in ("a", "a.bc", "b", "x.a.b"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # two mistakes in different stages, with the same words
        (
            ["stages.0.questions_per_image=0", "stages.1.questions_per_image=0"],
            ["stages[0].questions_per_image", "stages[1].questions_per_image"],
        ),
        (
            ["stages.0.questions_per_image=many", "stages.1.questions_per_image=0"],
            ["stages[0].questions_per_image", "stages[1].questions_per_image"],
        ),
        # a mistyped key in one stage, and rules about another
        (["stages.0.temperatur=2", "stages.1.temperature=2"], ["stages[0].temperatur", "stages[1].temperature"]),
        (
            ["stages.0.optimizer.warmup_stps=9", "stages.1.optimizer.warmup_steps=9"],
            ["stages[0].optimizer.warmup_stps", "stages[1].optimizer.warmup_steps"],
        ),
        (
            ["stages.0.mixture.0.sourc=x", "stages.1.mixture.0.source=x"],
            ["stages[0].mixture[0].sourc", "stages[1].mixture[0].source"],
        ),
        # within a stage
        (["stages.0.vision=ful", "stages.0.box_token_noise=2"], ["stages[0].vision", "stages[0].box_token_noise"]),
        (
            ["stages.0.questions_per_image=0", "stages.0.vision=lora"],
            ["stages[0].questions_per_image", "stages[0].vision"],
        ),
        # between sections: a setting of the same name elsewhere is another setting
        (["stages.0.langage=full", "model.lora.variant=dora"], ["stages[0].langage"]),
        (["stages.1.langage=full", "model.lora.variant=dora"], ["stages[1].langage", "stages[0].language"]),
        (
            ["sources.world.path=null", "stages.1.mixture.0.source=x"],
            ["sources.world.path", "stages[1].mixture[0].source"],
        ),
        (["sources=null", "stages.1.mixture.0.source=x"], ["sources"]),
        (["sources={3: {format: f, path: p}}", "stages.0.mixture.0.source='3'"], ["sources.3"]),
        (["model.lora={rr: 1, variant: dora}"], ["model.lora.rr"]),
        (["model.lora=3", "model.prompt.template=x"], ["model.lora", "model.prompt.template"]),
        # a section of which something needed is missing
        (["stages.1={name: null, questions_per_image: 0}"], ["stages[1].name", "stages[1].questions_per_image"]),
    ],
)
def test_what_is_reported_together(recipe, overrides, expected):
    assert paths(recipe(), *overrides) == expected
