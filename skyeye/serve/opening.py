"""What a person names when a model is opened, and what is meant. Needs no torch: mistakes are answered at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from skyeye.config.schema import ModelConfig
    from skyeye.data.images.square import Resize
    from skyeye.generation.opening import Opening


def base_of(path: str | Path | None) -> str | Path | ModelConfig | None:
    """What a base names: of a recipe its model, else the folder.

    Raises:
        SkyEyeError: the recipe cannot be read.
    """
    from skyeye.config.load import load_model

    recipe = path is not None and Path(path).suffix in (".yaml", ".yml")
    return load_model(Path(path).expanduser()) if path is not None and recipe else path


def to_open(
    checkpoint: str | Path,
    *,
    weights: str | Path | None = None,
    base: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    keep_adapters: bool = False,
    resize: Resize | None = None,
) -> tuple[str | Path, Opening]:
    """The files that are meant, and how they are opened.

    Args:
        checkpoint: folder, file, name on the hub; or, with ``weights``, a name of ``skyeye models list``.
        weights: published files of the model of the list.
        base, dtype, device, keep_adapters, resize: see :class:`~skyeye.generation.opening.Opening`; a base may be a
            recipe.

    Raises:
        SkyEyeError: a model is named that is not in the list, or without its files; a base cannot be read.
    """
    from skyeye.config.catalogue import MODELS, find_model
    from skyeye.generation.opening import Opening

    named, family, below = str(checkpoint), None, base_of(base)
    if weights is not None:
        model = find_model(named)
        family, below = model.family, below or model.base
    elif named in MODELS and not Path(named).exists():
        files = "; ".join(MODELS[named].files)
        what = "is a model of the list, whose files have to be given"
        raise SkyEyeError(what, where=named, remedy=f"--weights FOLDER (in Python weights=...), with {files}")
    return weights or checkpoint, Opening(below, dtype, device, keep_adapters, family, resize)
