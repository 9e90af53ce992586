"""``run.precision: auto`` becomes a precision, once for a run: it stands in the recipe that the run keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from skyeye.config.load import load_recipe
from skyeye.config.schema import Recipe
from skyeye.models.build import model_config
from skyeye.models.precision import fastest_precision
from skyeye.train.parallel.distributed import decided_by_first, print_once


def with_precision(recipe: Recipe, kept: Path | None = None) -> Recipe:
    """A recipe that names its precision. One that does already stays as it is.

    Args:
        kept: recipe.yaml of the run to go on with, where there is one: a run ends in the precision it began in.

    Raises:
        SkyEyeError: the language model is unknown, or the processes of the run did not find each other.
    """
    if recipe.run.precision != "auto":
        return recipe
    precision = decided_by_first(lambda: _decide(recipe, kept), recipe.run.timeout_minutes)
    print_once(f"precision: {precision} (run.precision: auto)")
    return replace(recipe, run=replace(recipe.run, precision=precision))


def _decide(recipe: Recipe, kept: Path | None) -> str:
    if kept is not None and kept.is_file() and (before := load_recipe(kept).run.precision) != "auto":
        return before
    if recipe.run.frozen != "fp32":  # weights that are held in a precision are computed with in it
        return recipe.run.frozen
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if (side := recipe.model.text) is not None:
        return fastest_precision(device, side.width, round(side.width * side.mlp_ratio))
    text = model_config(recipe.model, vocab_size=recipe.model.tokenizer.train_vocab_size).text_config
    width = text.hidden_size
    return fastest_precision(device, width, getattr(text, "intermediate_size", None) or 4 * width)
