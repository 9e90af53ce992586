"""``skyeye cache``: build the feature cache of a recipe without training, and look into one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from skyeye.config.load import load_recipe
from skyeye.config.schema import StageConfig
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import vision_fields
from skyeye.models.vision import JoinedTowers, VisionTower, build_tower, load_vision_weights
from skyeye.train.features.build import Extractor, Progress, build, in_bytes
from skyeye.train.features.key import made_from, refuse_inexact
from skyeye.train.features.stage import images_of
from skyeye.train.features.store import INDEX, ROWS, FeatureReader
from skyeye.train.setup import PlannedStage, RunSetup, prepare_model, setup_run


def build_cache(
    recipe_path: str | Path,
    overrides: Sequence[str] = (),
    *,
    stage: str | None = None,
    out: str | Path | None = None,
    dtype: str | None = None,
    verify: bool = False,
    limit: int | None = None,
    tell: Callable[[str], None] = print,
) -> Iterator[Progress]:
    """Compute what the frozen tower of a recipe sees of the images its stages draw.

    Args:
        stage: for this stage; None: for the first with a frozen tower and those behind it with the same one.
        out: folder of the cache; None: the ``feature_cache`` of the stage.
        dtype: of the rows; None: the ``feature_dtype`` of the stage.
        verify, limit, tell: see :func:`skyeye.train.features.build.build`.

    Returns:
        An iterator that does the work; see :func:`skyeye.train.features.build.build`.

    Raises:
        SkyEyeError: the tower of the stage is trained in it, or in an earlier stage that has not been run yet; no
            folder is named; and everything a build raises.
    """
    recipe = load_recipe(recipe_path, overrides)
    chosen = _stages(recipe.stages, stage, str(recipe_path))
    first = chosen[0]
    folder = out or first.feature_cache
    if folder is None:
        remedy = f"give --out, or stages.{first.name}.feature_cache=DIR"
        raise SkyEyeError("no folder is named for the feature cache", where=str(recipe_path), remedy=remedy)
    setup = setup_run(recipe)
    names = [chosen_stage.name for chosen_stage in chosen]
    planned = [stage for stage in setup.stages if stage.name in names]
    tower = _tower(setup, planned[0], Path(recipe.folder))
    refuse_inexact(first, tower)
    extractor = Extractor(
        tower, setup.model.vision, torch.device("cuda" if torch.cuda.is_available() else "cpu"), setup.run.workers
    )
    return build(
        Path(folder),
        made_from(tower, setup.model.vision, setup.run.precision, dtype or first.feature_dtype),
        itertools.chain.from_iterable(images_of(setup.mixture(stage)) for stage in planned),
        extractor,
        tell=tell,
        verify=verify,
        limit=limit,
    )


def describe_cache(folder: str | Path) -> str:
    """What a cache holds and what it was made from, for people."""
    reader = FeatureReader(folder)
    manifest, made = reader.manifest, reader.manifest["made_from"]
    size = sum((reader.folder / name).stat().st_size for name in (ROWS, INDEX) if (reader.folder / name).is_file())
    tower, transform = made["tower"], made["transform"]
    towers = tower["towers"] if tower["architecture"] == "joined" else [tower]
    sizes = transform["image_size"] if isinstance(transform["image_size"], list) else [transform["image_size"]]
    names = " and ".join(map(_tower_name, towers))
    return "\n".join(
        [
            f"feature cache {folder}: {len(reader.rows())} images, {in_bytes(size)}",
            f"rows: {reader.patches} patches x {reader.width}, {made['row']['dtype']}, {in_bytes(reader.row_bytes)}",
            f"tower: {names}, weights {tower['weights'][:16]}..., computed in {made['precision']}",
            f"pixels: {' and '.join(f'{size} x {size}' for size in sizes)}, {transform['resampling']}, mean"
            f" {transform['mean']}, std {transform['std']}, version {transform['version']}",
            "made with: " + ", ".join(f"{key} {value}" for key, value in manifest["made_with"].items()),
            f"key: {manifest['key']}",
        ]
    )


def _tower_name(tower: dict[str, Any]) -> str:
    name = tower["name"] if tower["architecture"] == "timm" else f"eva, {tower['depth']} layers of {tower['width']}"
    return f"{name}, levels {tower['layers']}" if tower.get("layers") else name


def damaged_rows(folder: str | Path, progress: Callable[[int, int], None]) -> list[int]:
    """Numbers of the rows whose checksum is wrong, after reading all of them."""
    reader = FeatureReader(folder)
    rows, damaged = reader.rows(), []
    for number, row in enumerate(rows, start=1):
        if not reader.is_sound(row):
            damaged.append(row)
        progress(number, len(rows))
    return damaged


def _stages(stages: Sequence[StageConfig], name: str | None, where: str) -> list[StageConfig]:
    """The stages whose images are wanted, all with the same tower."""
    frozen = [number for number, stage in enumerate(stages) if stage.vision == "frozen"]
    if name is not None:
        found = [stage for stage in stages if stage.name == name]
        if not found:
            known = ", ".join(stage.name for stage in stages)
            raise SkyEyeError(f"the recipe has no stage {name!r}", where="--stage", remedy=f"it has: {known}")
        return found
    if not frozen:
        raise SkyEyeError("every stage trains the tower: there is nothing to compute once", where=where)
    return list(itertools.takewhile(lambda stage: stage.vision == "frozen", stages[frozen[0] :]))


def _tower(setup: RunSetup, stage: PlannedStage, folder: Path) -> VisionTower | JoinedTowers:
    """The tower as the stage will find it; what earlier stages have exported is in the run folder."""
    trained = [earlier.name for earlier in setup.stages[: stage.number] if earlier.settings.vision != "frozen"]
    if not trained and all(vision.weights for vision in setup.model.towers) and not setup.model.checkpoint:
        # a language model of many gigabytes is not needed for this
        tower = build_tower(vision_fields(setup.model.vision))
        for part, vision in zip(tower.towers, setup.model.towers, strict=True):
            load_vision_weights(part, vision.weights)
        return tower.requires_grad_(False).eval()
    exported = folder / "checkpoints" / trained[-1] if trained else None
    if exported is not None and not (exported / "config.json").is_file():
        raise SkyEyeError(
            f"the tower of stage {stage.name} is trained by stage {trained[-1]}, which has not been finished",
            where=str(exported),
            remedy="train that stage first; `skyeye train` then builds the cache by itself",
        )
    model, _ = prepare_model(setup, exported)
    model.set_trainable(vision=stage.settings.vision, projector="frozen", language="frozen")
    return model.vision_tower
