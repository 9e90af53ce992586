"""Arguments of ``skyeye eval`` for whoever is no checkpoint of this project: ``hf:FOLDER``, ``openai:URL#MODEL``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path
from skyeye.config.paths import expanded
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from skyeye.config.schema import EvalConfig
    from skyeye.generation.opening import Opening

_LOCAL, _SERVER = "hf:", "openai:"
#: Who can be asked besides a checkpoint, for its help.
OTHERS = "hf:NAME_OR_FOLDER, a model of transformers; openai:URL#MODEL, a server (its key in OPENAI_API_KEY)"


def answerer(text: str) -> str | Path:
    """``openai:...`` as it stands, ``hf:...`` with its path expanded; anything else is a path.

    Raises:
        SkyEyeError: a variable in a path is not set.
    """
    if text.startswith(_LOCAL):
        return _LOCAL + expanded(text.removeprefix(_LOCAL))
    return text if text.startswith(_SERVER) else any_path(text)


def answerer_arguments(parser: argparse.ArgumentParser) -> None:
    """``--boxes``, ``--concurrency``, ``--timeout``."""
    parser.add_argument(
        "--boxes",
        metavar="FAMILY",
        help="how a model of hf: or openai: writes boxes, and is asked for them: qwen_absolute, norm1000, norm1,"
        " gemini, pixels, geochat or a notation of eval score; default auto: as its first fifty answers tell",
    )
    parser.add_argument("--concurrency", type=positive, metavar="N", help="questions a server has at once (default 8)")
    parser.add_argument("--timeout", type=positive, metavar="SECONDS", help="for an answer of a server (default 120)")


def recipe_of(options: argparse.Namespace) -> tuple[Path | str, Opening, EvalConfig]:
    """Whom the arguments name, how it is opened, and what its recipe says of evaluations.

    Raises:
        SkyEyeError: arguments that are for others, or a name that is not in the list.
    """
    from skyeye.cli.checkpoints import opened_as
    from skyeye.config.load import load_recipe
    from skyeye.config.schema import EvalConfig
    from skyeye.generation.opening import Opening

    if isinstance(options.checkpoint, str):
        _refuse_for_others(options)
        return options.checkpoint, Opening(dtype=options.dtype, device=options.device), EvalConfig()
    checkpoint, opening = opened_as(options)
    recipe = checkpoint / "recipe.yaml"
    return checkpoint, opening, load_recipe(recipe).eval if recipe.is_file() else EvalConfig()


def _refuse_for_others(options: argparse.Namespace) -> None:
    given = {"--weights": options.weights, "--base": options.base, "--resize": options.resize}
    given["--keep-adapters"] = options.keep_adapters or None
    for option, value in given.items():
        if value is not None:
            what = f"is for checkpoints of this project, and {options.checkpoint} is none"
            raise SkyEyeError(what, where=option, remedy="leave it out")
    if options.out is None:
        remedy = "give --out: the folder for scores and report"
        raise SkyEyeError("has no folder of its own for scores", where=options.checkpoint, remedy=remedy)
