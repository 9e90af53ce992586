"""Two towers from a recipe, from published files, or from a folder of ours."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from skyeye.config.schema import ModelConfig
from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.converters.two_towers import split_sides
from skyeye.models.mapped import folder_weights
from skyeye.models.two_towers.model import TwoTowers, TwoTowersConfig
from skyeye.models.two_towers.processor import TwoTowersProcessor
from skyeye.models.two_towers.words import CaptionTokenizer, load_caption_tokenizer
from skyeye.models.vision import load_vision_weights
from skyeye.models.vision.fingerprint import check_fingerprint
from skyeye.models.vision.weights import fitted
from skyeye.models.weights import differences, read_json_object, read_tensors, shapes

logger = logging.getLogger(__name__)


def build_two_towers(model: ModelConfig, words: CaptionTokenizer | None = None) -> TwoTowers:
    """The model of a recipe, with the weights that it names; what it does not name starts fresh.

    Args:
        words: its tokenizer; None: its weights are not wanted, only that its parts go together.

    Raises:
        SkyEyeError: parts do not go together, or weights do not fit.
    """
    sizes = {} if words is None else {"vocab_size": words.vocab_size, "end_token_id": words.end}
    built = TwoTowers(TwoTowersConfig.of(model, **sizes))
    if words is None:
        return built
    if model.vision.weights:
        load_vision_weights(built.vision_tower, model.vision.weights)
    if model.text.weights:
        load_text_side(built, model.text.weights)
    if model.checkpoint:
        load_published(built, model.checkpoint, bool(model.text.weights))
    return built


def load_published(model: TwoTowers, path: str | Path, texts_are_there: bool = False) -> None:
    """Put the weights of both sides into a model: a file, or a folder of transformers or of ours.

    An adapter that the files do not hold stays as it is. A position table of the vision side of another grid is resized
    by ``model.vision.position_resize``, and logged.

    Args:
        texts_are_there: the model has its text side from elsewhere, and keeps it where the files hold none.

    Raises:
        SkyEyeError: there are none, or keys are missing, unexpected or mis-shaped: all of them are named.
    """
    found = _read(path)
    tensors = _ours(model, found, path)
    expected = shapes(model.state_dict())
    if not any(name.startswith("adapter.") for name in tensors):
        expected = {name: shape for name, shape in expected.items() if not name.startswith("adapter.")}
    if not any(map(_of_text_side, tensors)):
        if not texts_are_there:
            remedy = "set model.text.weights to the CLIP that it was trained beside, e.g. openai/clip-vit-base-patch16"
            raise SkyEyeError("holds the side of pictures alone", where=str(path), remedy=remedy)
        expected = {name: shape for name, shape in expected.items() if not _of_text_side(name)}
    _put(model, tensors, expected, path)
    check_fingerprint(model.vision_tower, path)


def load_text_side(model: TwoTowers, path: str | Path) -> None:
    """Put the text side, its projection and the temperature of a published CLIP into a model.

    Raises:
        SkyEyeError: it is not on this machine; else as :func:`load_published`.
    """
    if local_path(path) is None:
        remedy = f"hf download {path}, or give the folder or file of that CLIP"
        raise SkyEyeError("is not on this machine", where=f"model.text.weights {path}", remedy=remedy)
    _refuse_other_activations(model, path, ("text",))
    _, tensors, _ = split_sides(_read(path))
    expected = {name: shape for name, shape in shapes(model.state_dict()).items() if _of_text_side(name)}
    _put(model, {name: tensor for name, tensor in tensors.items() if _of_text_side(name)}, expected, path)


def _put(
    model: TwoTowers, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], path: str | Path
) -> None:
    if problems := differences(expected, shapes(tensors)):
        remedy = "these weights are of another CLIP: check the sizes in model.vision and model.text"
        if any(name.startswith("projector.image.positions") for name in tensors.keys() - expected.keys()):
            remedy = "these weights are of a CLIP with a ResNet: set model.text.pooling: attention"
        raise SkyEyeError("; ".join(problems), where=str(path), remedy=remedy)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)


def _of_text_side(name: str) -> bool:
    return name.startswith(("text_tower.", "projector.text.", "projector.logit_scale"))


def open_two_towers(
    path: str | Path, base: ModelConfig | None = None, device: torch.device | str = "cpu"
) -> tuple[TwoTowers, TwoTowersProcessor]:
    """Model and processor of a folder that training wrote, or of published files.

    Args:
        base: the model section of a recipe, which published files need: activation and heads stand in none of them.

    Raises:
        SkyEyeError: it is not there, or its parts do not fit together.
    """
    where = local_path(path)
    if where is None:
        raise SkyEyeError("no such checkpoint", where=str(path), remedy="give a folder, or a file with --base RECIPE")
    if is_own_folder(where):
        model = TwoTowers(TwoTowersConfig.from_pretrained(where))
        load_published(model, where)
        return model.eval().to(device), TwoTowersProcessor.from_pretrained(where)
    words = tokenizer_of(base)
    model = TwoTowers(TwoTowersConfig.of(base, words.vocab_size, words.end))
    if base.text.weights:
        load_text_side(model, base.text.weights)
    load_published(model, where, bool(base.text.weights))
    return model.eval().to(device), TwoTowersProcessor.from_config(base, words)


def is_own_folder(path: Path) -> bool:
    """Whether training wrote two towers there."""
    try:
        said = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # another kind of checkpoint, or a damaged one: its own reader says so
        return False
    return isinstance(said, dict) and said.get("model_type") == TwoTowersConfig.model_type


def tokenizer_of(model: ModelConfig) -> CaptionTokenizer:
    """The tokenizer that a recipe names.

    Raises:
        SkyEyeError: it names none, or it is not there.
    """
    if model.tokenizer.path is None:
        remedy = "give bpe_simple_vocab_16e6.txt.gz or the folder of a CLIP of transformers"
        raise SkyEyeError("names no tokenizer", where="model.tokenizer.path", remedy=remedy)
    return load_caption_tokenizer(model.tokenizer.path, model.text.context)


def _read(path: str | Path) -> dict[str, torch.Tensor]:
    where = local_path(path) or Path(path)
    return folder_weights(where) if where.is_dir() else read_tensors(where)


def _ours(model: TwoTowers, found: Mapping[str, torch.Tensor], path: str | Path) -> dict[str, torch.Tensor]:
    """By the names of the model, whatever the layout."""
    if any(name.startswith("vision_tower.") for name in found):
        return dict(found)
    _refuse_other_activations(model, path)
    vision, tensors, dropped = split_sides(found)
    if dropped:
        logger.info("%s: no weights: %s", path, ", ".join(dropped))
    if not vision:
        what = f"holds no vision side: its first names are {', '.join(sorted(found)[:3])}"
        raise SkyEyeError(what, where=str(path), remedy="give the file of a CLIP, open_clip's or transformers'")
    tower = fitted(model.vision_tower, vision, path)
    return {f"vision_tower.backbone.{name}": tensor for name, tensor in tower.items()} | tensors


def _refuse_other_activations(model: TwoTowers, path: str | Path, sides: Sequence[str] = ("vision", "text")) -> None:
    """A folder of transformers says activation and heads of its sides, which show in no tensor."""
    folder = local_path(path)
    if folder is None or not (folder / "config.json").is_file():
        return
    config = read_json_object(folder / "config.json")
    for side in sides:
        section = getattr(model.config, side)
        said = {"num_attention_heads": 8 if side == "text" else 12, "hidden_act": "quick_gelu"}
        said |= config.get(f"{side}_config") or {}
        for theirs, ours in (("hidden_act", "activation"), ("num_attention_heads", "heads")):
            if section[ours] != said[theirs]:
                raise SkyEyeError(
                    f"these weights were trained with {ours} {said[theirs]}, the recipe says {section[ours]}",
                    where=str(folder),
                    remedy=f"set model.{side}.{ours}: {said[theirs]}",
                )
