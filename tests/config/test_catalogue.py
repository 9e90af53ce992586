"""The list of models: names, memory, and that each entry says what its recipe says."""

from __future__ import annotations

import pytest

from skyeye.config.catalogue import MODELS, PROOFS, find_model, not_reproducible, table
from skyeye.config.load import load_model
from skyeye.data.prompts import prompt_style
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_an_entry_says_what_its_recipe_says(model):
    recipe = load_model(model.path)
    if model.boxes is not None:
        assert prompt_style(recipe.prompt).boxes.name == model.boxes
    assert model.proof in PROOFS and model.files and (recipe.text is not None) == model.two_towers
    whole, small = model.memory
    if model.two_towers:
        assert set(model.tasks) == {"retrieval", "zero-shot classification"} and 0.3 < small == whole < 4
        return
    assert set(model.tasks) <= set(TASKS)
    assert small * 3 > 10 and small < whole < 20


def test_memory_is_two_bytes_a_weight_or_half_of_one():
    geochat = find_model("geochat")
    assert geochat.memory[0] == pytest.approx((6.74 + 0.31) * 2e9 / 2**30)
    assert geochat.memory[1] == pytest.approx((6.74 * 0.53 + 0.31 * 2) * 1e9 / 2**30)


def test_the_table_has_a_line_for_each_and_says_where_no_weights_were_published():
    lines = table().splitlines()
    assert len(lines) == len(MODELS) + 2 and len({line.count("|") for line in lines}) == 1
    (rsgpt,) = [line for line in lines if line.startswith("| rsgpt |")]
    assert "no weights were published; parts: " in rsgpt and "| none |" in rsgpt


def test_a_name_that_is_not_there():
    with pytest.raises(SkyEyeError, match="no model of the list is called 'geochatt'; did you mean 'geochat'"):
        find_model("geochatt")


def test_a_model_that_cannot_be_run_is_named_with_the_reason():
    with pytest.raises(SkyEyeError, match="shell scripts for VisualGLM-6B"):
        find_model("remoteglm")
    assert "not reproducible: RemoteGLM" in not_reproducible()
