"""What published folders of other projects have in common: language model, tower, adapters, and where they lie."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING

from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig
from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.base import NO_BASE, Base
from skyeye.models.mapped import map_safetensors
from skyeye.models.weights import read_json_object, read_tensors

logger = logging.getLogger(__name__)
#: Of a folder with a tokenizer.
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True)
class Published:
    """A folder of another project, in our words.

    Attributes:
        model: the section of a recipe that builds its model.
        tensors: what it holds, by plain name (:func:`skyeye.models.adapters.plain_name`).
        base: the parts that it leaves out.
        remedy: what to do where its parts do not fit together.
    """

    model: ModelConfig
    tensors: dict[str, torch.Tensor]
    base: Base = NO_BASE
    remedy: str = "its files are not of one model: download them again"


def part_beside(named: str | None, folder: Path, what: str, remedy: str, own: Sequence[str] = ()) -> Path:
    """Where a part lies that a published folder names: in it, where its name says, or beside it.

    Args:
        named: path or name on the hub; None: nothing is said.
        own: names under which it may lie in the folder.

    Raises:
        SkyEyeError: it is not on this machine.
    """
    places = [folder / name for name in own]
    if named:
        last = named.rstrip("/").rpartition("/")[2]
        places += [Path(named), folder / last, folder.parent / last]
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None and (bare := next((place for place in places if place.is_dir() and any(place.iterdir())), None)):
        raise SkyEyeError(f"the {what} has no config.json", where=str(bare), remedy="download the whole folder")
    found = found or (local_path(named) if named else None)
    if found is None:
        said = f"its {what} {named} is not on this machine" if named else f"says nothing of its {what}"
        raise SkyEyeError(said, where=str(folder), remedy=remedy)
    return found


def tokenizer_of(*folders: Path | None) -> str | None:
    """The first of these folders that holds a tokenizer."""
    inside = (f for f in folders if f is not None and any((f / name).is_file() for name in TOKENIZER_FILES))
    return next(map(str, inside), None)


def language_section(config: Mapping[str, Any], model_type: str) -> LanguageConfig:
    """The language model that a published ``config.json`` describes among its other settings.

    Args:
        model_type: the language model's own, where the file says that of the whole model.
    """
    known = {*CONFIG_MAPPING[model_type]().to_dict(), "rope_theta", "rope_scaling"}
    about = {"model_type", "architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"}
    kept = {name: value for name, value in config.items() if name in known - about and value is not None}
    return LanguageConfig(config={"model_type": model_type, **kept})


def adapter_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The adapters of a folder of PEFT's, by the language model's names in our models."""
    files = sorted(folder.glob("adapter_model*.safetensors"))
    found = map_safetensors(files)
    for file in [] if files else sorted(folder.glob("adapter_model*.bin")):
        found |= read_tensors(file)
    if not found:
        raise SkyEyeError("holds no adapter_model file", where=str(folder), remedy="download the adapters again")
    return {f"language_model.{name}": tensor for name, tensor in found.items()}


def lora_section(folder: Path) -> LoraConfig:
    """The adapters that ``adapter_config.json`` of PEFT describes.

    Raises:
        SkyEyeError: they are of a kind that our models do not have.
    """
    said = read_json_object(folder / "adapter_config.json")
    where = str(folder / "adapter_config.json")
    if said.get("peft_type", "LORA") != "LORA" or said.get("modules_to_save"):
        what = f"describes adapters of type {said.get('peft_type')}, or modules beside them; only LoRA is read"
        raise SkyEyeError(what, where=where, remedy="merge them with PEFT first")
    targets = sorted({str(name).rpartition(".")[2] for name in said.get("target_modules") or ()})
    variant = "dora" if said.get("use_dora") else "rslora" if said.get("use_rslora") else "lora"
    try:
        return LoraConfig(
            r=int(said["r"]),
            alpha=int(said["lora_alpha"]),
            dropout=float(said.get("lora_dropout", 0.0)),
            target_modules=targets,
            variant=variant,  # type: ignore[arg-type]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SkyEyeError(f"does not describe LoRA adapters: {error!r}", where=where) from error


def refuse_other_family(family: str | None, own: str, where: Path) -> None:
    """Refuse files of a layout that only one family has, where another one is named.

    Raises:
        SkyEyeError: it is.
    """
    if family not in (None, own):
        remedy = "skyeye models list shows the files of each model"
        raise SkyEyeError(f"its files are of {own}, not of {family}", where=str(where), remedy=remedy)


def tell_other_base(stated: str | None, given: Path, folder: Path) -> None:
    """Log that adapters name a base of another name than the one that is given. Shapes that do not fit are refused
    when the model is put together."""
    last = (stated or "").rstrip("/").rpartition("/")[2]
    if last and last != given.name and last not in str(given):  # a downloaded one lies in models--OWNER--NAME
        logger.warning(
            "%s: its adapters were trained beside %s; the base given is %s: of another model the answers would be"
            " worthless, check it",
            folder,
            stated,
            given,
        )
