from pathlib import Path

import pytest

from skyeye.config.load import RecipeError, load_model
from skyeye.errors import SkyEyeError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_recipe_may_describe_a_model_and_nothing_else():
    released = load_model(CONFIGS / "skyeyegpt_released.yaml")
    trained = load_model(CONFIGS / "skyeyegpt_7b.yaml")
    assert released == trained
    assert released.vision.weights == "weights/eva_vit_g.pth" and released.lora.r == 64


def test_mistakes_of_the_section_are_told_where_they_stand(tmp_path):
    (tmp_path / "r.yaml").write_text("model: {lora: {r: few}, vison: {}}\n")
    with pytest.raises(RecipeError) as error:
        load_model(tmp_path / "r.yaml")
    assert "model.lora.r: expected a whole number" in str(error.value) and "model.vison" in str(error.value)
    (tmp_path / "r.yaml").write_text("name: x\n")
    with pytest.raises(SkyEyeError, match="has no section `model`"):
        load_model(tmp_path / "r.yaml")
