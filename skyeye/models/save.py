"""Checkpoint folders in Hugging Face shape: the weights but for those of a base, which is named."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from skyeye.config.schema import ModelConfig
from skyeye.data.files import cannot_be_written
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import ADAPTERS, peft_name
from skyeye.models.base import NO_BASE, Base
from skyeye.models.language import is_adapter
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.packed import CONSTANT
from skyeye.models.pretrained import Precision, open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.weights import equal_bits

_LANGUAGE = "language_model."


def save_checkpoint(
    folder: Path,
    model: SkyEyeForConditionalGeneration,
    weights: Mapping[str, torch.Tensor],
    base: Base = NO_BASE,
    processor: SkyEyeProcessor | None = None,
) -> None:
    """Write weights, configuration, processor and ``base.json``; what was written is read back and compared.

    Adapters of a language model that is left out go into a file of their own, which PEFT reads.

    Args:
        folder: is there, or is made.
        model: says the configuration; its own weights are not looked at.
        weights: the tensors that ``base`` does not cover, by the model's names.

    Raises:
        OSError: it cannot be written, or reads back differently.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = _write_adapters(folder, model, weights, base)
    model.save_pretrained(folder, state_dict={name: t for name, t in weights.items() if name not in beside})
    if base:
        base.write(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    _compare(folder, weights, beside)


def _write_adapters(
    folder: Path, model: SkyEyeForConditionalGeneration, weights: Mapping[str, torch.Tensor], base: Base
) -> dict[str, str]:
    """Names of the adapters that were written, with those in the file."""
    if base.language is None or not isinstance(model.language_model, PeftModel):
        return {}
    names = {n: peft_name(n.removeprefix(_LANGUAGE)) for n in weights if n.startswith(_LANGUAGE) and is_adapter(n)}
    save_file({file: weights[name].contiguous() for name, file in names.items()}, folder / ADAPTERS, {"format": "pt"})
    config = copy.copy(model.language_model.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base.language.source, True
    config.save_pretrained(str(folder))
    return names


def _compare(folder: Path, weights: Mapping[str, torch.Tensor], beside: Mapping[str, str]) -> None:
    """The files with what they were written from, tensor by tensor: all together may be larger than memory."""
    missing = dict(weights)
    ours = {file: name for name, file in beside.items()}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for stored in file.keys():
                name = ours.get(stored, stored) if path.name == ADAPTERS else stored
                if name not in weights or not equal_bits(file.get_tensor(stored), weights[name]):
                    raise OSError(f"{path.name} reads back differently, e.g. {name}")
                missing.pop(name, None)
    written = {tensor.data_ptr() for name, tensor in weights.items() if name not in missing}
    lost = [name for name, tensor in missing.items() if tensor.data_ptr() not in written]  # tied ones stand there once
    if lost:
        raise OSError(f"reads back without {lost[0]}")


def export_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    base: str | Path | ModelConfig | None = None,
    precision: Precision = torch.float32,
    keep_adapters: bool = True,
    family: str | None = None,
    quantize: str | None = None,
) -> None:
    """Write a checkpoint as a folder that holds everything: nothing else is needed to load it.

    Args:
        source, base, precision, family: see :func:`~skyeye.models.pretrained.open_checkpoint`.
        keep_adapters: False adds the adapters to their weights, so that the model has none.
        quantize: ``int8`` or ``int4``: the linear layers of the language model are written so, which can be asked and
            nothing else; adapters are added to their weights first.

    Raises:
        SkyEyeError: the checkpoint cannot be opened, or the target is there already or cannot be written.
    """
    target = Path(target)
    if target.exists():
        raise SkyEyeError("exists already", where=str(target), remedy="remove it or choose another name")
    model, processor = open_checkpoint(
        source,
        base=base,
        precision=precision,
        keep_adapters=keep_adapters and quantize is None,
        family=family,
        quantize=quantize,
    )
    ends = processor.builder.end_token_ids  # what generates with the folder by itself stops where we do
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
    ignored = model._keys_to_ignore_on_save or ()
    with whole_folder(target) as partial:
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(CONSTANT)}
        weights = {name: tensor for name, tensor in state.items() if name not in ignored}
        save_checkpoint(partial, model, weights, processor=processor)
        for file in ("recipe.yaml", "manifest.json"):
            if Path(source).is_dir() and (Path(source) / file).is_file():
                shutil.copy(Path(source) / file, partial)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A name beside ``target`` for a folder to make; it gets the name ``target`` when the block ends without error,
    otherwise nothing is left of it.

    Raises:
        SkyEyeError: it cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        raise cannot_be_written(error, target) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
