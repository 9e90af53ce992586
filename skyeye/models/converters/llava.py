"""The layout of LLaVA-1.5, which RS-LLaVA, GeoChat, VHM, SkySenseGPT and others were published in.

A folder is one of three: *whole* (``pytorch_model*.bin`` or safetensors with language model and projector, at times the
tower), *adapters* (``adapter_model``, ``non_lora_trainables.bin``; the language model elsewhere), or *projector*
(``mm_projector.bin``, what the first stage leaves). The tower lies elsewhere, or in ``vision_tower/`` of the folder.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from skyeye.config.schema import (
    LinearProjectorConfig,
    LoraConfig,
    MLPProjectorConfig,
    ModelConfig,
    PromptConfig,
    Style,
    VisionConfig,
)
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import plain_name
from skyeye.models.base import Base, BasePart
from skyeye.models.converters.clip import tower_section
from skyeye.models.converters.published import (
    Published,
    adapter_tensors,
    language_section,
    lora_section,
    part_beside,
    tell_other_base,
    tokenizer_of,
)
from skyeye.models.mapped import folder_weights, without_weights
from skyeye.models.vision.tower import VisionTower
from skyeye.models.vision.weights import fitted
from skyeye.models.weights import read_json_object, read_tensors

logger = logging.getLogger(__name__)
_TOWER = "model.vision_tower.vision_tower."
#: Our name -> LLaVA's, the longest first.
PARTS = (
    ("projector.linear.", "model.mm_projector.0."),
    ("projector.out.1.", "model.mm_projector.2."),
    ("language_model.", ""),
)


@dataclass(frozen=True)
class Variant:
    """What no file of a family says.

    Attributes:
        style: its words.
        image_size: written into its code; None: the tower's own.
        position_resize: how it stretches the tower's position table then.
    """

    style: Style
    image_size: int | None = None
    position_resize: Literal["bicubic", "corners"] = "bicubic"


#: Family, or ``model_type`` of its files -> what no file of it says.
VARIANTS = {
    "llava": Variant("llava_v1"),
    "rs_llava": Variant("rs_llava"),
    "geochat": Variant("geochat", 504, "corners"),
    "vhm": Variant("vhm"),
    "llava_uav": Variant("uavit"),
    "geochat_uav": Variant("uavit", 504, "corners"),
}
#: ``model_type`` that is one family's own -> the families that have it; all others may say llava.
_OWN_TYPES = {"geochat": ("geochat", "geochat_uav"), "vhm": ("vhm",)}


def knows(path: Path) -> bool:
    """Whether a folder is in LLaVA's layout."""
    return (path / "config.json").is_file() and "mm_vision_tower" in read_json_object(path / "config.json")


def read(folder: Path, base: Path | ModelConfig | None = None, family: str | None = None) -> Published:
    """A folder in LLaVA's layout, in our words.

    Args:
        base: folder of the language model that adapters or a projector belong to; or the model section of a recipe,
            whose parts and settings are then used. None: where the folder says.
        family: a key of :data:`VARIANTS`; None: by the ``model_type`` of the files.

    Raises:
        SkyEyeError: a part is not there, or the files ask for something that is not computed here.
    """
    config = read_json_object(folder / "config.json")
    _refuse_unknown(config, folder)
    recipe = base if isinstance(base, ModelConfig) else None
    if isinstance(base, Path) and _is_whole(folder):
        raise SkyEyeError("it holds its language model itself", where=str(folder), remedy="leave out --base")
    tower = _tower_folder(folder, config, recipe)
    under = None
    if not _is_whole(folder):
        named = recipe.language.pretrained if recipe is not None else base
        under = _base_folder(folder, None if named is None else Path(named))
    lora = lora_section(folder) if (folder / "adapter_config.json").is_file() else LoraConfig(r=0)
    vision, prompt = _vision(config, tower, family), PromptConfig(style=_variant(config, family).style, pad_token=None)
    tokenizer = tokenizer_of(folder, under)
    if recipe is not None:
        vision, prompt, tokenizer = recipe.towers[0], recipe.prompt, recipe.tokenizer.path or tokenizer
    mlp = config.get("mm_projector_type", "linear") != "linear"
    model = ModelConfig(
        vision=vision,
        vision_norm=False,
        projector=MLPProjectorConfig(join_tokens=1) if mlp else LinearProjectorConfig(join_tokens=1),
        language=language_section(config, "llama"),
        lora=lora,
        prompt=prompt,
    )
    model.tokenizer.path = tokenizer
    tensors = _tensors(folder, under)
    parts = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_TOWER)}
    if parts and tower is None:
        tensors |= _own_tower(vision, parts, folder)
    elif parts:
        logger.info("%s: the tower's weights in it are not used, as by the original: those of %s are", folder, tower)
    plain_language = under is not None and not knows(under)
    covered = Base(
        (None if tower is None else BasePart.of(str(tower)),), BasePart.of(str(under)) if plain_language else None
    )
    return Published(model, tensors, covered if covered else Base(), _remedy(folder))


def our_name(name: str) -> str:
    """Our plain name of one of LLaVA's tensors; a tower's keep their own."""
    name = re.sub(r"^base_model\.", "", name)
    name = re.sub(r"^model\.model\.", "model.", name)
    for ours, theirs in PARTS[:2]:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name if name.startswith(_TOWER) else plain_name(f"language_model.{name}")


def _tensors(folder: Path, under: Path | None) -> dict[str, torch.Tensor]:
    """What the folder holds, over what a base in the same layout holds."""
    tensors: dict[str, torch.Tensor] = {}
    if under is not None and knows(under):
        tensors |= {our_name(name): tensor for name, tensor in folder_weights(under).items()}
    if (folder / "adapter_config.json").is_file():
        tensors |= {plain_name(name): tensor for name, tensor in adapter_tensors(folder).items()}
    elif _is_whole(folder):
        tensors |= {our_name(name): tensor for name, tensor in folder_weights(folder).items()}
    for file in ("non_lora_trainables.bin", "mm_projector.bin"):
        if (folder / file).is_file():
            tensors |= {our_name(name): tensor for name, tensor in read_tensors(folder / file).items()}
    return tensors


def _is_whole(folder: Path) -> bool:
    return any(True for name in ("pytorch_model*.bin", "model*.safetensors") for _ in folder.glob(name))


def _variant(config: Mapping[str, Any], family: str | None) -> Variant:
    """What no file says, of the family that is named or that ``model_type`` means.

    Raises:
        SkyEyeError: the files are of another family than the one that is named.
    """
    kind = str(config.get("model_type", "")).removesuffix("_llama")
    if family is None:
        return VARIANTS.get(kind, VARIANTS["llava"])
    if family not in VARIANTS:
        raise SkyEyeError(f"{family} is no family in LLaVA's layout", remedy=f"there are {', '.join(VARIANTS)}")
    if kind in _OWN_TYPES and family not in _OWN_TYPES[kind]:
        what = f"its files say that they are of {kind}, not of {family}"
        raise SkyEyeError(what, where="model_type of config.json", remedy=f"skyeye chat {kind} --weights FOLDER")
    return VARIANTS[family]


def _vision(config: Mapping[str, Any], tower: Path | None, family: str | None) -> VisionConfig:
    variant = _variant(config, family)
    named = str(config["mm_vision_tower"]).rstrip("/").rpartition("/")[2]
    section = tower_section(tower) if tower is not None else dict(KNOWN_TOWERS[named])
    layers = config.get("mm_vision_select_layer", -2)
    if variant.image_size is not None:
        section["image_size"] = variant.image_size
    return VisionConfig(
        **section,
        layers=list(layers) if isinstance(layers, list) else [layers],
        weights=None if tower is None else str(tower),
        position_resize=variant.position_resize,
        resize="pad" if config.get("image_aspect_ratio") == "pad" else "crop",
    )


_LARGE = {"architecture": "clip", "width": 1024, "depth": 24, "heads": 16, "patch_size": 14, "mlp_ratio": 4.0}
#: OpenAI's towers, of which a file may hold the weights without the settings.
KNOWN_TOWERS = {
    "clip-vit-large-patch14": {**_LARGE, "image_size": 224},
    "clip-vit-large-patch14-336": {**_LARGE, "image_size": 336},
}


def _tower_folder(folder: Path, config: Mapping[str, Any], recipe: ModelConfig | None) -> Path | None:
    """Where the tower lies; None: its weights are in the folder's own files, and its settings are known by its name."""
    named = (recipe.towers[0].weights if recipe is not None else None) or config["mm_vision_tower"]
    if not isinstance(named, str):
        raise SkyEyeError("names no vision tower", where=str(folder / "config.json"), remedy="set mm_vision_tower")
    remedy = f"put its folder (config.json and weights of {named}) at {folder / 'vision_tower'}"
    try:
        return part_beside(named, folder, "vision tower", remedy, own=("vision_tower",))
    except SkyEyeError:
        known = named.rstrip("/").rpartition("/")[2] in KNOWN_TOWERS
        if known and _is_whole(folder) and any(_TOWER in name for name in folder_weights(folder)):
            return None
        raise


def _base_folder(folder: Path, base: Path | None) -> Path:
    """Where the language model of adapters or of a projector lies."""
    stated = _stated_base(folder)
    if base is not None:
        if not (base / "config.json").is_file():
            raise SkyEyeError("no language model: no config.json", where=str(base), remedy="--base FOLDER with one")
        tell_other_base(stated, base, folder)
        return base
    return part_beside(stated, folder, "language model", f"name the folder of {stated}: --base FOLDER")


def _stated_base(folder: Path) -> str | None:
    file = folder / "adapter_config.json"
    config = read_json_object(file if file.is_file() else folder / "config.json")
    return config.get("base_model_name_or_path") or config.get("_name_or_path")


def _remedy(folder: Path) -> str:
    """What to do where shapes differ: what is most often wrong is the base."""
    stated = _stated_base(folder)
    if _is_whole(folder) or not stated:
        return Published.remedy
    if (folder / "adapter_config.json").is_file() and not (folder / "non_lora_trainables.bin").is_file():
        return f"put non_lora_trainables.bin beside its adapters, or give the base {stated} with its projector: --base"
    return f"its adapters were trained beside {stated}: give that base, --base FOLDER"


def _own_tower(vision: VisionConfig, parts: Mapping[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    with without_weights():
        tower = VisionTower(asdict(vision))
    return {f"vision_tower.backbone.{name}": tensor for name, tensor in fitted(tower, parts, folder).items()}


def _refuse_unknown(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse what the LLaVA layout may ask for and none of the families here does."""
    projector = config.get("mm_projector_type", "linear")
    odd = [name for name in ("mm_use_im_start_end", "mm_use_im_patch_token") if config.get(name)]
    if projector not in ("linear", "mlp2x_gelu"):
        odd.append(f"mm_projector_type {projector}")
    if config.get("mm_vision_select_feature", "patch") != "patch":
        odd.append(f"mm_vision_select_feature {config['mm_vision_select_feature']}")
    if re.search("mistral|mpt|qwen|gemma|phi", str(config.get("model_type"))):
        odd.append(f"model_type {config['model_type']}")
    if odd:
        what = f"asks for {', '.join(odd)}, which is not computed here"
        remedy = "families in this layout: " + ", ".join(VARIANTS)
        raise SkyEyeError(what, where=str(folder / "config.json"), remedy=remedy)
