"""Settings that nothing reads, given what other settings say. In a file they do no harm; given for one run, they were
meant to change something."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from skyeye.config.issue import Issue
from skyeye.config.schema import Recipe, StageConfig, VisionConfig

#: Path of settings -> why they change nothing, where they do not.
UNUSED: list[tuple[str, Callable[[Recipe], str | None]]] = [
    (r"output_dir", lambda recipe: _if(recipe.run.dir is not None, f"run.dir is {recipe.run.dir}")),
    (r"model\.lora\.(?!r$).+", lambda recipe: _if(recipe.model.lora.r == 0, "model.lora.r is 0")),
    (r"model\.prompt\.(template|end_symbol)", lambda recipe: _unless_style(recipe, "minigpt_v2", "minigpt_v2_uav")),
    (r"run\.samples", lambda recipe: _if(recipe.run.samples_every is None, "run.samples_every is null")),
    (r"run\.wandb_project", lambda recipe: _if(recipe.run.wandb == "off", "run.wandb is off")),
    (
        r"run\.guards\.hang_abort",
        lambda recipe: _if(recipe.run.guards.hang_seconds is None, "run.guards.hang_seconds is null"),
    ),
    (r"eval\.every_limit", lambda recipe: _if(recipe.eval.every is None, "eval.every is null")),
    (
        r"model\.tokenizer\.box_tokens",
        lambda recipe: _if(not recipe.model.tokenizer.train_vocab_size, "model.tokenizer.train_vocab_size is null"),
    ),
]
#: Architecture of a tower -> settings that are of other ones.
_FOREIGN = {
    "timm": ("width", "depth", "heads", "mlp_ratio", "patch_size", "activation", "fingerprint"),
    "eva": ("name", "arguments", "activation", "fingerprint"),
    "clip": ("name", "arguments", "stem"),
}


def unused(recipe: Recipe, path: str) -> Iterator[Issue]:
    """What is wrong with giving the setting at ``path`` (``stages[0].temperature``) to this recipe."""
    reasons = [reason(recipe) for pattern, reason in UNUSED if re.fullmatch(pattern, path)]
    reasons += [_of_source(recipe, path), _of_tower(recipe, path), _of_stage(recipe, path)]
    for reason in filter(None, reasons):
        judged_by = _all_draws(recipe) if path.startswith("sources.") else ()
        yield Issue(path, f"changes nothing: {reason}", (path, *judged_by))


def _of_source(recipe: Recipe, path: str) -> str | None:
    match = re.match(r"sources\.([^.]+)", path)
    if match is None:
        return None
    drawn = {entry.source for stage in recipe.stages for entry in stage.mixture} | {recipe.run.samples_source}
    return _if(match[1] not in drawn, "no stage draws from this source")


def _all_draws(recipe: Recipe) -> tuple[str, ...]:
    """The settings that say what is drawn from."""
    entries = [(i, j) for i, stage in enumerate(recipe.stages) for j in range(len(stage.mixture))]
    return ("stages", *(f"stages[{i}].mixture[{j}].source" for i, j in entries))


def _of_tower(recipe: Recipe, path: str) -> str | None:
    match = re.match(r"model\.vision(?:\[(\d+)\])?\.(\w+)", path)
    if match is None or int(match[1] or 0) >= len(recipe.model.towers):
        return None
    tower: VisionConfig = recipe.model.towers[int(match[1] or 0)]
    return _if(match[2] in _FOREIGN[tower.architecture], f"the tower is of architecture: {tower.architecture}")


def _of_stage(recipe: Recipe, path: str) -> str | None:
    match = re.fullmatch(r"stages\[(\d+)\]\.(.+)", path)
    if match is None or int(match[1]) >= len(recipe.stages):
        return None
    stage: StageConfig = recipe.stages[int(match[1])]
    if match[2] == "feature_dtype":
        return _if(stage.feature_cache is None, "the stage has no feature_cache")
    if match[2] == "alignment.sharpness":
        return _if(not stage.alignment.words, "alignment.words is 0")
    part = re.fullmatch(r"optimizer\.part_lr\.(vision|projector|language)", match[2])
    return _if(part is not None and getattr(stage, part[1]) == "frozen", "the stage does not train this part")


def _unless_style(recipe: Recipe, *styles: str) -> str | None:
    return _if(recipe.model.prompt.style not in styles, f"model.prompt.style is {recipe.model.prompt.style}")


def _if(so: bool, reason: str) -> str | None:
    return reason if so else None
