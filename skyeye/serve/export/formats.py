"""The forms in which a checkpoint is handed on, each by the one writer there is of it; then card and checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skyeye.config.catalogue import find_model
from skyeye.config.schema import ModelConfig
from skyeye.errors import SkyEyeError
from skyeye.eval.files import checkpoint_fingerprint, fingerprint_with_base
from skyeye.eval.results import EvalResults, read_scores
from skyeye.generation.opening import Opening
from skyeye.models.adapters import ADAPTERS
from skyeye.models.checkpoint import convert
from skyeye.models.packed import refuse_packed
from skyeye.models.precision import DTYPES
from skyeye.models.pretrained import Checkpoint, find_checkpoint
from skyeye.models.save import export_checkpoint, whole_folder
from skyeye.serve.export.card import QUESTION, Described, write_card
from skyeye.serve.export.checksums import write_checksums
from skyeye.serve.export.private import last_name, take_machine_paths_out

#: Format -> what it is.
FORMATS = {
    "skyeye": "a folder of this project that needs no base beside it",
    "peft": "what was trained alone, its adapters as PEFT reads them, and the name of the base",
    "minigpt_v2": "model.pth, the file of the reference's runner: adapters and projection",
    "llava": "a folder of transformers' LlavaForConditionalGeneration, which needs nothing of this project",
}
#: File of the reference inside an export.
REFERENCE = "model.pth"


@dataclass(frozen=True)
class Exporting:
    """How a checkpoint is handed on.

    Attributes:
        form: a key of :data:`FORMATS`.
        base: where its frozen parts come from, see :func:`~skyeye.models.pretrained.open_checkpoint`.
        model: name of ``skyeye models list`` whose published files it is.
        dtype: precision of the weights of ``skyeye`` and ``llava``: a key of :data:`~skyeye.models.precision.DTYPES`.
        merged: add the adapters to their weights, in float32.
        quantize: ``int8`` or ``int4``, of ``skyeye``; adapters are merged first.
        scores: a ``scores.json`` of this checkpoint; None: looked for beside it.
        licence: the hub's identifier for the whole; None: as its parts say.
    """

    form: str = "skyeye"
    base: str | Path | ModelConfig | None = None
    model: str | None = None
    dtype: str = "bf16"
    merged: bool = False
    quantize: str | None = None
    scores: Path | None = None
    licence: str | None = None


_USUAL = Exporting()


def export(source: str | Path, target: Path, how: Exporting = _USUAL) -> list[str]:
    """Write a checkpoint as a folder with a card and checksums; paths of this machine are taken out of its files.

    Args:
        source: a checkpoint, see :func:`~skyeye.models.pretrained.open_checkpoint`.
        target: folder to make.

    Returns:
        What is to be told, a sentence each.

    Raises:
        SkyEyeError: the checkpoint cannot be opened or written so, or the target is there already.
    """
    target = Path(target)
    if target.exists():
        raise SkyEyeError("exists already", where=str(target), remedy="remove it or choose another name")
    _refuse_odd(how)
    listed = None if how.model is None else find_model(how.model)
    found = find_checkpoint(source, how.base, listed and listed.family)
    if how.form != "skyeye":
        refuse_packed(bool(found.packed), found.path)
    scores, told = _scores(found.path, how.scores, Opening(how.base, family=listed and listed.family))
    with whole_folder(target) as partial:
        _write(source, partial, how, listed and listed.family)
        shortened = take_machine_paths_out(partial)
        told += [
            f"{file}: {key} is {last_name(path)} now, a path of this machine before" for file, key, path in shortened
        ]
        recipe = _plain(found.path / "recipe.yaml")
        described = Described(
            name=target.name,
            form=how.form,
            recipe=recipe,
            manifest=_plain(found.path / "manifest.json"),
            precision=_precision(how, found),
            bases=_bases(found, recipe),
            listed=listed,
            scores=scores,
            licence=how.licence,
            asks="Describe the image." if how.form == "llava" else QUESTION,
        )
        write_card(partial, described)
        write_checksums(partial)
        for file in partial.iterdir():  # safetensors lets nobody else read what it writes
            file.chmod((partial / "README.md").stat().st_mode)
    return told


def _refuse_odd(how: Exporting) -> None:
    """Refuse what a format has no place for.

    Raises:
        SkyEyeError: says which option and why.
    """
    if how.quantize and how.form != "skyeye":
        what = f"--format {how.form} has no weights in {how.quantize}"
        raise SkyEyeError(what, where="--quantize", remedy="leave out --format, or quantise where it is loaded")
    if how.merged and how.form in ("peft", "minigpt_v2"):
        what = f"--format {how.form} is the adapters; merged, they are not there any more"
        raise SkyEyeError(what, where="--merged", remedy="leave out --merged, or --format")


def _write(source: str | Path, folder: Path, how: Exporting, family: str | None) -> None:
    """The files of the model."""
    if how.form == "skyeye":
        export_checkpoint(
            source,
            folder,
            base=how.base,
            precision=DTYPES[how.dtype],
            keep_adapters=not how.merged,
            family=family,
            quantize=how.quantize,
        )
    elif how.form == "llava":
        from skyeye.models.converters.llava_hf import export_llava_hf

        export_llava_hf(source, folder, base=how.base, dtype=how.dtype, family=family)
    elif how.form == "peft":
        convert(source, folder, base=how.base, layout="peft", family=family)
        if not (folder / ADAPTERS).is_file():
            what = "holds its language model itself: adapters alone would be of no use"
            raise SkyEyeError(what, where=str(source), remedy="leave out --format: skyeye writes everything")
    else:
        folder.mkdir(parents=True)
        convert(source, folder / REFERENCE, layout="minigpt_v2")


def _scores(checkpoint: Path, named: Path | None, opening: Opening) -> tuple[EvalResults | None, list[str]]:
    """The scores of a checkpoint, and what is to be told of them.

    Args:
        named: a file of scores; None: what ``skyeye eval`` or the run left beside a folder, of these weights.
        opening: how the checkpoint was opened to be scored.

    Raises:
        SkyEyeError: the file that is named cannot be read.
    """
    usual = (checkpoint / "eval", checkpoint, checkpoint.parent.parent) if checkpoint.is_dir() else ()
    places = [folder / "scores.json" for folder in usual if (folder / "scores.json").is_file()]
    if named is None and not places:
        return None, []
    place = named or places[0]
    scores = read_scores(place)
    noted = scores.about.get("fingerprint")  # of the weights alone in files of older evaluations
    if noted in (fingerprint_with_base(checkpoint, opening), checkpoint_fingerprint(checkpoint)):
        return scores, [f"scores: {place}"]
    if named is not None:
        return scores, [f"scores: {place}, which do not say that they are of these weights"]
    return None, [f"{place} is of other weights: the card has no scores; --scores FILE names some"]


def _plain(path: Path) -> Mapping[str, Any]:
    """A file of the checkpoint as plain values; empty where it is not there or holds something else."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _bases(found: Checkpoint, recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the pretrained parts: of the checkpoint's base, else of the recipe it was trained by."""
    named = [part.source for part in found.base.vision if part is not None]
    named += [found.base.language.source] if found.base.language is not None else []
    if named:
        return tuple(named)
    model = recipe.get("model")
    if not isinstance(model, dict):
        return ()
    towers = model["vision"] if isinstance(model.get("vision"), list) else [model.get("vision")]
    parts = [tower.get("weights") for tower in towers if isinstance(tower, dict)]
    language = model.get("language")
    parts += [language.get("pretrained")] if isinstance(language, dict) else []
    return tuple(str(part) for part in parts if part)


def _precision(how: Exporting, found: Checkpoint) -> str:
    if how.form in ("peft", "minigpt_v2"):
        return "as they were trained"
    kept = how.quantize or found.quantized
    words = f"linear layers of the language model in {kept} (bitsandbytes), the rest {how.dtype}" if kept else how.dtype
    if not found.config.lora:
        return words
    return f"{words}, adapters {'merged' if how.merged or kept or how.form == 'llava' else 'beside their weights'}"
