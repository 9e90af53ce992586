"""The recipes that ship with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyeye.config.load import load_recipe
from skyeye.data.formats import READERS
from skyeye.data.tasks import TASKS

#: Describe a model and nothing else: tests/config/test_load_model.py.
MODELS = ("skyeyegpt_released",)
EVERY = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
CONFIGS = [path for path in EVERY if path.stem not in MODELS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_sound(path):
    recipe = load_recipe(path)
    assert {source.format for source in recipe.sources.values()} <= READERS.keys()
    for stage in recipe.stages:
        assert all(set(entry.tasks or ()) <= TASKS.keys() for entry in stage.mixture)


def test_another_data_set_for_the_single_variant():
    path = next(path for path in CONFIGS if path.stem == "skyeyegpt_7b_single")
    recipe = load_recipe(path, ["stages.single.mixture.0.source=vqa_rsvqa_lr"])
    assert [entry.source for entry in recipe.stages[0].mixture] == ["vqa_rsvqa_lr"]
