"""Checkpoints of this project and of the reference runner: which one it is, load, convert.

Loading is strict: a loader that skips what it does not know drops every adapter without a word.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from skyeye.config.schema import ModelConfig
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import ADAPTERS, plain_name
from skyeye.models.base import NO_BASE, read_base
from skyeye.models.converters.minigpt_v2 import (
    advice,
    is_trained,
    reference_name,
    write_reference,
)
from skyeye.models.described import own_words, refuse_other_computation, refuse_other_config
from skyeye.models.language import is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.packed import is_packed, refuse_packed
from skyeye.models.pretrained import empty_model, find_checkpoint
from skyeye.models.published import WRITERS, layout_of
from skyeye.models.save import save_checkpoint, whole_folder
from skyeye.models.weights import differences, read_json_object, read_tensors, shapes

#: Beside the weights of an exported directory; these belong to the weights, the rest is copied when weights change.
_WEIGHT_FILES = re.compile(r"((adapter_)?model.*\.safetensors(\.index\.json)?|(adapter_)?config\.json|base\.json)")
#: Layouts that :func:`convert` writes besides those of other projects' folders.
_OWN_LAYOUTS = ("minigpt_v2", "peft")


def load_checkpoint(model: SkyEyeForConditionalGeneration, path: str | Path) -> None:
    """Load a checkpoint onto a model, strictly: a directory of this project, a file under the reference's names, or a
    folder of another project.

    A file that holds nothing but adapters and projection leaves the rest of the model as it is, and so does a directory
    with the parts that it names as its base; any other must hold every tensor of the model. A folder of another project
    leaves out what lies elsewhere, and adapters that it has none of start fresh. Rotary frequencies, which
    are constants, are ignored. A model on the meta device takes the tensors of the file as they are.

    Raises:
        SkyEyeError: tensors are missing, unexpected or mis-shaped; they are listed, with what the checkpoint is for.
            Or all fit and were trained in a model that computes something else (:mod:`skyeye.models.described`).
    """
    path = Path(path)
    published = find_checkpoint(path) if layout_of(path) is not None else None
    found = _read(path) if published is None else _canonical(published.tensors, model)
    theirs = own_words(path) if published is None else published.own_words()
    _refuse_other_variant(model, path, found, (theirs.get("lora") or {}).get("variant", "lora"))
    state = {n: tensor for n, tensor in model.state_dict().items() if n not in model._keys_to_ignore_on_save}
    own = {reference_name(name): name for name in state}
    tied = {reference_name(name) for name in model.all_tied_weights_keys}
    expected = {name: state[ours].shape for name, ours in own.items() if name in found or name not in tied}
    left_out = published.base if published is not None else read_base(path) if path.is_dir() else NO_BASE
    expected = {n: shape for n, shape in expected.items() if n in found or not left_out.covers(plain_name(own[n]))}
    if published is not None and not any(is_adapter(name) for name in found):
        expected = {name: shape for name, shape in expected.items() if not is_adapter(name)}
    if all(is_trained(name) for name in found):
        expected = {name: shape for name, shape in expected.items() if is_trained(name)}
    problems = differences(expected, shapes(found))
    if problems:
        raise SkyEyeError("; ".join(problems), where=str(path), remedy=advice(model.state_dict(), found))
    refuse_other_computation(model.config, found, theirs, path)
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    model.load_state_dict({own[name]: tensor for name, tensor in found.items()}, strict=False, assign=on_meta)


def convert(
    source: str | Path,
    target: str | Path,
    *,
    base: str | Path | ModelConfig | None = None,
    everything: bool = False,
    layout: str | None = None,
    family: str | None = None,
) -> None:
    """Convert between a directory of this project and the formats of others, whichever ``source`` is.

    Args:
        source: directory of this project -> ``target`` is a ``.pth`` file of the reference, or a folder in ``layout``;
            anything else -> a directory of this project.
        base: for a directory from a file that holds adapters and projection only: where everything else comes from, a
            directory of this project or the model section of a recipe; the parts that a recipe names are not copied,
            the directory names them as its base. Not needed if the file holds everything and its configuration, as
            :func:`convert` writes it with ``everything``.
        everything: write the frozen parts into the file too. The reference's runner does not.
        layout: a key of :data:`skyeye.models.published.WRITERS`; ``minigpt_v2``, the reference's file, which is
            written of a directory of this project where None is given; or ``peft``, a directory of this project that
            holds what was trained and names its base, which is written of everything else.
        family: of a source of another project, see :func:`~skyeye.models.pretrained.open_checkpoint`.

    Raises:
        SkyEyeError: the source is no checkpoint, does not fit the base, or the target exists.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise SkyEyeError("exists already", where=str(target), remedy="remove it or choose another name")
    if layout not in (None, *WRITERS, *_OWN_LAYOUTS):
        remedy = f"choose one of {', '.join([*WRITERS, *_OWN_LAYOUTS])}"
        raise SkyEyeError(f"{layout!r} is no layout", where="layout", remedy=remedy)
    ours = source.is_dir() and layout_of(source) is None
    if layout in WRITERS:
        _write_layout(source, target, layout, base, family)
    elif layout == "minigpt_v2" and not ours:
        remedy = "convert it to a directory of this project first: skyeye checkpoint convert SRC DIR"
        raise SkyEyeError("is no directory of this project", where=str(source), remedy=remedy)
    elif layout == "minigpt_v2" or (layout is None and ours):
        _write_reference(source, target, everything)
    else:
        _write_directory(source, target, base, family)


def _refuse_other_variant(model: SkyEyeForConditionalGeneration, path: Path, found: Iterable[str], theirs: str) -> None:
    """Adapters of LoRA and rsLoRA have the same names and shapes and mean something else."""
    ours = (model.config.lora or {}).get("variant", "lora")
    if ours != theirs and any(is_adapter(name) for name in found):
        raise SkyEyeError(
            f"its adapters are of variant {theirs}, the model's of {ours}",
            where=str(path),
            remedy=f"set model.lora.variant: {theirs}",
        )


def _canonical(tensors: Mapping[str, torch.Tensor], model: SkyEyeForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Tensors by plain name, by canonical reference name."""
    own = {plain_name(name): name for name in model.state_dict()}
    return {reference_name(own.get(name, name)): tensor for name, tensor in tensors.items()}


def _variant(directory: Path) -> str:
    """``model.lora.variant`` of a directory of this project."""
    lora = read_json_object(directory / "config.json").get("lora")
    return lora.get("variant", "lora") if isinstance(lora, dict) else "lora"


def _write_reference(source: Path, target: Path, everything: bool) -> None:
    if _read(source) and _variant(source) != "lora":
        raise SkyEyeError(
            f"the reference's format has no adapters of variant {_variant(source)}: its scale and names are LoRA's",
            where=str(source),
            remedy="keep the directory; or train with model.lora.variant: lora",
        )
    tensors = {name: tensor for name, tensor in _read(source).items() if everything or is_trained(name)}
    configuration = {"skyeye": refuse_other_config(read_json_object(source / "config.json"), source / "config.json")}
    if (source / "recipe.yaml").is_file():
        configuration["recipe"] = (source / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    write_reference(target, tensors, configuration)


def _write_layout(
    source: Path, target: Path, layout: str, base: str | Path | ModelConfig | None, family: str | None
) -> None:
    found = find_checkpoint(source, base, family)
    refuse_packed(bool(found.packed), source)
    _, tensors = empty_model(found)
    held = {name: tensor for name, tensor in tensors.items() if name in found.tensors or not found.base.covers(name)}
    with whole_folder(target) as partial:
        WRITERS[layout].write(partial, found.config, held, found.base, found.processor())


def _write_directory(source: Path, target: Path, base: str | Path | ModelConfig | None, family: str | None) -> None:
    """What a file holds, beside the name of its base or, where that is a directory that holds everything, with it."""
    found = find_checkpoint(source, base, family)
    refuse_packed(bool(found.packed), source)
    model, tensors = empty_model(found)
    own = {plain_name(name): name for name in model.state_dict()}
    held = {own[n]: t for n, t in tensors.items() if n in found.tensors or not found.base.covers(n)}
    with whole_folder(target) as partial:
        save_checkpoint(partial, model, held, found.base, None if found.recipe is None else found.processor())
        beside = [] if found.words is None else [file for file in found.words.iterdir() if file.is_file()]
        for file in beside:
            if not _WEIGHT_FILES.fullmatch(file.name):
                shutil.copy(file, partial)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by canonical reference name, without rotary frequencies."""
    if path.is_dir():
        files = sorted(path.glob("model*.safetensors"))
        if not files or not (path / "config.json").is_file():
            raise SkyEyeError(
                "not a skyeye checkpoint: config.json or model.safetensors is missing",
                where=str(path),
                remedy="give the folder of a stage, such as runs/demo/checkpoints/conversation",
            )
        stored = {name: tensor for file in files for name, tensor in read_tensors(file).items()}
        if (path / ADAPTERS).is_file():
            stored |= {f"language_model.{name}": tensor for name, tensor in read_tensors(path / ADAPTERS).items()}
    else:
        stored = read_tensors(path)
    refuse_packed(is_packed(stored), path)
    named: dict[str, torch.Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith("rotary_emb.inv_freq"):
            continue
        if reference_name(name) in named:
            raise SkyEyeError(f"{name} is there twice, under two spellings", where=str(path))
        named[reference_name(name)] = tensor
    return named
